"""Ops that join, cut, repeat and move elements."""
from itertools import accumulate
from math import prod
from operator import index

from ..errors import ArgumentError, ShapeError, message
from ..op import primitive
from .shape import reshape, spread_method

__all__ = ["chunk", "concat", "diag", "diagonal", "flip", "repeat", "repeat_interleave", "roll", "split",
           "stack", "tile", "tril", "triu", "unstack"]


# -- joining and cutting ---------------------------------------------------------

@primitive("xs(_)+ -> (_)", exact=True)
def concat(xp, xs, /, axis=0):
    """Join tensors along an axis that they have.

    Args:
        xs: a sequence of tensors of one dtype, equal in all sizes but along the axis.
        axis: which one; None joins them flattened.

    Returns:
        (_): as long along the axis as all of xs together.

    Raises:
        ArgumentError: their shapes differ elsewhere, or there is no such axis.
        ShapeError: there are none.

    Source: Python array API standard 2024.12, `concat`.
    """
    return xp.concatenate(xs, axis)


@concat.vjp
def _(g, xs_shape, axis):
    if axis is None:
        parts = split(g, [prod(shape) for shape in xs_shape])
        return tuple([reshape(part, shape) for part, shape in zip(parts, xs_shape)])
    return split(g, [shape[axis] for shape in xs_shape], axis)


@concat.samples
def _(make):
    yield [make.normal(2, 3), make.normal(2, 4), make.normal(2, 1)], -1
    yield [make.normal(2, 3), make.normal(), make.normal(0, 3)], None
    yield [make.normal(2, 3)],


@primitive("xs(*)+ -> (_)", exact=True)
def stack(xp, xs, /, axis=0):
    """Join tensors along a new axis.

    Args:
        xs (*): a sequence of tensors of one dtype and shape.
        axis: where the new axis stands in the result.

    Returns:
        (*) with one more axis, as long as the sequence.

    Raises:
        ArgumentError: no such axis.
        ShapeError: their shapes differ, or there are none.

    Source: Python array API standard 2024.12, `stack`.
    """
    return xp.stack(xs, axis)


@stack.vjp
def _(g, axis):
    return unstack(g, axis)


@stack.samples
def _(make):
    yield [make.normal(2, 3), make.normal(2, 3)],
    yield [make.normal(2, 3), make.normal(2, 3), make.normal(2, 3)], -1
    yield [make.normal()],


@primitive("x(_) -> (_) +", methods=["unstack", "unbind"], exact=True)
def unstack(xp, x, /, axis=0):
    """Take apart along an axis, which goes: the inverse of `stack`.

    Args:
        x (_): any dtype.
        axis: which one.

    Returns:
        as many views (_) of x as the axis is long.

    Raises:
        ArgumentError: no such axis.

    Source: Python array API standard 2024.12, `unstack`.
    """
    return list(xp.moveaxis(x, axis, 0))


@unstack.vjp
def _(g, axis):
    return stack(g, axis)


@unstack.samples
def _(make):
    yield make.normal(2, 3),
    yield make.normal(2, 3, 2), -2


@primitive("x(_) -> (_) +", methods=["split"], exact=True)
def split(xp, x, /, sizes, axis=0):
    """Cut along an axis into pieces of given lengths.

    Args:
        x (_): any dtype.
        sizes: the pieces' lengths, which add up to the axis; or one for all, and the last gets what is left.
        axis: which one.

    Returns:
        one view (_) of x per piece.

    Raises:
        ArgumentError: there is no such axis.
        ShapeError: the lengths do not add up.

    Source: PyTorch, `torch.split`.
    """
    length = x.shape[axis]
    if isinstance(sizes, int):
        sizes = _equal(length, sizes)
    if sum(sizes) != length or min(sizes, default=0) < 0:
        raise ShapeError(message("split", "sizes", f"lengths adding up to {length}, axis {axis} of x", sizes))
    return _pieces(x, sizes, axis)


@primitive("x(_) -> (_) +", methods=["chunk"], exact=True)
def chunk(xp, x, /, chunks, axis=0):
    """Cut along an axis into a number of pieces of one length.

    Args:
        x (_): any dtype.
        chunks: how many. Where the axis is no multiple of it, the last piece is shorter, or there are fewer.
        axis: which one.

    Returns:
        the pieces, views (_) of x.

    Raises:
        ArgumentError: there is no such axis, or `chunks` is not positive.

    Source: PyTorch, `torch.chunk`.
    """
    if chunks < 1:
        raise ArgumentError(message("chunk", "chunks", "a positive number", chunks))
    return _pieces(x, _equal(x.shape[axis], -(-x.shape[axis] // chunks) or 1), axis)


@split.vjp
@chunk.vjp
def _(g, axis):
    return concat(g, axis)


@split.samples
def _(make):
    yield make.normal(5, 3), (2, 3)
    yield make.normal(2, 6), (1, 0, 5), -1
    yield make.normal(2, 5), 2, 1


@chunk.samples
def _(make):
    yield make.normal(6, 2), 3
    yield make.normal(2, 5), 2, -1


def _equal(length, size):
    """Lengths of pieces: all `size`, but the last one."""
    if size < 1:
        raise ArgumentError(message("split", "sizes", "positive lengths", size))
    return [min(size, length - start) for start in range(0, length, size)] or [0]


def _pieces(x, sizes, axis):
    before = (slice(None),) * range(x.ndim)[axis]
    return [x[(*before, slice(stop - size, stop))] for size, stop in zip(sizes, accumulate(sizes))]


# -- moving and repeating ----------------------------------------------------------

@primitive("x(*) -> (*)", methods=["roll"], exact=True)
def roll(xp, x, /, shift, axis=None):
    """Shift elements along axes; those that leave at the end come back at the start.

    Args:
        x (*): any dtype.
        shift: by how many places; negative: towards the start. A tuple: one for each axis.
        axis: which one, or a tuple of them; None: all elements, in row-major order.

    Returns:
        (*): out[i] = x[i - shift].

    Raises:
        ArgumentError: no such axis.

    Source: Python array API standard 2024.12, `roll`.
    """
    return xp.roll(x, shift, axis)


@roll.vjp
def _(g, shift, axis):
    return roll(g, -shift if isinstance(shift, int) else [-s for s in shift], axis)


@roll.samples
def _(make):
    yield make.normal(2, 3), 2
    yield make.normal(2, 5), -2, 1
    yield make.normal(3, 4), (1, -1), (0, 1)


@primitive("x(*) -> (*)", methods=["flip"], exact=True)
def flip(xp, x, /, axis=None):
    """Reverse the order of elements along axes.

    Args:
        x (*): any dtype.
        axis: which one, or a tuple of them; None: all.

    Returns:
        (*): a view of x.

    Raises:
        ArgumentError: no such axis.

    Source: Python array API standard 2024.12, `flip`.
    """
    return xp.flip(x, axis)


@flip.vjp
def _(g, axis):
    return flip(g, axis)


@flip.samples
def _(make):
    yield make.normal(2, 3),
    yield make.normal(2, 3, 2), (0, -1)
    yield make.normal(2, 3), 1


@primitive("x(_) -> (_)", exact=True)
def tile(xp, x, /, repetitions):
    """Lay copies of the whole side by side.

    Args:
        x (_): any dtype.
        repetitions: how many copies, per axis; the shorter of x.shape and this gets ones in front.
            The method takes them one by one, too.

    Returns:
        (_): sizes x.shape * repetitions.

    Raises:
        ArgumentError: a negative number.

    Source: Python array API standard 2024.12, `tile`.
    """
    return xp.tile(x, repetitions)


@tile.vjp
def _(g, x_shape, repetitions):
    times = repetitions if isinstance(repetitions, (tuple, list)) else (repetitions,)
    times = (1,) * (len(x_shape) - len(times)) + tuple(times)
    sizes = (1,) * (len(times) - len(x_shape)) + x_shape
    folded = reshape(g, [n for pair in zip(times, sizes) for n in pair])
    return reshape(folded.sum(axis=tuple(range(0, folded.ndim, 2))), x_shape)


@tile.samples
def _(make):
    yield make.normal(2, 3), 2
    yield make.normal(3), (2, 1, 2)
    yield make.normal(2, 3), (2, 3)
    yield make.normal(), (3,)


spread_method(tile, "tile")


@primitive("x(_) -> (_)", methods=["repeat", "repeat_interleave"], exact=True)
def repeat(xp, x, /, repeats, *, axis=None):
    """Repeat each element. `repeat_interleave` is the same; for copies of the whole see `tile`.

    Args:
        x (_): any dtype.
        repeats: how often, an integer.
        axis: along which; None: of the flattened x.

    Returns:
        (_): `repeats` times as long along the axis.

    Raises:
        ArgumentError: no such axis, or a negative number.

    Source: Python array API standard 2024.12, `repeat`.
    """
    return xp.repeat(x, index(repeats), axis if axis is None else range(x.ndim)[axis])


@repeat.vjp
def _(g, x_shape, repeats, axis):
    shape, axis = ((prod(x_shape),), 0) if axis is None else (x_shape, axis % len(x_shape))
    grouped = reshape(g, (*shape[:axis + 1], repeats, *shape[axis + 1:]))
    return reshape(grouped.sum(axis=axis + 1), x_shape)


@repeat.samples
def _(make):
    yield make.normal(2, 3), 2
    yield make.normal(2, 3), 3, {"axis": 0}
    yield make.normal(2, 3, 2), 2, {"axis": -2}


repeat_interleave = repeat


# -- triangles and diagonals -----------------------------------------------------------

@primitive("x(*,M,N) -> (*,M,N)", methods=["tril"], exact=True)
def tril(xp, x, /, k=0):
    """The lower triangles of matrices; zeros above.

    Args:
        x (*, M, N): any dtype.
        k: the last diagonal that is kept; 0 the main one, positive above it.

    Returns:
        (*, M, N).

    Raises:
        ShapeError: x has fewer than two axes.

    Source: Python array API standard 2024.12, `tril`.
    """
    return xp.tril(x, k)


@tril.vjp
def _(g, k):
    return tril(g, k)


@primitive("x(*,M,N) -> (*,M,N)", methods=["triu"], exact=True)
def triu(xp, x, /, k=0):
    """The upper triangles of matrices; zeros below.

    Args:
        x (*, M, N): any dtype.
        k: the first diagonal that is kept; 0 the main one, positive above it.

    Returns:
        (*, M, N).

    Raises:
        ShapeError: x has fewer than two axes.

    Source: Python array API standard 2024.12, `triu`.
    """
    return xp.triu(x, k)


@triu.vjp
def _(g, k):
    return triu(g, k)


@tril.samples
@triu.samples
def _(make):
    yield make.normal(3, 4),
    yield make.normal(2, 4, 3), -1
    yield make.normal(2, 2), 1


@primitive("x(_) -> (_)", methods=["diagonal"], exact=True)
def diagonal(xp, x, /, offset=0, axis1=0, axis2=1):
    """The diagonals of matrices.

    Args:
        x (_): two axes or more, any dtype.
        offset: which diagonal: 0 the main one, positive above it, negative below.
        axis1, axis2: the axes of rows and of columns.

    Returns:
        (_): a view of x; the two axes are gone, the diagonal is the last one.

    Raises:
        ArgumentError: no such axes.

    Source: NumPy, `diagonal`.
    """
    return x.diagonal(offset, axis1, axis2)


@diagonal.vjp
def _(g, x_shape, offset, axis1, axis2):
    return _undiagonal(g, x_shape, offset, axis1, axis2)


@diagonal.samples
def _(make):
    yield make.normal(3, 4),
    yield make.normal(2, 3, 4), -1, 2, 1
    yield make.normal(3, 2, 2), 1, 0, -1


@primitive("x(_) -> (_)", exact=True)
def _undiagonal(xp, x, /, shape, offset=0, axis1=0, axis2=1):
    """Zeros of a shape with x on its diagonals: the transpose of `diagonal`."""
    out = xp.zeros(shape, x.dtype)
    along = xp.arange(x.shape[-1])
    xp.moveaxis(out, (axis1, axis2), (-2, -1))[..., along + max(-offset, 0), along + max(offset, 0)] = x
    return out


@_undiagonal.vjp
def _(g, offset, axis1, axis2):
    return diagonal(g, offset, axis1, axis2)


@primitive("x(_) -> (_)", methods=["diag"], exact=True)
def diag(xp, x, /, offset=0):
    """The square matrix with x on a diagonal; of a matrix, the vector of its diagonal.

    Args:
        x (N) or (M, N): any dtype.
        offset: which diagonal: 0 the main one, positive above it, negative below.

    Returns:
        (N + |offset|, N + |offset|), or the diagonal (K).

    Raises:
        ArgumentError: x has neither one axis nor two.

    Source: NumPy, `diag`.
    """
    return xp.diag(x, offset)


@diag.vjp
def _(g, x_shape, offset):
    return diagonal(g, offset) if len(x_shape) == 1 else _undiagonal(g, x_shape, offset)


@diag.samples
def _(make):
    yield make.normal(3),
    yield make.normal(2), -1
    yield make.normal(3, 4), 1
