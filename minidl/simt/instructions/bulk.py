"""Bulk copies: cp.async.bulk and cp.reduce.async.bulk, of many bytes that one thread asks for (sm_90).

To shared memory: the bytes arrive when a thread looks at the barrier that counts them, never earlier. From shared
memory to global: they are read, and arrive, when their group is waited for.

Source: PTX ISA, "Data Movement and Conversion Instructions: Bulk copy".
"""
from typing import NamedTuple

import numpy as np

from ..access import base_of, locator
from ..clusters import remote
from ..faults import Fault, UnknownInstruction
from ..inflight import InFlight
from ..memory import Region
from ..observe import Effect
from ..table import effect
from .atomics import FUNCTIONS, combine
from .mbarrier import ARRIVE, Arriving, change

PIECE = 16                       # bytes: sizes and addresses are multiples of it
BYTE = np.dtype(np.uint8)
READ, COPY = Effect("read", PIECE, form="cp.async.bulk"), Effect("copy", PIECE, form="cp.async.bulk")
WRITE = Effect("write", PIECE, form="cp.async.bulk")
REDUCE = Effect("atomic", PIECE, "relaxed", "gpu", "cp.reduce.async.bulk")


class Stores(InFlight):
    """The copies from shared to global memory."""


class Span(NamedTuple):
    """Many elements of `size` bytes that one thread touches: `at` are their indices in a region."""
    space: str
    region: Region
    at: np.ndarray
    size: int

    def read(self):
        """The bytes (elements, size)."""
        return self.region.view(BYTE, self.size)[self.at].reshape(len(self.at), self.size)

    def write(self, data):
        """Put bytes (elements, size)."""
        view = self.region.view(BYTE, self.size)
        view[self.at] = data.reshape(-1, *view.shape[1:])
        self.region.stored = True
        if self.region.written is not None:
            self.region.mark_written(self.at, self.size)

    def tell(self, b, lane, what):
        """Observers hear of it."""
        for watching in b.machine.observers:
            watching.sweep(b.ins, self.space, self.region, self.at, what._replace(size=self.size), lane)


class Stretch:
    """The bytes from an address on that each lane means, of a size of its own."""

    def __init__(self, b, address, space):
        self.b, self.space, self.base = b, space, np.broadcast_to(base_of(b, address), b.lanes)
        self.ends = np.zeros((2, b.lanes), np.uint64)    # where the first and the last piece begin
        self.locate = [locator(b, address, space, PIECE, b.mask, row=row) for row in self.ends]

    def spans(self, sizes, rank=None):
        """{lane: Span}, in the shared memory of block `rank` of the cluster if that is given.

        Raises:
            Fault: the first or the last piece is no memory, or they are in different buffers.
        """
        self.ends[:] = self.base if rank is None else remote(self.base, np.full(self.b.lanes, rank))
        self.ends[1] += (np.maximum(sizes // PIECE, 1) - 1).astype(np.uint64) * np.uint64(PIECE)
        (first,), (last,) = (locate() for locate in self.locate)
        lanes = np.arange(self.b.lanes) if first.active is None else np.nonzero(first.active)[0]
        if first.region is not last.region:
            raise self.b.machine.fault(self.b.ins, "out of bounds: a copy beyond the end of a buffer", lanes[0])
        return {lane: Span(self.space, first.region, np.arange(first.index[lane], last.index[lane] + 1), PIECE)
                for lane in lanes.tolist()}


def deliver(b, lane, target, data, report):
    """Bytes `data` (or what gives them) fly to `target`, to arrive when somebody looks at the barrier `report` (a Span
    of one word)."""
    target.tell(b, lane, COPY)
    if target.region.written is not None:
        target.region.mark_written(target.at, target.size)

    def land():
        brought = data() if callable(data) else data
        target.write(brought)
        for watching in b.machine.observers:
            watching.landed(np.full(len(target.at), lane), target.at, target.size)
        report.tell(b, lane, ARRIVE)                     # whoever sees the phase's end sees the bytes
        change(report.region.view(np.dtype(np.uint64)), report.at[0], brought=brought.size)
        b.machine.schedule.changes += 1
    b.machine.part(Arriving).flying.append((int(report.at[0]), land))


class Reports:
    """The barriers that copies report to."""

    def __init__(self, b, address):
        self.base, self.row = np.broadcast_to(base_of(b, address), b.lanes), np.zeros(b.lanes, np.uint64)
        self.locate, self.lanes = locator(b, address, "shared", 8, b.mask, row=self.row), b.lanes

    def spans(self, rank=None):
        """A function of a lane: its barrier, in block `rank` of the cluster if that is given."""
        self.row[:] = self.base if rank is None else remote(self.base, np.full(self.lanes, rank))
        part, = self.locate()
        return lambda lane: Span("shared", part.region, part.index[lane:lane + 1], 8)


def ranks(b, operands):
    """A function of a lane: the numbers of the blocks that a copy goes to; None stands for the one that is named."""
    if not b.ins.has("multicast::cluster"):
        return lambda lane: [None]
    mask = b.full(operands[0], "u16")
    return lambda lane: [rank for rank in range(16) if int(mask[lane]) >> rank & 1]


def _sizes(b, operand):
    row = b.full(operand, "u32")

    def sizes():
        active = b.running()
        if (row[active] % PIECE).any() or not row[active].all():
            raise Fault(f"a size that is no multiple of {PIECE} bytes, or 0: {b.machine.describe(b.ins)}", b.ins.text,
                        b.machine.where(b.ins))
        return row
    return sizes


@effect("cp.async.bulk.shared::cluster.global", "cp.async.bulk.shared::cta.global", writes_first=False)
def to_shared(b):
    """cp.async.bulk.shared.global.mbarrier::complete_tx::bytes [to], [from], bytes, [barrier][, blocks]."""
    to, source, size, barrier, *more = b.ins.operands
    to, source, sizes = Stretch(b, to, "shared"), Stretch(b, source, "global"), _sizes(b, size)
    reports, chosen = Reports(b, barrier), ranks(b, more)

    def run():
        count = sizes()
        for lane, origin in source.spans(count).items():
            origin.tell(b, lane, READ)
            for rank in chosen(lane):
                deliver(b, lane, to.spans(count, rank)[lane], origin.read(), reports.spans(rank)(lane))
    return run


@effect("cp.async.bulk.shared::cluster.shared::cta", writes_first=False)
def to_cluster(b):
    """cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [to], [from], bytes, [barrier]."""
    to, source, size, barrier = b.ins.operands[:4]
    to, source, sizes = Stretch(b, to, "shared"), Stretch(b, source, "shared"), _sizes(b, size)
    reports = Reports(b, barrier)

    def run():
        count = sizes()
        targets, report = to.spans(count), reports.spans()
        for lane, origin in source.spans(count).items():
            def data(origin=origin, lane=lane):
                origin.tell(b, lane, READ)               # (it may still be reading)
                return origin.read()
            origin.tell(b, lane, READ)
            deliver(b, lane, targets[lane], data, report(lane))
    return run


def depart(b, lane, origin, target, merge=None, chosen=None):
    """Bytes of shared memory fly to global memory, to arrive when their group is waited for.

    Args:
        merge: (what is there, what comes) -> what will be there; None: what comes.
        chosen: which bytes of the origin go to the target, None for all.
    """
    origin.tell(b, lane, READ)

    def land(who):
        origin.tell(b, lane, READ)                       # (it may still be reading)
        target.tell(b, lane, WRITE if merge is None else REDUCE)
        data = origin.read().reshape(-1)
        data = data if chosen is None else data[chosen]
        target.write(data if merge is None else merge(target.read().reshape(-1), data))
        b.machine.schedule.changes += 1
    b.machine.part(Stores).add(land, np.array([lane]))


@effect("cp.async.bulk.global.shared::cta", "cp.reduce.async.bulk.global.shared::cta", writes_first=False)
def to_global(b):
    """cp.async.bulk.global.shared::cta.bulk_group [to], [from], bytes; cp.reduce: adds, or the like, to what is
    there."""
    to, source, size = b.ins.operands[:3]
    if b.ins.has("cp_mask"):
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: masks of bytes, PTX line {b.ins.line}")
    to, source, sizes, merge = Stretch(b, to, "global"), Stretch(b, source, "shared"), _sizes(b, size), None
    if b.ins.has("reduce"):
        merge = combine(b.ins.first(FUNCTIONS), b.kind)

    def run():
        count = sizes()
        targets = to.spans(count)
        for lane, origin in source.spans(count).items():
            depart(b, lane, origin, targets[lane], merge)
    return run


@effect("cp.async.bulk.commit_group")
def commit(b):
    """The lane's copies from shared memory so far form a group."""
    stores = b.machine.part(Stores)
    return lambda: stores.commit(b.running())


@effect("cp.async.bulk.wait_group")
def wait(b):
    """cp.async.bulk.wait_group[.read] n: at most n of the lane's groups are under way."""
    stores, keep = b.machine.part(Stores), b.ins.operands[0].value
    return lambda: stores.land(b.running(), keep)


@effect("cp.async.bulk.prefetch", writes_first=False)
def prefetch(b):
    """A hint to the cache."""
    return lambda: None


@effect("st.bulk", writes_first=False)
def clear(b):
    """st.bulk.shared::cta [to], bytes, 0: zeros."""
    to, sizes = Stretch(b, b.ins.operands[0], "shared"), _sizes(b, b.ins.operands[1])

    def run():
        for lane, target in to.spans(sizes()).items():
            target.tell(b, lane, WRITE)
            target.write(np.zeros((len(target.at), PIECE), np.uint8))
        b.machine.schedule.changes += 1
    return run
