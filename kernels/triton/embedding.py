"""Rows added into a table, and dropout: what else training launches for every token.

Rows that go to the same place are added in the order in which they come, without atomics.
"""
import triton
import triton.language as tl

from .functions import VECTOR, vectors
from .variants import POINTERS, tuned


@triton.jit
def _add_rows(x, order, starts, y, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    place = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    low, high = tl.load(starts + place), tl.load(starts + place + 1)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(low, high, ROWS):
        number = first + tl.arange(0, ROWS)[:, None]
        row = tl.load(order + number, number < high, other=0)
        mask = (number < high) & (column < columns)
        total += tl.load(x + row * columns + column, mask, other=0.0).to(tl.float32)
    tl.store(y + place * columns + column, tl.sum(total, 0, keep_dims=True), column < columns)


@triton.jit
def add_rows(x, order, starts, y, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[v] = the sum of the rows x[order[i]], i from starts[v] to starts[v + 1]; 0 where there are none."""
    if columns % VECTOR == 0:
        _add_rows(x, order, starts, y, vectors(columns), ROWS, COLUMNS)
    else:
        _add_rows(x, order, starts, y, columns, ROWS, COLUMNS)


@triton.jit
def dropout_mask(x, y, count, seed, stream, threshold, scale, BLOCK: tl.constexpr):
    """y = x * scale, or 0: element i by word i of the draw (minidl/backend/random.py), kept if half of it is below.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11, section 3.3 (Philox4x32-10).
    """
    counter = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    nothing = tl.zeros([BLOCK], tl.int64)
    a, b, c, d = tl.philox(seed, counter.to(tl.uint32), (counter >> 32).to(tl.uint32),
                           (nothing + stream).to(tl.uint32), (nothing + (stream >> 32)).to(tl.uint32))
    words = tl.interleave(tl.interleave(a, c), tl.interleave(b, d))
    at = tl.program_id(0).to(tl.int64) * 4 * BLOCK + tl.arange(0, 4 * BLOCK)
    values = tl.load(x + at, at < count, other=0.0).to(tl.float32) * scale
    # (times 0, and not 0: as the reference has it, NaN and infinities that are dropped are NaN)
    tl.store(y + at, values * ((words >> 1).to(tl.int64) < threshold).to(tl.float32), at < count)


def variants():
    for dtype, pointer in POINTERS.items():
        rows = {"x": pointer, "order": "*i64", "starts": "*i64", "y": pointer}
        yield tuned(add_rows, {"dtype": dtype}, {**rows, "columns": "i32"}, divisible=rows)
        arrays, numbers = {"x": pointer, "y": pointer}, dict.fromkeys(("count", "seed", "stream", "threshold"), "i64")
        yield tuned(dropout_mask, {"dtype": dtype}, {**arrays, **numbers, "scale": "fp32"}, divisible=arrays)
