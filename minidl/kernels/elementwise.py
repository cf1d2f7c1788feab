"""Ops on each element alone, in one pass over memory and on all threads; gradients in one pass, too."""
import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense, packed, packed_like, unless_float32

# -- functions of one number --------------------------------------------------

CHEAP, DEAR = 1 << 14, 1 << 12         # elements from which threads and a single pass pay


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


# -- functions of two numbers -------------------------------------------------

WIDE = 1 << 17                         # elements from which threads pay for asking


def _binary(op):
    """forward(xp, a, b): arrays that broadcast, or one of them a number."""
    code, numpy = cpu.elementwise.BINARY[op], getattr(np, op)

    def forward(xp, a, b):
        strides = [x.strides for x in (a, b) if type(x) is np.ndarray and not x.flags.c_contiguous]
        if strides and all([type(x) is not np.ndarray or x.strides == strides[0] for x in (a, b)]):
            order = np.argsort(strides[0])[::-1]           # both in the same order of axes: so is the result
            given = [x.transpose(order) if type(x) is np.ndarray else x for x in (a, b)]
            if all([type(x) is not np.ndarray or x.flags.c_contiguous for x in given]):
                return forward(xp, *given).transpose(np.argsort(order))
        y = np.empty(np.broadcast(a, b).shape, "float32")
        if cpu.elementwise.binary(code, a, b, y):
            return y
        a, b = [dense(x) if type(x) is np.ndarray else x for x in (a, b)]
        return y if cpu.elementwise.binary(code, a, b, y) else numpy(a, b, out=y)

    return forward


def _refuses_pairs(arrays, params):
    return unless_float32(*[x for x in arrays if type(x) is not float and type(x) is not int])


def _pull_multiply(xp, g, a, b):
    return (lambda: multiply(xp, g, b)), (lambda: multiply(xp, g, a))


def _pull_divide(xp, g, out, b):
    return (lambda: divide(xp, g, b)), (lambda: divide(xp, multiply(xp, g, out), -b))


multiply, divide = _binary("multiply"), _binary("divide")
for name, pull in (("add", None), ("subtract", None), ("multiply", _pull_multiply), ("divide", _pull_divide),
                   ("maximum", None), ("minimum", None)):
    register(Kernel(f"{name}.cpu", name, "cpu", _binary(name), pull, _refuses_pairs, least=WIDE))
from . import chain, reduce  # noqa: E402, F401  (their kernels are of this family)
