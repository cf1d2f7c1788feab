"""The one door: where guests see every op call, forward and backward.

A guest is a profiler, a NaN finder, a tracer (minidl/guests.py).  While none is
attached the door does not exist: ops and modules run their specialised bodies,
which never ask.  Attaching the first guest swaps all of them, as a whole, for
bodies that come through here; detaching the last one swaps them back.  A guest
sees the calls of the thread that attached it.

This file knows no op, no array and no module: they hand it their switches.
"""
from contextlib import contextmanager
from functools import partial
from threading import Lock, local


class _Here(local):
    """What belongs to the present thread."""

    def __init__(self):
        self.guests = []       # innermost last
        self.modules = []      # those that the current call is inside (kept only while the door is open)


here = _Here()
switches: list = []        # called with True when the door opens, False when it shuts
_attached = [0]            # guests, in all threads
_swinging = Lock()


def is_open():
    """Is any guest attached?"""
    return _attached[0] > 0


class Guest:
    """Sees calls pass. Override either method; `proceed()` does the work and returns its result."""

    def call(self, op, args, kwargs, proceed):
        """`op` is about to run on `args`."""
        return proceed()

    def pull(self, node, gradient, proceed):
        """`node`'s rule is about to turn `gradient` into gradients of its inputs."""
        return proceed()


def on_switch(switch):
    """Register something that has a fast and a watched body."""
    switches.append(switch)
    switch(is_open())
    return switch


@contextmanager
def attach(guest):
    """`with attach(Profiler()) as p: ...`"""
    here.guests.append(guest)
    _count(1)
    try:
        yield guest
    finally:
        here.guests.remove(guest)
        _count(-1)


def _count(change):
    with _swinging:
        was_open = is_open()
        _attached[0] += change
        if is_open() != was_open:
            for switch in switches:
                switch(is_open())


def through(op, args, kwargs):
    """The watched body of every op."""
    proceed = partial(op.run, *args, **kwargs)
    for guest in here.guests:
        proceed = partial(guest.call, op, args, kwargs, proceed)
    return proceed()


def pull_through(pull, node, gradient):
    """The watched body of every backward step. Thunks are opened here, so that guests see the work."""
    proceed = partial(_opened, pull, node, gradient)
    for guest in here.guests:
        proceed = partial(guest.pull, node, gradient, proceed)
    return proceed()


def _opened(pull, node, gradient):
    parts = pull(node, gradient)
    if type(parts) is not tuple:
        return parts() if callable(parts) else parts
    return tuple([None if edge is None else part() if callable(part) else part
                  for part, edge in zip(parts, node.edges)])
