"""What blocks of a cluster do with each other: addresses in another block's shared memory, stores there, the cluster's
barrier.

Source: PTX ISA, "mapa", "getctarank", "barrier.cluster", "st.async".
"""
import numpy as np

from ..access import locator
from ..clusters import Meeting, rank, remote
from ..faults import UnknownInstruction
from ..schedule import Transfer
from ..syntax import parts
from ..table import control, effect, elementwise
from .bulk import Reports, Span, deliver


@elementwise("mapa", fuse=False)
def map_address(b):
    """mapa d, a, rank: where a of the own block's shared memory is in another block of the cluster."""
    d, a, rank = b.target(0), b.source(1), b.source(2, "u32")

    def run():
        d[...] = remote(a, rank)
    return run


@elementwise("getctarank", fuse=False)
def rank_of(b):
    """getctarank d, a: the number in the cluster of the block whose shared memory a is in."""
    d, a = b.target(0, "u32"), b.source(1)
    own = b.machine.special("%cluster_ctarank", "u32")

    def run():
        named = rank(a)
        d[...] = np.where(named < 0, own, named)
    return run


@effect("barrier.cluster.arrive", writes_first=False)
def arrive(b):
    """The thread has come to the cluster's barrier, and goes on."""
    meeting, ins = b.machine.part(Meeting), b.ins
    following = ins.function.instructions[ins.index + 1:ins.index + 2]
    at_once = bool(following) and following[0].opcode[:3] == ("barrier", "cluster", "wait")
    return lambda: meeting.arrive(ins, b.running() & b.machine.alive.bool, at_once)


@control("barrier.cluster.wait")
def wait(b):
    """Wait until all threads of the cluster that have not left have come to the barrier."""
    meeting, ins = b.machine.part(Meeting), b.ins
    return Transfer(lambda lanes: meeting.wait(ins, lanes))



@effect("st.async", writes_first=False)
def store(b):
    """st.async.shared::cluster.mbarrier::complete_tx::bytes [to], value, [barrier]: values for another block's shared
    memory, counted by a barrier there."""
    to, given, barrier = b.ins.operands
    rows = [b.full(v, b.kind) for v in parts(given)]
    size = rows[0].itemsize * len(rows)
    where, reports = locator(b, to, "shared", size, b.mask), Reports(b, barrier)

    def run():
        part, report = where()[0], reports.spans()
        data = np.stack(rows, 1).view(np.uint8).reshape(b.lanes, size)
        for lane in np.nonzero(b.running())[0].tolist():
            deliver(b, lane, Span("shared", part.region, part.index[lane:lane + 1], size), data[lane], report(lane))
    return run


@effect("red.async", writes_first=False)
def reduce(b):
    """Not executed here."""
    raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: not an instruction the laboratory executes, PTX line "
                             f"{b.ins.line}: {b.machine.describe(b.ins)}")
