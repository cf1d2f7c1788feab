"""Ops that write elements at positions: into a copy, as tensors are values."""
import numpy as np

from .. import backend
from ..dtypes import as_dtype, default_dtype
from ..errors import ArgumentError, message
from ..op import primitive
from ..tensor import Tensor
from .elementwise import where
from .index import (
    add_along,
    add_at,
    along,
    check_range,
    demand_range,
    extent,
    gather,
    getitem,
    settled,
    waits,
)

__all__ = ["scatter", "scatter_add", "index_put", "masked_fill", "one_hot"]


# -- along an axis -----------------------------------------------------------------

@primitive("x(_) index(_):int src(...) -> (_)", exact=True)
def scatter(xp, x, index, src, /, axis):
    """x with other elements where `gather` would take from.

    Called in PyTorch's order: scatter(x, axis, index, src).

    Args:
        x (_): any dtype.
        index (_): integers, with as many axes as x, none of them longer but the one.
        src (...): broadcasts to index's shape; or a number.
        axis: along which.

    Returns:
        (_): a copy of x with out[i, index[i, j]] = src[i, j], for the last of two axes. Where positions
        repeat one of their elements is there.

    Raises:
        ArgumentError: out of range, no such axis, or an index of other axes.

    Source: PyTorch, `torch.scatter`.
    """
    check_range("scatter", index, x.shape, axis)
    out = x.copy()
    out[along(xp, index, x.shape, axis)] = src
    return out


@scatter.vjp
def _(g, index, axis):
    return (lambda: _scatter(g, index, 0.0, axis)), None, (lambda: gather(g, axis, index))


@primitive("x(_) index(_):int src(...) -> (_)")
def scatter_add(xp, x, index, src, /, axis):
    """x with more added where `gather` would take from.

    Called in PyTorch's order: scatter_add(x, axis, index, src).

    Args:
        x (_): any dtype.
        index (_): integers, with as many axes as x, none of them longer but the one.
        src (...): broadcasts to index's shape; or a number.
        axis: along which.

    Returns:
        (_): a copy of x with out[i, index[i, j]] += src[i, j], for the last of two axes. Where positions
        repeat all their elements are added, in the same order every time.

    Raises:
        ArgumentError: out of range, no such axis, or an index of other axes.

    Source: PyTorch, `torch.scatter_add`.
    """
    demand_range("scatter_add", index, x.shape, axis)
    return add_along(xp, x.copy(), index, xp.broadcast_to(xp.asarray(src, x.dtype), index.shape), axis)


@scatter_add.vjp
def _(g, index, axis):
    return g, None, (lambda: gather(g, axis, index))


@scatter.samples
def _(make):
    yield make.normal(2, 5), np.array([[0, 4, 2], [3, 1, 0]]), make.normal(2, 3), 1
    yield make.normal(4, 3), np.array([[3, 0, 1]]), make.normal(3), -2
    yield make.normal(3, 2), np.array([[-1], [0], [1]]), np.asarray(0.5), 1


@scatter_add.samples
def _(make):
    yield make.normal(2, 5), make.integers(5, 2, 7), make.normal(2, 7), 1
    yield make.normal(4, 3), make.integers(4, 5, 2), make.normal(2), 0
    yield make.normal(3), make.integers(3, 0), make.normal(0), 0


_scatter, _scatter_add = scatter, scatter_add


def scatter(x, axis, index, src):
    """`scatter` in PyTorch's order of arguments."""
    return _scatter(x, index, src, axis)


def scatter_add(x, axis, index, src):
    """`scatter_add` in PyTorch's order of arguments."""
    return _scatter_add(x, index, src, axis)


Tensor.scatter, Tensor.scatter_add = scatter, scatter_add


# -- at any index -------------------------------------------------------------------

@primitive("x(_) values(...) -> (_)", exact=True, synchronises=waits)
def index_put(xp, x, values, /, index, accumulate=False):
    """x with other elements at an index.

    Called in PyTorch's order: index_put(x, index, values, accumulate).

    Args:
        x (_): any dtype.
        values (...): broadcasts to x[index]; or a number.
        index: anything that x[index] takes.
        accumulate: add to the elements that are there.

    Returns:
        (_): a copy of x with out[index] = values. Where positions repeat one of their values is there, or the
        sum of all with `accumulate`.

    Raises:
        ArgumentError: out of range, or values of another shape.

    Source: PyTorch, `torch.Tensor.index_put`.
    """
    out, index = x.copy(), settled(xp, x, index)
    if accumulate:
        add_at(out, index, values)
    else:
        out[index] = values
    return out


@index_put.vjp
def _(g, index, accumulate):
    return (lambda: g if accumulate else _index_put(g, 0.0, index)), (lambda: getitem(g, index))


@index_put.samples
def _(make):
    x = make.normal(4, 3)
    yield x, make.normal(3), 1
    yield x, make.normal(2, 1), (slice(None, None, 2), slice(1, None)), True
    yield x, make.normal(2, 3), [2, 0]
    yield x, make.normal(5), (make.integers(4, 5), make.integers(3, 5)), True
    yield x, np.asarray(2.0), make.bools(4, 3)


_index_put = index_put


def index_put(x, index, values, accumulate=False):
    """`index_put` in PyTorch's order of arguments."""
    return _index_put(x, values, index, accumulate)


Tensor.index_put = index_put


# -- masks and classes ------------------------------------------------------------------

@primitive("x(...) mask(...):bool value(...) -> (...)", methods=["masked_fill"], exact=True)
def masked_fill(xp, x, mask, value, /):
    """`value` where a mask is true, else x.

    Args:
        x (...): any dtype.
        mask (...): bool; broadcasts with x.
        value (...): a number, or a tensor that broadcasts.

    Returns:
        (...): the shape that all broadcast to.

    Raises:
        ShapeError: they do not broadcast together.

    Source: PyTorch, `torch.Tensor.masked_fill`.
    """
    return xp.where(mask, value, x)


@masked_fill.vjp
def _(g, mask):
    return (lambda: where(mask, 0.0, g)), None, (lambda: where(mask, g, 0.0))


@masked_fill.samples
def _(make):
    yield make.normal(3, 4), make.bools(3, 4), np.asarray(1.5)
    yield make.normal(2, 1, 4), make.bools(3, 1), make.normal(4)
    yield make.normal(), np.asarray(True), make.normal()


@primitive("labels(*):int -> (*,K)", differentiable=False)
def one_hot(xp, labels, /, num_classes, dtype=None):
    """A row of zeros with a single one, per label.

    Args:
        labels (*): integers in [0, num_classes).
        num_classes: K.
        dtype: of the result; None: the default floating dtype.

    Returns:
        (*, K): out[..., labels[...]] = 1.

    Raises:
        ArgumentError: a label out of range; on a device at the next transfer.

    Source: PyTorch, `torch.nn.functional.one_hot`, whose result is int64.
    """
    backend.demand(((labels >= 0) & (labels < num_classes)).all(), lambda: ArgumentError(message(
        "one_hot", "labels", f"integers from 0 to {num_classes - 1}", extent(labels))))
    return (labels[..., None] == xp.arange(num_classes)).astype(as_dtype(dtype or default_dtype(), "one_hot"))


@one_hot.samples
def _(make):
    yield make.integers(4, 2, 3), 4
    yield make.integers(4), 4, "float64"
    yield make.integers(4, 0), 4, "int64"
