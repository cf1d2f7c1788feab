"""Ops that read elements by their positions.

Nothing flows back through an index.  One out of range is refused at once on the CPU, where NumPy looks at
indices as it uses them; on a device, where looking would mean waiting, at the next transfer.
"""
from math import prod
from operator import index as as_integer

import numpy as np

from .. import backend
from ..errors import ArgumentError, DeviceError, DTypeError, message
from ..op import primitive
from ..shapes import broadcast
from ..tensor import Tensor
from .shape import broadcast_to, reshape

__all__ = ["bincount", "gather", "getitem", "masked_select", "nonzero", "searchsorted", "take",
           "take_along_axis"]

BASIC = frozenset({int, slice, type(None), type(...)})         # what makes views


# -- x[index] -----------------------------------------------------------------------

def waits(index, **_):
    """Does a device make the host wait for an index: are there lists to send, or masks to count?"""
    for part in index if type(index) is tuple else (index,):
        if getattr(part, "dtype", None) == "bool" or isinstance(part, (list, range)) and len(part):
            return True
    return False


@primitive("x(_) -> (_)", methods=["__getitem__"], exact=True, synchronises=waits)
def getitem(xp, x, /, index):
    """x[index]: the elements at some positions, as in NumPy.

    Args:
        x (_): any dtype.
        index: integers, slices, `...`, None (a new axis), integer tensors or lists (they broadcast together),
            bool tensors (masks; on a device the host waits, as the result's size depends on values); or a
            tuple of those.

    Returns:
        a view of x where the index has only integers, slices, `...` and None; else a copy.

    Raises:
        ArgumentError: out of range, or too many indices.
        DTypeError: an index tensor holds neither integers nor bools.
        DeviceError: an index tensor lives on another device than x.

    Source: NumPy, "Indexing on ndarrays".
    """
    return x[settled(xp, x, index)]


@getitem.vjp
def _(g, x_shape, index):
    return _put(g, index, x_shape)


@getitem.samples
def _(make):
    x = make.normal(4, 3, 5)
    for index in (1, -1, slice(None, None, -2), (..., 2), (None, 1, slice(2)), (), slice(2, 2), [], [0, 2, 0],
                  make.integers(4, 2, 2), (slice(None), make.integers(3, 4), [0]),
                  (make.integers(4, 2), slice(1), make.integers(5, 2)),
                  make.bools(4), make.bools(4, 3), (slice(2), slice(None), make.bools(5))):
        yield x, index
    yield make.normal(), ()
    yield make.normal(0, 3), (slice(None), 1)


@primitive("x(_) -> (_)", synchronises=waits)
def _put(xp, x, /, index, shape):
    """Zeros of a shape with x added at an index: the transpose of `getitem`."""
    out = xp.zeros(shape, x.dtype)
    add_at(out, settled(xp, out, index), x)
    return out


@_put.vjp
def _(g, index):
    return getitem(g, index)


def _refuse_assignment(self, index, value):
    """Tensors are values."""
    raise ArgumentError(message("setitem", "self", "no assignment: tensors are values", f"x[{index!r:.20}] =",
                                "Make another by `where`, `scatter` or `index_put(x, index, values)`."))


Tensor.__setitem__ = _refuse_assignment


def is_basic(index):
    """Does an index make views: has it no arrays, lists or masks?"""
    return type(index) in BASIC or type(index) is tuple and all([type(i) in BASIC for i in index])


def settled(xp, x, index):
    """The index with arrays of x's library in place of tensors and lists."""
    if is_basic(index):
        return index
    if type(index) is not tuple:
        return settled(xp, x, (index,))[0]
    parts = tuple([part if type(part) in BASIC else _array_of(xp, x, part) for part in index])
    axis, uses = 0, [_axes_used(part) for part in parts]
    for part, n in zip(parts, uses):
        if backend.is_array(part) and part.dtype != "bool":
            check_range("getitem", part, x.shape, axis)
        axis += x.ndim - sum(uses) if part is ... else n
    return parts


def _axes_used(part):
    """How many of x's axes a part of an index takes up."""
    if part is None or part is ... or isinstance(part, bool):
        return 0
    return part.ndim if backend.is_array(part) and part.dtype == "bool" else 1


def _array_of(xp, x, part):
    part = part.data if isinstance(part, Tensor) else part
    if backend.is_array(part):
        if backend.device(part) != backend.device(x):
            here, there = backend.device(x), backend.device(part)
            raise DeviceError(message("getitem", "index", f"arrays on {here} as x", f"one on {there}",
                                      f'Move it, as in index.to("{here}").'))
    elif isinstance(part, (list, range)):
        part = xp.asarray(part) if len(part) else xp.empty(0, "int64")
    else:
        return part if isinstance(part, bool) else as_integer(part)
    if part.dtype.kind not in "iub":
        raise DTypeError(message("getitem", "index", "integers or bools", part.dtype))
    return part


def add_at(out, index, values):
    """Add in place at a settled index; positions that repeat get all their values."""
    parts = index if type(index) is tuple else (index,)
    if all([type(part) in BASIC or type(part) is bool or part.dtype == "bool" for part in parts]):
        out[index] += values                                     # slices and masks name no element twice
    else:
        backend.scatter_add(out, index, values)


def check_range(op, index, shape, axis):
    """Demand that indices fit into an axis, where the library does not look itself as it uses them."""
    if not backend.of(index).eager and axis < len(shape):
        demand_range(op, index, shape, axis)


def demand_range(op, index, shape, axis):
    """Demand that indices fit into an axis."""
    n, index = shape[axis], index.astype("int64", copy=False)
    backend.demand(((index >= -n) & (index < n)).all(), lambda: ArgumentError(message(
        op, "index", f"integers in [{-n}, {n}): axis {axis} of {shape}", extent(index))))


def extent(index):
    """The smallest and the largest index, for messages."""
    return f"{int(index.min())} to {int(index.max())}"


# -- along an axis -------------------------------------------------------------------

@primitive("x(_) indices(...):int -> (_)", methods=["take"], exact=True)
def take(xp, x, indices, /, axis=None):
    """The elements, rows, ... at some positions along an axis.

    Args:
        x (_): any dtype.
        indices (...): integers, or one integer; negative ones count from the end.
        axis: along which; None: of the flattened x.

    Returns:
        x's shape with the axis replaced by `indices`' shape.

    Raises:
        ArgumentError: out of range, or no such axis.

    Source: Python array API standard 2024.12, `take`.
    """
    if backend.is_array(indices):
        check_range("take", indices, (x.size,) if axis is None else x.shape, (axis or 0) % (x.ndim or 1))
    return x.take(indices, axis)


@take.vjp
def _(g, x_shape, indices, axis):
    if axis is None:
        return reshape(_put(g, indices, (prod(x_shape),)), x_shape), None
    return _put(g, (slice(None),) * (axis % len(x_shape)) + (indices,), x_shape), None


@take.samples
def _(make):
    yield make.normal(4, 3), make.integers(4, 2, 3), 0
    yield make.normal(2, 3, 4), make.integers(3, 2), -2
    yield make.normal(2, 3), make.integers(6, 4)
    yield make.normal(2, 3), np.asarray(-1), 1
    yield make.normal(2, 3), make.integers(3, 0), 1


@primitive("x(_) indices(_):int -> (_)", methods=["take_along_axis"], exact=True)
def take_along_axis(xp, x, indices, /, axis=-1):
    """In each row along an axis, the elements at positions of that row's own.

    Args:
        x (_): any dtype.
        indices (_): integers, with as many axes as x; sizes broadcast, but for the axis.
        axis: along which.

    Returns:
        (_): out[i, j] = x[i, indices[i, j]] for the last of two axes; as long along the axis as `indices`.

    Raises:
        ArgumentError: out of range, no such axis, or sizes that do not broadcast.

    Source: Python array API standard 2024.12, `take_along_axis`.
    """
    check_range("take_along_axis", indices, x.shape, axis)
    return xp.take_along_axis(x, indices, axis)


@take_along_axis.vjp
def _(g, x_shape, indices, axis):
    shape = list(g.shape)
    shape[axis] = x_shape[axis]
    return _put_along(g, broadcast_to(indices, g.shape), shape, axis), None


@take_along_axis.samples
def _(make):
    yield make.normal(2, 5), make.integers(5, 2, 3)
    yield make.normal(4, 3, 2), make.integers(4, 2, 1, 1), 0
    yield make.normal(1, 3), make.integers(3, 2, 4), 1


@primitive("x(_) index(_):int -> (_)", exact=True)
def gather(xp, x, index, /, axis):
    """The elements at positions along an axis. (Called in PyTorch's order: gather(x, axis, index).)

    As `take_along_axis`, but the index may be shorter than x along the other axes, and does not broadcast.

    Args:
        x (_): any dtype.
        index (_): integers, with as many axes as x, none of them longer but the one.
        axis: along which.

    Returns:
        (_): index's shape; out[i, j] = x[i, index[i, j]] for the last of two axes.

    Raises:
        ArgumentError: out of range, no such axis, or an index of other axes.

    Source: PyTorch, `torch.gather`.
    """
    check_range("gather", index, x.shape, axis)
    return x[along(xp, index, x.shape, axis)]


@gather.vjp
def _(g, x_shape, index, axis):
    return _put_along(g, index, x_shape, axis), None


@primitive("x(_) index(_):int -> (_)")
def _put_along(xp, x, index, /, shape, axis):
    """Zeros of a shape with x added where `gather` takes from: its transpose."""
    return add_along(xp, xp.zeros(shape, x.dtype), index, x, axis)


@_put_along.vjp
def _(g, index, axis):
    return _gather(g, index, axis), None


@gather.samples
def _(make):
    yield make.normal(2, 5), make.integers(5, 2, 3), 1
    yield make.normal(4, 3, 2), make.integers(4, 5, 2, 1), 0


_gather = gather


def gather(x, axis, index):
    """`gather` in PyTorch's order of arguments."""
    return _gather(x, index, axis)


Tensor.gather = gather


def along(xp, index, shape, axis):
    """The index of the elements that `gather` takes from an array of a shape."""
    too_long = [i for i, (m, n) in enumerate(zip(index.shape, shape)) if m > n]
    if index.ndim != len(shape) or [i for i in too_long if i != axis % len(shape)]:
        raise IndexError(f"an index {index.shape} is not within {shape} but for axis {axis}")
    grid = [xp.arange(n).reshape((-1,) + (1,) * (index.ndim - 1 - i)) for i, n in enumerate(index.shape)]
    grid[axis] = index
    return tuple(grid)


def add_along(xp, out, index, src, axis):
    """Add src where `gather` takes from, to a contiguous array: by places in memory, which is far quicker."""
    index = index.astype("int64", copy=False)
    place = along(xp, xp.where(index < 0, index + out.shape[axis], index), out.shape, axis)
    flat = sum([part * prod(out.shape[i + 1:]) for i, part in enumerate(place)], xp.zeros((), "int64"))
    backend.scatter_add(out.reshape(-1), flat.reshape(-1), src.reshape(-1))
    return out


# -- what depends on values -------------------------------------------------------------
# The sizes of these results, nonzero's and masks', depend on values: on a device the host waits for them.

@primitive("x(...) mask(...):bool -> (N)", methods=["masked_select"], exact=True, synchronises=True)
def masked_select(xp, x, mask, /):
    """The elements where a mask is true, in row-major order; on a device the host waits for their number.

    Args:
        x (...): any dtype.
        mask (...): bool; broadcasts with x.

    Returns:
        (N): as many as there are true ones in the mask that was broadcast.

    Raises:
        ShapeError: x and mask do not broadcast together.

    Source: PyTorch, `torch.masked_select`.
    """
    x, mask = xp.broadcast_arrays(x, mask)
    return x[mask]


@masked_select.vjp
def _(g, x_shape, mask):
    shape = broadcast(x_shape, mask.shape)
    return _put(g, broadcast_to(mask, shape), shape), None


@masked_select.samples
def _(make):
    yield make.normal(3, 4), make.bools(3, 4)
    yield make.normal(3, 1), make.bools(4)
    yield make.normal(2), np.zeros(2, bool)


@primitive("x(_) -> (N) +", methods=["nonzero"], exact=True, differentiable=False, synchronises=True)
def nonzero(xp, x, /):
    """Where x is not zero; on a device the host waits for their number.

    Args:
        x (_): any dtype, at least one axis.

    Returns:
        per axis a tensor (N) of int64: the positions along it, in row-major order.

    Raises:
        ArgumentError: x has no axis.

    Source: Python array API standard 2024.12, `nonzero`.
    """
    return xp.nonzero(x)


@nonzero.samples
def _(make):
    yield make.bools(3, 4),
    yield make.integers(2, 5),
    yield make.normal(0, 2),


@primitive("sorted(N) values(_) -> (_)", methods=["searchsorted"], exact=True, differentiable=False)
def searchsorted(xp, sorted, values, /, side="left"):
    """Where values would have to be inserted into a sorted vector to keep it sorted.

    Args:
        sorted (N): ascending.
        values (_): of its dtype.
        side: "left": before equal elements; "right": behind them.

    Returns:
        (_): int64 in [0, N].

    Source: Python array API standard 2024.12, `searchsorted`.
    """
    return xp.searchsorted(sorted, values, side)


@searchsorted.samples
def _(make):
    yield np.sort(make.normal(5)), make.normal(2, 3)
    yield np.asarray([0.0, 1, 1, 2]), np.asarray(1.0), "right"


@primitive("x(N):int -> (K)", methods=["bincount"], differentiable=False, synchronises=True)
def bincount(xp, x, /, minlength=0):
    """How often each integer occurs; on a device the host waits for the largest.

    Args:
        x (N): integers from 0 on.
        minlength: the result is at least as long.

    Returns:
        (K): int64, K = max(x) + 1 or `minlength`.

    Raises:
        ArgumentError: a negative integer.

    Source: NumPy, `bincount`.
    """
    return xp.bincount(x, minlength=minlength)


@bincount.samples
def _(make):
    yield make.integers(4, 7),
    yield make.integers(4, 0), 3
