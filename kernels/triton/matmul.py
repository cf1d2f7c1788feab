"""Products of matrices on tensor cores, in float, in int8, and of float by int8 weights.

Layouts are told by two letters, as BLAS does: "nt" multiplies rows of a (M, K) by rows of b (N, K), "nn" has b (K, N),
"tn" has a (K, M) and b (K, N). Rows begin at multiples of VECTOR elements, and callers pad them to such, those of y
too (with zeros, along K): so all loads are wide ones, and asynchronous copies. Any sizes.

Programs that follow each other share rows of b and columns of a (`GROUP`), which stay in the cache. Where M and N
are small and K is long, K is cut into parts whose sums go to `parts` and are added by column_sum, in order.

float32 is multiplied as the three largest of the four products of numbers cut into two of tf32 ("tf32x3"), whose
error is float32's own; where the key says dtype "tf32", as the largest alone.
Source: Henry, Tang, Heinecke 2019, arXiv:1904.06376 (of bfloat16).
"""
import triton
import triton.language as tl

from .functions import bend, given, padded, vectors
from .variants import POINTERS, PRODUCTS, tuned


@triton.jit
def tile_of(tile, tiles_m, tiles_n, GROUP: tl.constexpr):
    """(row, column) of a tile, where tiles are numbered down GROUP rows, then along columns."""
    first = tile // (GROUP * tiles_n) * GROUP
    rows = tl.minimum(tiles_m - first, GROUP)
    within = tile % (GROUP * tiles_n)
    return first + within % rows, within // rows


@triton.jit
def finished(sums, scale, shift, start, column, columns, activation):
    """activation(sums * scale + shift) by column, from `start` on; scale and shift may be left out."""
    factor = tl.load(scale + start + column, (column < columns) & given(scale), other=1.0).to(tl.float32)
    term = tl.load(shift + start + column, (column < columns) & given(shift), other=0.0).to(tl.float32)
    return bend(sums * factor + term, activation)


@triton.jit
def matmul(a, b, y, parts, scale, shift, residual, m, n, k, a_stride, b_stride, y_stride, a_batch, b_batch, y_batch,
           chunk, activation, A_COLUMNS: tl.constexpr, B_COLUMNS: tl.constexpr, BLOCK_M: tl.constexpr,
           BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr, PRECISION: tl.constexpr):
    """y[batch] = activation(a[batch] @ b[batch] * scale + shift) + residual[batch].

    A_COLUMNS: a is (K, M), B_COLUMNS: b is (K, N). scale, shift (N) and residual, shaped and laid out as y, may be left
    out. With `parts` (P, M, N), for one batch, the sums over each chunk of K (a multiple of BLOCK_K) are left there.
    """
    tiles_m, tiles_n = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    batch = (tl.program_id(0) // (tiles_m * tiles_n)).to(tl.int64)
    tile_m, tile_n = tile_of(tl.program_id(0) % (tiles_m * tiles_n), tiles_m, tiles_n, GROUP)
    row, column = tile_m * BLOCK_M + tl.arange(0, BLOCK_M), tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    chunk = vectors(chunk)
    low = tl.program_id(1) * chunk
    along = tl.arange(0, BLOCK_K)
    high = low + chunk
    a_high, b_high = tl.minimum(high, k if A_COLUMNS else padded(k)), tl.minimum(high, k if B_COLUMNS else padded(k))
    a_stride, b_stride = vectors(a_stride).to(tl.int64), vectors(b_stride).to(tl.int64)
    a += batch * vectors(a_batch)
    b += batch * vectors(b_batch)
    if A_COLUMNS:
        a_inside = (row < padded(m))[:, None]
        a_at = a + row[:, None] + (low + along)[None, :] * a_stride
        a_step = BLOCK_K * a_stride
    else:
        a_inside = tl.full([BLOCK_M, 1], True, tl.int1)
        a_at = a + tl.minimum(row, m - 1)[:, None] * a_stride + (low + along)[None, :]
        a_step = BLOCK_K
    if B_COLUMNS:
        b_inside = (column < padded(n))[None, :]
        b_at = b + (low + along)[:, None] * b_stride + column[None, :]
        b_step = BLOCK_K * b_stride
    else:
        b_inside = tl.full([1, BLOCK_N], True, tl.int1)
        b_at = b + (low + along)[:, None] + tl.minimum(column, n - 1)[None, :] * b_stride
        b_step = BLOCK_K
    whole: tl.constexpr = a.dtype.element_ty == tl.int8
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.int32 if whole else tl.float32)
    for first in range(low, tl.minimum(high, k), BLOCK_K):
        left = tl.load(a_at, a_inside & (first + along < a_high)[None, :], other=0)
        right = tl.load(b_at, b_inside & (first + along < b_high)[:, None], other=0).to(a.dtype.element_ty)
        sums = tl.dot(left, right, sums, input_precision=PRECISION, out_dtype=sums.dtype)
        a_at += a_step
        b_at += b_step
    mask = (row < m)[:, None] & (column < n)[None, :]
    within, column = tl.arange(0, BLOCK_M)[:, None], column[None, :]
    start = (tile_m * BLOCK_M).to(tl.int64)            # (what is left to add fits into 32 bits, and few registers)
    if given(parts):
        tl.store(parts + (tl.program_id(1) * m + start) * n + (within * n + column), sums.to(tl.float32), mask)
    else:
        if not whole:
            sums = finished(sums, scale, shift, 0, column, n, activation)
        y_stride, mask = vectors(y_stride), (row < m)[:, None] & (column < padded(n))
        at = batch * vectors(y_batch) + start * y_stride + (within * y_stride + column)
        sums += tl.load(residual + at, mask & given(residual), other=0.0).to(sums.dtype)
        tl.store(y + at, sums, mask)


LAYOUTS = {"nt": (False, False), "nn": (False, True), "tn": (True, True)}
NUMBERS = {**dict.fromkeys("m n k a_stride b_stride y_stride".split(), "i32"),
           **dict.fromkeys("a_batch b_batch y_batch".split(), "i64"), "chunk": "i32", "activation": "i32"}
WHOLE = {"int8": "*i8", "int32": "*i32"}


def variants():
    stored = {**dict(zip(POINTERS, POINTERS)), "tf32": "float32"}
    floats = [(dtype, own, own, layout) for dtype, own in stored.items() for layout in LAYOUTS]
    by_int8 = [(dtype, "int8", own, layout) for dtype, own in stored.items() for layout in ("nt", "nn")]
    for dtype, weights, to, layout in (*floats, *by_int8, ("int8", "int8", "int32", "nt")):
        pointer, other, out = [{**PRODUCTS, **WHOLE}[name] for name in (dtype, weights, to)]
        columns = dict(zip(("A_COLUMNS", "B_COLUMNS"), LAYOUTS[layout]))
        arrays = {"a": pointer, "b": other, "y": out, "parts": "*fp32",
                  **dict.fromkeys(("scale", "shift", "residual"), PRODUCTS.get(dtype, "*fp32"))}
        yield tuned(matmul, {"dtype": dtype, "weights": weights, "layout": layout}, {**arrays, **NUMBERS}, columns,
                    divisible=arrays)
