"""Barriers: of a warp (bar.warp.sync), of a thread block (bar.sync, barrier.sync, bar.arrive, bar.red), and fences."""
import numpy as np

from ..schedule import Transfer
from ..syntax import Negated, Vector
from ..table import collective, control, effect


@collective("bar.warp.sync", "barrier.warp.sync", members=lambda ins: ins.operands[0], anywhere=True, order="writes",
            writes_first=False)
def warp_barrier(b):
    """bar.warp.sync mask: the named lanes meet and see each other's memory."""
    machine, members = b.machine, b.full(b.ins.operands[0], "u32")
    if not machine.observed or b.blend and b.mask is machine.mask:       # of some lanes the scheduler tells
        return lambda: None
    everyone = np.ones(b.lanes, bool)

    def run():
        for observer in machine.observers:
            observer.warp_barrier(everyone if b.mask is None else b.mask.bool, members)
    return run


def _arguments(ins):
    """(barrier number, thread count or None, predicate or None, result or None) of any form."""
    operands = list(ins.operands)
    result = operands.pop(0) if ins.has("red") else None
    predicate = operands.pop() if ins.has("red") else None
    number, count = (operands + [None, None])[:2]
    return number, count, predicate, result


@control("bar", "barrier")
def block_barrier(b):
    """All threads of a block, or as many as the count says, meet; bar.red also combines a predicate of each."""
    machine, ins, schedule = b.machine, b.ins, b.machine.schedule
    number, count, predicate, result = _arguments(ins)
    number = b.full(number, "u32") if number is not None else np.zeros(b.lanes, np.uint32)
    fixed = getattr(count, "value", None)
    count = b.full(count, "u32") if count is not None else None
    waits, vote = not ins.has("arrive"), b.predicate(predicate) if predicate is not None else None
    place = schedule.barriers.register(ins, _delivery(b, result) if result is not None else None)

    def move(lanes):
        schedule.barriers.arrive(place, lanes, number, count, waits, None if vote is None else vote())
    simple = waits and vote is None and (count is None or fixed == machine.threads)

    def together():
        if schedule.barriers.pending:
            return None
        whole = schedule.alive.bool.reshape(machine.ctas, machine.threads).any(1)
        for observer in machine.observers:
            observer.block_barrier(whole)
        return b.block.number + 1
    return Transfer(move, together if simple else None)


def _delivery(b, result):
    """How bar.red gives its result to lanes that leave it: popc counts true predicates, and/or combine them."""
    machine, popc = b.machine, b.ins.has("popc")
    row = b.read(result, "u32" if popc else "pred")

    def deliver(lanes, vote, members):
        shape = machine.ctas, machine.threads
        true, there = vote.reshape(shape).sum(1), members.reshape(shape).sum(1)
        value = true if popc else true == there if b.ins.has("and") else true > 0
        row[lanes] = value[machine.cta_of[lanes]]
    return deliver


@effect("membar", "fence", order="writes", writes_first=False)
def fence(b):
    """membar and fence: order this thread's accesses before it against those behind it, as other threads see them."""
    machine, active = b.machine, b.active
    scope = b.ins.first(("cta", "cluster", "gpu", "sys", "gl"), "gpu").replace("gl", "gpu")
    if b.ins.has("proxy", "mbarrier_init") or not machine.observed:
        return lambda: None

    def run():
        for observer in machine.observers:
            observer.fence(b.ins, active, scope)
    return run


__all__ = ["Negated", "Vector", "block_barrier", "fence", "warp_barrier"]
