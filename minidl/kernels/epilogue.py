"""Products with what follows them.

In inference all of it is done to tiles in cache; where a gradient is wanted the sums before the activation are kept.
"""
import numpy as np

from .. import tape
from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense, unless_float32
from .gemm import _column_sums, _matmul, _rows, packed_weight

LEAST = 512
CODES = {name: code for code, name in enumerate(cpu.gemm.activations)}


def _refuses(arrays, params):
    if tape.recording() and arrays[3] is not None:
        return "a scale, whose gradient needs the product alone: for inference only"
    return unless_float32(*arrays) or (None if params["activation"] in CODES else "the op explains what it may be")


def _forward(xp, x, weight, bias, scale, residual, activation):
    rows, shape = dense(_rows(x)), (*x.shape[:-1], len(weight))
    residual = None if residual is None else dense(_rows(residual))

    def product(residual, activation):
        y = np.empty((len(rows), len(weight)), "float32")
        cpu.gemm.linear(rows, dense(weight), packed_weight(weight, len(rows)), dense(scale), dense(bias), residual,
                        CODES[activation], y)
        return y

    if not tape.recording() or activation == "none":
        return product(residual, activation).reshape(shape), None
    sums = product(None, "none")
    y = np.empty_like(sums)
    cpu.elementwise.unary_forward(cpu.elementwise.UNARY[activation], sums, y, *BETA)
    if residual is not None:
        y += residual
    return y.reshape(shape), sums


def _backward(xp, g, sums, x, weight, bias, scale, residual, activation):
    rows = g_of_sums = dense(_rows(g))
    if sums is not None:
        g_of_sums = np.empty_like(rows)
        cpu.elementwise.unary_backward(cpu.elementwise.UNARY[activation], rows, sums, g_of_sums, *BETA)
    return (lambda: _matmul(xp, g_of_sums, weight).reshape(x.shape)), \
        (lambda: _matmul(xp, g_of_sums.T, _rows(x))), (lambda: _column_sums(g_of_sums)), None, g


BETA = 1.0, 0.0, 0.0               # of silu; the others have no parameters
register(Kernel("linear_activation.cpu", "linear_activation", "cpu", _forward, _backward, _refuses, least=LEAST))
