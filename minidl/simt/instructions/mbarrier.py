"""mbarrier: barriers that are words in shared memory, with a count of bytes that asynchronous copies bring (sm_90).

A phase ends when all arrivals have come and all bytes; the next one begins at once. The word is the hardware's own
affair; here it holds, from bit 0 on: arrivals still to come (20 bits), arrivals a phase (20 bits), bytes still to come,
plus 2**20 (22 bits), the phase's parity (bit 62).

Source: PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier".
"""
import numpy as np

from ..access import locator, observer, space_of
from ..faults import Fault
from ..observe import Effect
from ..syntax import Register, Sink
from ..table import effect

COUNT = (1 << 20) - 1
BIAS = 1 << 20
PARITY = np.uint64(62)
ARRIVE, WAIT = Effect("atomic", 8, "release", "cta", "mbarrier"), Effect("atomic", 8, "acquire", "cta", "mbarrier")


def fields(word):
    """(arrivals to come, arrivals a phase, bytes to come, parity) of a barrier's word."""
    word = int(word)
    return word & COUNT, word >> 20 & COUNT, (word >> 40 & (1 << 22) - 1) - BIAS, word >> 62 & 1


def packed(pending, expected, bytes_left, parity):
    """The word, after ending the phase if nothing is to come."""
    if pending == 0 and bytes_left == 0:
        pending, parity = expected, parity ^ 1
    return pending | expected << 20 | (bytes_left + BIAS) << 40 | parity << 62


class Arriving:
    """Bytes that asynchronous copies will bring to barriers: `flying` holds (index of the barrier's word, land)."""

    def __init__(self, machine):
        self.machine, self.flying = machine, []

    def reset(self):
        """Nothing flies."""
        self.flying.clear()

    def land(self, indices):
        """All copies that report to these words arrive."""
        wanted = set(indices.tolist())
        arrived = [land for at, land in self.flying if at in wanted]
        self.flying[:] = [(at, land) for at, land in self.flying if at not in wanted]
        for land in arrived:
            land()


class Words:
    """The barriers that an instruction's lanes name."""

    def __init__(self, b, address, effect_here):
        self.b, self.machine, self.tell = b, b.machine, observer(b, effect_here)
        self.where = locator(b, address, space_of(b.ins), 8, b.mask)

    def look(self):
        """(lanes, their words' indices, the words)."""
        part, = self.where()
        if part.space != "shared":
            raise Fault(f"mbarrier outside of shared memory: {self.machine.describe(self.b.ins)}", self.b.ins.text,
                        self.machine.where(self.b.ins))
        if self.tell:
            self.tell(part)
        lanes = np.arange(self.b.lanes) if part.active is None else np.nonzero(part.active)[0]
        if part.region.written is not None:
            part.region.mark_written(part.index[lanes], 8)
        part.region.stored = True
        return lanes, part.index[lanes], part.region.view(np.dtype(np.uint64))


def change(words, at, arrivals=0, brought=0):
    """Arrivals come to a word, or bytes; a negative number of bytes is announced. Gives the word as it was."""
    before = int(words[at])
    pending, expected, left, parity = fields(before)
    words[at] = packed(max(pending - arrivals, 0), expected, left - brought, parity)
    return before


@effect("mbarrier.init", writes_first=False)
def init(b):
    """mbarrier.init [a], count."""
    words, count = Words(b, b.ins.operands[0], Effect("write", 8, form="mbarrier")), b.full(b.ins.operands[1], "u32")

    def run():
        lanes, at, memory = words.look()
        for lane, index in zip(lanes, at):
            memory[index] = int(count[lane]) | int(count[lane]) << 20 | BIAS << 40
    return run


@effect("mbarrier.inval", writes_first=False)
def invalidate(b):
    """mbarrier.inval [a]: the memory may be used for something else. Other lanes' last waits need not be ordered
    before it."""
    words = Words(b, b.ins.operands[0], Effect("atomic", 8, "relaxed", "cta", "mbarrier"))

    def run():
        _, at, memory = words.look()
        memory[at] = 0
    return run


@effect("mbarrier.arrive", "mbarrier.arrive_drop", "mbarrier.expect_tx", "mbarrier.complete_tx")
def arrive(b):
    """mbarrier.arrive[.expect_tx] state, [a][, count or bytes]: arrivals, and bytes to be waited for."""
    operands = list(b.ins.operands)
    result = operands.pop(0) if isinstance(operands[0], (Register, Sink)) else Sink()
    words = Words(b, operands[0], ARRIVE)
    number = b.full(operands[1], "u32") if len(operands) > 1 else np.ones(b.lanes, np.uint32)
    state = None if isinstance(result, Sink) else b.write(result, "b64")
    name, expects, schedule = b.ins.opcode[1], b.ins.has("expect_tx"), b.machine.schedule

    def run():
        lanes, at, memory = words.look()
        for lane, index in zip(lanes, at):
            amount = int(number[lane])
            if expects:
                change(memory, index, brought=-amount)
            if name == "complete_tx":
                before = change(memory, index, brought=amount)
            else:
                before = change(memory, index, arrivals=0 if name == "expect_tx" else 1 if expects else amount)
            if name == "arrive_drop":
                pending, expected, left, parity = fields(memory[index])
                memory[index] = packed(pending, max(expected - 1, 0), left, parity)
            if state is not None:
                state[lane] = before
        schedule.changes += 1
    return run


@effect("mbarrier.test_wait", "mbarrier.try_wait")
def wait(b):
    """mbarrier.test_wait[.parity] p, [a], state or parity: has that phase ended? try_wait may wait, and does not."""
    operands, machine = b.ins.operands, b.machine
    words, p, by_parity = Words(b, operands[1], WAIT), b.write(operands[0], "pred"), b.ins.has("parity")
    given = b.full(operands[2], "u32" if by_parity else "u64")
    arriving = machine.part(Arriving)

    def run():
        machine.schedule.mark_awaited()
        lanes, at, memory = words.look()
        arriving.land(at)
        wanted = given[lanes] if by_parity else given[lanes] >> PARITY
        p[lanes] = (memory[at] >> PARITY ^ wanted) & np.uint64(1) != 0
        if words.tell and p[lanes].any():
            words.look()                                   # (what the copies have brought is seen)
    return run


@effect("mbarrier.pending_count")
def pending_count(b):
    """mbarrier.pending_count d, state."""
    d, state = b.write(b.ins.operands[0], "u32"), b.full(b.ins.operands[1], "u64")

    def run():
        d[...] = state & np.uint64(COUNT)
    return run
