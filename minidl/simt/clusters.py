"""Clusters: blocks that run at the same time, meet at a barrier, and reach each other's shared memory (sm_90).

An address in shared memory of 32 bits is an offset in the own block's; with the number of a block in its cluster, plus
1, from bit 24 on, one in that block's, which instructions on `shared::cluster` and generic ones may use.
"""
from typing import NamedTuple

import numpy as np

from .barriers import READY

RANK = 24                        # where in an address of shared memory the block's number begins
IDLE, ARRIVED, PASSED = 0, 1, 2  # a thread and its cluster's barrier; PASSED: all have come, and it has not waited yet
MEETING = 1 << 20                # in `Scheduler.waiting`: waits for its cluster


class Grid(NamedTuple):
    """Blocks of a launch, and blocks of a cluster, along each axis. Blocks are numbered cluster after cluster."""
    blocks: tuple
    cluster: tuple = (1, 1, 1)

    @property
    def size(self):
        """Blocks of a cluster."""
        return int(np.prod(self.cluster))

    def place(self, number):
        """The coordinates of the block of that number: three numbers, or rows of them."""
        cluster, rank = number // self.size, number % self.size
        (cx, cy, _), (nx, ny, _) = self.cluster, (n // c for n, c in zip(self.blocks, self.cluster))
        inside = rank % cx, rank // cx % cy, rank // (cx * cy)
        outside = cluster % nx, cluster // nx % ny, cluster // (nx * ny)
        return tuple(o * c + i for o, c, i in zip(outside, self.cluster, inside))


def remote(address, number):
    """Addresses (of 32 bits, or generic) as those of the same places in the block of that number in the cluster."""
    kind = address.dtype.type
    return address & ~kind(0xFF << RANK) | (number.astype(kind) + kind(1)) << kind(RANK)


def rank(address):
    """The number in the cluster of the block that addresses name, -1 where they are in the own block's memory."""
    return (address >> address.dtype.type(RANK) & address.dtype.type(0xFF)).astype(np.int64) - 1


class Meeting:
    """The barrier of each cluster: threads arrive, and wait later for what all have arrived at."""

    def __init__(self, machine):
        self.machine, self.schedule, self.state = machine, machine.schedule, np.zeros(machine.lanes, np.int8)
        self.at_once = np.zeros(machine.lanes, bool)     # arrived in order to wait at once
        self.lanes = machine.threads * machine.cluster_size                      # of a cluster
        self.whole = np.zeros(machine.lanes, bool)       # everybody came at once: all is ordered already
        self.schedule.leaving.append(self.release)

    def reset(self):
        """Nobody has arrived."""
        self.state[:] = IDLE

    def arrive(self, ins, lanes, at_once):
        """Lanes (boolean) arrive, `at_once`: to wait with their next instruction."""
        if (again := lanes & (self.state != IDLE)).any():
            raise self.machine.fault(ins, f"{int(again.sum())} threads arrive twice without waiting", again)
        self.state[lanes], self.at_once[lanes] = ARRIVED, at_once
        for observer in self.machine.observers:
            observer.arrive(lanes)
        self.release()

    def wait(self, ins, lanes):
        """Lanes (boolean) wait."""
        if (never := lanes & (self.state == IDLE)).any():
            raise self.machine.fault(ins, f"{int(never.sum())} threads wait without having arrived", never)
        self._go_on(lanes & (self.state == PASSED))
        self.schedule.waiting[lanes & (self.state == ARRIVED)] = MEETING

    def release(self):
        """Let go of the clusters whose threads have all arrived."""
        alive = self.machine.alive.bool.reshape(-1, self.lanes)
        state = self.state.reshape(alive.shape)
        done = (~alive | (state == ARRIVED)).all(1) & alive.any(1)
        if not done.any():
            return
        lanes = self.machine.alive.bool & np.repeat(done, self.lanes)
        at_once = done & (~alive | self.at_once.reshape(alive.shape)).all(1)
        if at_once.any():
            for observer in self.machine.observers:
                observer.cluster_barrier(at_once)
        self.whole[lanes] = np.repeat(at_once, self.lanes)[lanes]
        self.state[lanes] = PASSED
        self._go_on(lanes & (self.schedule.waiting == MEETING))

    def _go_on(self, lanes):
        """Lanes (boolean) leave the barrier."""
        if self.machine.observed and (lanes & ~self.whole).any():
            for first in range(0, len(lanes), self.lanes):
                waited = np.zeros(len(lanes), bool)
                waited[first:first + self.lanes] = (lanes & ~self.whole)[first:first + self.lanes]
                if waited.any():
                    arrived = np.zeros(len(lanes), bool)
                    arrived[first:first + self.lanes] = self.machine.alive.bool[first:first + self.lanes]
                    for observer in self.machine.observers:
                        observer.some_barrier(arrived, waited)
        self.state[lanes] = IDLE
        self.schedule.waiting[lanes] = READY
