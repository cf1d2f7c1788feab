"""Ops that read an image at other places than its pixels, and that move pixels between space and channels.

Resizing works on one axis after the other.  On an axis each output is a weighted sum of a few elements;
`Resizing` says which, and, for the gradient, of which outputs each element is a part: both ways are sums of
rows that are taken by index, with nothing to scatter.
"""
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, floor, prod

import numpy as np

from ..errors import ArgumentError, ShapeError, message
from ..op import fused, primitive
from .arrange import stack
from .conv import pairs, per_axis
from .creation import linspace, ones
from .elementwise import where
from .index import take_along_axis
from .pool import adaptive_avg_pool
from .shape import broadcast_to, permute_dims
from .window import fold_windows, pad, windows

__all__ = ["affine_grid", "channel_shuffle", "fold", "grid_sample", "interpolate", "pixel_shuffle",
           "pixel_unshuffle", "unfold"]

RANKS = {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
         "bilinear": (2,), "trilinear": (3,), "bicubic": (2,)}


# -- interpolate ----------------------------------------------------------------------

@fused("x(_):float -> (_)")
def interpolate(x, /, size=None, scale_factor=None, mode="nearest", align_corners=None,
                recompute_scale_factor=None, antialias=False):
    """Resize images, sequences or volumes.

    Args:
        x (N, C, H, W), (N, C, L) or (N, C, D, H, W).
        size (P, Q): the result's; an integer, or one per axis.
        scale_factor: or this many times x's size, rounded down; a number, or one per axis.
        mode: "nearest", "nearest-exact" (a pixel's place is its centre), "linear" (L), "bilinear" (H, W),
            "trilinear" (D, H, W), "bicubic" (H, W), or "area": the mean of what a pixel covers.
        align_corners: do the outermost pixels' centres, rather than their edges, stay in place? For linear
            and cubic modes.
        recompute_scale_factor: is the distance of pixels taken from the sizes, not from `scale_factor`?
        antialias: when shrinking, do "bilinear" and "bicubic" see all pixels, as Pillow's filters?

    Returns:
        (N, C, P, Q).

    Raises:
        ArgumentError: an unknown mode; both or none of size and scale_factor; an option the mode has not.
        ShapeError: the mode is for another number of axes; an axis is, or becomes, empty.

    Source: PyTorch, `torch.nn.functional.interpolate`; Keys 1981, "Cubic convolution interpolation for
    digital image processing", with a = -3/4, and -1/2 with `antialias`, as Pillow.
    """
    _check_mode(x.shape, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    rank, sizes = x.ndim - 2, x.shape[2:]
    scales = [None] * rank
    if size is None:
        scales = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * rank
        size = [floor(n * s) for n, s in zip(sizes, scales)]
        scales = [None] * rank if recompute_scale_factor else scales
    size = per_axis("interpolate", "size", size, rank, 1)
    if mode == "area":
        return adaptive_avg_pool(x, size, rank=rank)
    for axis, (n, count, scale) in enumerate(zip(sizes, size, scales), -rank):
        step = 1 / scale if scale else n / count
        if align_corners:
            step = (n - 1) / (count - 1) if count > 1 else 0
        resizing = Resizing(n, count, step, mode, bool(align_corners), antialias)
        x = x if resizing.changes_nothing else _resize(x, axis, resizing)
    return x


def _check_mode(shape, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias):
    if mode not in RANKS:
        raise ArgumentError(message("interpolate", "mode", f"one of {', '.join(RANKS)}", repr(mode)))
    if len(shape) - 2 not in RANKS[mode] or 0 in shape[2:]:
        ranks = " or ".join([str(r + 2) for r in RANKS[mode]])
        raise ShapeError(message("interpolate", "x", f"{ranks} axes for mode {mode!r}, none empty", shape))
    if (size is None) == (scale_factor is None):
        raise ArgumentError(message("interpolate", "size", "either size or scale_factor",
                                    f"size={size}, scale_factor={scale_factor}"))
    if align_corners is not None and "linear" not in mode and "cubic" not in mode:
        raise ArgumentError(message("interpolate", "align_corners", f"None for mode {mode!r}", align_corners))
    if recompute_scale_factor and size is not None:
        raise ArgumentError(message("interpolate", "recompute_scale_factor", "a scale_factor", f"{size=}"))
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(message("interpolate", "antialias", "bilinear or bicubic", f"mode={mode!r}"))


@primitive("x(_):float -> (_)")
def _resize(xp, x, /, axis, resizing, back=False):
    """Resize one axis; `back`: the transpose of that."""
    out = None
    for index, weight in resizing.users(xp) if back else resizing.taps(xp):
        part = x.take(index, axis)
        if weight is not None:
            part *= weight.astype(x.dtype).reshape(-1, *[1] * (-1 - axis))
        if out is None:
            out = part
        else:
            out += part
    return out


@_resize.vjp
def _(g, axis, resizing, back):
    return _resize(g, axis, resizing, not back)


@dataclass(frozen=True)
class Resizing:
    """How an axis of `size` elements becomes one of `count`, `step` of the old elements apart."""

    size: int
    count: int
    step: float
    mode: str
    align_corners: bool
    antialias: bool

    @property
    def changes_nothing(self):
        """Is it the identity? In some modes, as in PyTorch, it is wherever the size stays."""
        plain = not self.antialias and ("linear" in self.mode or self.mode == "nearest")
        return self.count == self.size and (self.step == 1 or plain)

    def taps(self, xp):
        """[(elements, weights)]: output i is the sum over these of weights[i] (or 1) * x[elements[i]]."""
        at, last = xp.arange(self.count), self.size - 1
        if "nearest" in self.mode:                     # in float32, as PyTorch: ties fall the same way
            at = (at + ("exact" in self.mode) * 0.5).astype("float32") * self.step
            return [(xp.minimum(xp.floor(at).astype("int64"), last), None)]
        kernel, radius = (_cubic, 2) if "cubic" in self.mode else (_triangle, 1)
        if self.antialias:
            return self._stretched_taps(xp, kernel, radius)
        at = at * self.step if self.align_corners else (at + 0.5) * self.step - 0.5
        low = xp.floor(at)
        return [(xp.clip(low + k, 0, last).astype("int64"), kernel(xp, at - low - k, -0.75))
                for k in range(1 - radius, radius + 1)]

    def _stretched_taps(self, xp, kernel, radius):
        """The same where the kernel covers, when shrinking, all elements, but none beyond the edges."""
        stretch = max(self.step, 1.0)
        at = (xp.arange(self.count) + 0.5) * self.step
        first = xp.maximum(xp.floor(at - radius * stretch + 0.5), 0)
        after = xp.minimum(xp.floor(at + radius * stretch + 0.5), self.size)
        indices = [first + k for k in range(2 * ceil(radius * stretch) + 1)]
        weights = [xp.where(i < after, kernel(xp, (i + 0.5 - at) / stretch, -0.5), 0) for i in indices]
        total = sum(weights)
        return [(xp.minimum(i, self.size - 1).astype("int64"), w / total) for i, w in zip(indices, weights)]

    def users(self, xp):
        """[(outputs, weights)]: element i is a part of outputs[i], with weights[i], in these."""
        taps, element = self.taps(xp), xp.arange(self.size)
        first, after = self._span(xp, taps)
        found = []
        for k in range(self._most_users):
            output = xp.minimum(first + k, self.count - 1)
            shares = [xp.where(index[output] == element, 1 if weight is None else weight[output], 0)
                      for index, weight in taps]
            found.append((output, xp.where(first + k < after, sum(shares), 0)))
        return found

    def _span(self, xp, taps):
        """From which output on, and before which one, each element is used: indices do not decrease."""
        element = xp.arange(self.size)
        return xp.searchsorted(taps[-1][0], element, "left"), xp.searchsorted(taps[0][0], element, "right")

    @cached_property
    def _most_users(self):
        first, after = self._span(np, self.taps(np))             # on the host: it depends on sizes alone
        return int((after - first).max())


def _triangle(xp, u, a):
    return xp.maximum(1 - abs(u), 0)


def _cubic(xp, u, a):
    u = abs(u)
    return xp.where(u <= 1, _near(u, a), xp.where(u < 2, _far(u, a), 0))


def _near(u, a):
    """Keys' cubic kernel for 0 <= u <= 1 (eq. 4)."""
    return ((a + 2) * u - (a + 3)) * u * u + 1


def _far(u, a):
    """And for 1 <= u <= 2."""
    return ((a * u - 5 * a) * u + 8 * a) * u - 4 * a


# -- grid_sample ----------------------------------------------------------------------

@fused("x(_):float grid(_):float -> (_)")
def grid_sample(x, grid, /, mode="bilinear", padding_mode="zeros", align_corners=False):
    """Read images at any places.

    Args:
        x (N, C, H, W), or volumes (N, C, D, H, W).
        grid (N, P, Q, 2), or (N, E, P, Q, 3): for each pixel of the result where to read: (column, row) or
            (column, row, slice), from -1 at x's first edge to 1 at its last one.
        mode: "bilinear" (of volumes: of eight neighbours), "nearest" or, of images, "bicubic".
        padding_mode: what is outside of x: "zeros"; "border": its nearest pixel; "reflection": x mirrored.
        align_corners: are -1 and 1 the centres of the outermost pixels, not their edges?

    Returns:
        (N, C, P, Q), or (N, C, E, P, Q). With "nearest" no gradient reaches the grid.

    Raises:
        ShapeError: x and grid do not fit each other.
        ArgumentError: an unknown mode.

    Source: Jaderberg et al. 2015, "Spatial Transformer Networks", arXiv:1506.02025, section 3.3; PyTorch,
    `torch.nn.functional.grid_sample`.
    """
    _check_sampling(x.shape, grid.shape, mode, padding_mode)
    (n, c, *sizes), places, rank = x.shape, grid.shape[1:-1], x.ndim - 2
    axes = []                                          # per axis [(index, is it inside, weight or None)]
    for axis, size in enumerate(sizes):
        at = (grid[..., rank - 1 - axis] + 1).reshape(n, 1, prod(places))
        at = at * ((size - 1) / 2) if align_corners else (at * size - 1) * 0.5
        axes.append(_neighbours(at, size, mode, padding_mode, align_corners))
    pixels, total = x.reshape(n, c, prod(sizes)), None
    for taps in product(*axes):
        index, inside, weight = 0, True, None
        for size, (i, within, w) in zip(sizes, taps):
            index, inside = index * size + i, within & inside
            weight = w if weight is None else weight * w
        value = where(inside, take_along_axis(pixels, index, -1), 0.0)               # (N, C, PQ)
        value = value if weight is None else value * weight
        total = value if total is None else total + value
    return total.reshape(n, c, *places)


def _check_sampling(x, grid, mode, padding_mode):
    rank = len(x) - 2
    if rank not in (2, 3) or 0 in x[2:]:
        raise ShapeError(message("grid_sample", "x", "images (N, C, H, W) or volumes (N, C, D, H, W)", x))
    if len(grid) != len(x) or grid[0] != x[0] or grid[-1] != rank:
        wanted = f"{rank + 2} axes (N, ..., {rank}) with N={x[0]} as x"
        raise ShapeError(message("grid_sample", "grid", wanted, grid))
    if mode not in ("bilinear", "nearest", "bicubic") or mode == "bicubic" and rank == 3:
        wanted = "bilinear, nearest or, of images, bicubic"
        raise ArgumentError(message("grid_sample", "mode", wanted, repr(mode)))
    if padding_mode not in ("zeros", "border", "reflection"):
        wanted = "zeros, border or reflection"
        raise ArgumentError(message("grid_sample", "padding_mode", wanted, repr(padding_mode)))


def _neighbours(at, size, mode, padding_mode, align_corners):
    """[(index, is it inside, weight)] of the elements of an axis around the places `at`, in elements."""
    if mode == "bicubic":
        low = at.floor()
        t = at - low
        weights = [_far(t + 1, -0.75), _near(t, -0.75), _near(1 - t, -0.75), _far(2 - t, -0.75)]
        found = [(_brought_in(low + k, size, padding_mode, align_corners), w)
                 for k, w in enumerate(weights, -1)]
    else:
        at = _brought_in(at, size, padding_mode, align_corners)
        if mode == "nearest":
            found = [(at.round(), None)]
        else:
            low = at.floor()
            found = [(low, 1 - (at - low)), (low + 1, at - low)]
    inside = [(i >= 0) & (i <= size - 1) for i, _ in found]
    return [(where(ok, i, 0.0).astype("int64"), ok, w) for ok, (i, w) in zip(inside, found)]


def _brought_in(at, size, padding_mode, align_corners):
    """Places outside of an axis, moved inside as `padding_mode` says; at its ends no gradient passes."""
    if padding_mode == "zeros":
        return at
    if padding_mode == "reflection":
        low, span = (0.0, size - 1) if align_corners else (-0.5, size)
        period = max(2 * span, 1)                      # (a single element's span is 0: all is there)
        beyond = at - low - ((at - low) / period).floor() * period
        at = low + span - (span - beyond).abs() if span else at * 0
    return where((at > 0) & (at < size - 1), at, at.detach().clip(0.0, size - 1.0))


@fused("theta(N,D,E):float -> (_)")
def affine_grid(theta, /, size, align_corners=False):
    """The grid with which `grid_sample` moves images by affine maps.

    Args:
        theta (N, 2, 3), or (N, 3, 4): maps from places in the result, (column, row, 1), to those in x.
        size (N, C, H, W), or (N, C, D, H, W): of the result.
        align_corners: as in `grid_sample`.

    Returns:
        (N, H, W, 2), or (N, D, H, W, 3).

    Raises:
        ShapeError: theta and size do not fit each other.

    Source: Jaderberg et al. 2015, "Spatial Transformer Networks", arXiv:1506.02025, eq. 1.
    """
    rank, sizes = len(size) - 2, tuple(size[2:])
    if rank not in (2, 3) or theta.shape != (size[0], rank, rank + 1):
        wanted = f"(N, 2, 3) or (N, 3, 4), as size={tuple(size)} says"
        raise ShapeError(message("affine_grid", "theta", wanted, theta.shape))
    like, places = {"dtype": theta.dtype, "device": theta.device}, []
    for axis, n in enumerate(sizes):
        edge = (1.0 if align_corners else (n - 1) / n) if n > 1 else 0.0
        line = linspace(-edge, edge, n, **like).reshape(n, *[1] * (rank - 1 - axis))
        places.insert(0, broadcast_to(line, sizes))
    places = stack([*places, ones(sizes, **like)], axis=-1).reshape(prod(sizes), rank + 1)
    return (places @ theta.mT).reshape(size[0], *sizes, rank)


# -- between space and channels -------------------------------------------------------

@fused("x(_):any -> (_)")
def pixel_shuffle(x, /, upscale_factor):
    """Lay each group of r * r channels out as a square of r by r pixels.

    Args:
        x (..., C r r, H, W): images.
        upscale_factor: r.

    Returns:
        (..., C, H r, W r).

    Raises:
        ShapeError: r * r does not divide the channels.

    Source: Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network", arXiv:1609.05158, eq. 4.
    """
    r = _factor("pixel_shuffle", "upscale_factor", upscale_factor)
    *lead, c, h, w = _divisible("pixel_shuffle", x.shape, -3, r * r)
    x = x.reshape(*lead, c // (r * r), r, r, h, w)
    return _permuted(x, 0, 3, 1, 4, 2).reshape(*lead, c // (r * r), h * r, w * r)


@fused("x(_):any -> (_)")
def pixel_unshuffle(x, /, downscale_factor):
    """Lay each square of r by r pixels out as r * r channels: the inverse of `pixel_shuffle`.

    Args:
        x (..., C, H r, W r): images.
        downscale_factor: r.

    Returns:
        (..., C r r, H, W).

    Raises:
        ShapeError: r does not divide the rows or columns.

    Source: as `pixel_shuffle`.
    """
    r = _factor("pixel_unshuffle", "downscale_factor", downscale_factor)
    _divisible("pixel_unshuffle", x.shape, -2, r)
    *lead, c, h, w = _divisible("pixel_unshuffle", x.shape, -1, r)
    x = x.reshape(*lead, c, h // r, r, w // r, r)
    return _permuted(x, 0, 2, 4, 1, 3).reshape(*lead, c * r * r, h // r, w // r)


@fused("x(_):any -> (_)")
def channel_shuffle(x, /, groups):
    """Deal the channels of each group out over new groups: channel i of group j becomes channel j of group i.

    Args:
        x (N, C, ...).
        groups: of how many equal groups the channels are.

    Returns:
        (N, C, ...).

    Raises:
        ShapeError: groups do not divide C.

    Source: Zhang et al. 2017, "ShuffleNet", arXiv:1707.01083, section 3.1.
    """
    groups = _factor("channel_shuffle", "groups", groups)
    n, c, *size = _divisible("channel_shuffle", x.shape, 1, groups)
    return x.reshape(n, groups, c // groups, *size).swapaxes(1, 2).reshape(n, c, *size)


@fused("x(_) -> (_)")
def unfold(x, /, kernel_size, dilation=1, padding=0, stride=1):
    """All windows of images, each as a column.

    Args:
        x (..., C, H, W): images.
        kernel_size (R, S): a window's pixels; an integer, or one per axis.
        dilation, padding, stride: as in `conv2d`, but for "same" and "valid".

    Returns:
        (..., C R S, L): window after window, row by row, L = P Q of them.

    Raises:
        ShapeError: the padded images are smaller than a window.
        ArgumentError: a parameter is none of those named above.

    Source: Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document
    Processing"; PyTorch, `torch.nn.functional.unfold`.
    """
    kernel, dilation, pads, stride = _window("unfold", kernel_size, dilation, padding, stride)
    x = windows(pad(x, pads), kernel, stride, dilation)                              # (..., C, P, Q, R, S)
    *lead, c, p, q, r, s = x.shape
    return _permuted(x, 0, 3, 4, 1, 2).reshape(*lead, c * r * s, p * q)


@fused("x(_) -> (_)")
def fold(x, /, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Add windows up to images: the transpose of `unfold`.

    Args:
        x (..., C R S, L): windows, as `unfold` gives them.
        output_size (H, W): of the images.
        kernel_size, dilation, padding, stride: as in `unfold`.

    Returns:
        (..., C, H, W): each pixel the sum over the windows that it is part of.

    Raises:
        ShapeError: `unfold` of images of that size would not give x's shape.
        ArgumentError: a parameter is none of those named above.

    Source: PyTorch, `torch.nn.functional.fold`.
    """
    kernel, dilation, pads, stride = _window("fold", kernel_size, dilation, padding, stride)
    size = per_axis("fold", "output_size", output_size, 2, 1)
    padded = [n + sum(p) for n, p in zip(size, pads)]
    counts = [(n - d * (r - 1) - 1) // s + 1 for n, d, r, s in zip(padded, dilation, kernel, stride)]
    *lead, rows, columns = _divisible("fold", x.shape, -2, prod(kernel))
    if min(counts) < 1 or columns != prod(counts):
        wanted = f"windows in {' by '.join(map(str, counts))} places, as output_size={size} has"
        raise ShapeError(message("fold", "x", wanted, x.shape))
    x = _permuted(x.reshape(*lead, rows // prod(kernel), *kernel, *counts), 0, 3, 4, 1, 2)
    return pad(fold_windows(x, padded, stride, dilation), [(-before, -after) for before, after in pads])


def _permuted(x, *order):
    """x with its last axes in another order; those before stay."""
    lead = x.ndim - len(order)
    return permute_dims(x, (*range(lead), *[lead + i for i in order]))


def _window(op, kernel_size, dilation, padding, stride):
    return (per_axis(op, "kernel_size", kernel_size, 2, 1), per_axis(op, "dilation", dilation, 2, 1),
            pairs(op, "padding", padding, 2), per_axis(op, "stride", stride, 2, 1))


def _factor(op, name, value):
    return per_axis(op, name, value, 1, 1)[0]


def _divisible(op, shape, axis, number):
    """The shape, if `number` divides that axis of it."""
    if len(shape) < (axis + 1 if axis >= 0 else -axis) or shape[axis] % number:
        raise ShapeError(message(op, "x", f"axis {axis} divisible by {number}", shape))
    return shape


# -- samples --------------------------------------------------------------------------

@_resize.samples
def _(make):
    for back in (False, True):
        for mode, sizes in (("nearest", (5, 8)), ("bilinear", (7, 3)), ("bicubic", (4, 9))):
            resizing = Resizing(*sizes, sizes[0] / sizes[1], mode, False, False)
            yield make.normal(2, sizes[back], 3), -2, resizing, back
            yield make.normal(2, 3, sizes[back]), -1, resizing, back


@interpolate.samples
def _(make):
    x = make.normal(2, 2, 5, 4)
    yield x, (8, 3)
    yield x, 3, None, "nearest-exact"
    for corners in (False, True):
        yield x, (3, 7), None, "bilinear", corners
        yield x, (7, 3), None, "bicubic", corners
    yield x, None, 1.7, "bilinear", False, True
    yield x, None, (0.6, 1.7), "bicubic"
    yield x, (2, 6), None, "bilinear", {"antialias": True}
    yield x, (3, 3), None, "bicubic", {"antialias": True}
    yield x, (5, 2), None, "area"
    yield make.normal(1, 2, 5), 9, None, "linear"
    yield make.normal(1, 2, 2, 3, 2), (3, 2, 4), None, "trilinear", True
    yield make.normal(0, 2, 3, 3), 2


@grid_sample.samples
def _(make):
    x, grid = make.normal(2, 3, 4, 5), make.normal(2, 3, 2, 2)
    for padding_mode in ("zeros", "border", "reflection"):
        yield x, grid, "bilinear", padding_mode
        yield x, grid, "bicubic", padding_mode, True
    yield x, grid, "bilinear", "reflection", True
    yield x, grid, "nearest", "border"
    yield make.normal(1, 2, 3, 2, 4), make.normal(1, 2, 2, 3, 3), "bilinear", "border", True
    yield make.normal(2, 2, 1, 3), grid, "bilinear", "reflection", True


@affine_grid.samples
def _(make):
    yield make.normal(2, 2, 3), (2, 3, 4, 5)
    yield make.normal(2, 2, 3), (2, 3, 1, 3), True
    yield make.normal(1, 3, 4), (1, 1, 2, 3, 2)


@pixel_shuffle.samples
def _(make):
    yield make.normal(2, 8, 3, 2), 2
    yield make.normal(9, 1, 2), 3


@pixel_unshuffle.samples
def _(make):
    yield make.normal(2, 3, 4, 6), 2


@channel_shuffle.samples
def _(make):
    yield make.normal(2, 6, 3), 3
    yield make.normal(2, 4, 2, 2), 2


@unfold.samples
def _(make):
    yield make.normal(2, 3, 5, 6), 3
    yield make.normal(2, 6, 5), (2, 3), (2, 1), (1, 2), 2


@fold.samples
def _(make):
    yield make.normal(2, 18, 20), (6, 7), (3, 3)
    yield make.normal(12, 12), (6, 5), (2, 3), (2, 1), (1, 2), 2
