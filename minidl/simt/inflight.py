"""Asynchronous work: threads or warps ask for it, form groups of it, and wait for these.

It is done when it is waited for, never earlier: whoever looks before gets what was there before.
"""
import numpy as np


class Work:
    """What one instruction has asked for: a share for each thread (or warp).

    Args:
        finish: does the shares of some: finish(who, *rows).
        who: the numbers of the threads.
        rows: arrays with a row for each of them.

    Attributes:
        group: the group each share belongs to, -1 before it is committed.
    """

    def __init__(self, finish, who, *rows):
        self.finish, self.who, self.rows, self.group = finish, who, rows, np.full(len(who), -1)

    def land(self, done):
        """Do the shares in `done` (boolean) and forget them."""
        self.finish(self.who[done], *[row[done] for row in self.rows])
        left = ~done
        self.who, self.group, self.rows = self.who[left], self.group[left], tuple(row[left] for row in self.rows)


class InFlight:
    """The work under way of a machine, `flying`, oldest first; how many groups each thread has `committed`.

    A family of instructions derives a class of its own: one state of each for a machine.
    """

    def __init__(self, machine):
        self.flying, self.committed = [], np.zeros(machine.lanes, np.int64)

    def reset(self):
        """Nothing flies."""
        self.flying.clear()
        self.committed[:] = 0

    def add(self, finish, who, *rows):
        """Work is asked for; see Work."""
        self.flying.append(Work(finish, who, *rows))

    def commit(self, who):
        """What the threads in `who` (boolean, by number) have asked for so far forms a group."""
        self.committed[:len(who)] += who
        for work in self.flying:
            fresh = who[work.who] & (work.group < 0)
            work.group[fresh] = self.committed[work.who[fresh]]

    def land(self, who, keep=None):
        """The work of `who` is done, but for each one's last `keep` groups (None: all of it, committed or not)."""
        for work in self.flying:
            done = who[work.who]
            if keep is not None:
                done = done & (work.group >= 0) & (work.group <= self.committed[work.who] - keep)
            if done.any():
                work.land(done)
        self.flying[:] = [work for work in self.flying if len(work.who)]
