"""Depthwise convolution: each channel by itself, one or a few filters on each.

`forward`, `backward_input` and `backward_weight` take what the compiled functions of those names in `cpu.conv` take.
"""
from . import cpu


def serves(weight, groups):
    """Is a convolution with weight (O, C/groups, R, S) depthwise?"""
    return groups > 1 and weight.shape[1] == 1


def forward(x, weight, bias, y, groups, rows, columns, residual=None, activation=0):
    """Write activation(convolution of images x (N, C, H, W) + bias + residual) to y (N, O, P, Q)."""
    cpu.conv.depthwise_forward(x, weight, bias, y, _windows(rows), _windows(columns), residual, activation)


def backward_input(g, weight, bias, gx, groups, rows, columns):
    """Write the gradient of the images, plus bias (C), to gx (N, C, H, W)."""
    cpu.conv.depthwise_backward_input(g, weight, gx, _windows(rows), _windows(columns))
    if bias is not None:
        gx += bias[:, None, None]


def backward_weight(g, x, gweight, groups, rows, columns):
    """Write the gradient of the filters to gweight (O, 1, R, S)."""
    cpu.conv.depthwise_backward_weight(g, x, gweight, _windows(rows), _windows(columns))


def _windows(axis):
    """(size, kernel, stride, dilation, start, count) as csrc/windows.h wants it."""
    _, kernel, stride, dilation, start, count = axis
    return kernel, stride, dilation, -start, count
