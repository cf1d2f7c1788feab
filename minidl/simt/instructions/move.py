"""Moves: mov with packing and unpacking, cvta, isspacep, clocks."""
from functools import partial

import numpy as np

from ..clusters import rank
from ..kinds import BITS, DTYPE, UNSIGNED, untyped
from ..memory import WINDOW, WINDOW_BITS
from ..syntax import Special, Vector
from ..table import effect, elementwise

EARLIER = 1_000_000              # what clocks showed when the launch began
SPACES = ("global", "shared", "local", "const", "param")


@elementwise("mov", vectors=True)
def move(b):
    """d = a: a register, a literal, an address, the parts of a vector."""
    to, given = b.ins.operands[:2]
    if isinstance(to, Vector):
        return _unpack(b, len(to.parts))
    if isinstance(given, Vector):
        return _pack(b, len(given.parts))
    if isinstance(given, Special) and given.ticks:
        return _clock(b, given.name)
    kind = untyped(b.kind)
    return partial(np.copyto, b.target(0, kind), b.source(1, kind))


def _clock(b, name):
    """Clocks count executed instructions."""
    d, schedule, steps = b.target(0, untyped(b.kind)), b.machine.schedule, b.machine.program.since_clock(b.ins)
    shift, ones = 32 if name.endswith("_hi") else 0, (1 << BITS[b.kind]) - 1

    def run():
        schedule.ahead += steps
        d.fill(EARLIER + schedule.executed + schedule.ahead >> shift & ones)
    return run


def _unpack(b, count):
    """{a, b} = d: the parts from the lowest up."""
    bits, whole = BITS[b.kind] // count, b.read_rows([ins.operands[1] for ins in b.group], untyped(b.kind))
    names = [[ins.operands[0].parts[k] for ins in b.group] for k in range(count)]
    rows = [b.write_rows(part, f"b{bits}") for part in names]
    width = UNSIGNED[bits]

    def run():
        pieces = np.ascontiguousarray(whole()).view(width)
        pieces = pieces.copy() if pieces.base is not None else pieces     # a row may be part of itself
        for k, row in enumerate(rows):
            row[...] = pieces[:, k::count]
    return run


def _pack(b, count):
    """d = {a, b}: the parts from the lowest up."""
    kind = untyped(b.kind)
    rows = [b.read_rows([ins.operands[1].parts[k] for ins in b.group], f"b{BITS[kind] // count}") for k in range(count)]
    d, packed = b.write_rows([ins.operands[0] for ins in b.group], kind), np.empty((len(b.group), b.lanes), DTYPE[kind])
    slots = [packed.view(UNSIGNED[BITS[kind] // count])[:, k::count] for k in range(count)]

    def run():
        for slot, row in zip(slots, rows):
            slot[...] = row()
        d[...] = packed
    return run


@elementwise("cvta")
def convert_address(b):
    """Between an address in one space's window (from 0) and a generic one. Global addresses are generic already."""
    d, x, kind = b.target(0), b.source(1), b.kind
    space = next(name for name in (m.partition("::")[0] for m in b.ins.opcode) if name in SPACES)
    base = DTYPE[kind].type(WINDOW[space] if space in ("shared", "local") else 0)
    return partial(np.subtract if b.ins.has("to") else np.add, x, base, d)


@elementwise("isspacep")
def is_in_space(b):
    """p = whether the generic address a lies in a space."""
    p, a = b.target(0, "pred"), b.source(1, "u64")
    space = b.ins.opcode[1].partition("::")[0]
    window = np.uint64(WINDOW.get(space, WINDOW["global"]) >> int(WINDOW_BITS))
    if b.ins.has("shared", "shared::cta"):
        own = b.machine.special("%cluster_ctarank", "s32")
        return lambda: np.copyto(p, (a >> WINDOW_BITS == window) & ((rank(a) < 0) | (rank(a) == own)))
    return lambda: np.equal(a >> WINDOW_BITS, window, p)


@effect("prefetch", "prefetchu", "discard", "applypriority", "createpolicy", order="writes")
def hint(b):
    """Cache hints do nothing here."""
    if b.ins.name == "createpolicy":
        policy = b.write(b.ins.operands[0], "b64")
        return lambda: policy.fill(0)
    return lambda: None
