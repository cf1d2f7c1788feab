"""The sixteen barriers of a thread block: bar.sync, bar.arrive, bar.red."""
import numpy as np

READY = -1


class Pending:
    """Arrivals at one barrier number, of all blocks of the chunk.

    Attributes:
        arrived: lanes that have arrived.
        waits: those of them that wait.
        count: per lane, how many threads it said take part; 0: the whole block.
        vote: per lane, the predicate it brought (bar.red).
        place: per lane, the index of its instruction in `instructions`.
    """

    def __init__(self, lanes):
        self.arrived, self.waits, self.vote = (np.zeros(lanes, bool) for _ in range(3))
        self.count, self.place = np.zeros(lanes, np.int32), np.zeros(lanes, np.int32)


class Barriers:
    """Who has arrived at which barrier."""

    def __init__(self, machine, schedule):
        self.machine, self.schedule = machine, schedule
        self.pending, self.instructions, self.deliver = {}, [], {}

    def reset(self):
        """Nobody has arrived."""
        self.pending.clear()

    def register(self, ins, deliver=None):
        """A number for a barrier instruction; `deliver(lanes, vote)` hands the result of bar.red to lanes that leave
        it."""
        self.instructions.append(ins)
        self.deliver[len(self.instructions) - 1] = deliver
        return len(self.instructions) - 1

    def arrive(self, place, lanes, number, count, waits, vote=None):
        """`lanes` arrive at barriers `number` (a row) from the instruction registered as `place`."""
        if not waits:
            for observer in self.machine.observers:
                observer.arrive(lanes)
        for k in np.unique(number[lanes]):
            here = lanes & (number == k)
            if int(k) not in self.pending:
                self.pending[int(k)] = Pending(self.machine.lanes)
            pending = self.pending[int(k)]
            pending.arrived[here], pending.place[here] = True, place
            pending.count[here] = 0 if count is None else count[here]
            if vote is not None:
                pending.vote[here] = vote[here]
            if waits:
                pending.waits[here] = True
                self.schedule.waiting[here] = k
        self.release()

    def release(self):
        """Let go of the blocks whose threads have all arrived."""
        if not self.pending:
            return
        machine, alive = self.machine, self.schedule.next != (1 << 30)
        shape = machine.ctas, machine.threads
        for number, pending in list(self.pending.items()):
            arrived = pending.arrived.reshape(shape)
            if not arrived.any():
                del self.pending[number]
                continue
            count = pending.count.reshape(shape).max(1)
            warps = pending.arrived.reshape(-1, 32).any(1)
            counted = pending.arrived | (~alive & np.repeat(warps, 32))          # hardware counts whole warps
            missing = (alive.reshape(shape) & ~arrived).any(1)
            done = arrived.any(1) & np.where(count > 0, counted.reshape(shape).sum(1) >= count, ~missing)
            if done.any():
                self._complete(number, pending, done, count, alive)

    def _complete(self, number, pending, done, count, alive):
        machine, shape = self.machine, (self.machine.ctas, self.machine.threads)
        lanes = pending.arrived & np.repeat(done, machine.threads)
        waited = lanes & pending.waits
        whole = done & ~(alive.reshape(shape) & ~pending.waits.reshape(shape)).any(1)
        if number == 0:                                  # whoever numbers barriers means those of others, too
            self._same_instruction(pending, lanes, count)
        for observer in machine.observers:
            if whole.any():
                observer.block_barrier(whole)
            for cta in np.nonzero(done & ~whole)[0]:
                mine = machine.cta_of == cta
                observer.some_barrier(lanes & mine, waited & mine)
        for place in np.unique(pending.place[waited]):
            if self.deliver[place] is not None:
                self.deliver[place](waited & (pending.place == place), pending.vote & lanes, lanes)
        self.schedule.waiting[waited] = READY
        for row in (pending.arrived, pending.waits, pending.vote):
            row[lanes] = False

    def _same_instruction(self, pending, lanes, count):
        """Warn where threads of one block met at different barriers without counting on it."""
        machine = self.machine
        place = np.where(lanes, pending.place, -1).reshape(machine.ctas, machine.threads)
        least = np.where(place < 0, 1 << 30, place).min(1)
        mixed = (place.max(1) > least) & (least < (1 << 30)) & (count == 0)
        for cta in np.nonzero(mixed)[0]:
            places = sorted(set(place[cta].tolist()) - {-1})
            others = " and ".join(machine.describe(self.instructions[k]) for k in places[1:])
            machine.warn("divergent barrier", self.instructions[places[0]],
                         f"threads of one block met at different barriers, some at {others}", cta * machine.threads)
