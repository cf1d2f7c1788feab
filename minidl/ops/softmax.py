"""Softmax and its kin: what turns logits into probabilities."""
from ..backend import random
from ..errors import ArgumentError, message
from ..op import fused, primitive
from .elementwise import exp

__all__ = ["gumbel_softmax", "log_softmax", "softmax"]


def _below_max(x, axis):
    """x less its largest element along an axis, in a new array: exp cannot overflow."""
    return x - x.max(axis, keepdims=True)


@primitive("x(*):float -> (*)", methods=["softmax"])
def softmax(xp, x, /, axis=-1):
    """exp(x) scaled to sum to 1 over an axis.

    Args:
        x (*): logits, any floating dtype, at least one axis.
        axis: which one.

    Returns:
        (*): probabilities; D equal logits give 1 / D each.

    Raises:
        ArgumentError: no such axis.

    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs", eq. 3.
    """
    if not x.size:
        return x                                       # of nothing there is no largest element
    y = _below_max(x, axis)
    xp.exp(y, out=y)
    y /= y.sum(axis, keepdims=True)
    return y


@softmax.vjp
def _(g, out, axis):
    product = g * out
    return product - out * product.sum(axis, True)


@primitive("x(*):float -> (*)", methods=["log_softmax"])
def log_softmax(xp, x, /, axis=-1):
    """The logarithm of `softmax`, precise where that is small.

    Args:
        x (*): logits, any floating dtype, at least one axis.
        axis: which one.

    Returns:
        (*): x less the logarithm of the sum of its exponentials: at most 0.

    Raises:
        ArgumentError: no such axis.

    Source: Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs", eq. 3.
    """
    if not x.size:
        return x
    y = _below_max(x, axis)
    y -= xp.log(xp.exp(y).sum(axis, keepdims=True))
    return y


@log_softmax.vjp
def _(g, out, axis):
    return g - exp(out) * g.sum(axis, True)


@fused("x(*):float -> (*)")
def gumbel_softmax(x, /, key, tau=1.0, hard=False, axis=-1):
    """A softmax of x plus Gumbel noise: a differentiable sample of the categories that the logits x describe.

    Args:
        x (*): logits, any floating dtype, at least one axis.
        key: a random Key: the same key gives the same sample.
        tau: temperature, above 0: near 0 samples are near one-hot.
        hard: give the one-hot sample itself, with the gradient of the soft one (straight through).
        axis: along which the categories lie.

    Returns:
        (*): rows that sum to 1.

    Raises:
        ArgumentError: tau is not positive.

    Source: Jang, Gu, Poole 2016, "Categorical Reparameterization with Gumbel-Softmax", arXiv:1611.01144,
    eq. 2.
    """
    if not tau > 0:
        raise ArgumentError(message("gumbel_softmax", "tau", "a number > 0", repr(tau)))
    soft = softmax(_perturbed(x, key) / tau, axis)
    return _one_hot(soft, axis) - soft.detach() + soft if hard else soft


@primitive("x(*) -> (*)")
def _perturbed(xp, x, /, key):
    return x + random.gumbel(xp, key, x.shape).astype(x.dtype, copy=False)     # the same noise in every dtype


@_perturbed.vjp
def _(g):
    return g


@primitive("x(*) -> (*)", differentiable=False)
def _one_hot(xp, x, /, axis):
    """1 at the largest element along an axis, 0 elsewhere."""
    at = xp.argmax(x, axis)
    places = xp.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - 1 - axis % x.ndim))
    return (places == xp.expand_dims(at, axis)).astype(x.dtype)


@softmax.samples
@log_softmax.samples
def _(make):
    yield make.normal(3, 5),
    yield make.normal(2, 3, 4), 1
    yield make.normal(2, 3) * 1000, 0                  # naive exponentials overflow
    yield make.normal(0, 3),
    yield make.normal(2, 0),


@gumbel_softmax.samples
def _(make):
    yield make.normal(3, 4), make.key(1)
    yield make.normal(3, 4), make.key(2), 0.5, False, 0
