"""Convolutions with what follows them: a scale goes into the filters, the rest is done to results while in cache."""
import numpy as np

from .. import tape
from ..dispatch import Kernel, register
from . import conv, cpu

BETA = 1.0, 0.0, 0.0               # of silu; the others have no parameters
CODES = {name: code for code, name in enumerate(cpu.conv.activations)}


def _refuses(arrays, params):
    x, weight, bias, scale, residual = arrays
    if tape.recording() and scale is not None:
        return "a scale, whose gradient needs the sums alone: for inference only"
    return conv._refuses((x, weight, bias), params) or _odd_residual(arrays, params) or (
        None if params["activation"] in CODES else "the op explains what it may be")


def _odd_residual(arrays, params):
    x, weight, _, _, residual = arrays
    if residual is None:
        return None
    axes = conv._plan(conv.conv_axes, x.shape, weight.shape, *[params[p] for p in ("stride", "padding", "dilation",
                                                                                  "groups")])
    fits = residual.shape == (len(x), len(weight), *[a[-1] for a in axes])
    return conv.unless_float32(residual) or (None if fits else "a residual of another shape")


def _forward(xp, x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
    filters = weight if scale is None else weight * scale[:, None, None, None]
    axes = conv._plan(conv.conv_axes, x.shape, weight.shape, stride, padding, dilation, groups)
    if not tape.recording() or activation == "none":
        return conv._correlate(x, filters, bias, axes, groups, residual, CODES[activation]), (axes, None)
    sums = conv._correlate(x, filters, bias, axes, groups, residual)
    y = np.empty_like(sums)
    cpu.elementwise.unary_forward(cpu.elementwise.UNARY[activation], sums, y, *BETA)
    return y, (axes, sums)


def _backward(xp, g, kept, x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
    axes, sums = kept
    if sums is not None:
        given, g = np.ascontiguousarray(g), np.empty_like(sums)
        cpu.elementwise.unary_backward(cpu.elementwise.UNARY[activation], given, sums, g, *BETA)
    return *conv._convolve_backward(xp, g, axes, x, weight, bias, stride, padding, dilation, groups), None, g


register(Kernel("conv2d_activation.cpu", "conv2d_activation", "cpu", _forward, _backward, _refuses))
