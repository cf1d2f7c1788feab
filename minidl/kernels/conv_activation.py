"""Convolutions with what follows them: a scale goes into the filters, the bias along, and the activation in place."""
import numpy as np

from .. import tape
from ..dispatch import Kernel, register
from ..ops.epilogue import ACTIVATIONS
from . import conv, cpu

BETA = 1.0, 0.0, 0.0               # of silu; the others have no parameters


def _refuses(arrays, params):
    x, weight, bias, scale = arrays
    if tape.recording() and scale is not None:
        return "a scale, whose gradient needs the sums alone: for inference only"
    return conv._refuses((x, weight, bias), params) or (
        None if params["activation"] in ACTIVATIONS else "the op explains what it may be")


def _forward(xp, x, weight, bias, scale, stride, padding, dilation, groups, activation):
    filters = weight if scale is None else weight * scale[:, None, None, None]
    sums, axes = conv._convolve(xp, x, filters, bias, stride, padding, dilation, groups)
    if activation == "none":
        return sums, (axes, None)
    y = np.empty_like(sums) if tape.recording() else sums
    cpu.elementwise.unary_forward(cpu.elementwise.UNARY[activation], sums, y, *BETA)
    return y, (axes, sums)


def _backward(xp, g, kept, x, weight, bias, scale, stride, padding, dilation, groups, activation):
    axes, sums = kept
    if sums is not None:
        given, g = np.ascontiguousarray(g), np.empty_like(sums)
        cpu.elementwise.unary_backward(cpu.elementwise.UNARY[activation], given, sums, g, *BETA)
    return *conv._convolve_backward(xp, g, axes, x, weight, bias, stride, padding, dilation, groups), None


register(Kernel("conv2d_activation.cpu", "conv2d_activation", "cpu", _forward, _backward, _refuses))
