"""Squeeze and excitation: channels weighed by what all of them are on average."""
from ..op import fused
from .activation import sigmoid
from .epilogue import known_activation, linear_activation
from .linalg import linear
from .reduce import mean

__all__ = ["squeeze_excite"]


@fused("x(N,C,H,W):float reduce(R,C):float bias1(R):float? expand(C,R):float bias2(C):float? -> (N,C,H,W)")
def squeeze_excite(x, reduce, bias1, expand, bias2=None, /, activation="silu"):
    """x times a gate for each channel: sigmoid(expand @ activation(reduce @ means + bias1) + bias2), means over pixels.

    Args:
        x (N, C, H, W): images.
        reduce (R, C), bias1 (R) or None: the map to fewer channels.
        expand (C, R), bias2 (C), optional: the map back.
        activation: between them: "none", "relu", "gelu", "gelu_tanh" or "silu".

    Returns:
        (N, C, H, W).

    Raises:
        ShapeError: the maps do not fit the channels, or each other.
        ArgumentError: no activation of this name.

    Source: Hu et al. 2017, arXiv:1709.01507, section 3.
    """
    known_activation("squeeze_excite", activation)
    inner = linear_activation(mean(x, (2, 3)), reduce, bias1, activation=activation)
    return x * sigmoid(linear(inner, expand, bias2))[:, :, None, None]


@squeeze_excite.forward
def _(xp, x, reduce, bias1, expand, bias2, activation):
    known_activation("squeeze_excite", activation)
    means = x.mean((2, 3))
    inner, kept = linear_activation.op.closed_form(xp, means, reduce, bias1, None, None, activation)
    gates = sigmoid.op.fn(xp, linear.op.closed_form(xp, inner, expand, bias2)[0])
    return x * gates[:, :, None, None], (means, inner, kept, gates)


@squeeze_excite.backward
def _(xp, g, kept, x, reduce, bias1, expand, bias2, activation):
    means, inner, of_inner, gates = kept
    gsums = (g * x).sum((2, 3)) * gates * (1 - gates)
    ginner, gexpand, gbias2 = map(_made, linear.op.rule(xp, gsums, None, inner, expand, bias2))
    of_means = linear_activation.op.rule(xp, ginner, of_inner, means, reduce, bias1, None, None, activation)
    gmeans, greduce, gbias1, *_ = of_means
    spread = lambda: _made(gmeans)[:, :, None, None] / (x.shape[2] * x.shape[3])
    return (lambda: g * gates[:, :, None, None] + spread()), greduce, gbias1, gexpand, gbias2


def _made(gradient):
    """A gradient that may wait to be asked for."""
    return gradient() if callable(gradient) else gradient


@squeeze_excite.cost
def _(x, reduce, bias1, expand, bias2, activation):
    return 2 * x[0] * x[1] * x[2] * x[3] + 4 * x[0] * reduce[0] * reduce[1]


@squeeze_excite.samples
def _(make):
    yield make.normal(2, 5, 3, 4), make.normal(2, 5), make.normal(2), make.normal(5, 2), make.normal(5)
    yield make.normal(1, 33, 5, 5), make.normal(3, 33), None, make.normal(33, 3), None, "gelu_tanh"
    yield make.normal(2, 3, 1, 1), make.normal(4, 3), make.normal(4), make.normal(3, 4), make.normal(3), "gelu"
    yield make.normal(0, 3, 2, 2), make.normal(1, 3), make.normal(1), make.normal(3, 1)
