"""Products of matrices, with what follows them in the same pass; of float, of int8, and of float by int8 weights."""
from math import prod

from ... import tape
from ...dispatch import Kernel, register
from ...shapes import broadcast
from .activation import ACTIVATIONS, bent, through_bent
from .arrays import ALIGNMENT, column_sum, dense, multiplied, unless_served
from .launch import cdiv, lacks, launch

VECTOR = 8                             # elements: rows begin at multiples of it (kernels/triton/functions.py)
TILE = 128                             # rows and columns, about, that a program computes
BUSY = 128                             # programs: with fewer tiles than that sums over K are cut into parts
LEAST_CHUNK = 512                      # of K, of such a part; a multiple of the blocks in configs.json


def padded(count):
    """The next multiple of VECTOR."""
    return cdiv(count, VECTOR) * VECTOR


# -- how matrices lie in memory ----------------------------------------------------------

def readable(x):
    """Do its rows lie as kernels read them?"""
    *others, last = [s // x.dtype.itemsize for s in x.strides]
    return last == 1 and not any([s % VECTOR for s in (*others, x.shape[-1])]) and not x.data.ptr % ALIGNMENT


def rows_padded(xp, x):
    """A copy whose rows are, zeros behind them."""
    copy = xp.zeros((*x.shape[:-1], padded(x.shape[-1])), x.dtype)
    copy[..., :x.shape[-1]] = x
    return copy


def _laid_out(xp, x):
    """(an array with readable rows, "n": they are those of x, or "t": those of its transpose)."""
    if readable(x):
        return x, "n"
    across = x.swapaxes(-1, -2)
    return (across, "t") if readable(across) else (rows_padded(xp, x), "n")


def _in_rows(xp, x):
    return x if readable(x) else rows_padded(xp, x)


def _stacked(xp, x, lead):
    """Matrices (B, R, C), or (1, R, C) where one serves all of `lead`."""
    if prod(x.shape[:-2]) != 1 and x.shape[:-2] != lead:
        x = xp.broadcast_to(x, (*lead, *x.shape[-2:]))
    return x.reshape(prod(x.shape[:-2]), *x.shape[-2:])


def _pair(xp, a, b):
    """(a, b, layout) of stacks of matrices a (B, M, K) and b (B, K, N), as the kernel takes them."""
    if a.dtype.name == "int8":
        return _in_rows(xp, a), _in_rows(xp, b.swapaxes(-1, -2)), "nt"
    (left, first), (right, second) = _laid_out(xp, a), _laid_out(xp, b)
    return (rows_padded(xp, a), right, "nt") if first + second == "tt" else (left, right, first + second)


# -- the product -------------------------------------------------------------------------

def multiply(xp, a, b, scale=None, shift=None, residual=None, activation="none", dtype=None):
    """activation(a @ b * scale + shift) + residual, with a (..., M, K), b (..., K, N), scale and shift (N).

    `dtype`: of the result; as a rule that of a. Bare products of two matrices of halves also come in float32.
    """
    lead, n = broadcast(a.shape[:-2], b.shape[:-2]), b.shape[-1]
    shape = *lead, a.shape[-2], n
    if b.ndim == 2 < a.ndim:                           # one large product, not many small ones
        a, lead = a.reshape(prod(a.shape[:-1]), a.shape[-1]), ()
    a, b = _stacked(xp, a, lead), _stacked(xp, b, lead)
    batch, (m, k), own = prod(lead), a.shape[1:], "int32" if a.dtype.name == "int8" else a.dtype
    a, b, layout = _pair(xp, a, b)
    bare = scale is shift is residual is None and activation == "none" and batch == 1 and own != "int32"
    parts, chunk = _cut(m, n, k) if bare else (1, k)
    sums = xp.empty((parts, m, n), "float32") if parts > 1 or dtype not in (None, own) else None
    y = None if sums is not None else xp.empty((batch, m, padded(n)), own)
    residual = None if residual is None else _in_rows(xp, residual.reshape(batch, m, n))
    launch("matmul", lambda c: (batch * cdiv(m, c["BLOCK_M"]) * cdiv(n, c["BLOCK_N"]), parts),
           (a, b, y, sums, dense(xp, scale), dense(xp, shift), residual, m, n, k, _stride(a, 1), _stride(b, 1),
            padded(n), _stride(a, 0), _stride(b, 0), m * padded(n), cdiv(chunk, TILE) * TILE,
            ACTIVATIONS[activation]), dtype=multiplied(a), weights=b.dtype.name, layout=layout)
    if sums is not None:
        y = column_sum(xp, sums, dtype or own) if parts > 1 else sums
    return y.reshape(shape) if sums is not None else y[..., :n].reshape(shape)


def _stride(x, axis):
    """Elements from one along an axis to the next; 0 where there is but one."""
    return x.strides[axis] // x.dtype.itemsize if x.shape[axis] > 1 else 0


def _cut(m, n, k):
    """(how many parts, elements of each) into which sums over K are cut."""
    parts = max(1, min(BUSY // max(cdiv(m, TILE) * cdiv(n, TILE), 1), k // LEAST_CHUNK))
    chunk = cdiv(cdiv(k, parts), TILE) * TILE
    return max(1, cdiv(k, chunk or 1)), chunk


def by_rows(x):
    """(*, I) as (R, I)."""
    return x if x.ndim == 2 else x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _odd_matrices(arrays, params):
    a, b = arrays
    return unless_served("matmul", a, weights=b.dtype.name, layout="nn") or (
        None if min(a.ndim, b.ndim) > 1 else "vectors")


def _odd_int8(arrays, params):
    fits = all([a.dtype.name == "int8" for a in arrays])
    return lacks("matmul", dtype="int8", weights="int8", layout="nt") if fits else "only int8"


register(Kernel("matmul.triton", "matmul", "cuda", multiply, None, _odd_matrices))
register(Kernel("int8_matmul.triton", "int8_matmul", "cuda", multiply, None, _odd_int8))


# -- linear ------------------------------------------------------------------------------

def _odd_rows(arrays, params):
    return unless_served("matmul", arrays[0], weights=arrays[0].dtype.name, layout="nt")


def _linear(xp, x, weight, bias):
    return multiply(xp, by_rows(x), weight.T, shift=bias).reshape(*x.shape[:-1], len(weight)), None


def _linear_backward(xp, g, kept, x, weight, bias):
    rows = by_rows(g)
    return (lambda: multiply(xp, rows, weight).reshape(x.shape)), (lambda: multiply(xp, rows.T, by_rows(x))), \
        None if bias is None else lambda: column_sum(xp, dense(xp, rows), g.dtype)


register(Kernel("linear.triton", "linear", "cuda", _linear, _linear_backward, _odd_rows))


# -- linear_activation -------------------------------------------------------------------

def _odd_epilogue(arrays, params):
    if tape.recording() and arrays[3] is not None:
        return "a scale, whose gradient needs the product alone: for inference only"
    return _odd_rows(arrays, params) or (
        None if params["activation"] in ACTIVATIONS else "the op explains what it may be")


def _linear_activation(xp, x, weight, bias, scale, residual, activation):
    rows, shape = by_rows(x), (*x.shape[:-1], len(weight))
    if not tape.recording() or activation == "none":
        return multiply(xp, rows, weight.T, scale, bias, residual, activation).reshape(shape), None
    sums = multiply(xp, rows, weight.T, shift=bias).reshape(shape)
    y = bent(xp, sums, None, activation)
    return (y if residual is None else y + residual), sums


def _linear_activation_backward(xp, g, sums, x, weight, bias, scale, residual, activation):
    of_sums = g if sums is None else through_bent(xp, g, sums, None, activation)[0]
    return *_linear_backward(xp, of_sums, None, x, weight, bias), None, None if residual is None else g


register(Kernel("linear_activation.triton", "linear_activation", "cuda", _linear_activation,
                _linear_activation_backward, _odd_epilogue))


# -- int8_linear -------------------------------------------------------------------------

def _odd_weights(arrays, params):
    x, weight = arrays[:2]
    return unless_served("matmul", x, weights="int8", layout="nt") or (
        None if weight.dtype.name == "int8" else "only weights of int8")


def _int8_linear(xp, x, weight, scale, bias):
    return multiply(xp, by_rows(x), weight.T, scale, bias).reshape(*x.shape[:-1], len(weight)), None


def _int8_linear_backward(xp, g, kept, x, weight, scale, bias):
    rows = by_rows(g)

    def of_scale():
        products = multiply(xp, by_rows(x), weight.T)
        return column_sum(xp, dense(xp, products * rows), g.dtype)

    return (lambda: multiply(xp, rows * scale, weight).reshape(x.shape)), None, of_scale, \
        None if bias is None else lambda: column_sum(xp, dense(xp, rows), g.dtype)


register(Kernel("int8_linear.triton", "int8_linear", "cuda", _int8_linear, _int8_linear_backward, _odd_weights))
