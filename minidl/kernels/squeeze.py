"""Squeeze and excitation: each channel's plane is read twice and written once, and once more each on the way back."""
import numpy as np

from ..dispatch import Kernel, register
from ..ops.epilogue import bent, straightened
from . import cpu
from .arrays import dense, unless_float32
from .gemm import _column_sums, _matmul

CODES = {name: code for code, name in enumerate(cpu.conv.activations)}


def _refuses(arrays, params):
    if reason := unless_float32(*arrays):
        return reason
    x, reduce, *_ = arrays
    if not (x.size and len(reduce)):
        return "no elements"
    return None if params["activation"] in CODES else "the op explains what it may be"


def _forward(xp, x, reduce, bias1, expand, bias2, activation):
    n, channels = x.shape[:2]
    means, sums, gates = [np.empty((n, width), "float32") for width in (channels, len(reduce), channels)]
    planes, y = dense(x).reshape(n, channels, -1), np.empty(x.shape, "float32")
    cpu.conv.squeeze_excite(planes, dense(reduce), dense(bias1), dense(expand), dense(bias2), CODES[activation],
                            means, sums, gates, y.reshape(planes.shape))
    return y, (means, sums, gates)


def _backward(xp, g, kept, x, reduce, bias1, expand, bias2, activation):
    means, sums, gates = kept
    shape, (inner, of_activation) = x.shape, bent(np, sums, activation)
    g, x = [dense(a).reshape(gates.size, -1) for a in (g, x)]
    dots = np.empty_like(gates)
    cpu.conv.plane_dots(g, x, dots.reshape(-1))
    gouter = dots * gates * (1 - gates)
    ginner = straightened(np, _matmul(np, gouter, dense(expand)), sums, of_activation, activation)

    def of_images():
        found = np.empty(shape, "float32")
        shift = _matmul(np, ginner, dense(reduce)) / np.float32(g.shape[1])
        cpu.conv.plane_scale(g, gates.reshape(-1), shift.reshape(-1), found.reshape(g.shape))
        return found
    return (of_images, (lambda: _matmul(np, ginner.T, means)), (lambda: _column_sums(ginner)),
            (lambda: _matmul(np, gouter.T, inner)), (lambda: _column_sums(gouter)))


register(Kernel("squeeze_excite.cpu", "squeeze_excite", "cpu", _forward, _backward, _refuses))
