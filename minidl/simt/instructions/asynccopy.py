"""cp.async: copies from global to shared memory that a thread issues, groups and waits for.

A copy lands when its thread waits for its group, never earlier: reading it before the wait gives what was there before.
"""
from dataclasses import replace
from functools import partial

import numpy as np

from ..access import Part, locator, observer
from ..binding import Mask
from ..faults import UnknownInstruction
from ..inflight import InFlight
from ..observe import Effect
from ..table import effect
from .mbarrier import ARRIVE, Arriving, Words, change


class Copies(InFlight):
    """The copies in flight."""


@effect("cp.async.ca.shared", "cp.async.cg.shared", "cp.async.ca.shared::cta", "cp.async.cg.shared::cta",
        order="writes", writes_first=False)
def copy(b):
    """cp.async.ca|cg.shared.global [to], [from], size[, source size]: bytes beyond the source size are zero."""
    copies, machine, operands = b.machine.part(Copies), b.machine, list(b.ins.operands)
    if b.ins.has("L2::cache_hint"):
        operands.pop()
    size = operands[2].value
    wanted = _source_size(b, operands[3] if len(operands) > 3 else None, size)
    reading, lanes = Mask(b.lanes), b.running
    to, source = locator(b, operands[0], "shared", size, b.mask), locator(b, operands[1], "global", size, reading)
    note_read = observer(b, Effect("read", size, form="cp.async"))
    note_write = observer(b, Effect("copy", size, form="cp.async"))
    byte = np.arange(size)

    def issue():
        target, = to()
        limit = wanted()
        reading.set(lanes() & (limit > 0))
        data = None
        if reading.bool.any():
            for part in source():
                if note_read:
                    note_read(part)
                found = part.region.view(np.dtype(np.uint8), size).take(part.index, 0)
                whole = data is None or part.active is reading.bool
                data = found if whole else np.where(part.active[:, None], found, data)
            if (limit < size).any():
                data[byte >= limit[:, None]] = 0
        if note_write:
            note_write(target)
        who = np.nonzero(lanes())[0]
        if target.region.written is not None:
            target.region.mark_written(target.index[who], size)
        data = np.zeros((len(who), size), np.uint8) if data is None else data[who]
        copies.add(partial(_land, machine, target.region), who, target.index[who], data)
        machine.schedule.changes += 1
    return issue


def _land(machine, region, lanes, index, data):
    """Copies of `lanes` arrive: their `data` (lanes, size) at elements `index` of shared memory."""
    size = data.shape[1]
    region.view(np.dtype(np.uint8), size)[index] = data
    for watching in machine.observers:
        watching.landed(lanes, index, size)


def _source_size(b, operand, size):
    """A closure: how many bytes each lane reads. The operand is a size, or a predicate that says to read nothing."""
    if operand is None:
        whole = np.full(b.lanes, size, np.uint32)
        return lambda: whole
    if b.width(operand, 32) == 1:
        ignore = b.full(operand, "pred")
        return lambda: np.where(ignore, np.uint32(0), np.uint32(size))
    row = b.full(operand, "u32")
    return lambda: row


@effect("cp.async.commit_group", order="writes", writes_first=False)
def commit(b):
    """The lane's copies so far form a group."""
    copies = b.machine.part(Copies)
    return lambda: copies.commit(b.running())


@effect("cp.async.wait_group", "cp.async.wait_all", order="writes", writes_first=False)
def wait(b):
    """Wait until at most n of the lane's groups are in flight; wait_all: none, and no copy outside a group."""
    copies = b.machine.part(Copies)
    keep = b.ins.operands[0].value if b.ins.operands else None
    return lambda: copies.land(b.running(), keep)


@effect("cp.async.mbarrier.arrive", writes_first=False)
def arrive(b):
    """The lane's copies so far arrive at a barrier in shared memory when they have landed. Without .noinc that
    arrival is added to those the barrier waits for."""
    machine, copies, arriving = b.machine, b.machine.part(Copies), b.machine.part(Arriving)
    words, tell = Words(b, b.ins.operands[0], ARRIVE), observer(b, ARRIVE)
    extra = 0 if b.ins.has("noinc") else 1

    def run():
        who, at, memory = words.look()
        part = Part("shared", machine.spaces["shared"].region, np.zeros(b.lanes, np.int64), np.zeros(b.lanes, bool))
        part.index[who] = at

        def land(lane, index):
            here = machine.lane == lane
            copies.land(here)
            if tell:
                tell(replace(part, active=here))
            change(memory, index, arrivals=1)
        for lane, index in zip(who, at):
            change(memory, index, arrivals=-extra)
            arriving.flying.append((int(index), partial(land, lane, index)))
    return run


@effect("cp.async", "cp")
def other(b):
    """Any other copy is for other families."""
    raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: no copy the laboratory knows, PTX line {b.ins.line}: "
                             f"{b.machine.describe(b.ins)}")
