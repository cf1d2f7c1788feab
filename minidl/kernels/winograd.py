"""Convolutions with 3 by 3 filters at stride 1 by Winograd's algorithm: 16 products where the direct way has 36.

That is as exact as the direct way, but for infinities (backend/precision.py).  Where the caller said
`precision("fast")`, results and gradients of images take 36 products instead of 144, with larger errors.

Inference uses the same filters again and again: from the second time on they are kept as the kernel reads them, for as
long as they live and nothing changes them.

`forward`, `backward_input` and `backward_weight` take what the compiled functions of those names in `cpu.conv` take.
"""
import numpy as np

from ..backend import precision
from . import cpu
from .kept import kept

LEAST_PIXELS = 144                 # with fewer outputs, transforming the filters takes longer than is saved
LEAST_CHANNELS = 16


def serves(shape, weight, axes, groups):
    """May it run: images or results of `shape` (N, ...), weight (O, C, R, S)?"""
    if groups > 1 or weight.shape[2:] != (3, 3) or min(weight.shape[:2]) < LEAST_CHANNELS:
        return False
    if precision.level() == "strict":
        return False
    (h, _, *rows, top, p), (w, _, *columns, left, q) = axes
    pixels = shape[0] * min(h * w, p * q)
    return rows == columns == [1, 1] and -2 <= min(top, left) and max(top, left) <= 0 and pixels >= LEAST_PIXELS


def forward(x, weight, bias, y, groups, rows, columns, residual=None, activation=0):
    """Write activation(convolution of images x (N, C, H, W) + bias + residual) to y (N, O, P, Q)."""
    m = _tile(y)
    make = lambda: _filters(weight, False, m)
    filters = kept(weight, f"winograd {m}", make)
    filters = make() if filters is None else filters
    cpu.conv.winograd(x, filters, bias, y, m, -rows[4], -columns[4], residual, activation)


def backward_input(g, weight, bias, gx, groups, rows, columns):
    """Write the gradient of the images, plus bias (C), to gx (N, C, H, W)."""
    m = _tile(gx)
    cpu.conv.winograd(g, _filters(weight, True, m), bias, gx, m, 2 + rows[4], 2 + columns[4], None, 0)


def backward_weight(g, x, gweight, groups, rows, columns):
    """Write the gradient of the filters to gweight (O, C, 3, 3)."""
    cpu.conv.winograd_weight(g, x, gweight, -rows[4], -columns[4])


def _tile(images):
    """How many outputs each way one transform gives."""
    return 4 if precision.level() == "fast" and min(images.shape[2:]) > 4 else 2


def _filters(weight, turned, m):
    """The filters, transformed; turned: for the way back."""
    outputs, inputs = weight.shape[:2] if not turned else weight.shape[1::-1]
    found = np.empty(cpu.conv.winograd_size(m, outputs, inputs), "float32")
    cpu.conv.winograd_filters(weight, turned, m, found)
    return found
