"""Who runs next. Lanes that stand at one block run it together; after a divergent branch the smallest block runs first.

That makes lanes meet again where their paths join. Nothing else depends on it: lanes wait for each other at barriers
and in front of instructions that a warp executes together, and lanes that poll memory in a loop let the others go
first.
"""
from typing import NamedTuple

import numpy as np

from .barriers import Barriers
from .calls import Calls
from .program import EXITED
from .table import find

WARP = 32
READY = -1                       # in `waiting`: the lane waits for nothing
DIVERGED = -1                    # instead of a block: lanes stand at different ones
IDLE_ROUNDS = 20_000             # polling rounds in which memory never changed: nobody will come


class Transfer(NamedTuple):
    """What a control instruction is bound to.

    Attributes:
        move: sends the lanes (boolean) on, by setting schedule.next; they stand behind the instruction beforehand.
        together: where all living lanes agree: gives the block they all go to, or None if `move` must be asked.
    """
    move: object
    together: object = None


class Trace:
    """Closures of a block and those it falls through to, then the ending. `runs`, `warps` and `lanes` count."""

    def __init__(self, blocks, closures, finish):
        self.blocks, self.closures, self.finish = blocks, closures, finish
        self.length = sum(len(b.instructions) + (b.ending is not None) for b in blocks)
        self.runs = self.warps = self.lanes = 0


class Scheduler:
    """The lanes' places in the program.

    Attributes:
        next: the block each lane stands at, EXITED once it has left.
        waiting: what each lane waits for: a barrier's number, or READY.
        executed: instructions so far, however many lanes ran them; `%clock` reads it.
        ahead: instructions of the running blocks before the last reading of a clock.
        lane_instructions: the same, times lanes.
        changes: stores and atomics that changed memory.
    """

    def __init__(self, machine):
        self.machine, self.program = machine, machine.program
        lanes = machine.lanes
        self.next, self.waiting = np.zeros(lanes, np.int32), np.full(lanes, READY, np.int32)
        self.held, self.deferred, self.passed = (np.zeros(lanes, bool) for _ in range(3))
        self.alive, self.calls, self.barriers = machine.alive, Calls(machine), Barriers(machine, self)
        self.leaving = [self.barriers.release]           # called when lanes have left: others may wait for them
        self.traces, self.parts, self.transfers = {}, {}, {}
        gates = [block.gate is not None and find(block.gate).anywhere for block in self.program.blocks]
        self._open_gates = np.array([*gates, False])     # by block; the last is for lanes that have left
        self.polled, self.awaited, self.changes = False, False, 0
        self.prepare()

    def prepare(self, seed=None, limit=20_000_000):
        """A launch starts: count from zero."""
        self.executed, self.lane_instructions, self.limit, self.ahead = 0, 0, limit, 0
        self.changes = self._seen_changes = self._idle_rounds = 0
        self.random = None if seed is None else np.random.default_rng(seed)
        for trace in self._all_traces():
            trace.runs = trace.warps = trace.lanes = 0

    def _all_traces(self):
        return [*self.traces.values(), *(trace for trace, _ in self.parts.values())]

    def visits(self):
        """How often each block of the program has run since the launch started, in how many warps and in how many
        lanes."""
        counts = np.zeros((3, len(self.program.blocks)), np.int64)
        for trace in self._all_traces():
            for block in trace.blocks:
                counts[:, block.number] += trace.runs, trace.warps, trace.lanes
        return counts

    def run(self, lanes):
        """Run `lanes` (boolean) from the kernel's start until all have left it."""
        self.next[:] = np.where(lanes, self.program.entry(self.program.kernel), EXITED)
        self.waiting[:] = READY
        for row in (self.held, self.deferred, self.passed):
            row[:] = False
        self.calls.reset()
        self.barriers.reset()
        self.alive.set(lanes)
        self._count_living()
        block = self._agree()
        while block != EXITED:
            block = self._run_together(block) if block >= 0 else self._run_some()

    def exit(self, lanes):
        """`lanes` leave the kernel."""
        self.next[lanes] = EXITED
        self.alive.set(self.next != EXITED)
        self._count_living()
        for left in self.leaving:
            left()

    def _count_living(self):
        self.living = int(self.alive.bool.sum())
        self.living_warps = int(self.alive.bool.reshape(-1, WARP).any(1).sum())

    def mark_polled(self):
        """The running lanes looked at memory that other threads change: if they loop now, they may be waiting."""
        self.polled = True

    def mark_awaited(self):
        """The same, and what they wait for only others, or copies under way, can bring."""
        self.polled = self.awaited = True

    # -- all living lanes at one block ------------------------------------------------------------------------------
    def _agree(self):
        """The block at which all living lanes stand; DIVERGED if they do not agree or some wait."""
        if not self.living:
            return EXITED
        first = self.next[int(self.alive.bool.argmax())]
        agree = ((self.next == first) | (self.next == EXITED)).all() and (self.waiting == READY).all()
        return int(first) if agree else DIVERGED

    def _run_together(self, block):
        mode = "all" if self.living == self.machine.lanes else "alive"
        trace = self.traces.get((block, mode))
        if trace is None:
            trace = self.traces[block, mode] = self._trace(block, mode)
        for run in trace.closures:
            run()
        self._count(trace, self.living, self.living_warps)
        block = trace.finish()
        if self.awaited:
            self.awaited = False
            self._look_again()
        return self._agree() if block < 0 else block

    def _trace(self, number, mode):
        blocks = [self.program.blocks[number]]
        while blocks[-1].ending is None:
            blocks.append(self.program.blocks[blocks[-1].number + 1])
        closures = [run for block in blocks for run in self.machine.bind_block(block, mode)]
        return Trace(blocks, closures, self._finish_together(blocks[-1]))

    def _finish_together(self, block):
        """A closure that runs a block's ending for all living lanes and gives the next block."""
        ins, following, alive = block.ending, block.number + 1, self.alive
        transfer = self._transfer(block)

        def unguarded():
            if transfer.together is not None and (target := transfer.together()) is not None:
                return target
            self.next[alive.bool] = following
            transfer.move(alive.bool.copy())
            return DIVERGED
        if not ins.guard:
            return unguarded
        p, negated = self.machine.files[ins.function.name].row(ins.guard[0].name, "pred"), ins.guard[1]

        def guarded():
            taken = ~p if negated else p
            if self.living != self.machine.lanes:
                taken = taken & alive.bool
            raw = taken.tobytes()
            if raw.find(1) < 0:
                return following
            if raw.count(1) == self.living:
                return unguarded()
            self.next[alive.bool] = following
            transfer.move(taken.copy())
            return DIVERGED
        return guarded

    # -- some lanes ------------------------------------------------------------------------------------------------
    def _run_some(self):
        ready = (self.next < EXITED) & (self.waiting == READY) & ~self.held & ~self.deferred
        if not ready.any():
            self._nobody_ready()
            return DIVERGED
        standing = self.next[ready]
        number = int(standing.min()) if self.random is None else int(self.random.choice(np.unique(standing)))
        active = ready & (self.next == number)
        if self.random is not None:
            active = self._of_some_blocks(active)
        part = self.parts.get(number)
        if part is None:
            part = self.parts[number] = self._part(number)
        trace, gate = part
        if gate is not None:
            standing, active = active, gate(active)
            self.held |= standing & ~active
            if not active.any():
                return DIVERGED
        self.machine.mask.set(active)
        self.polled = False
        for run in trace.closures:
            run()
        self._count(trace, int(active.sum()), int(active.reshape(-1, WARP).any(1).sum()))
        self.next[active] = number + 1
        trace.finish(active)
        if self.polled:                                  # back at the loop's start with nothing gained, perhaps
            self.deferred |= active & (self.next <= number)
        self.held[:] = False
        return self._agree()

    def _of_some_blocks(self, lanes):
        """Those of a random half of the thread blocks: blocks need not stay in step."""
        machine = self.machine
        some = lanes & (self.random.random(machine.lanes // machine.threads) < 0.5)[machine.cta_of]
        return some if some.any() else lanes

    def _part(self, number):
        block = self.program.blocks[number]
        gate = self._gate(block.gate) if block.gate is not None else None
        return Trace([block], self.machine.bind_block(block, "some"), self._finish_some(block)), gate

    def _finish_some(self, block):
        ins = block.ending
        if ins is None:
            return lambda active: None
        transfer = self._transfer(block)
        if not ins.guard:
            return transfer.move
        p, negated = self.machine.files[ins.function.name].row(ins.guard[0].name, "pred"), ins.guard[1]

        def guarded(active):
            taken = active & (~p if negated else p)
            if taken.any():
                transfer.move(taken)
        return guarded

    def _transfer(self, block):
        if block.number not in self.transfers:
            self.transfers[block.number] = self.machine.bind_control(block)
        return self.transfers[block.number]

    def _count(self, trace, lanes, warps):
        self.executed += trace.length
        self.ahead = 0
        self.lane_instructions += trace.length * lanes
        trace.runs += 1
        trace.warps += warps
        trace.lanes += lanes
        if self.executed > self.limit:
            block = trace.blocks[0]
            raise self.machine.fault((block.instructions or [block.ending])[0],
                                     f"gave up after {self.executed} instructions (an endless loop?)", self.alive.bool)

    # -- lanes that wait for each other --------------------------------------------------------------------------------
    def _gate(self, ins):
        """A closure: which of the lanes that stand at the collective instruction `ins` may execute it now."""
        machine, entry = self.machine, find(ins)
        members = machine.members(ins, entry)
        guard = ins.guard and machine.files[ins.function.name].row(ins.guard[0].name, "pred")

        def allowed(standing):
            wanting = standing if guard is None else standing & (~guard if ins.guard[1] else guard)
            here = wanting if not entry.anywhere else self._at_gates()
            named = members() & warp_bits(self.next != EXITED)[machine.warp_of]
            missing = named & ~warp_bits(here)[machine.warp_of]
            stray = wanting & (named >> machine.lane_in_warp.astype(np.uint32) & np.uint32(1) == 0)
            if stray.any():
                raise machine.fault(ins, f"{int(stray.sum())} lanes are not in the mask that they name", stray)
            complete = wanting & (missing == 0)
            if entry.anywhere:
                complete = self._meet(complete, wanting, named)
            return complete | (standing & ~wanting)
        return allowed

    def _at_gates(self):
        """Lanes that stand in front of a bar.warp.sync, any."""
        return self._open_gates[np.minimum(self.next, len(self._open_gates) - 1)] & (self.waiting == READY)

    def _meet(self, complete, wanting, named):
        """Lanes whose warp barrier is complete. Partners that stand at another one are let through, too."""
        fresh = complete & ~self.passed
        if fresh.any():
            masks, lane = np.where(fresh, named, np.uint32(0)), self.machine.lane_in_warp.astype(np.uint32)
            wanted = np.bitwise_or.reduce(masks.reshape(-1, 32), axis=1)[self.machine.warp_of]
            elsewhere = (wanted >> lane & np.uint32(1) == 1) & ~fresh & self._at_gates()
            for other in np.nonzero(elsewhere)[0]:
                warp = slice(other // 32 * 32, other // 32 * 32 + 32)
                masks[other] = next(mask for mask in masks[warp] if mask >> lane[other] & np.uint32(1))
            for observer in self.machine.observers:
                observer.warp_barrier(fresh | elsewhere, masks)
            self.passed |= elsewhere
        allowed = complete | (wanting & self.passed)
        self.passed &= ~allowed
        return allowed

    def _nobody_ready(self):
        """Let polling lanes look again; if nobody polls, the lanes that are left wait for each other."""
        if not self.deferred.any():
            self._deadlock()
        self.deferred[:] = False
        self.held[:] = False
        self._look_again()

    def _look_again(self):
        """All lanes that could go on wait for what others do: has memory changed since they looked last?

        Raises:
            Fault: it has not for too long.
        """
        self._idle_rounds = self._idle_rounds + 1 if self.changes == self._seen_changes else 0
        self._seen_changes = self.changes
        if self._idle_rounds > IDLE_ROUNDS:
            lanes = self.alive.bool & (self.waiting == READY)
            block = self.program.blocks[int(self.next[lanes.argmax()])]
            what = (f"{int(lanes.sum())} lanes poll memory that nobody changes (if they wait for another block, launch "
                    "with cooperative=True, so that all blocks run at once)")
            raise self.machine.fault((block.instructions or [block.ending])[0], what, lanes)

    def _deadlock(self):
        machine, places = self.machine, []
        for number in np.unique(self.next[self.alive.bool]):
            lanes, block = self.alive.bool & (self.next == number), self.program.blocks[int(number)]
            if (self.waiting[lanes] != READY).all():     # they stand behind the barrier that they wait at
                places.append((self.program.blocks[block.number - 1].ending, lanes))
            else:
                places.append((block.gate or block.ending, lanes))
        (ins, lanes), *others = places
        what = f"deadlock: {int(lanes.sum())} lanes wait"
        for other, there in others:
            what += f", {int(there.sum())} at {machine.describe(other)}"
        raise machine.fault(ins, f"{what} ({machine.lanes - self.living} have left)", lanes)


def warp_bits(lanes):
    """Booleans of lanes as one word per warp."""
    return np.packbits(lanes.reshape(-1, 32), axis=1, bitorder="little").view(np.uint32)[:, 0]
