"""Weights as kernels read them, kept with the weights.

Inference uses the same weights again and again: from the second time on what a kernel makes of one is kept, for as long
as the weight lives and nothing changes it.  All together take LIMIT bytes at most: a model of billions of weights is
not to take twice its size, and what it computes takes much longer than making them anew.
"""
import weakref

import numpy as np

from .. import tape
from . import cpu

LIMIT = 1 << 30                    # bytes
_kept: dict = {}                   # id of the array that owns the memory -> _Kept
_total = [0]                       # bytes of all


class _Kept:
    """What is made of the weights that lie in one array's memory; gone when it is."""

    def __init__(self, owner):
        self.alive = weakref.ref(owner, lambda _, key=id(owner): _kept.pop(key).clear())
        self.most, self.views = 2 * owner.nbytes, {}   # bytes that are kept; where and how -> (when, array or None)

    def get(self, view, when, make, size):
        seen, made = self.views.get(view, (None, None))
        if seen != when:
            self._put(view, when, None)
            return None
        if made is None and _total[0] + size <= LIMIT:
            made = make()
            if self.size + made.nbytes > self.most:
                self.clear()                           # (of many views, each seen a few times)
            if _total[0] + made.nbytes <= LIMIT:
                self._put(view, when, made)
        return made

    @property
    def size(self):
        """Bytes."""
        return sum(m.nbytes for _, m in self.views.values() if m is not None)

    def _put(self, view, when, made):
        before = self.size
        self.views[view] = when, made
        _total[0] += self.size - before

    def clear(self):
        """Keep nothing."""
        _total[0] -= self.size
        self.views.clear()


def kept(weight, kind, make):
    """What `make()` gives for a weight, from the second call on; None at the first, and where nothing more may be kept.

    Args:
        weight: an array; another one in the same memory has an entry of its own.
        kind: what is made, as part of a key: a weight may be kept in several ways.
        make: gives an array.
    """
    owner = tape.owner(weight)
    if tape.recording() or not isinstance(owner, np.ndarray):      # (memory of a file, or another library's)
        return None
    entry = _kept.get(id(owner))
    if entry is None:
        entry = _kept[id(owner)] = _Kept(owner)
    view = kind, weight.ctypes.data, weight.shape, weight.strides, cpu.isa()
    return entry.get(view, tape.mutations.get(id(owner), (0,))[0], make, weight.nbytes)
