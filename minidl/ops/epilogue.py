"""Products with what is done to their results, as one op: kernels do it while the results are in cache."""
from math import prod

from ..errors import ArgumentError, ShapeError, message
from ..op import fused
from .activation import gelu, silu
from .conv import conv2d
from .linalg import linear
from .rectifier import relu

__all__ = ["conv2d_activation", "linear_activation"]

ACTIVATIONS = {"none": None, "relu": (relu,), "gelu": (gelu, "none"), "gelu_tanh": (gelu, "tanh"), "silu": (silu, 1.0)}


@fused("x(*,I):float weight(O,I):float bias(O):float? scale(O):float? residual(*,O):float? -> (*,O)")
def linear_activation(x, weight, bias=None, scale=None, residual=None, /, activation="none"):
    """An affine map and what follows it: activation(x @ weight.T * scale + bias) + residual.

    Args:
        x (*, I): rows.
        weight (O, I): the map.
        bias (O), scale (O), optional: of each output.
        residual (*, O), optional: added behind the activation.
        activation: "none", "relu", "gelu", "gelu_tanh" or "silu".

    Returns:
        (*, O).

    Raises:
        ShapeError: x's rows are not as long as those of weight, or the others do not fit the result.
        ArgumentError: no activation of this name.

    Source: NVIDIA, "cuBLASLt", `cublasLtEpilogue_t`.
    """
    bend, *parameters = known_activation("linear_activation", activation)
    y = linear(x, weight, bias) if scale is None else linear(x, weight) * scale
    y = y + bias if scale is not None and bias is not None else y
    y = bend(y, *parameters)
    return y if residual is None else y + residual


@linear_activation.forward
def _(xp, x, weight, bias, scale, residual, activation):
    known_activation("linear_activation", activation)
    product = linear.op.closed_form(xp, x, weight, None)[0]
    sums = product if scale is None else product * scale
    sums = sums if bias is None else sums + bias
    y, kept = bent(xp, sums, activation)
    return (y if residual is None else y + residual), (product, sums, kept)


@linear_activation.backward
def _(xp, g, kept, x, weight, bias, scale, residual, activation):
    product, sums, of_activation = kept
    inner = straightened(xp, g, sums, of_activation, activation)
    gx, gweight, gbias = linear.op.rule(xp, inner if scale is None else inner * scale, None, x, weight, bias)
    every = tuple(range(x.ndim - 1))
    return gx, gweight, (lambda: inner.sum(every)), (lambda: (inner * product).sum(every)), g


def bent(xp, sums, activation):
    """(the activation of sums, what its gradient needs), on arrays."""
    if activation == "none":
        return sums, None
    bend, *parameters = ACTIVATIONS[activation]
    return (bend.op.fn(xp, sums), None) if bend is relu else bend.op.closed_form(xp, sums, *parameters)


def straightened(xp, g, sums, kept, activation):
    """The gradient of the sums."""
    if activation == "none":
        return g
    bend, *parameters = ACTIVATIONS[activation]
    return g * (sums > 0) if bend is relu else bend.op.rule(xp, g, kept, sums, *parameters)


def known_activation(op, activation):
    """(the op of an activation, its parameters)."""
    if activation not in ACTIVATIONS:
        raise ArgumentError(message(op, "activation", f"one of {', '.join(ACTIVATIONS)}", repr(activation)))
    return ACTIVATIONS[activation] or (lambda x: x,)


@linear_activation.cost
def _(x, weight, bias, scale, residual, activation):
    return (2 * x[-1] + (bias is not None) + (scale is not None) + (residual is not None)) * prod(x[:-1]) * weight[0]


@linear_activation.samples
def _(make):
    yield make.normal(2, 3, 4), make.normal(5, 4), make.normal(5), None, make.normal(2, 3, 5), "gelu"
    yield make.normal(3, 4), make.normal(2, 4), None, make.positive(2), None, "silu"
    yield make.normal(9, 4), make.normal(33, 4), make.normal(33), make.positive(33), make.normal(9, 33), "gelu_tanh"
    yield make.normal(4), make.normal(2, 4), make.normal(2), None, make.normal(2)
    yield make.distinct(2, 1), make.positive(3, 1), None, None, None, "relu"
    yield make.normal(0, 4), make.normal(2, 4), make.normal(2), None, None, "gelu"


@fused("x(N,C,H,W):float weight(O,I,R,S):float bias(O):float? scale(O):float? residual(N,O,P,Q):float? -> (N,O,P,Q)")
def conv2d_activation(x, weight, bias=None, scale=None, residual=None, /, stride=1, padding=0, dilation=1, groups=1,
                      activation="none"):
    """A convolution and what follows it: activation(conv2d(x, weight) * scale + bias + residual).

    A batch norm that no longer learns is such a map: scale = weight * rstd, bias = bias - mean * scale.

    Args:
        x (N, C, H, W): images.
        weight (O, I, R, S): filters; I = C / groups.
        bias (O), scale (O), optional: of each output channel.
        residual (N, O, P, Q), optional: added in front of the activation, as residual networks want it.
        stride, padding, dilation, groups: as of `conv2d`.
        activation: "none", "relu", "gelu", "gelu_tanh" or "silu".

    Returns:
        (N, O, P, Q), as `conv2d`.

    Raises:
        ShapeError, ArgumentError: as `conv2d`; the residual is not as the result; no activation of this name.

    Source: Jacob et al. 2017, arXiv:1712.05877, section 3.2 (folded batch norm); NVIDIA, "cuDNN",
    `cudnnConvolutionBiasActivationForward`.
    """
    bend, *parameters = known_activation("conv2d_activation", activation)
    y = conv2d(x, weight, bias if scale is None else None, stride, padding, dilation, groups)
    y = y if scale is None else y * scale[:, None, None]
    y = y if scale is None or bias is None else y + bias[:, None, None]
    return bend(y if residual is None else y + alike(residual, y), *parameters)


@conv2d_activation.forward
def _(xp, x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
    known_activation("conv2d_activation", activation)
    product, axes = conv2d.op.closed_form(xp, x, weight, None, stride, padding, dilation, groups)
    sums = product if scale is None else product * scale[:, None, None]
    sums = sums if bias is None else sums + bias[:, None, None]
    sums = sums if residual is None else sums + alike(residual, sums)
    y, kept = bent(xp, sums, activation)
    return y, (product, axes, sums, kept)


def alike(residual, y):
    """The residual, which is as the result y.

    Raises:
        ShapeError: it is not.
    """
    if residual.shape != y.shape:
        raise ShapeError(message("conv2d_activation", "residual", f"{tuple(y.shape)}, as the result", residual.shape))
    return residual


@conv2d_activation.backward
def _(xp, g, kept, x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
    product, axes, sums, of_activation = kept
    inner = straightened(xp, g, sums, of_activation, activation)
    gx, gweight, gbias = conv2d.op.rule(xp, inner if scale is None else inner * scale[:, None, None], axes, x, weight,
                                        None, stride, padding, dilation, groups)
    return gx, gweight, (lambda: inner.sum((0, 2, 3))), (lambda: (inner * product).sum((0, 2, 3))), inner


@conv2d_activation.cost
def _(x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
    return conv2d.op.coster(x, weight, bias, stride, padding, dilation, groups)


@conv2d_activation.samples
def _(make):
    yield make.normal(2, 3, 5, 4), make.normal(4, 3, 3, 2), make.normal(4), make.positive(4), None, 1, 1, 1, 1, "silu"
    yield make.normal(2, 4, 6, 5), make.normal(6, 2, 3, 3), make.normal(6), None, make.normal(2, 6, 3, 2), {
        "stride": 2, "padding": (1, 0), "groups": 2, "activation": "gelu"}
    yield make.normal(1, 3, 4, 4), make.normal(2, 3, 1, 1), None, make.positive(2), {"activation": "gelu_tanh"}
    yield make.normal(1, 3, 4, 4), make.normal(3, 1, 3, 3), make.normal(3), None, make.normal(1, 3, 4, 4), {
        "groups": 3, "padding": 1, "activation": "silu"}
    yield make.positive(2, 2, 4, 4), make.positive(3, 2, 2, 2), None, None, {"activation": "relu", "dilation": 2}
    yield make.normal(2, 2, 3, 3), make.normal(2, 2, 2, 2), make.normal(2)
