"""Rotary positions: pairs of a query's or key's elements turn with its place, so that products see distances alone."""
from math import prod

from ..errors import ShapeError, message
from ..op import as_tensor, primitive
from ..shapes import broadcast
from .creation import arange
from .special import cos as cosine
from .special import sin as sine

__all__ = ["rotary", "rotary_angles"]


@primitive("x(*,T,D):float cos(_) sin(_) -> (*,T,D)")
def rotary(xp, x, cos, sin, /, interleaved=False):
    """Turn pairs of elements, (a, b) -> (a cos - b sin, a sin + b cos); what is behind the first R elements stays.

    Args:
        x (*, T, D): queries or keys, any floating dtype.
        cos, sin: of each place's angles, such as (T, R / 2) with R <= D; broadcast to (*, T, R / 2).
        interleaved: pairs are neighbours, (0, 1), (2, 3), ..., as in the paper and GPT-J; else element i pairs with
            i + R / 2, as in GPT-NeoX and LLaMA.

    Returns:
        (*, T, D).

    Raises:
        ShapeError: cos and sin differ in shape, do not broadcast, or have more than D / 2 angles.

    Source: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv:2104.09864, eq. 34.
    """
    full = (*x.shape[:-1], *cos.shape[-1:])
    if not cos.ndim or 2 * full[-1] > x.shape[-1] or broadcast(cos.shape, full) != full:
        expected = f"a shape that broadcasts to {(*x.shape[:-1], 'R / 2')}, R <= {x.shape[-1]}"
        raise ShapeError(message("rotary", "cos", expected, cos.shape))
    if sin.shape != cos.shape:
        raise ShapeError(message("rotary", "sin", f"{cos.shape} as cos", sin.shape))
    y = xp.array(x, order="C")
    (a, b), (first, second) = [_pairs(z, full[-1], interleaved) for z in (x, y)]
    first[...] = a * cos - b * sin
    second[...] = a * sin + b * cos
    return y


def _pairs(x, count, interleaved):
    """The first and the second elements of pairs, (*, T, R / 2) each: views."""
    if interleaved:
        return x[..., 0:2 * count:2], x[..., 1:2 * count:2]
    return x[..., :count], x[..., count:2 * count]


@rotary.vjp
def _(g, x, cos, sin, interleaved):
    (a, b), (ga, gb) = [_pairs(z, cos.shape[-1], interleaved) for z in (x, g)]
    return (lambda: rotary(g, cos, -sin, interleaved)), (lambda: ga * a + gb * b), (lambda: gb * a - ga * b)


@rotary.cost
def _(x, cos, *_, **params):
    return 6 * prod(x[:-1]) * prod(cos[-1:])


@rotary.samples
def _(make):
    yield make.normal(2, 3, 5, 8), make.normal(5, 4), make.normal(5, 4)
    yield make.normal(2, 3, 5, 8), make.normal(2, 1, 5, 3), make.normal(2, 1, 5, 3), True
    yield make.normal(5, 7), make.normal(1, 2), make.normal(1, 2)
    yield make.normal(2, 1, 4, 6), make.normal(4, 3), make.normal(4, 3), True
    yield make.normal(2, 0, 4), make.normal(0, 2), make.normal(0, 2)


def rotary_angles(positions, width, base=10000.0, dtype="float32", device="cpu"):
    """(cos, sin) of the angles positions * base ** (-2 i / width) of the pairs i, for `rotary`.

    Args:
        positions (*): integers, on their own device; or how many there are, from 0.
        width: R, how many elements turn; even.
        base: how slowly the last pairs turn.
        dtype: of the result; angles are float32, as in the models' published code.
        device: for positions from 0.

    Returns:
        two (*, R / 2).

    Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2.
    """
    positions = arange(positions, device=device) if isinstance(positions, int) else as_tensor(positions)
    rates = base ** (arange(0, width, 2, dtype="float32", device=positions.device) / -width)
    angles = positions.astype("float32")[..., None] * rates
    return cosine(angles).astype(dtype), sine(angles).astype(dtype)
