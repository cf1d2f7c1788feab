"""What every kernel's Python side asks and does: dense inputs, reasons to refuse."""
import numpy as np

from . import cpu

QUICK = 2048                           # elements from which a copy of our own is quicker than NumPy's


def dense(array):
    """The array, C-contiguous: itself, or a copy. None passes."""
    if array is None or array.flags.c_contiguous:
        return array
    if array.size >= QUICK and hasattr(cpu, "elementwise"):
        copy = np.empty(array.shape, array.dtype)
        if cpu.elementwise.copy(copy, array):
            return copy
    return np.ascontiguousarray(array)


def packed(array):
    """The array if its elements lie in memory without gaps, in whatever order of axes; else a copy."""
    if array.flags.forc or array.transpose(np.argsort(array.strides)[::-1]).flags.c_contiguous:
        return array
    return dense(array)


def packed_like(array, other):
    """The array with its elements in memory where the packed `other` has them: itself, or a copy."""
    if array.strides == other.strides or array.flags.c_contiguous and other.flags.c_contiguous:
        return array
    copy = np.empty_like(other)
    copy[...] = array
    return copy


def unless_float32(*arrays):
    """Why arrays are not for float32 kernels, or None."""
    for array in arrays:
        if array is not None and array.dtype != np.float32:
            return f"only float32, not {array.dtype}"
    return None
