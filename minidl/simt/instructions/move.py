"""Moves: mov with packing and unpacking, cvta, isspacep, clocks."""
from functools import partial

import numpy as np

from ..kinds import BITS, DTYPE, UNSIGNED, untyped
from ..memory import WINDOW, WINDOW_BITS
from ..syntax import Sink, Special, Vector
from ..table import effect, elementwise

CLOCKS = ("%clock", "%clock64", "%clock_hi", "%globaltimer", "%globaltimer_lo", "%globaltimer_hi")


@elementwise("mov")
def move(b):
    """d = a: a register, a literal, an address, the parts of a vector."""
    to, given = b.ins.operands[:2]
    if isinstance(to, Vector):
        return _unpack(b, to.parts, given)
    if isinstance(given, Vector):
        return _pack(b, to, given.parts)
    if isinstance(given, Special) and given.name in CLOCKS:
        return _clock(b, given.name)
    kind = untyped(b.kind)
    return partial(np.copyto, b.target(0, kind), b.source(1, kind))


def _clock(b, name):
    """Clocks count executed instructions."""
    d, schedule = b.target(0, untyped(b.kind)), b.machine.schedule
    shift = 32 if name.endswith("_hi") else 0
    ones = (1 << BITS[b.kind]) - 1
    return lambda: d.fill(schedule.executed >> shift & ones)


def _unpack(b, names, given):
    """{a, b} = d: the parts from the lowest up."""
    bits = BITS[b.kind] // len(names)
    whole = b.read(given, untyped(b.kind))
    rows = [(k, b.write(name, f"b{bits}")) for k, name in enumerate(names) if not isinstance(name, Sink)]

    def run():
        pieces = np.ascontiguousarray(whole).view(UNSIGNED[bits])
        pieces = pieces.copy() if pieces.base is not None else pieces     # a row may be part of itself
        for k, row in rows:
            row[...] = pieces[k::len(names)]
    return run


def _pack(b, to, parts):
    """d = {a, b}: the parts from the lowest up."""
    kind = untyped(b.kind)
    bits = BITS[kind] // len(parts)
    rows, d = [b.read(part, f"b{bits}") for part in parts], b.write(to, kind)
    packed = np.empty(b.lanes, DTYPE[kind])
    slots = [packed.view(UNSIGNED[bits])[k::len(parts)] for k in range(len(parts))]

    def run():
        for slot, row in zip(slots, rows):
            slot[...] = row
        d[...] = packed
    return run


@elementwise("cvta")
def convert_address(b):
    """Between an address in one space's window (from 0) and a generic one. Global addresses are generic already."""
    d, x, kind = b.target(0), b.source(1), b.kind
    space = next(m.partition("::")[0] for m in b.ins.opcode if m.partition("::")[0] in ("global", "shared", "local", "const", "param"))
    base = DTYPE[kind].type(WINDOW[space] if space in ("shared", "local") else 0)
    return partial(np.subtract if b.ins.has("to") else np.add, x, base, d)


@elementwise("isspacep")
def is_in_space(b):
    """p = whether the generic address a lies in a space."""
    p, a = b.target(0, "pred"), b.source(1, "u64")
    space = b.ins.opcode[1].partition("::")[0]
    window = np.uint64(WINDOW.get(space, WINDOW["global"]) >> int(WINDOW_BITS))
    return lambda: np.equal(a >> WINDOW_BITS, window, p)


@effect("prefetch", "prefetchu", "discard", "applypriority", "createpolicy")
def hint(b):
    """Cache hints do nothing here."""
    if b.ins.name == "createpolicy":
        policy = b.write(b.ins.operands[0], "b64")
        return lambda: policy.fill(0)
    return lambda: None
