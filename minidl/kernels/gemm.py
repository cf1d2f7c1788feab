"""Products of matrices: any strides, transposed views in place, batches side by side; `linear` with its bias fused.

Inference multiplies by the same weights again and again: from the second time on a weight is kept packed, as the
kernel reads it, for as long as it lives and nothing changes it.
"""
import weakref
from math import prod

import numpy as np

from .. import tape
from ..dispatch import Kernel, register
from . import cpu

FLOATS = np.dtype("float32"), np.dtype("float64")


def _refuses(arrays, params):
    first, second = arrays[:2]
    if first.dtype not in FLOATS:
        return f"only float32 and float64, not {first.dtype}"
    if not (first.size and second.size):
        return "an empty product"
    return None if all(a is None or a.flags.aligned for a in arrays) else "elements that are not aligned in memory"


def _product(a, b):
    y = np.empty((len(a), b.shape[1]), a.dtype)
    cpu.gemm.matmul(a, b, y)
    return y


def _matmul(xp, a, b):
    lead = a.shape[:-2] if b.ndim == 2 else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*lead, a.shape[-2], b.shape[-1]), a.dtype)
    cpu.gemm.matmul(a, b, y)
    return y


def _refuses_matmul(arrays, params):
    # (Of vectors the op makes matrices.)
    return "a vector" if min(arrays[0].ndim, arrays[1].ndim) < 2 else _refuses(arrays, params)


register(Kernel("matmul.cpu", "matmul", "cpu", _matmul, None, _refuses_matmul))


# -- linear ----------------------------------------------------------------------------------------------------------

def _linear(xp, x, weight, bias):
    rows = _rows(x)
    y = np.empty((len(rows), len(weight)), x.dtype)
    cpu.gemm.linear(rows, weight, packed_weight(weight, len(rows)), None, _dense(bias), None, 0, y)
    return y.reshape(*x.shape[:-1], len(weight)), None


def _linear_backward(xp, g, kept, x, weight, bias):
    rows = _rows(g)
    return (lambda: _product(rows, weight).reshape(x.shape)), (lambda: _product(rows.T, _rows(x))), \
        (lambda: _column_sums(rows))


def _rows(x):
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _dense(array):
    return None if array is None else np.ascontiguousarray(array)


def _column_sums(rows):
    rows = rows if rows.strides[1] == rows.itemsize else np.ascontiguousarray(rows)
    sums = np.empty(rows.shape[1], rows.dtype)
    cpu.gemm.column_sums(rows, sums)
    return sums


register(Kernel("linear.cpu", "linear", "cpu", _linear, _linear_backward, _refuses))


# -- packed weights --------------------------------------------------------------------------------------------------

LEAST_WEIGHT = 1 << 14             # elements; packing smaller ones costs less than looking them up
MOST_ROWS = 1024                   # with more of them packing is a small part of the product
_kept: dict = {}                   # id of the array that owns the memory -> _Packed


class _Packed:
    """The packed weights that lie in one array's memory; gone when it is."""

    def __init__(self, owner):
        self.alive = weakref.ref(owner, lambda _, key=id(owner): _kept.pop(key, None))
        self.most, self.views = 2 * owner.size, {}     # elements that are kept; where and how -> (when, array or None)

    def get(self, weight, when):
        """The weight packed, from the second call on; None at the first."""
        view = weight.ctypes.data, weight.shape, weight.strides, cpu.isa()
        seen, packed = self.views.get(view, (None, None))
        if seen != when:
            self.views[view] = when, None
            return None
        if packed is None:
            packed = np.empty(cpu.gemm.packed_size(weight.shape[1], len(weight)), "float32")
            cpu.gemm.pack_weight(weight, packed)
            if sum(p.size for _, p in self.views.values() if p is not None) > self.most:
                self.views.clear()                     # (of many views, each seen a few times)
            self.views[view] = when, packed
        return packed


def packed_weight(weight, rows):
    """What is kept of a weight (O, I), or None: it is small or new, gradients are wanted, or packing saves nothing."""
    if not 4 < rows <= MOST_ROWS or weight.size < LEAST_WEIGHT or weight.dtype != np.float32 or tape.recording():
        return None
    owner = tape.owner(weight)
    if not isinstance(owner, np.ndarray):              # (memory of a file, or another library's)
        return None
    kept = _kept.get(id(owner))
    if kept is None:
        kept = _kept[id(owner)] = _Packed(owner)
    return kept.get(weight, tape.mutations.get(id(owner), (0,))[0])
