"""What the Python side of every kernel for GPUs asks and does: dense inputs, reasons to refuse, sums of columns."""
from math import prod

from ...backend import precision
from .launch import cdiv, lacks, launch

ALIGNMENT = 16                         # bytes: arrays that kernels take begin at multiples of it
PROGRAMS = 512                         # enough to keep a GPU busy; how work is split depends on shapes alone
LEAST_ROWS = 128                       # that a program sums; a multiple of the blocks of rows in configs.json


def dense(xp, array):
    """The array, C-contiguous and aligned: itself, or a copy. None passes."""
    if array is None or array.flags.c_contiguous and not array.data.ptr % ALIGNMENT:
        return array
    return xp.array(array, order="C")


def unless_served(kernel, array, **key):
    """Why a compiled kernel does not take arrays of this dtype, or None."""
    return lacks(kernel, dtype=array.dtype.name, **key)


def multiplied(array):
    """As what tensor cores multiply an array's numbers, the dtype in the key of such kernels: "tf32" for float32 where
    the caller said precision("fast")."""
    name = array.dtype.name
    return "tf32" if name == "float32" and precision.level() == "fast" else name


def parts_of(rows, columns):
    """(how many parts sums over rows are cut into, how many rows each has)."""
    parts = max(1, min(PROGRAMS // cdiv(max(columns, 1), 64), cdiv(rows, LEAST_ROWS)))
    chunk = cdiv(max(cdiv(rows, parts), 1), LEAST_ROWS) * LEAST_ROWS
    return max(1, cdiv(rows, chunk)), chunk


def column_sum(xp, x, dtype):
    """The sums over the first axis of a dense array (R, ...), flat, in `dtype`; always added in the same order."""
    columns = prod(x.shape[1:])
    parts, chunk = parts_of(len(x), columns)
    if parts > 1 or x.dtype.name != "float32":
        x = _summed(xp, x, columns, parts, chunk, "float32")
    return _summed(xp, x, columns, 1, len(x), dtype)[0]


def _summed(xp, x, columns, parts, chunk, dtype):
    y = xp.empty((parts, columns), dtype)
    key = {"dtype": x.dtype.name, "to": y.dtype.name}
    launch("column_sum_cuda" if lacks("column_sum", **key) else "column_sum",
           lambda c: (cdiv(columns, c["COLUMNS"]), parts), (x, y, len(x), columns, chunk), **key)
    return y
