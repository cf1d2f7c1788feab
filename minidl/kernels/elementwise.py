"""Ops on each element alone, in one pass over memory and on all threads; gradients in one pass, too."""
import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import packed, packed_like, unless_float32

# -- functions of one number --------------------------------------------------

CHEAP, DEAR = 1 << 15, 1 << 12         # elements from which threads and a single pass pay


def unary(op, least=DEAR, fused=False, allows=lambda **params: True):
    """Register the kernel of an op of one array whose gradient needs but g and x, or g and the output.

    Args:
        op: its name, here and in kernels/cpu/elementwise/unary.h.
        least: smaller arrays, in elements, are left to NumPy.
        fused: the op has a closed form (else it is a primitive).
        allows: are these parameters, all numbers, such as the op allows?
    """
    code = cpu.elementwise.UNARY[op]

    def forward(xp, x, *params):
        y = _forward(code, x, params)
        return (y, None) if fused else y

    def backward(xp, g, x=None, out=None, **params):
        return _backward(code, g, out if x is None else x, params.values())

    def backward_of_fused(xp, g, kept, x, **params):
        return _backward(code, g, x, params.values())

    def refuses(arrays, params):
        numbers = all([type(p) in (int, float) for p in params.values()]) and allows(**params)
        return unless_float32(*arrays) if numbers else "the op explains what its parameters may be"

    register(Kernel(f"{op}.cpu", op, "cpu", forward, backward_of_fused if fused else backward, refuses, least=least))


def _forward(code, x, params=()):
    x = packed(x)
    y = np.empty_like(x)
    cpu.elementwise.unary_forward(code, x, y, *params, *ZEROS[len(params):])
    return y


def _backward(code, g, saved, params=()):
    saved = packed(saved)
    gx = np.empty_like(saved)
    cpu.elementwise.unary_backward(code, packed_like(g, saved), saved, gx, *params, *ZEROS[len(params):])
    return gx


ZEROS = 0.0, 0.0, 0.0                  # in the place of parameters that a function does not have

for name in ("abs", "reciprocal", "relu", "rsqrt", "sqrt", "square", "softsign", "hardsigmoid"):
    unary(name, CHEAP)
for name in ("erf", "exp", "exp2", "expm1", "log", "log1p", "logsigmoid", "sigmoid", "tanh"):
    unary(name)
unary("hardtanh", CHEAP, allows=lambda min_val, max_val: min_val < max_val)
unary("leaky_relu", CHEAP, allows=lambda negative_slope: negative_slope >= 0)
unary("hardswish", CHEAP, fused=True)
unary("softplus", allows=lambda beta, threshold: beta > 0)
unary("elu", allows=lambda alpha, scale, input_scale: alpha >= 0 and scale > 0 and input_scale > 0)
unary("silu", fused=True)
unary("mish", fused=True)


def _gelu(approximate):
    return cpu.elementwise.UNARY["gelu" if approximate == "none" else "gelu_tanh"]


register(Kernel("gelu.cpu", "gelu", "cpu",
                lambda xp, x, approximate: (_forward(_gelu(approximate), x), None),
                lambda xp, g, kept, x, approximate: _backward(_gelu(approximate), g, x),
                lambda arrays, params: unless_float32(*arrays) if params["approximate"] in ("none", "tanh") else
                "the op explains what it may be", least=DEAR))
