"""Convolutions with 3 by 3 filters in a quarter of the products, where the caller said `precision("fast")`.

Inference uses the same filters again and again: from the second time on they are kept as the kernel reads them, for as
long as they live and nothing changes them.

`forward`, `backward_input` and `backward_weight` take what the compiled functions of those names in `cpu.conv` take.
"""
import weakref

import numpy as np

from .. import tape
from ..backend.precision import is_fast
from . import cpu

LEAST_PIXELS = 144                 # with fewer outputs, transforming the filters takes longer than is saved
LEAST_CHANNELS = 16
_kept: dict = {}                   # id of the array that owns the memory -> (it, of what and when, filters or None)


def serves(shape, weight, axes, groups):
    """May it run: images or results of `shape` (N, ...), weight (O, C, R, S)?"""
    if not is_fast() or groups > 1 or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < LEAST_CHANNELS:
        return False
    (h, _, *rows, top, p), (w, _, *columns, left, q) = axes
    pixels = shape[0] * min(h * w, p * q)
    return rows == columns == [1, 1] and -2 <= min(top, left) and max(top, left) <= 0 and pixels >= LEAST_PIXELS


def forward(x, weight, bias, y, groups, rows, columns):
    """Write the convolution of images x (N, C, H, W), plus bias, to y (N, O, P, Q)."""
    cpu.conv.winograd(x, _kept_filters(weight), bias, y, -rows[4], -columns[4])


def backward_input(g, weight, bias, gx, groups, rows, columns):
    """Write the gradient of the images, plus bias (C), to gx (N, C, H, W)."""
    cpu.conv.winograd(g, _filters(weight, True), bias, gx, 2 + rows[4], 2 + columns[4])


def backward_weight(g, x, gweight, groups, rows, columns):
    """Write the gradient of the filters to gweight (O, C, 3, 3): the direct way."""
    cpu.conv.backward_weight(g, x, gweight, groups, rows, columns)


def _kept_filters(weight):
    owner = tape.owner(weight)
    if tape.recording() or not isinstance(owner, np.ndarray):
        return _filters(weight, False)
    key = id(owner)
    now = weight.ctypes.data, weight.shape, weight.strides, cpu.isa(), tape.mutations.get(key, (0,))[0]
    alive, seen, filters = _kept.get(key, (None, None, None))
    if seen != now:
        _kept[key] = weakref.ref(owner, lambda _: _kept.pop(key, None)), now, None
        return _filters(weight, False)
    if filters is None:
        filters = _filters(weight, False)
        _kept[key] = alive, now, filters
    return filters


def _filters(weight, turned):
    """The filters, transformed; turned: for the way back."""
    outputs, inputs = weight.shape[:2] if not turned else weight.shape[1::-1]
    found = np.empty(cpu.conv.winograd_size(outputs, inputs), "float32")
    cpu.conv.winograd_filters(weight, turned, found)
    return found
