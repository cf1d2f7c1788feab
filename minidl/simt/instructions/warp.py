"""Instructions that look across the lanes of a warp: shuffles, votes, matches, reductions."""
import numpy as np

from ..schedule import warp_bits
from ..syntax import Immediate, Pair, Register
from ..table import collective, effect


def require(b, members=None):
    """Fault where a lane that a running one names, and that has not left, does not execute the instruction (its guard
    is false, say)."""
    machine, active = b.machine, b.mask.bool
    named = np.where(active, np.uint32(0xFFFFFFFF) if members is None else members, np.uint32(0))
    wanted = np.bitwise_or.reduce(named.reshape(-1, 32), axis=1) & warp_bits(machine.alive.bool)
    missing = wanted & ~warp_bits(active)
    if missing.any():
        lanes = np.unpackbits(missing.view(np.uint8), bitorder="little").astype(bool)
        raise machine.fault(b.ins, f"{int(lanes.sum())} named lanes do not take part", lanes)


def attendance(b, members):
    """A closure that faults where not all lanes that the operand `members` names take part, or a lane that it does
    not name."""
    everyone = isinstance(members, Immediate) and members.value in (-1, 0xFFFFFFFF)
    if everyone:
        return (lambda: None) if b.mask is None else lambda: require(b)
    row, bit = b.full(members, "u32"), np.uint32(1) << b.machine.lane_in_warp.astype(np.uint32)

    def check():
        stray = row & bit == 0
        if b.mask is not None:
            require(b, row)
            stray &= b.mask.bool
        if stray.any():
            raise b.machine.fault(b.ins, f"{int(stray.sum())} lanes are not in the mask that they name", stray)
    return check


def _two_results(b, kind):
    """The rows of d and, where there is one, p."""
    first = b.ins.operands[0]
    if isinstance(first, Pair):
        return b.write(first.first, kind), b.write(first.second, "pred")
    return b.write(first, kind), None


@collective("shfl.sync", members=lambda ins: ins.operands[4], order="free")
def shuffle(b):
    """shfl.sync.mode d|p, a, lane, clamp, members: a of another lane of the warp; p: whether that lane is in range."""
    machine, mode, (_, a, by, clamp, members) = b.machine, b.ins.opcode[2], b.ins.operands
    value, check = b.full(a, "b32"), attendance(b, members)
    by, clamp_row = b.read(by, "u32"), b.read(clamp, "u32")
    d, p = _two_results(b, "b32")
    lane, warp = machine.lane_in_warp, machine.lane // 32 * 32

    def plan():
        distance, c = by.astype(np.int64) & 31, clamp_row.astype(np.int64)
        segment = c >> 8 & 31
        lowest = lane & segment
        highest = lowest | c & 31 & ~segment
        source = {"up": lane - distance, "down": lane + distance, "bfly": lane ^ distance,
                  "idx": lowest | distance & ~segment}[mode]
        inside = source >= highest if mode == "up" else source <= highest
        return np.where(inside, source, lane) + warp, np.broadcast_to(inside, b.lanes)
    fixed = plan() if not any(isinstance(o, Register) for o in b.ins.operands[2:4]) else None

    def run():
        check()
        source, inside = fixed or plan()
        if b.mask is not None:
            stray = b.mask.bool & ~b.mask.bool[source]
            if stray.any():
                what = f"{int(stray.sum())} lanes read a lane that does not take part"
                machine.warn("shuffle from an inactive lane", b.ins, what, stray)
        result = value[source]
        if p is not None:
            p[...] = inside
        d[...] = result
    return run


@effect("activemask", order="free")
def active_mask(b):
    """d = the mask of lanes that execute it now."""
    d = b.target(0)
    return lambda: np.copyto(d, np.repeat(warp_bits(b.running()), 32))


@collective("vote.sync", members=lambda ins: ins.operands[2], order="free")
def vote(b):
    """vote.sync.mode: ballot (the mask of true predicates), any, all or uni (all agree) over the named lanes."""
    mode, (result, predicate, members) = b.ins.opcode[2], b.ins.operands
    d, p, check = b.write(result, "b32" if mode == "ballot" else "pred"), b.predicate(predicate), attendance(b, members)
    members = b.full(members, "u32")

    def run():
        check()
        flags = np.broadcast_to(p(), b.lanes)
        present = np.ones(b.lanes, bool)
        if b.mask is not None:
            flags, present = flags & b.mask.bool, b.mask.bool
        voted, there = (np.repeat(warp_bits(np.ascontiguousarray(row)), 32) & members for row in (flags, present))
        if mode == "ballot":
            d[...] = voted
        elif mode == "any":
            d[...] = voted != 0
        else:
            d[...] = (voted == there) if mode == "all" else (voted == there) | (voted == 0)
    return run


def _groups(b, members):
    """For every warp that takes part, the lanes of each set that a lane names: (lanes of the set), one by one."""
    active = b.running()
    for warp in np.nonzero(active.reshape(-1, 32).any(1))[0]:
        lanes = np.arange(warp * 32, warp * 32 + 32)
        lanes = lanes[active[lanes]]
        masks = members[lanes]
        for mask in np.unique(masks):
            yield lanes[(masks == mask) & (mask >> (lanes % 32).astype(np.uint32) & np.uint32(1) == 1)]


@collective("match.any.sync", "match.all.sync", members=lambda ins: ins.operands[2], order="free")
def match(b):
    """match.any: the mask of lanes that hold the same value; match.all: all named lanes if they agree, else 0 (p:
    agree)."""
    value, members = b.full(b.ins.operands[1], b.kind), b.full(b.ins.operands[2], "u32")
    d, p = _two_results(b, "b32")
    check = attendance(b, b.ins.operands[2])
    every = b.ins.has("all")

    def run():
        check()
        for lanes in _groups(b, members):
            bits = np.uint32(1) << (lanes % 32).astype(np.uint32)
            same = value[lanes][:, None] == value[lanes][None, :]
            masks = np.where(same, bits, np.uint32(0)).sum(1, dtype=np.uint32)
            agree = bool(same.all())
            d[lanes] = masks if not every or agree else 0
            if p is not None:
                p[lanes] = agree
    return run


REDUCE = {"add": np.add, "min": np.minimum, "max": np.maximum,
          "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@collective("redux.sync", members=lambda ins: ins.operands[2], order="free")
def reduce(b):
    """redux.sync.op: the sum, least, largest, and, or, xor of the named lanes' values, for each of them. (.abs, .NaN:
    f32.)"""
    name = b.ins.opcode[2]
    value, members, d = b.full(b.ins.operands[1], b.kind), b.full(b.ins.operands[2], "u32"), b.target(0)
    function, check = REDUCE[name], attendance(b, b.ins.operands[2])
    if b.kind == "f32" and not b.ins.has("NaN"):
        function = {"min": np.fmin, "max": np.fmax}[name]

    def run():
        check()
        given = np.abs(value) if b.ins.has("abs") else value
        for lanes in _groups(b, members):
            if len(lanes):
                d[lanes] = function.reduce(given[lanes], dtype=given.dtype)
    return run


@collective("elect.sync", members=lambda ins: ins.operands[1], order="free")
def elect(b):
    """elect.sync d|p, members: p is true in the lowest named lane, d that lane's number."""
    members, check = b.full(b.ins.operands[1], "u32"), attendance(b, b.ins.operands[1])
    d, p = _two_results(b, "b32")

    def run():
        check()
        for lanes in _groups(b, members):
            d[lanes] = lanes[0] % 32
            p[lanes] = lanes == lanes[0]
    return run

