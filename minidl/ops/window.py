"""Padding, and sliding windows: what convolution, pooling and folding are made of."""
from itertools import product
from numbers import Integral

from ..errors import ArgumentError, ShapeError, message
from ..op import primitive
from ..shapes import unbroadcast_axes

__all__ = ["pad", "windows", "fold_windows"]

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate", "edge": "replicate",
         "circular": "circular", "wrap": "circular"}


# -- pad -----------------------------------------------------------------------------

@primitive("x(_) -> (_)", methods=["pad"], exact=True)
def pad(xp, x, /, widths, mode="constant", value=0.0):
    """Put elements before and after each axis.

    Args:
        x (_): any dtype.
        widths: a pair (before, after) for each of the last len(widths) axes: ((1, 1), (2, 2)) pads the rows
            and the columns of images (N, C, H, W). Negative numbers crop, before anything is put there.
        mode: what is put there. "constant": `value`; "reflect": the inside mirrored at its outermost element;
            "replicate" or "edge": that element; "circular" or "wrap": the inside from its other end on.
        value: a number, for mode "constant".

    Returns:
        (_): sizes x.shape + before + after.

    Raises:
        ArgumentError: an unknown mode; widths that are no pairs, or more than x has axes.
        ShapeError: too little is left inside: "reflect" wants two elements, "replicate" and "circular" one.

    Source: NumPy, `pad`; PyTorch, `torch.nn.functional.pad`.
    """
    kept, inside, shape, borders = _layout(x.shape, widths, mode)
    out = xp.full(shape, value, x.dtype) if value else xp.zeros(shape, x.dtype)
    out[inside] = x[kept]
    for place, source in borders:
        out[place] = out[source]
    return out


@pad.vjp
def _(g, x_shape, widths, mode):
    return _unpad(g, x_shape, widths, mode)


@primitive("x(_) -> (_)")
def _unpad(xp, x, /, shape, widths, mode):
    """Add what is in the borders to where it came from: the transpose of `pad` from a shape."""
    kept, inside, _, borders = _layout(shape, widths, mode)
    out, x = xp.zeros(shape, x.dtype), x.copy() if borders else x
    for place, source in reversed(borders):
        part, target = x[place], x[source]                       # (views)
        wide = unbroadcast_axes(part.shape, target.shape)        # "replicate" has one source for many places
        target += part.sum(wide, keepdims=True) if wide else part
    out[kept] = x[inside]
    return out


@_unpad.vjp
def _(g, widths, mode):
    return pad(g, widths, mode)


@pad.samples
def _(make):
    yield make.normal(3, 4), ((1, 2), (0, 1))
    yield make.normal(2, 3), ((1, 2),), "constant", 0.5
    yield make.normal(2, 4, 5), ((1, 2), (3, 0)), "reflect"
    yield make.normal(2, 3), ((1, 0), (5, 6)), "reflect"
    yield make.normal(2, 3), ((1, 2), (4, 0)), "replicate"
    yield make.normal(2, 3), ((3, 5), (1, 0)), "circular"
    yield make.normal(4, 5), ((-1, 2), (1, -2)), "reflect"
    yield make.normal(4, 5), ((-1, 2), (-1, -2))
    yield make.normal(0, 2), ((1, 1), (0, 0))


def _layout(shape, widths, mode):
    """What padding does to an array of a shape.

    Returns:
        the index of what it keeps; the index of that in the result; the result's shape; and the slices
        (place, source) of the result that fill its borders when copied in this order, axis after axis.
    """
    if mode not in MODES:
        raise ArgumentError(message("pad", "mode", f"one of {', '.join(MODES)}", repr(mode)))
    if len(widths) > len(shape) or not all([isinstance(w, (tuple, list)) and len(w) == 2 for w in widths]):
        raise ArgumentError(message("pad", "widths", f"pairs (before, after), {len(shape)} at most", widths,
                                    "Write ((1, 1), (2, 2)) to pad two axes."))
    lead, mode = len(shape) - len(widths), MODES[mode]
    kept, inside, sizes, borders = [], [], [], []
    for axis, (n, (before, after)) in enumerate(zip(shape[lead:], widths), lead):
        start, stop = max(-before, 0), n - max(-after, 0)
        before, after, n = max(before, 0), max(after, 0), stop - start
        needed = {"constant": 0, "reflect": 2, "replicate": 1, "circular": 1}[mode] if before or after else 0
        if n < needed:
            raise ShapeError(message("pad", "x", f"{needed} or more elements to {mode}, axis {axis}", shape))
        kept.append(slice(start, stop))
        inside.append(slice(before, before + n))
        sizes.append(before + n + after)
        if mode != "constant":
            rest = (slice(None),) * (len(shape) - 1 - axis)
            borders += [((..., to, *rest), (..., at, *rest)) for to, at in _steps(mode, before, n, after)]
    return (..., *kept), (..., *inside), (*shape[:lead], *sizes), borders


def _steps(mode, before, n, after):
    """The slices (place, source) for one axis. A border wider than the inside takes several steps."""
    low, high, total = before, before + n, before + n + after    # what lies between low and high is filled
    reach = {"reflect": n - 1, "circular": n, "replicate": total}[mode]
    while low > 0:
        m = min(low, reach)
        sources = {"reflect": slice(low + m, low, -1),
                   "circular": slice(low - m + n, low + n),
                   "replicate": slice(low, low + 1)}
        yield slice(low - m, low), sources[mode]
        low -= m
    while high < total:
        m = min(total - high, reach)
        sources = {"reflect": slice(high - 2, high - 2 - m if high - 2 >= m else None, -1),
                   "circular": slice(high - n, high - n + m),
                   "replicate": slice(high - 1, high)}
        yield slice(high, high + m), sources[mode]
        high += m


# -- windows ----------------------------------------------------------------------------

@primitive("x(_) -> (_)", methods=["windows"], exact=True)
def windows(xp, x, /, kernel, stride=1, dilation=1):
    """All positions of a window that slides over the last axes.

    Args:
        x (*, H, W, ...): any dtype.
        kernel (R, S, ...): the window's elements along each of the last len(kernel) axes.
        stride: steps between windows; an integer, or one per axis.
        dilation: steps between the elements of a window; likewise.

    Returns:
        (*, P, Q, ..., R, S, ...): a view of x, P = (H - dilation (R - 1) - 1) // stride + 1, Q likewise.

    Raises:
        ShapeError: x is smaller than the window.

    Source: Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document
    Processing".
    """
    lead = x.ndim - len(kernel)
    stride, dilation = [per_axis("windows", name, value, len(kernel), 1)
                        for name, value in (("stride", stride), ("dilation", dilation))]
    counts = _counts("windows", x.shape[lead:], kernel, stride, dilation)
    steps = x.strides[lead:]
    strides = [s * t for s, t in zip(steps, stride)] + [s * d for s, d in zip(steps, dilation)]
    shape, strides = (*x.shape[:lead], *counts, *kernel), (*x.strides[:lead], *strides)
    return xp.lib.stride_tricks.as_strided(x, shape, strides)


@windows.vjp
def _(g, x_shape, kernel, stride, dilation):
    return fold_windows(g, x_shape[len(x_shape) - len(kernel):], stride, dilation)


@windows.samples
def _(make):
    yield make.normal(2, 6, 5), (3, 2)
    yield make.normal(2, 2, 7, 6), (3, 2), (2, 1), (1, 2)
    yield make.normal(2, 7), (3,), 2
    yield make.normal(2, 3, 4, 3), (2, 2, 2), 1, (1, 2, 1)


@primitive("x(_) -> (_)", methods=["fold_windows"])
def fold_windows(xp, x, /, size, stride=1, dilation=1):
    """Add windows up where they came from: the transpose of `windows`.

    Args:
        x (*, P, Q, ..., R, S, ...): windows; quick where the memory order is (*, R, S, ..., P, Q, ...).
        size (H, W, ...): of what they were taken from.
        stride, dilation: as in `windows`.

    Returns:
        (*, H, W, ...): each element the sum over the windows that it is part of.

    Raises:
        ShapeError: `windows` of that size would not give x's shape.

    Source: as `windows`; "col2im".
    """
    n = len(size)
    kernel, lead = x.shape[x.ndim - n:], x.shape[:max(x.ndim - 2 * n, 0)]
    stride, dilation = [per_axis("fold_windows", name, value, n, 1)
                        for name, value in (("stride", stride), ("dilation", dilation))]
    counts = _counts("fold_windows", size, kernel, stride, dilation)
    if x.shape != (*lead, *counts, *kernel):
        raise ShapeError(message("fold_windows", "x", f"{counts} windows {kernel} in {tuple(size)}", x.shape))
    out = xp.zeros((*lead, *size), x.dtype)
    for at in product(*map(range, kernel)):
        place = [slice(r * d, r * d + s * (p - 1) + 1, s) for r, d, s, p in zip(at, dilation, stride, counts)]
        out[(..., *place)] += x[(..., *at)]
    return out


@fold_windows.vjp
def _(g, x_shape, size, stride, dilation):
    return windows(g, x_shape[len(x_shape) - len(size):], stride, dilation)


@fold_windows.samples
def _(make):
    yield make.normal(2, 4, 4, 3, 2), (6, 5)
    yield make.normal(2, 2, 2, 3, 2), (8, 5), (2, 2), (2, 1)
    yield make.normal(2, 2), (5,), 2


def per_axis(op, name, value, rank, least):
    """An integer per axis, none below `least`, from one for all or from as many."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * rank
    if len(values) != rank or not all([isinstance(v, Integral) and v >= least for v in values]):
        raise ArgumentError(message(op, name, f"an integer from {least} on, or {rank} of them", repr(value)))
    return tuple(map(int, values))


def _counts(op, size, kernel, stride, dilation):
    """How many windows there are along each axis."""
    counts = tuple([(n - d * (r - 1) - 1) // s + 1 for n, r, s, d in zip(size, kernel, stride, dilation)])
    if len(size) != len(kernel) or min(counts) < 1 or min(kernel) < 1:
        raise ShapeError(message(op, "kernel", f"a window that fits into {tuple(size)}",
                                 f"{tuple(kernel)} with dilation {tuple(dilation)}"))
    return counts
