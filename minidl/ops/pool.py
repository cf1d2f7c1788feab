"""Pooling over windows of any number of axes.

The largest element of a box, and the sum, are those of the rows' largest, or of the rows' sums: each
axis is pooled by itself, the last one first.  The windows on an axis are a list of pairs of slices, one
per element of a window: these outputs see those elements.  What is computed, and its gradient, are loops
over that list; nothing is copied into windows.
"""
from dataclasses import dataclass
from functools import cached_property, wraps
from math import prod

import numpy as np

from ..errors import ShapeError, message
from ..op import fused, primitive
from .conv import pairs, per_axis
from .creation import zeros
from .scatter import scatter, scatter_add

__all__ = [
    "max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool_with_indices",
    "adaptive_max_pool", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "adaptive_max_pool_with_indices", "max_unpool", "max_unpool1d", "max_unpool2d", "max_unpool3d",
    "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "adaptive_avg_pool", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"]


# -- the largest element --------------------------------------------------------------

@fused("x(_) -> (_)")
def max_pool(x, /, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, rank=2):
    """The largest element of each window.

    Args:
        x (..., H, W): images.
        kernel_size (R, S): a window's elements; an integer, or one per axis.
        stride: elements between windows; an integer, or one per axis. None: kernel_size.
        padding: what windows may reach over the edges, where nothing is; an integer, one per axis, or a
            pair (before, after) per axis.
        dilation: elements between those of a window; an integer, or one per axis.
        ceil_mode: one more window where the last one leaves something over.
        rank: how many axes are pooled, the last ones: max_pool3d is this with rank=3.

    Returns:
        (..., P, Q), P = (H + padding before and after - dilation (R - 1) - 1) / stride + 1, rounded down or,
        for `ceil_mode`, up; Q likewise. A window that would begin behind the edge is left out. The
        gradient goes to the largest element, the first one of equals.

    Raises:
        ShapeError: a window is larger than the padded x, or lies in the padding alone.
        ArgumentError: a parameter is none of those named above.

    Source: Riesenhuber, Poggio 1999, "Hierarchical models of object recognition in cortex"; PyTorch,
    `torch.nn.functional.max_pool2d`.
    """
    return max_pool_with_indices(x, kernel_size, stride, padding, dilation, ceil_mode, rank)[0]


@max_pool.forward
def _(xp, x, kernel_size, stride, padding, dilation, ceil_mode, rank):
    windows = _slides("max_pool", x.shape, kernel_size, stride, padding, dilation, ceil_mode, rank)
    return _largest(xp, x, windows), None


@max_pool.backward
def _(xp, g, kept, x, kernel_size, stride, padding, dilation, ceil_mode, rank):
    windows = _slides("max_pool", x.shape, kernel_size, stride, padding, dilation, ceil_mode, rank)
    return _largest_gradient(xp, g, x, windows),


@primitive("x(_) -> (_) (_)")
def max_pool_with_indices(xp, x, /, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, rank=2):
    """What `max_pool` gives of x, and where it is: indices (..., P, Q), int64, row * W + column."""
    windows = _slides("max_pool", x.shape, kernel_size, stride, padding, dilation, ceil_mode, rank)
    return _largest_with_indices(xp, x, windows)


@max_pool_with_indices.vjp
def _(g, out, x_shape, rank):
    return _put_back(g[0], out[1], x_shape, rank)


@fused("x(_) -> (_)")
def adaptive_max_pool(x, /, output_size, rank=2):
    """The largest element of each of so many equal parts.

    Args:
        x (..., H, W): images.
        output_size (P, Q): how many parts; an integer, or one per axis, None for as many as elements. Part i
            has the elements from i H / P, rounded down, to (i + 1) H / P, rounded up.
        rank: as in `max_pool`.

    Returns:
        (..., P, Q). The gradient goes to the largest element, the first one of equals.

    Raises:
        ShapeError: x has an empty axis.
        ArgumentError: a size below 1.

    Source: PyTorch, `torch.nn.functional.adaptive_max_pool2d`.
    """
    return adaptive_max_pool_with_indices(x, output_size, rank)[0]


@adaptive_max_pool.forward
def _(xp, x, output_size, rank):
    return _largest(xp, x, _parts("adaptive_max_pool", x.shape, output_size, rank)), None


@adaptive_max_pool.backward
def _(xp, g, kept, x, output_size, rank):
    return _largest_gradient(xp, g, x, _parts("adaptive_max_pool", x.shape, output_size, rank)),


@primitive("x(_) -> (_) (_)")
def adaptive_max_pool_with_indices(xp, x, /, output_size, rank=2):
    """What `adaptive_max_pool` gives of x, and where it is, as `max_pool_with_indices` says it."""
    return _largest_with_indices(xp, x, _parts("adaptive_max_pool", x.shape, output_size, rank))


@adaptive_max_pool_with_indices.vjp
def _(g, out, x_shape, rank):
    return _put_back(g[0], out[1], x_shape, rank)


def _put_back(g, indices, shape, rank):
    """Zeros of a shape, to which g is added at positions in the last `rank` axes."""
    lead, size, flat = shape[:len(shape) - rank], prod(shape[len(shape) - rank:]), _flat(g.shape, rank)
    none = zeros((*lead, size), g.dtype, g.device)
    return scatter_add(none, -1, indices.reshape(flat), g.reshape(flat)).reshape(shape)


def _flat(shape, rank):
    """A shape with the last `rank` axes as one."""
    return *shape[:len(shape) - rank], prod(shape[len(shape) - rank:])


@fused("x(_) indices(_):int -> (_)")
def max_unpool(x, indices, /, kernel_size, stride=None, padding=0, output_size=None, rank=2):
    """Put pooled values back where they came from, with zeros around them.

    Args:
        x (..., P, Q): values.
        indices (..., P, Q): row * W + column in the result, as `max_pool_with_indices` says.
        kernel_size, stride, padding: as in `max_pool`; they give the result's size.
        output_size (H, W): or this does. None: (P - 1) stride + kernel_size - padding before and after.

    Returns:
        (..., H, W). Of values for the same position one is there.

    Raises:
        ShapeError: indices are not as x is.
        ArgumentError: an index out of range; a parameter is none of those named above.

    Source: Zeiler, Fergus 2013, "Visualizing and Understanding Convolutional Networks", arXiv:1311.2901.
    """
    if x.shape != indices.shape:
        raise ShapeError(message("max_unpool", "indices", f"{x.shape} as x", indices.shape))
    lead, counts, flat = x.shape[:x.ndim - rank], x.shape[x.ndim - rank:], _flat(x.shape, rank)
    kernel = per_axis("max_unpool", "kernel_size", kernel_size, rank, 1)
    stride = per_axis("max_unpool", "stride", kernel if stride is None else stride, rank, 1)
    size = output_size or [(p - 1) * s + k - sum(pad) for p, s, k, pad in
                           zip(counts, stride, kernel, pairs("max_unpool", "padding", padding, rank))]
    size = per_axis("max_unpool", "output_size", tuple(size)[-rank:], rank, 1)
    none = zeros((*lead, prod(size)), x.dtype, x.device)
    return scatter(none, -1, indices.reshape(flat), x.reshape(flat)).reshape(*lead, *size)


# -- means ----------------------------------------------------------------------------

@primitive("x(_):float -> (_)")
def avg_pool(xp, x, /, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
             divisor_override=None, rank=2):
    """The mean of each window.

    Args:
        x (..., H, W): images.
        kernel_size, stride, ceil_mode: as in `max_pool`.
        padding: rows and columns of zeros around x, as in `max_pool`.
        count_include_pad: does the mean count those zeros?
        divisor_override: by what sums are divided instead of their number of elements.

    Returns:
        (..., P, Q) as `max_pool`.

    Raises:
        ShapeError, ArgumentError: as `max_pool`.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B;
    PyTorch, `torch.nn.functional.avg_pool2d`.
    """
    windows = _slides("avg_pool", x.shape, kernel_size, stride, padding, 1, ceil_mode, rank)
    return _means(xp, x, windows, count_include_pad, divisor_override)


@avg_pool.vjp
def _(g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, rank):
    windows = _slides("avg_pool", x_shape, kernel_size, stride, padding, 1, ceil_mode, rank)
    return _unpool(g, windows, count_include_pad, divisor_override)


@primitive("x(_):float -> (_)")
def adaptive_avg_pool(xp, x, /, output_size, rank=2):
    """The mean of each of so many equal parts.

    Args:
        x (..., H, W): images.
        output_size (P, Q): as in `adaptive_max_pool`; (1, 1) is the mean of each image.

    Returns:
        (..., P, Q).

    Raises:
        ShapeError, ArgumentError: as `adaptive_max_pool`.

    Source: Lin, Chen, Yan 2013, "Network In Network", arXiv:1312.4400, section 3.2; PyTorch,
    `torch.nn.functional.adaptive_avg_pool2d`.
    """
    return _means(xp, x, _parts("adaptive_avg_pool", x.shape, output_size, rank))


@adaptive_avg_pool.vjp
def _(g, x_shape, output_size, rank):
    return _unpool(g, _parts("adaptive_avg_pool", x_shape, output_size, rank))


@primitive("x(_):float -> (_)")
def _pool(xp, x, /, windows, padded=True, divisor=None):
    return _means(xp, x, windows, padded, divisor)


@_pool.vjp
def _(g, windows, padded, divisor):
    return _unpool(g, windows, padded, divisor)


@primitive("x(_):float -> (_)")
def _unpool(xp, x, /, windows, padded=True, divisor=None):
    """Give each element its share of the means that it went into: the transpose of `_pool`."""
    x = x if divisor is None else x / divisor
    for axis, w in zip(range(-len(windows), 0), windows):
        x = x if divisor is not None else x / w.lengths(xp, x.dtype, padded, axis)
        out = xp.zeros_like(x, shape=_with(x.shape, axis, w.size))
        if w.count == 1:                               # (in a single window nothing is added up)
            out[_at(axis, slice(w.pairs[0][1].start, w.pairs[-1][1].stop))] = x
        else:
            for outputs, elements in w.pairs:
                out[_at(axis, elements)] += x[_at(axis, outputs)]
        x = out
    return x


@_unpool.vjp
def _(g, windows, padded, divisor):
    return _pool(g, windows, padded, divisor)


@fused("x(_):float -> (_)")
def lp_pool(x, /, norm_type, kernel_size, stride=None, ceil_mode=False, rank=2):
    """The p-norm of each window, without absolute values: (sum of x^p)^(1/p).

    Args:
        x (..., H, W): images.
        norm_type: p. 1 gives sums; the larger, the nearer to the largest element.
        kernel_size, stride, ceil_mode: as in `max_pool`.

    Returns:
        (..., P, Q) as `max_pool`. A window that `ceil_mode` adds counts as if it were as long as others.

    Raises:
        ShapeError, ArgumentError: as `max_pool`.

    Source: Sermanet, Chintala, LeCun 2012, arXiv:1204.3968, section 2.2; PyTorch,
    `torch.nn.functional.lp_pool2d`.
    """
    kernel = per_axis("lp_pool", "kernel_size", kernel_size, rank, 1)
    means = avg_pool(x ** norm_type, kernel, stride, 0, ceil_mode, rank=rank)
    return (means * prod(kernel)) ** (1.0 / norm_type)


# -- under their names in one, two, three axes ----------------------------------------

def _on(rank, op):
    """`op` on the last `rank` axes."""
    @wraps(op)
    def function(*inputs, **params):
        return op(*inputs, rank=rank, **params)

    function.__name__ = function.__qualname__ = f"{op.__name__}{rank}d"
    return function


def _either(pool, both):
    """`pool`, or with `return_indices` what gives `both` values and indices."""
    @wraps(pool)
    def function(x, *args, return_indices=False, **params):
        return (both if return_indices else pool)(x, *args, **params)

    return function


max_pool1d, max_pool2d, max_pool3d = [
    _either(_on(d, max_pool), _on(d, max_pool_with_indices)) for d in (1, 2, 3)]
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = [
    _either(_on(d, adaptive_max_pool), _on(d, adaptive_max_pool_with_indices)) for d in (1, 2, 3)]
max_unpool1d, max_unpool2d, max_unpool3d = [_on(d, max_unpool) for d in (1, 2, 3)]
avg_pool1d, avg_pool2d, avg_pool3d = [_on(d, avg_pool) for d in (1, 2, 3)]
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = [_on(d, adaptive_avg_pool) for d in (1, 2, 3)]
lp_pool1d, lp_pool2d, lp_pool3d = [_on(d, lp_pool) for d in (1, 2, 3)]


# -- on arrays ------------------------------------------------------------------------

def _largest(xp, x, windows):
    """The largest of each window."""
    for axis, w in _last_first(windows):
        x = _largest_along(xp, x, axis, w)
    return x


def _largest_along(xp, x, axis, w):
    out = xp.full_like(x, _lowest(xp, x.dtype), shape=_with(x.shape, axis, w.count))
    for outputs, elements in w.pairs:
        view = out[_at(axis, outputs)]
        xp.maximum(view, x[_at(axis, elements)], out=view)
    return out


def _largest_gradient(xp, g, x, windows):
    """g (..., P, Q) to the first of the largest elements of each window of x (..., H, W)."""
    steps = [x]
    for axis, w in _last_first(windows):
        steps.append(_largest_along(xp, steps[-1], axis, w))
    for axis, w in enumerate(windows, -len(windows)):
        largest, x = steps.pop(), steps[-1]
        out, found = xp.zeros_like(g, shape=x.shape), xp.zeros_like(largest, dtype=bool)
        for outputs, elements in w.pairs:
            here, there = _at(axis, outputs), _at(axis, elements)
            hit = ((x[there] == largest[here]) | (x[there] != x[there])) & ~found[here]
            found[here] |= hit
            out[there] += g[here] * hit
        g = out
    return g


def _largest_with_indices(xp, x, windows):
    """(the largest of each window, where it is). The first of equals is tried last, and stays."""
    sizes = [w.size for w in windows]
    where = xp.broadcast_to(xp.arange(prod(sizes)).reshape(sizes), x.shape)
    for axis, w in _last_first(windows):
        out = xp.full_like(x, _lowest(xp, x.dtype), shape=_with(x.shape, axis, w.count))
        at = xp.zeros_like(out, dtype="int64")
        for outputs, elements in reversed(w.pairs):
            here, there = _at(axis, outputs), _at(axis, elements)
            hit = (x[there] >= out[here]) | (x[there] != x[there])                     # NaN is the largest
            xp.copyto(out[here], x[there], where=hit)
            xp.copyto(at[here], where[there], where=hit)
        x, where = out, at
    return x, where


def _means(xp, x, windows, padded=True, divisor=None):
    """The mean of each window, or its sum divided by `divisor`."""
    single = {axis: w.pairs for axis, w in _last_first(windows) if w.count == 1}
    if single:                                         # all at once: NumPy is quickest at long sums
        for axis, seen in single.items():
            x = x[_at(axis, slice(seen[0][1].start, seen[-1][1].stop))]
        x = x.sum(tuple(single), keepdims=True)
    for axis, w in _last_first(windows):
        if axis not in single:
            out = xp.zeros_like(x, shape=_with(x.shape, axis, w.count))
            for outputs, elements in w.pairs:
                out[_at(axis, outputs)] += x[_at(axis, elements)]
            x = out
        if divisor is None:
            x /= w.lengths(xp, x.dtype, padded, axis)
    return x if divisor is None else x / divisor


def _last_first(windows):
    """[(axis, windows on it)], the last axis first; axes count from the end."""
    return [*enumerate(windows, -len(windows))][::-1]


def _at(axis, part):
    """The index of a part of an axis, which counts from the end."""
    return (..., part, *[slice(None)] * (-1 - axis))


def _with(shape, axis, size):
    """A shape with another size of an axis."""
    return *shape[:axis], size, *shape[len(shape) + axis + 1:]


def _lowest(xp, dtype):
    """What every element is at least."""
    return xp.iinfo(dtype).min if dtype.kind in "iu" else dtype.kind != "b" and -xp.inf


# -- where windows lie ----------------------------------------------------------------

@dataclass(frozen=True)
class Slide:
    """`count` windows that lie `stride` apart on an axis, the first one `before` elements before it."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int

    @cached_property
    def pairs(self):
        """[(outputs, elements)], for each element of a window: those outputs see those elements."""
        found = []
        for shift in range(-self.before, self.kernel * self.dilation - self.before, self.dilation):
            low = max(0, -(shift // self.stride))
            high = min(self.count, (self.size - 1 - shift) // self.stride + 1)
            if low < high:
                first, last = low * self.stride + shift, (high - 1) * self.stride + shift
                found.append((slice(low, high), slice(first, last + 1, self.stride)))
        return found

    @property
    def filled(self):
        """Has every window an element?"""
        reached = 0
        for outputs, _ in reversed(self.pairs):                  # later elements are seen by earlier windows
            reached = outputs.stop if outputs.start <= reached else -1
        return reached == self.count

    def lengths(self, xp, dtype, padded, axis):
        """How many elements each window has, with or without those of the padding: a number, or an array."""
        low, high = (-self.before, self.size + self.after) if padded else (0, self.size)
        if -self.before >= low and (self.count - 1) * self.stride + self.kernel - self.before <= high:
            return self.kernel
        start = xp.arange(self.count) * self.stride - self.before
        lengths = xp.minimum(start + self.kernel, high) - xp.maximum(start, low)
        return lengths.astype(dtype).reshape(-1, *[1] * (-1 - axis))


@dataclass(frozen=True)
class Parts:
    """`count` parts of an axis, which overlap where they do not divide it."""

    size: int
    count: int

    @cached_property
    def pairs(self):
        """As those of `Slide`, one by one."""
        return [(slice(i, i + 1), slice(j, j + 1)) for i in range(self.count)
                for j in range(i * self.size // self.count, -(-(i + 1) * self.size // self.count))]

    def lengths(self, xp, dtype, padded, axis):
        """How many elements each part has."""
        i = xp.arange(self.count)
        lengths = -(-(i + 1) * self.size // self.count) - i * self.size // self.count
        return lengths.astype(dtype).reshape(-1, *[1] * (-1 - axis))


def _slides(op, shape, kernel_size, stride, padding, dilation, ceil_mode, rank):
    """The windows on each of the last `rank` axes."""
    kernel = per_axis(op, "kernel_size", kernel_size, rank, 1)
    stride = per_axis(op, "stride", kernel if stride is None else stride, rank, 1)
    dilation, pads = per_axis(op, "dilation", dilation, rank, 1), pairs(op, "padding", padding, rank)
    windows = []
    for n, k, s, d, (before, after) in zip(_sizes(op, shape, rank), kernel, stride, dilation, pads):
        room = n + before + after - d * (k - 1) - 1
        count = (room + (s - 1) * bool(ceil_mode)) // s + 1
        count -= bool(ceil_mode) and (count - 1) * s >= n + before    # it would begin behind the edge
        window = Slide(n, k, s, d, before, after, count)
        if count < 1 or not window.filled:
            wanted = f"an element in each window {kernel} with padding {padding}"
            raise ShapeError(message(op, "x", wanted, shape, "Use smaller windows, or less padding."))
        windows.append(window)
    return windows


def _parts(op, shape, output_size, rank):
    """The same for `output_size` parts of each axis. Equal ones are windows that slide."""
    sizes = _sizes(op, shape, rank)
    wanted = output_size if isinstance(output_size, (tuple, list)) else [output_size] * rank
    wanted = per_axis(op, "output_size", [n if w is None else w for n, w in zip(sizes, wanted)], rank, 1)
    if min(sizes) < 1:
        raise ShapeError(message(op, "x", "axes that are not empty", shape))
    return [Parts(n, w) if n % w else Slide(n, n // w, n // w, 1, 0, 0, w) for n, w in zip(sizes, wanted)]


def _sizes(op, shape, rank):
    if len(shape) < rank:
        raise ShapeError(message(op, "x", f"at least {rank} axes", shape))
    return shape[len(shape) - rank:]


# -- samples --------------------------------------------------------------------------

def _slide_samples(make):
    yield make.distinct(2, 3, 6, 5), 2
    yield make.distinct(1, 2, 7, 6), (3, 2), (2, 1), (1, 0)
    yield make.distinct(2, 7, 5), 3, 2, ((0, 1), (1, 1))
    yield make.distinct(2, 2, 6), 3, 2, {"ceil_mode": True, "rank": 1}
    yield make.distinct(1, 3, 4, 3), 2, 1, 1, {"rank": 3}
    yield make.distinct(3, 4), (3, 4)
    yield make.distinct(0, 4, 4), 2


@max_pool.samples
@max_pool_with_indices.samples
def _(make):
    yield from _slide_samples(make)
    yield make.distinct(2, 8, 7), 2, 1, 1, (3, 2)


@avg_pool.samples
def _(make):
    yield from _slide_samples(make)
    yield make.normal(2, 5, 6), 3, 2, 1, True, False
    yield make.normal(2, 5, 6), 3, 2, (1, 0), True, True
    yield make.normal(2, 5, 6), 3, 2, 1, False, True, 5


@adaptive_max_pool.samples
@adaptive_max_pool_with_indices.samples
@adaptive_avg_pool.samples
def _(make):
    yield make.distinct(2, 3, 6, 4), (3, 4)
    yield make.distinct(2, 7, 5), (3, None)
    yield make.distinct(2, 3, 4), 1
    yield make.distinct(3, 5), 7, {"rank": 1}
    yield make.distinct(0, 5, 5), 2


@max_unpool.samples
def _(make):
    yield make.normal(2, 2, 2), np.array([[[0, 3], [9, 10]], [[5, 2], [8, 15]]]), 2
    yield make.normal(1, 3), np.array([[4, 0, 6]]), 2, {"output_size": (7,), "rank": 1}


@lp_pool.samples
def _(make):
    yield make.positive(2, 4, 6), 2, 2
    yield make.positive(2, 5, 5), 3, 2, 2, True
    yield make.positive(2, 6), 1, 3, 2, {"rank": 1}
