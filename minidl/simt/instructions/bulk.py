"""cp.async.bulk: copies of many bytes that one thread asks for (sm_90).

To shared memory: the bytes arrive when a thread looks at the barrier that counts them, never earlier. From shared
memory: they are read, and arrive, when their group is waited for.

Source: PTX ISA, "Data Movement and Conversion Instructions: Bulk copy".
"""
import numpy as np

from ..access import base_of, locator
from ..faults import Fault, UnknownInstruction
from ..observe import Effect
from ..table import effect
from .mbarrier import ARRIVE, Arriving, change

PIECE = 16                       # bytes: sizes and addresses are multiples of it


class Groups:
    """Copies from shared memory, by lane: `flying` holds [lane, group or -1, land]; `committed` counts groups."""

    def __init__(self, machine):
        self.flying, self.committed = [], np.zeros(machine.lanes, np.int64)

    def reset(self):
        """Nothing flies."""
        self.flying.clear()
        self.committed[:] = 0

    def commit(self, lanes):
        """What the lanes have asked for so far forms a group."""
        self.committed[lanes] += 1
        for copy in self.flying:
            if copy[1] < 0 and lanes[copy[0]]:
                copy[1] = self.committed[copy[0]]

    def land(self, lanes, keep):
        """All but the last `keep` groups of the lanes arrive."""
        done = [c for c in self.flying if lanes[c[0]] and 0 <= c[1] <= self.committed[c[0]] - keep]
        self.flying[:] = [c for c in self.flying if not any(c is d for d in done)]
        for _, _, land in done:
            land()


class Span:
    """The bytes from an address on that each lane means, of a size of its own."""

    def __init__(self, b, address, space, action):
        self.b, self.machine, self.space = b, b.machine, space
        self.base = np.broadcast_to(base_of(b, address), b.lanes)
        self.last = np.zeros(b.lanes, np.uint64)
        self.first_piece = locator(b, address, space, PIECE, b.mask)
        self.last_piece = locator(b, address, space, PIECE, b.mask, row=self.last)
        self.effect = Effect(action, PIECE, form="cp.async.bulk")

    def pieces(self, sizes):
        """{lane: (region, indices of its pieces)}; faults where the first or the last piece is no memory."""
        self.last[:] = self.base + (sizes // PIECE - 1).astype(np.uint64) * np.uint64(PIECE)
        first, = self.first_piece()
        last, = self.last_piece()
        lanes = np.arange(self.b.lanes) if first.active is None else np.nonzero(first.active)[0]
        return {lane: (first.region, np.arange(first.index[lane], last.index[lane] + 1)) for lane in lanes.tolist()}

    def tell(self, lane, region, pieces, effect_here=None):
        """Observers hear of the pieces, a warp's worth at a time, in the name of the lane that asked."""
        for watching in self.machine.observers:
            index, active = np.zeros(self.b.lanes, np.int64), np.zeros(self.b.lanes, bool)
            active[lane] = True
            for piece in pieces:
                index[lane] = piece
                watching.access(self.b.ins, self.space, region, index, effect_here or self.effect, active)


def _sizes(b, operand):
    row = b.full(operand, "u32")

    def sizes():
        active = b.running()
        if (row[active] % PIECE).any() or not row[active].all():
            raise Fault(f"a size that is no multiple of {PIECE} bytes, or 0: {b.machine.describe(b.ins)}", b.ins.text,
                        b.machine.where(b.ins))
        return row
    return sizes


def _bytes(region):
    return region.view(np.dtype(np.uint8), PIECE)


@effect("cp.async.bulk.shared::cluster.global", "cp.async.bulk.shared::cta.global", writes_first=False)
def to_shared(b):
    """cp.async.bulk.shared.global.mbarrier::complete_tx::bytes [to], [from], bytes, [barrier]."""
    to, source, size, barrier = b.ins.operands[:4]
    if b.ins.has("multicast::cluster"):
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: clusters of blocks, PTX line {b.ins.line}")
    to, source, sizes = Span(b, to, "shared", "copy"), Span(b, source, "global", "read"), _sizes(b, size)
    word, arriving = locator(b, barrier, "shared", 8, b.mask), b.machine.part(Arriving)

    def run():
        count = sizes()
        targets, sources, (reports,) = to.pieces(count), source.pieces(count), word()
        for lane, (region, pieces) in targets.items():
            origin, taken = sources[lane]
            source.tell(lane, origin, taken)
            to.tell(lane, region, pieces)
            data, at = _bytes(origin)[taken], int(reports.index[lane])
            arriving.flying.append((at, _landing(b, to, lane, region, pieces, data, reports.region, at)))
            if region.written is not None:
                region.mark_written(pieces, PIECE)
    return run


def _landing(b, to, lane, region, pieces, data, words, at):
    """A closure that writes a copy and tells its barrier."""
    def land():
        _bytes(region)[pieces] = data
        region.stored = True
        lanes = np.full(len(pieces), lane)
        for watching in b.machine.observers:
            watching.landed(lanes, pieces, PIECE)
        if b.machine.observers:                              # (whoever sees the phase's end sees the bytes)
            index, active = np.zeros(b.lanes, np.int64), np.zeros(b.lanes, bool)
            index[lane], active[lane] = at, True
            for watching in b.machine.observers:
                watching.access(b.ins, "shared", words, index, ARRIVE, active)
        change(words.view(np.dtype(np.uint64)), at, brought=data.size)
        b.machine.schedule.changes += 1
    return land


@effect("cp.async.bulk.global.shared::cta", writes_first=False)
def to_global(b):
    """cp.async.bulk.global.shared::cta.bulk_group [to], [from], bytes."""
    to, source, size = b.ins.operands[:3]
    to, source, sizes = Span(b, to, "global", "write"), Span(b, source, "shared", "read"), _sizes(b, size)
    groups = b.machine.part(Groups)

    def run():
        count = sizes()
        targets, sources = to.pieces(count), source.pieces(count)
        for lane, (region, pieces) in targets.items():
            origin, taken = sources[lane]
            source.tell(lane, origin, taken)

            def land(lane=lane, region=region, pieces=pieces, origin=origin, taken=taken):
                source.tell(lane, origin, taken)             # (it may still be reading)
                to.tell(lane, region, pieces)
                _bytes(region)[pieces] = _bytes(origin)[taken]
                region.stored = True
                b.machine.schedule.changes += 1
            groups.flying.append([lane, -1, land])
    return run


@effect("cp.async.bulk.commit_group")
def commit(b):
    """The lane's copies from shared memory so far form a group."""
    groups = b.machine.part(Groups)
    return lambda: groups.commit(b.running())


@effect("cp.async.bulk.wait_group")
def wait(b):
    """cp.async.bulk.wait_group[.read] n: at most n of the lane's groups are under way."""
    groups, keep = b.machine.part(Groups), b.ins.operands[0].value
    return lambda: groups.land(b.running(), keep)


@effect("cp.async.bulk.prefetch", writes_first=False)
def prefetch(b):
    """A hint to the cache."""
    return lambda: None
