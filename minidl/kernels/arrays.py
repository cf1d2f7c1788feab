"""What every kernel's Python side asks and does: dense inputs, reasons to refuse."""
import numpy as np


def dense(array):
    """The array, C-contiguous: itself, or a copy. None passes."""
    return None if array is None else np.ascontiguousarray(array) if array.ndim else array


def unless_float32(*arrays):
    """Why arrays are not for float32 kernels, or None."""
    for array in arrays:
        if array is not None and array.dtype != np.float32:
            return f"only float32, not {array.dtype}"
    return None
