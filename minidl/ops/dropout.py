"""Dropout: zeros at random, the rest scaled up so that means stay. Backward draws the mask again."""
import math

from ..backend import random
from ..errors import ArgumentError, message
from ..op import fused, primitive

__all__ = ["alpha_dropout", "dropout", "stochastic_depth"]


@primitive("x(*):float -> (*)", methods=["dropout"])
def dropout(xp, x, /, p, key, axes=None):
    """Put 0 in the place of elements with probability p, and divide the others by 1 - p.

    Args:
        x (*): any floating dtype.
        p: in [0, 1].
        key: a random Key: the same key drops the same elements.
        axes: along which elements are dropped one by one; along the others they fall together. None: along
            all; (0, 1): whole channels of images (N, C, H, W).

    Returns:
        (*): with x as its mean over all keys (unless p is 1).

    Raises:
        ArgumentError: p is outside [0, 1]; no such axes; `key` is not a Key.

    Source: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15; channels: Tompson et al. 2014, arXiv:1411.4280.
    """
    if not 0 <= p <= 1:
        raise ArgumentError(message("dropout", "p", "a number in [0, 1]", repr(p)))
    own = range(x.ndim) if axes is None else [range(x.ndim)[a] for a in axes]
    kept = random.bernoulli(xp, key, [n if i in own else 1 for i, n in enumerate(x.shape)], 1 - p)
    return x * (kept.astype(x.dtype) * (1 / (1 - p) if p < 1 else 0.0))


@dropout.vjp
def _(g, p, key, axes):
    return dropout(g, p, key, axes)


@fused("x(*):float -> (*)")
def stochastic_depth(x, /, p, key, mode="row"):
    """Drop a whole residual branch with probability p, and divide what stays by 1 - p; also called drop path.

    Args:
        x (N, *): what the branch gives, any floating dtype.
        p: in [0, 1].
        key: a random Key.
        mode: "row": each sample is dropped or kept; "batch": all of them together.

    Returns:
        (N, *): like x.

    Raises:
        ArgumentError: p is outside [0, 1]; `mode` is neither; `key` is not a Key.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv:1603.09382, section 3.
    """
    if mode not in ("row", "batch"):
        raise ArgumentError(message("stochastic_depth", "mode", '"row" or "batch"', repr(mode)))
    return dropout(x, p, key, (0,) if mode == "row" else ())


@fused("x(*):float -> (*)")
def alpha_dropout(x, /, p, key, axes=None):
    """Dropout for `selu`: what is dropped goes to SELU's limit, and mean 0 and variance 1 stay.

    Args:
        x (*): any floating dtype.
        p: in [0, 1).
        key: a random Key.
        axes: as in `dropout`.

    Returns:
        (*): like x.

    Raises:
        ArgumentError: p is outside [0, 1); no such axes; `key` is not a Key.

    Source: Klambauer et al. 2017, "Self-Normalizing Neural Networks", arXiv:1706.02515.
    """
    if not 0 <= p < 1:
        raise ArgumentError(message("alpha_dropout", "p", "a number in [0, 1)", repr(p)))
    limit = -1.7580993408473766                        # SELU's -scale * alpha
    scale = 1 / math.sqrt((1 - p) * (1 + p * limit * limit))
    mixed = dropout(x - limit, p, key, axes) * (1 - p) + limit         # x, or the limit
    return (mixed - p * limit) * scale


@dropout.samples
def _(make):
    yield make.normal(3, 4), 0.5, make.key(1)
    yield make.normal(2, 3, 2, 2), 0.3, make.key(2), (0, 1)
    yield make.normal(2, 3), 0.4, make.key(3), (-1,)
    yield make.normal(3), 0.0, make.key(4)
    yield make.normal(3), 1.0, make.key(5)
    yield make.normal(), 0.5, make.key(6), ()
    yield make.normal(0, 3), 0.5, make.key(7)


@stochastic_depth.samples
def _(make):
    yield make.normal(4, 3), 0.5, make.key(1)
    yield make.normal(4, 3), 0.2, make.key(2), "batch"


@alpha_dropout.samples
def _(make):
    yield make.normal(3, 4), 0.5, make.key(1)
    yield make.normal(3, 4, 2), 0.2, make.key(2), (0, 1)
