"""The one door: where guests see every op call, forward and backward.

A guest is a profiler, a NaN finder, a tracer (minidl/guests.py).  While none is
attached the door does not exist: ops and modules run their specialised bodies,
which never ask.  Attaching the first guest swaps all of them, as a whole, for
bodies that come through here; detaching the last one swaps them back.

This file knows no op, no array and no module: they hand it their switches.
"""
from contextlib import contextmanager
from functools import partial

guests: list = []          # innermost last
modules: list = []         # the modules the current call is inside (kept only while the door is open)
switches: list = []        # called with True when the door opens, False when it shuts


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
    switch(bool(guests))
    return switch


@contextmanager
def attach(guest):
    """`with attach(Profiler()) as p: ...`"""
    guests.append(guest)
    if len(guests) == 1:
        _swing(True)
    try:
        yield guest
    finally:
        guests.remove(guest)
        if not guests:
            _swing(False)


def _swing(is_open):
    for switch in switches:
        switch(is_open)


def through(op, args, kwargs):
    """The watched body of every op."""
    proceed = partial(op.run, *args, **kwargs)
    for guest in guests:
        proceed = partial(guest.call, op, args, kwargs, proceed)
    return proceed()


def pull_through(pull, node, gradient):
    """The watched body of every backward step. Thunks are opened here, so that guests see the work."""
    proceed = partial(_opened, pull, node, gradient)
    for guest in guests:
        proceed = partial(guest.pull, node, gradient, proceed)
    return proceed()


def _opened(pull, node, gradient):
    parts = pull(node, gradient)
    if type(parts) is not tuple:
        return parts() if callable(parts) else parts
    return tuple([None if edge is None else part() if callable(part) else part
                  for part, edge in zip(parts, node.edges)])
