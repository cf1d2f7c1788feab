"""The tape: what op calls leave behind for backward.

A `Node` remembers one op call: where its inputs came from, and what its rule
needs to turn the gradient of what came out into gradients of what went in.

One clock numbers nodes and mutations.  An op's inputs exist before its output,
so *highest number first* is a topological order; and a saved array is stale
exactly if it was mutated after its node was numbered.

This file knows nothing of arrays or of ops.
"""
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from .errors import ArgumentError, message

tick = count(1).__next__                       # the clock
last_mutation = [0]                            # the time of the latest one, of any tensor
mutations: dict = {}                           # id of the array that owns the memory -> (when, file, line)
_taping = ContextVar("taping", default=True)   # per thread, and per task
recording = _taping.get                        # True where op calls are put on the tape
_again = ContextVar("again", default=False)
recomputing = _again.get                       # True while backward runs a checkpointed function a second time


@contextmanager
def recompute():
    """The tape is on, and layers know that they run for the second time (running statistics stay as they are)."""
    token = _again.set(True)
    try:
        with record(True):
            yield
    finally:
        _again.reset(token)


@contextmanager
def record(on):
    """Switch the tape on or off for a block: `with record(False): ...`."""
    token = _taping.set(on)
    try:
        yield
    finally:
        _taping.reset(token)


def no_grad():
    """`with no_grad(): ...` puts nothing on the tape."""
    return record(False)


def enable_grad():
    """`with enable_grad(): ...` inside `no_grad` puts calls on the tape again."""
    return record(True)


def owner(array):
    """The array whose memory this one shows: views of a parameter change with it."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def mutated(array, frame):
    """Note that `array` changes now, in `frame`. (An id that is used again has an older mutation: harmless.)"""
    last_mutation[0] = when = tick()
    mutations[id(owner(array))] = when, frame.f_code.co_filename, frame.f_lineno


class Handle:
    """What attaching a hook returns: `remove()` takes it off again."""

    def __init__(self, holder, function):
        if not callable(function):
            raise ArgumentError(message("hook", "function", "a function", repr(function)))
        self.holder, self.function = holder, function
        holder.hooks = (*(holder.hooks or ()), function)

    def remove(self):
        """Take the hook off; a second time does nothing."""
        self.holder.hooks = tuple(h for h in self.holder.hooks or () if h is not self.function) or None


class Node:
    """One op call on the tape."""

    __slots__ = ("op",         # whose `pull(node, gradient)` gives one gradient per edge
                 "edges",      # per input: the Node, Leaf or Pick that made it; None: no gradient wanted
                 "saved",      # what the rule named; None once used up
                 "seq",        # when, on the clock
                 "shape",      # of the output: a gradient that arrives larger is summed to it
                 "hooks",      # functions of the gradient, or None
                 "where")      # unset, or the module path (while a guest is attached)

    @property
    def name(self):
        return self.op.name


class Leaf:
    """Where a gradient comes to rest: stands for a tensor that no op made."""

    __slots__ = ("seq", "shape", "hooks", "grad")
    edges, name = (), "leaf"

    def __init__(self, shape):
        self.seq, self.shape, self.hooks, self.grad = tick(), shape, None, None


class Pick:
    """The edge (node, index): one output of an op that has several."""

    __slots__ = ("edges", "index", "seq", "shape", "hooks")

    def __init__(self, node, index, seq, shape):
        self.edges, self.index, self.seq, self.shape, self.hooks = (node,), index, seq, shape, None

    @property
    def name(self):
        return f"{self.edges[0].name}[{self.index}]"
