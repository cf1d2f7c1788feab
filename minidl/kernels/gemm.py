"""Products of matrices: any strides, transposed views in place, batches side by side; `linear` with its bias fused.

Inference multiplies by the same weights again and again: from the second time on a weight is kept packed, as the
kernel reads it, for as long as it lives and nothing changes it.
"""
from math import prod

import ml_dtypes
import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense
from .kept import kept

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = np.dtype("float32"), np.dtype("float64"), BFLOAT16
LEAST = 512                        # elements of the first operand: with fewer NumPy has ended before we have asked


def _refuses_matmul(arrays, params):
    a, b = arrays
    if a.dtype in FLOATS and a.ndim > 1 and b.ndim > 1:
        return None
    return f"only float32, float64 and bfloat16 matrices, not {a.dtype} {a.shape} and {b.shape}"


def _refuses_int8(arrays, params):
    return None if all(a.dtype == np.int8 for a in arrays) else "only int8"


def _matmul(xp, a, b, dtype=None):
    rows = a.shape[:-1]
    if b.ndim > 2 and rows[:-1] != b.shape[:-2]:
        rows = *np.broadcast_shapes(rows[:-1], b.shape[:-2]), rows[-1]
    y = np.empty((*rows, b.shape[-1]), dtype or a.dtype)
    if not cpu.gemm.matmul(a, b, y):                   # (elements that are not aligned)
        cpu.gemm.matmul(a.copy(), b.copy(), y)
    return y


register(Kernel("matmul.cpu", "matmul", "cpu", _matmul, None, _refuses_matmul, least=LEAST))
register(Kernel("int8_matmul.cpu", "int8_matmul", "cpu", lambda xp, a, b: _matmul(xp, a, b, "int32"), None,
                _refuses_int8))


# -- linear ----------------------------------------------------------------------------------------------------------

def _refuses_linear(arrays, params):
    x = arrays[0]
    return None if x.dtype in FLOATS else f"only float32, float64 and bfloat16, not {x.dtype}"


def _linear(xp, x, weight, bias):
    rows = _rows(x)
    if x.dtype is BFLOAT16:
        y = _matmul(xp, rows, weight.T, x.dtype if bias is None else "float32")
        if bias is not None:                           # (rounded once)
            y = np.add(y, bias, out=y, dtype="float32").astype(x.dtype)
        return y.reshape(*x.shape[:-1], len(weight)), None
    y = np.empty((len(rows), len(weight)), x.dtype)
    packed = packed_weight(weight, len(rows))
    bias = dense(bias)
    if not cpu.gemm.linear(rows, weight, packed, None, bias, None, 0, y):
        cpu.gemm.linear(rows.copy(), weight.copy(), None, None, None if bias is None else bias.copy(), None, 0, y)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], len(weight)), None


def _linear_backward(xp, g, kept, x, weight, bias):
    rows = _rows(g)
    return (lambda: _matmul(xp, rows, weight).reshape(x.shape)), (lambda: _matmul(xp, rows.T, _rows(x))), \
        (lambda: _column_sums(rows))


def _rows(x):
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _column_sums(rows):
    wide = dense(rows.astype("float32") if rows.dtype is BFLOAT16 else rows)
    sums = np.empty(rows.shape[1], wide.dtype)
    cpu.gemm.column_sums(wide, sums)
    return sums.astype(rows.dtype, copy=False)


register(Kernel("linear.cpu", "linear", "cpu", _linear, _linear_backward, _refuses_linear, least=LEAST))


# -- packed weights --------------------------------------------------------------------------------------------------

LEAST_WEIGHT = 1 << 14             # elements; packing smaller ones costs less than looking them up
MOST_ROWS = 4096                   # with more of them packing is a small part of the product


def packed_weight(weight, rows):
    """What is kept of a weight (O, I), or None: it is small or new, packing saves nothing, or the tape is on."""
    if not 4 < rows <= MOST_ROWS or weight.size < LEAST_WEIGHT or weight.dtype != np.float32:
        return None
    return kept(weight, "linear", lambda: _packed(weight))


def _packed(weight):
    packed = np.empty(cpu.gemm.packed_size(weight.shape[1], len(weight)), "float32")
    cpu.gemm.pack_weight(weight, packed)
    return packed


from . import epilogue  # noqa: E402, F401  (its kernel is of this family)
