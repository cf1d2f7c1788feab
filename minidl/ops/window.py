"""Padding, and sliding windows: what convolution, pooling and folding are made of."""
from itertools import product

from ..errors import ArgumentError, ShapeError, message
from ..op import primitive

__all__ = ["pad", "windows", "fold_windows"]

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate", "edge": "replicate",
         "circular": "circular", "wrap": "circular"}


# -- pad -----------------------------------------------------------------------------

@primitive("x(*) -> (*)", methods=["pad"], exact=True)
def pad(xp, x, /, widths, mode="constant", value=0.0):
    """Put elements before and after each axis.

    Args:
        x (*): any dtype.
        widths: a pair (before, after) for each of the last len(widths) axes: ((1, 1), (2, 2)) pads the rows and the
            columns of images (N, C, H, W). Negative numbers crop.
        mode: what is put there: "constant": `value`; "reflect": the inside mirrored at the outermost element;
            "replicate" ("edge"): the outermost element; "circular" ("wrap"): the other end of the inside.
        value: a number, for mode "constant".

    Returns:
        (*): sizes x.shape + before + after.

    Raises:
        ArgumentError: an unknown mode; widths that are no pairs, or more than x has axes.
        ShapeError: an axis has too few elements: "reflect" wants two, "replicate" and "circular" one; or none remain.

    Source: NumPy, `pad`; PyTorch, `torch.nn.functional.pad`.
    """
    inside, shape = _layout(x.shape, widths, mode)
    out = xp.full(shape, value, x.dtype) if mode == "constant" else xp.empty(shape, x.dtype)
    out[inside] = x[_cropped(x.shape, widths)]
    for place, source in _borders(x.shape, widths, mode):
        out[place] = out[source]
    return out


@pad.vjp
def _(g, x_shape, widths, mode):
    return _unpad(g, x_shape, widths, mode)


@primitive("x(*) -> (*)")
def _unpad(xp, x, /, shape, widths, mode):
    """Add what was put into the border back where it came from: the transpose of `pad` to its `shape`."""
    inside, _ = _layout(shape, widths, mode)
    out, borders = xp.zeros(shape, x.dtype), _borders(shape, widths, mode)
    x = x.copy() if borders else x
    for place, source in reversed(borders):
        part = x[place]
        if part.shape != x[source].shape:                        # one element went to many places
            axis, = [a for a, (n, m) in enumerate(zip(part.shape, x[source].shape)) if n != m]
            part = part.sum(axis, keepdims=True)
        x[source] += part
    out[_cropped(shape, widths)] = x[inside]
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
    yield make.normal(4, 5), ((-1, 2), (-1, -2)),
    yield make.normal(0, 2), ((1, 1), (0, 0))


def _layout(shape, widths, mode):
    """(the index of the inside in the result, the result's shape); checks the arguments."""
    if mode not in MODES:
        raise ArgumentError(message("pad", "mode", f"one of {', '.join(MODES)}", repr(mode)))
    if len(widths) > len(shape) or not all(isinstance(w, (tuple, list)) and len(w) == 2 for w in widths):
        raise ArgumentError(message("pad", "widths", f"a pair (before, after) for each of at most {len(shape)} axes", widths,
                                    "Write ((1, 1), (2, 2)) to pad two axes."))
    first = len(shape) - len(widths)
    sizes = [n + before + after for n, (before, after) in zip(shape[first:], widths)]
    needed = {"constant": 0, "reflect": 2}.get(MODES[mode], 1)
    for axis, (n, (before, after)) in enumerate(zip(shape[first:], widths), first):
        kept = n + min(before, 0) + min(after, 0)
        if kept < (needed if max(before, after) > 0 else 0):
            raise ShapeError(message("pad", "x", f"at least {needed} elements to {mode} in axis {axis}, after cropping", shape))
    inside = [slice(max(b, 0), size - max(a, 0)) for size, (b, a) in zip(sizes, widths)]
    return (..., *inside), (*shape[:first], *sizes)


def _cropped(shape, widths):
    """The index of what negative widths leave of an array."""
    sizes = shape[len(shape) - len(widths):]
    return (..., *[slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(sizes, widths)])


def _borders(shape, widths, mode):
    """[(place, source)]: copied in this order these slices of the result fill its borders, one axis after the other.

    A source is within what is filled already. A border wider than the inside takes several steps.
    """
    if MODES[mode] == "constant":
        return []
    pairs, count = [], len(widths)
    for i, (n, (before, after)) in enumerate(zip(shape[len(shape) - count:], widths)):
        steps = _steps(MODES[mode], n + min(before, 0) + min(after, 0), max(before, 0), max(after, 0))
        around = (..., *[slice(None)] * i), (slice(None),) * (count - 1 - i)
        pairs += [tuple([(*around[0], part, *around[1]) for part in step]) for step in steps]
    return pairs


def _steps(mode, n, before, after):
    """The same for one axis, of which n elements from `before` on are filled."""
    low, high, total = before, before + n, before + n + after
    reach = {"reflect": n - 1, "circular": n}.get(mode, before + after)
    while low > 0:
        m = min(low, reach)
        source = {"reflect": slice(low + m, low, -1), "circular": slice(low - m + n, low + n)}.get(mode, slice(low, low + 1))
        yield slice(low - m, low), source
        low -= m
    while high < total:
        m = min(total - high, reach)
        end = high - 2 - m if high - 2 - m >= 0 else None
        source = {"reflect": slice(high - 2, end, -1), "circular": slice(high - n, high - n + m)}.get(mode, slice(high - 1, high))
        yield slice(high, high + m), source
        high += m


# -- windows ----------------------------------------------------------------------------

@primitive("x(*) -> (*)", methods=["windows"], exact=True)
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

    Source: Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document Processing".
    """
    lead = x.ndim - len(kernel)
    stride, dilation = _per_axis("stride", stride, kernel), _per_axis("dilation", dilation, kernel)
    counts = _counts("windows", x.shape[lead:], kernel, stride, dilation)
    steps = x.strides[lead:]
    strides = [s * t for s, t in zip(steps, stride)] + [s * d for s, d in zip(steps, dilation)]
    return xp.lib.stride_tricks.as_strided(x, (*x.shape[:lead], *counts, *kernel), (*x.strides[:lead], *strides))


@windows.vjp
def _(g, x_shape, kernel, stride, dilation):
    return fold_windows(g, x_shape[len(x_shape) - len(kernel):], stride, dilation)


@windows.samples
def _(make):
    yield make.normal(2, 6, 5), (3, 2)
    yield make.normal(2, 2, 7, 6), (3, 2), (2, 1), (1, 2)
    yield make.normal(2, 7), (3,), 2
    yield make.normal(2, 3, 4, 3), (2, 2, 2), 1, (1, 2, 1)


@primitive("x(*) -> (*)", methods=["fold_windows"])
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
    stride, dilation = _per_axis("stride", stride, size), _per_axis("dilation", dilation, size)
    counts = _counts("fold_windows", size, kernel, stride, dilation)
    if x.shape != (*lead, *counts, *kernel):
        raise ShapeError(message("fold_windows", "x", f"{counts} windows of {kernel}, as {tuple(size)} has", x.shape))
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


def _per_axis(name, value, axes):
    """One number per axis from one for all, or from as many."""
    values = (value,) * len(axes) if isinstance(value, int) else tuple(value)
    if len(values) != len(axes) or min(values) < 1:
        raise ArgumentError(message("windows", name, f"a positive number, or {len(axes)} of them", value))
    return values


def _counts(op, size, kernel, stride, dilation):
    """How many windows there are along each axis."""
    counts = tuple([(n - d * (r - 1) - 1) // s + 1 for n, r, s, d in zip(size, kernel, stride, dilation)])
    if len(size) != len(kernel) or min(counts) < 1 or min(kernel) < 1:
        raise ShapeError(message(op, "kernel", f"a window that fits into {tuple(size)}",
                                 f"{tuple(kernel)} with dilation {tuple(dilation)}"))
    return counts
