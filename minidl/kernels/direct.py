"""Convolutions of any shape as products without a matrix of patches; the filters are packed once where they stay.

`forward`, `backward_input` and `backward_weight` take what those of the other ways take.
"""
import numpy as np

from . import cpu
from .kept import kept

LEAST_WEIGHT = 1 << 12             # elements; packing smaller ones costs less than looking them up


def forward(x, weight, bias, y, groups, rows, columns, residual=None, activation=0):
    """Write activation(convolution of images x (N, C, H, W) + bias + residual) to y (N, O, P, Q)."""
    packed = _packed(weight, False, groups, rows, columns)
    cpu.conv.forward(x, weight, packed, bias, y, groups, rows, columns, residual, activation)


def backward_input(g, weight, bias, gx, groups, rows, columns):
    """Write the gradient of the images, plus bias (C), to gx (N, C, H, W)."""
    cpu.conv.backward_input(g, weight, _packed(weight, True, groups, rows, columns), bias, gx, groups, rows, columns)


def backward_weight(g, x, gweight, groups, rows, columns):
    """Write the gradient of the filters to gweight (O, C, R, S)."""
    cpu.conv.backward_weight(g, x, gweight, groups, rows, columns)


def _packed(weight, backward, groups, rows, columns):
    """The filters as the kernel reads them, or None: they are few or new, or the tape is on."""
    if weight.size < LEAST_WEIGHT:
        return None

    def make():
        found = np.empty(cpu.conv.packed_size(weight, backward, groups, rows, columns), "float32")
        cpu.conv.pack(weight, backward, found, groups, rows, columns)
        return found
    return kept(weight, ("direct", groups, backward and (_meets(*rows), _meets(*columns))), make)


def _meets(size, kernel, stride, dilation, start, count):
    """What decides how the way back reads the filters; not the size of the images."""
    return stride, dilation, start, size - count * stride
