"""Activations made of exponentials, alone and as gates, in one pass over memory each way."""
from ...dispatch import Kernel, register
from .arrays import dense, unless_served
from .launch import cdiv, launch

ACTIVATIONS = {"none": 0, "relu": 1, "silu": 2, "gelu": 3, "gelu_tanh": 4}     # as in kernels/triton/functions.py


def bent(xp, x, other, activation, beta=1.0):
    """activation(beta * x) / beta * other; `other` may be None."""
    x = dense(xp, x)
    y, count = xp.empty(x.shape, x.dtype), x.size
    launch("gate_forward", lambda c: (cdiv(count, c["BLOCK"]),),
           (x, dense(xp, other), y, count, ACTIVATIONS[activation], beta), dtype=x.dtype.name)
    return y


def through_bent(xp, g, x, other, activation, beta=1.0):
    """The gradients of x and other (None, where there is none)."""
    x = dense(xp, x)
    gx, count = xp.empty(x.shape, x.dtype), x.size
    gother = None if other is None else xp.empty(x.shape, x.dtype)
    launch("gate_backward", lambda c: (cdiv(count, c["BLOCK"]),),
           (dense(xp, g), x, dense(xp, other), gx, gother, count, ACTIVATIONS[activation], beta), dtype=x.dtype.name)
    return gx, gother


def _silu(xp, x, beta):
    return bent(xp, x, None, "silu", beta), None


def _silu_backward(xp, g, kept, x, beta):
    return through_bent(xp, g, x, None, "silu", beta)[0]


def _odd_slope(arrays, params):
    fits = type(params["beta"]) in (int, float) and params["beta"] != 0
    return unless_served("gate_forward", arrays[0]) or (None if fits else "a slope of 0, or that is no number")


GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def _gelu(xp, x, approximate):
    return bent(xp, x, None, GELU[approximate]), None


def _gelu_backward(xp, g, kept, x, approximate):
    return through_bent(xp, g, x, None, GELU[approximate])[0]


def _odd(arrays, params):
    known = params.get("approximate", "none") in GELU
    return unless_served("gate_forward", arrays[0]) or (None if known else "the op explains what it may be")


def _swiglu(xp, gate, up):
    return bent(xp, gate, up, "silu"), None


def _swiglu_backward(xp, g, kept, gate, up):
    return through_bent(xp, g, gate, up, "silu")


def _geglu(xp, gate, up, approximate):
    return bent(xp, gate, up, GELU[approximate]), None


def _geglu_backward(xp, g, kept, gate, up, approximate):
    return through_bent(xp, g, gate, up, GELU[approximate])


for _name, _forward, _backward, _refuses in (
        ("silu", _silu, _silu_backward, _odd_slope), ("gelu", _gelu, _gelu_backward, _odd),
        ("swiglu", _swiglu, _swiglu_backward, _odd), ("geglu", _geglu, _geglu_backward, _odd)):
    register(Kernel(f"{_name}.triton", _name, "cuda", _forward, _backward, _refuses))
