"""Rotary positions in one pass. Backward is the same with angles the other way round, by the op's own rule."""
from math import prod

import numpy as np

from .. import shapes
from ..dispatch import Kernel, register
from . import cpu
from .arrays import unless_float32


def odd(x, cos, sin):
    """Why arrays are not for compiled kernels, or None."""
    if not (x.size and cos.size):
        return "empty arrays"
    full = (*x.shape[:-1], *cos.shape[-1:])
    fits = cos.ndim and cos.shape == sin.shape and 2 * full[-1] <= x.shape[-1]
    return None if fits and shapes.broadcast(cos.shape, full) == full else "shapes that do not fit"


def four(xp, array, lead):
    """(batch, heads, rows, width) of an array whose axes broadcast with (*lead, rows, width)."""
    array = array.reshape((1,) * (len(lead) + 2 - array.ndim) + array.shape)
    if len(lead) < 2:
        return array.reshape((1,) * (2 - len(lead)) + array.shape)
    if len(lead) > 2 and prod(array.shape[:-3]) != 1:
        array = xp.broadcast_to(array, (*lead[:-1], *array.shape[-3:]))
    return array.reshape(prod(array.shape[:-3]), *array.shape[-3:])


def _together(array):
    """The array if the elements of its rows lie together; else a copy."""
    return array if array.strides[-1] == array.itemsize else np.ascontiguousarray(array)


def _refuses(arrays, params):
    return unless_float32(*arrays) or odd(*arrays)


def _rotary(xp, x, cos, sin, interleaved):
    x4, *angles = [_together(four(np, a, x.shape[:-2])) for a in (x, cos, sin)]
    y = np.empty_like(x4)
    if y.strides[-1] != y.itemsize:
        y = np.empty(x4.shape, "float32")
    cpu.attention.rotary(x4, *angles, y, bool(interleaved))
    return y.reshape(x.shape)


register(Kernel("rotary.cpu", "rotary", "cpu", _rotary, None, _refuses))
