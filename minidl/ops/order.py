"""Ops that put elements in order."""
from ..errors import ArgumentError, message
from ..op import fused, primitive
from .index import take_along_axis

__all__ = ["argsort", "sort", "topk"]


@primitive("x(*,D) -> (*,D)", methods=["argsort"], exact=True, differentiable=False)
def argsort(xp, x, /, axis=-1, descending=False, stable=True):
    """Where the elements are that would come first, second, ... in order.

    Args:
        x (*, D): any dtype; NaN counts as larger than all numbers.
        axis: along which.
        descending: the largest first.
        stable: equal elements stay in their order; False may be quicker.

    Returns:
        (*, D): int64 positions along the axis.
    """
    kind = "stable" if stable else None
    if not descending:
        return xp.argsort(x, axis=axis, kind=kind)
    order = xp.argsort(xp.flip(x, axis), axis=axis, kind=kind)           # turned around twice: still stable
    return x.shape[axis] - 1 - xp.flip(order, axis)


@fused("x(*,D) -> (*,D)", methods=["sort"])
def sort(x, /, axis=-1, descending=False, stable=True):
    """The elements in order.

    Args:
        x (*, D): any dtype; NaN counts as larger than all numbers.
        axis: along which.
        descending: the largest first.
        stable: equal elements stay in their order: which of them gets which gradient.

    Returns:
        (*, D).
    """
    return take_along_axis(x, argsort(x, axis, descending, stable), axis)


@fused("x(*,D) -> (_) (_)", methods=["topk"])
def topk(x, /, k, axis=-1, largest=True, sorted=True):
    """The k largest elements along an axis, and where they are.

    Args:
        x (*, D): any dtype; NaN counts as larger than all numbers.
        k: how many; at most D.
        axis: along which.
        largest: False: the k least.
        sorted: from the largest on (or the least); False: in any order.

    Returns:
        values (_), with gradient; positions (_), int64: x's shape, but the axis has length k.

    Raises:
        ArgumentError: the axis is shorter than k, or k is negative.
    """
    index = _extremes(x, k, axis, largest, sorted)
    return take_along_axis(x, index, axis), index


@primitive("x(*,D) -> (_)", exact=True, differentiable=False)
def _extremes(xp, x, /, k, axis, largest, sorted):
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise ArgumentError(message("topk", "k", f"from 0 to the axis's length {n}", k))
    x = xp.moveaxis(x, axis, -1)
    cut = n - k if largest else k
    index = xp.argpartition(x, min(cut, n - 1), axis=-1)            # (sorting all takes ten times as long)
    index = index[..., cut:] if largest else index[..., :cut]
    if sorted:
        order = xp.argsort(xp.take_along_axis(x, index, -1), axis=-1)
        index = xp.take_along_axis(index, order[..., ::-1] if largest else order, -1)
    return xp.moveaxis(index, -1, axis)


@argsort.samples
@sort.samples
def _(make):
    yield make.distinct(3, 5),
    yield make.distinct(4, 3), 0, True
    yield make.distinct(2, 3), -1, False, False
    yield make.distinct(0, 3), 0


@topk.samples
def _(make):
    yield make.distinct(3, 6), 2
    yield make.distinct(6, 3), 4, 0, False
    yield make.distinct(3, 5), 5
    yield make.distinct(0, 3), 2
