"""How instructions reach memory: an address operand becomes checked indices into regions, and observers hear of it."""
from dataclasses import dataclass

import numpy as np

from .faults import PtxError
from .memory import WINDOW, WINDOW_BITS, Region
from .observe import Effect
from .syntax import Immediate, Register

ORDERS = {"relaxed": "relaxed", "acquire": "acquire", "release": "release", "acq_rel": "acq_rel", "sc": "sc",
          "volatile": "relaxed", "mmio": "relaxed"}
SCOPES = ("cta", "cluster", "gpu", "sys")


@dataclass(frozen=True, slots=True)
class Part:
    """The lanes of an access that are in one space.

    Attributes:
        space: "global", "shared" or "local".
        region: what they access.
        index: the element of every lane, in units of the access's size.
        active: which lanes (boolean); None: all.
    """
    space: str
    region: Region
    index: np.ndarray            # type: ignore[assignment]  # (a tuple has a method of that name)
    active: np.ndarray | None


def space_of(ins):
    """The state space an instruction names, "generic" if none. Constants live in global memory."""
    for modifier in ins.opcode[1:]:
        name = modifier.partition("::")[0]
        if name in ("global", "const"):
            return "global"
        if name in ("shared", "local", "param"):
            return name
    return "generic"


def effect_of(b, action, size, default="weak"):
    """The Effect of a load, store or atomic, from the order and scope in its opcode."""
    ins = b.ins
    if ins in b.machine.program.guesses:
        default = "relaxed"
    order = next((ORDERS[m] for m in ins.opcode if m in ORDERS), default)
    scope = ins.first(SCOPES, "sys" if ins.has("volatile", "mmio") else "gpu") if order != "weak" else ""
    return Effect(action, size, order, scope, ins.name)


def locator(b, address, space, size, mask, row=None):
    """A closure that gives the Parts of an access of `size` bytes per lane at operand `address`; `row` (uint64) may
    stand in for its base."""
    row, machine, ins = base_of(b, address) if row is None else row, b.machine, b.ins
    active = None if mask is None else mask.bool

    def fixed(name, shift):
        locate, lanes = machine.spaces[name].locate, np.broadcast_to(row, b.lanes) if row.size == 1 else row
        moved = _moved(lanes, [address.offset], shift)

        def where():
            region, index = locate(ins, moved(), size, active)
            return (Part(name, region, index, active),)
        return where
    if space != "generic":
        return fixed(space, WINDOW["global"] if space == "global" else 0)
    ways = {name: fixed(name, start) for name, start in WINDOW.items()}
    code = {WINDOW[name] >> int(WINDOW_BITS): name for name in WINDOW}
    whole = _moved(row, [address.offset], 0)

    def generic():
        addresses = np.broadcast_to(whole(), b.lanes)
        windows = addresses >> WINDOW_BITS
        first = windows[0 if active is None else int(active.argmax())]
        same = windows == first
        if (same if active is None else same | ~active).all():
            return ways[code.get(int(first), "global")]()
        parts = []
        for window in np.unique(windows if active is None else windows[active]):
            name = code.get(int(window), "global")
            lanes = windows == window if active is None else (windows == window) & active
            base = np.uint64(WINDOW[name])
            region, index = machine.spaces[name].locate(ins, addresses - base, size, lanes)
            parts.append(Part(name, region, index, lanes))
        return tuple(parts)
    return generic


def _moved(row, offsets, shift):
    """A closure: addresses (uint64) plus offsets, less the start of a window. Those in 32-bit registers wrap at 32
    bits."""
    column = (lambda values, dtype: np.array(values, dtype) if row.ndim == 1 else np.array(values, dtype)[:, None])
    if row.itemsize == 8:
        constants = column([(offset - shift) % (1 << 64) for offset in offsets], np.uint64)
        return lambda: row + constants
    constants = column([offset % (1 << 32) for offset in offsets], np.uint32)
    return lambda: (row + constants).astype(np.uint64) - np.uint64(shift)


def stack_locator(b, addresses, space, size, mask):
    """A closure that gives (region, indices (group, lanes)) of an access at one address operand per instruction of
    the group, None where not all lie properly in one region."""
    machine, ins, active = b.machine, b.ins, None if mask is None else mask.bool
    bits = {b.file.width(a.base.name) for a in addresses if isinstance(a.base, Register)}
    if len(bits) != 1 or not all(isinstance(a.base, Register) for a in addresses):
        return lambda: None
    rows, shift = b.read_rows([a.base for a in addresses], f"u{bits.pop()}"), WINDOW["global"] * (space == "global")
    attempt, moved = machine.spaces[space].attempt, _moved(rows(), [a.offset for a in addresses], shift)

    def where():
        rows()                                           # gathers them, where they are not neighbours
        return attempt(ins, moved(), size, active)
    return where


def base_of(b, address):
    """The row (uint64, or narrower for 32-bit addresses) that an address operand starts from."""
    base = address.base
    if isinstance(base, Register):
        return b.read(base, f"u{b.file.width(base.name)}")
    if isinstance(base, Immediate):
        return np.array([base.value], np.uint64)
    if hasattr(base, "name"):
        return b.machine.address(base, b.ins)
    raise PtxError(f"[simt] line {b.ins.line}: {address} is no address: `{b.ins.text}`")


def observer(b, effect, ins=None):
    """A closure that tells the observers of an access, or None where nobody watches."""
    observers, ins = b.machine.observers, ins or b.ins
    if not b.machine.observed:
        return None

    def tell(part, values=None):
        if part.space != "local":
            for watching in observers:
                watching.access(ins, part.space, part.region, part.index, effect, part.active, values)
    return tell


def check_written(b, part, size, ins=None):
    """Warn of reads of bytes that nobody has written."""
    bad = part.region.never_written(part.index, size)
    if part.active is not None:
        bad &= part.active
    if bad.any():
        what = f"{int(bad.sum())} lanes read {part.space} memory that nobody wrote"
        b.machine.warn("uninitialised read", ins or b.ins, what, bad)
