"""Weights as kernels read them, kept with the weights.

Inference uses the same weights again and again: from the second time on what a kernel makes of one is kept, for as long
as the weight lives and nothing changes it.
"""
import weakref

import numpy as np

from .. import tape
from . import cpu

_kept: dict = {}                   # id of the array that owns the memory -> _Kept


class _Kept:
    """What is made of the weights that lie in one array's memory; gone when it is."""

    def __init__(self, owner):
        self.alive = weakref.ref(owner, lambda _, key=id(owner): _kept.pop(key, None))
        self.most, self.views = 2 * owner.size, {}     # elements that are kept; where and how -> (when, array or None)

    def get(self, view, when, make):
        seen, made = self.views.get(view, (None, None))
        if seen != when:
            self.views[view] = when, None
            return None
        if made is None:
            made = make()
            if sum(m.size for _, m in self.views.values() if m is not None) > self.most:
                self.views.clear()                     # (of many views, each seen a few times)
            self.views[view] = when, made
        return made


def kept(weight, kind, make):
    """What `make()` gives for a weight, from the second call on; None at the first, and where nothing may be kept.

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
    return entry.get(view, tape.mutations.get(id(owner), (0,))[0], make)
