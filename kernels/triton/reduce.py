"""Sums of columns: gradients of biases, and the second pass over what the programs of another kernel left behind.

Always the same order of addition, whatever runs when: no atomics.
"""
import triton
import triton.language as tl

from .functions import VECTOR, vectors
from .variants import POINTERS, tuned


@triton.jit
def _sum_columns(x, y, rows, columns, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    column = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    part = tl.program_id(1).to(tl.int64)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, chunk, ROWS):
        row = part * chunk + first + tl.arange(0, ROWS)[:, None]
        total += tl.load(x + row * columns + column, (row < rows) & (column < columns), other=0.0).to(tl.float32)
    tl.store(y + part * columns + column, tl.sum(total, 0, keep_dims=True), column < columns)


@triton.jit
def column_sum(x, y, rows, columns, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y[p] = the sum of rows p * chunk to (p + 1) * chunk of x (rows, columns); chunks are multiples of ROWS."""
    if columns % VECTOR == 0:
        _sum_columns(x, y, rows, vectors(columns), chunk, ROWS, COLUMNS)
    else:
        _sum_columns(x, y, rows, columns, chunk, ROWS, COLUMNS)


def variants():
    for dtype, to in (*((d, "float32") for d in POINTERS), ("float32", "float16"), ("float32", "bfloat16")):
        signature = {"x": POINTERS[dtype], "y": POINTERS[to], "rows": "i32", "columns": "i64", "chunk": "i32"}
        yield tuned(column_sum, {"dtype": dtype, "to": to}, signature, divisible=("x", "y"))
