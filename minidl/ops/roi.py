"""Pooling of regions of interest: boxes of all sizes become grids of one size; and the way back, for masks.

A coordinate NaN makes what `roi_align` takes from its box NaN, and what `roi_pool` takes 0.
"""
import numpy as np

from ..backend import demand, to_host
from ..errors import ArgumentError, message
from ..op import fused, primitive
from .elementwise import where
from .index import take

__all__ = ["paste_masks", "roi_align", "roi_pool"]

FAR = 1 << 30                      # pixels: boxes are cut off there


def _pair(op, output_size):
    """(rows, columns) of the grid, from one integer or two."""
    size = (output_size,) * 2 if isinstance(output_size, int) else tuple(output_size)
    if len(size) != 2 or min(size) < 1:
        raise ArgumentError(message(op, "output_size", "a positive integer, or two of them", output_size))
    return size


def _images(xp, op, boxes, count):
    """Which image each box is on, int64; demands that there is such a one."""
    image = boxes[:, 0].astype("int64")
    demand(xp.asarray(((image >= 0) & (image < count)).all()),
           lambda: ArgumentError(message(op, "boxes", f"image numbers in [0, {count}) in column 0",
                                         f"{int(image.min())} to {int(image.max())}")))
    return image


# -- roi_align ------------------------------------------------------------------------

@fused("input(N,C,H,W):float boxes(B,5):any -> (B,C,P,Q)", synchronises=True)
def roi_align(input, boxes, /, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """Average each cell of a grid over a box, from samples taken between the pixels.

    Args:
        input (N, C, H, W): feature maps.
        boxes (B, 5): image number, x1, y1, x2, y2, any dtype. They get no gradient. An inverted box is taken
            for one of width or height 0.
        output_size: P and Q, or one number for both.
        spatial_scale: pixels of `input` per unit of the boxes.
        sampling_ratio: samples per cell and axis; not positive: one per pixel, ceil(box size / P).
        aligned: True: a pixel's value is at its middle, half a pixel from its edge; False: at its edge, and
            boxes are at least one pixel wide and high.

    Returns:
        (B, C, P, Q): samples more than a pixel outside the image count as 0.

    Raises:
        ArgumentError: an image number out of range.

    Source: He et al. 2017, "Mask R-CNN", arXiv:1703.06870, section 3.
    """
    size = _pair("roi_align", output_size)
    rows, columns, image = _sample_weights(boxes.astype(input.dtype), input.shape, size, spatial_scale,
                                           sampling_ratio, aligned)
    return _pool_regions(input, rows, columns, image)


@primitive("boxes(B,5) -> (B,P,H) (B,Q,W) (B)", differentiable=False)
def _sample_weights(xp, boxes, /, shape, output_size, spatial_scale, sampling_ratio, aligned):
    """How much each row, and each column, of an image counts in each row, or column, of a box's grid."""
    _, x1, y1, x2, y2 = boxes.T * spatial_scale - (0.5 if aligned else 0.0)
    least, (p, q), (n, _, h, w) = 0.0 if aligned else 1.0, output_size, shape
    return (_axis_weights(xp, y1[:, None], xp.maximum(y2 - y1, least)[:, None], p, sampling_ratio, h),
            _axis_weights(xp, x1[:, None], xp.maximum(x2 - x1, least)[:, None], q, sampling_ratio, w),
            _images(xp, "roi_align", boxes, n))


def _axis_weights(xp, low, size, cells, sampling_ratio, length):
    """(B, cells, length): the mean of the samples in each cell, as weights of the pixels.

    The samples of a cell are an arithmetic series, and each spreads over the two pixels beside it. So what
    all samples between two pixels give to these has a closed form, and no sample need be listed.
    """
    dtype = low.dtype
    count = xp.ceil(size / cells) if sampling_ratio <= 0 else xp.full_like(size, sampling_ratio)
    count = xp.maximum(count, 1)
    step = size / (cells * count)
    first = (low + size / cells * xp.arange(cells, dtype=dtype) + step / 2)[..., None]
    count, step, pixel = count[..., None], step[..., None], xp.arange(-1, length + 1, dtype=dtype)
    pace = xp.maximum(step, 1e-6)                                        # (boxes may have no width)
    below = xp.clip(xp.ceil((pixel - first) / pace), 0, count)           # how many samples lie below a pixel
    below[..., -1:] = xp.clip(xp.floor((length - first) / pace) + 1, 0, count)
    between = below[..., 1:] - below[..., :-1]                           # ... between it and the next
    mean = (below[..., 1:] + below[..., :-1] - 1) / 2
    right = between * (first - pixel[:-1] + step * mean)                 # the sum of sample - pixel
    right[..., 0], right[..., -1] = between[..., 0], 0                   # outside: all to the outermost pixel
    return (right[..., :-1] + (between - right)[..., 1:]) / count


def _touched(xp, rows, columns, image, shape):
    """Per box: the rows and columns of its image that have a weight, and these pixels' numbers (R, S)."""
    (_, h, w), some_row, some_column = shape, rows.any(1), columns.any(1)
    for b in range(len(image)):
        r, c = xp.nonzero(some_row[b])[0], xp.nonzero(some_column[b])[0]
        yield b, r, c, (image[b] * h + r[:, None]) * w + c


@primitive("x(N,C,H,W) rows(B,P,H) columns(B,Q,W) image(B):int -> (B,C,P,Q)")
def _pool_regions(xp, x, rows, columns, image, /):
    """out[b] = rows[b] x[image[b]] columns[b]^T, matrices over H and W."""
    (n, channels, h, w), p, q = x.shape, rows.shape[1], columns.shape[1]
    pixels = xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1, channels)
    out = xp.empty((len(image), p, q, channels), x.dtype)
    for b, r, c, pixel in _touched(xp, rows, columns, image, (n, h, w)):
        part = (rows[b][:, r] @ pixels[pixel].reshape(len(r), len(c) * channels)).reshape(p, len(c), channels)
        out[b] = columns[b][:, c] @ part
    return xp.ascontiguousarray(out.transpose(0, 3, 1, 2))


@_pool_regions.vjp
def _(g, x_shape, rows, columns, image):
    return _spread_regions(g, rows, columns, image, x_shape[0]), None, None, None


@primitive("g(B,C,P,Q) rows(B,P,H) columns(B,Q,W) image(B):int -> (N,C,H,W)")
def _spread_regions(xp, g, rows, columns, image, /, n):
    """The transpose of `_pool_regions`."""
    (_, channels, p, _), h, w = g.shape, rows.shape[2], columns.shape[2]
    g = xp.ascontiguousarray(g.transpose(0, 2, 3, 1))
    out = xp.zeros((n * h * w, channels), g.dtype)
    for b, r, c, pixel in _touched(xp, rows, columns, image, (n, h, w)):
        part = (columns[b][:, c].T @ g[b]).reshape(p, -1)
        out[pixel] += (rows[b][:, r].T @ part).reshape(*pixel.shape, channels)
    return xp.ascontiguousarray(out.reshape(n, h, w, channels).transpose(0, 3, 1, 2))


@_spread_regions.vjp
def _(g, rows, columns, image):
    return _pool_regions(g, rows, columns, image), None, None, None


@roi_align.forward
def _(xp, input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    size, boxes = _pair("roi_align", output_size), boxes.astype(input.dtype)
    weights = _sample_weights.op.fn(xp, boxes, input.shape, size, spatial_scale, sampling_ratio, aligned)
    return _pool_regions.op.fn(xp, input, *weights), weights


@roi_align.backward
def _(xp, g, kept, input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    return (lambda: _spread_regions.op.fn(xp, g, *kept, len(input))), None


# -- roi_pool -------------------------------------------------------------------------

@fused("input(N,C,H,W):float boxes(B,5):any -> (B,C,P,Q)", synchronises=True)
def roi_pool(input, boxes, /, output_size, spatial_scale=1.0):
    """The largest pixel in each cell of a grid over a box, edges rounded to whole pixels.

    Args:
        input (N, C, H, W): feature maps.
        boxes (B, 5): image number, x1, y1, x2, y2, any dtype. They get no gradient. An inverted box is taken
            for one of one pixel.
        output_size: P and Q, or one number for both.
        spatial_scale: pixels of `input` per unit of the boxes.

    Returns:
        (B, C, P, Q): 0 in cells outside the image.

    Raises:
        ArgumentError: an image number out of range.

    Source: Girshick 2015, "Fast R-CNN", arXiv:1504.08083, section 2.1.
    """
    size = _pair("roi_pool", output_size)
    place, empty = _largest_places(input, boxes.astype(input.dtype), size, spatial_scale)
    return where(empty, 0.0, take(input, place))


@primitive("x(N,C,H,W) boxes(B,5) -> (B,C,P,Q) (B,1,P,Q)", differentiable=False)
def _largest_places(xp, x, boxes, /, output_size, spatial_scale):
    """Where in the flattened x each cell's largest pixel is, the first of equals; which cells have none."""
    (n, channels, h, w), (p, q) = x.shape, output_size
    edges = boxes[:, 1:].T * spatial_scale
    edges = xp.sign(edges) * xp.floor(xp.abs(edges) + 0.5)               # rounded, halves away from 0
    rows, columns = _cells(xp, edges[1], edges[3], p, h), _cells(xp, edges[0], edges[2], q, w)
    first = _images(xp, "roi_pool", boxes, n) * (h * w)
    pixels = xp.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1, channels)
    best = xp.zeros((len(boxes), p, q, channels), "int64")               # numbers of pixels
    for b in range(len(boxes)):
        across = [xp.nonzero(cell)[0] for cell in columns[b]]
        for i in range(p):
            line = first[b] + xp.nonzero(rows[b, i])[0][:, None] * w
            for j in range(q):
                cell = (line + across[j]).ravel()
                if cell.size:
                    best[b, i, j] = cell[pixels[cell].argmax(0)]
    best = best.transpose(0, 3, 1, 2)
    channel = xp.arange(channels)[:, None, None]
    empty = ~(rows.any(2)[:, :, None] & columns.any(2)[:, None, :])
    return (best // (h * w) * channels + channel) * (h * w) + best % (h * w), empty[:, None]


def _cells(xp, low, high, cells, length):
    """Which pixels of an axis each cell covers: bool (B, cells, length)."""
    size = xp.maximum(high - low + 1, 1)[:, None] / cells
    number, pixel = xp.arange(cells, dtype=low.dtype), xp.arange(length)
    start, stop = xp.floor(number * size) + low[:, None], xp.ceil((number + 1) * size) + low[:, None]
    return (pixel >= start[..., None]) & (pixel < stop[..., None])


# -- paste_masks ----------------------------------------------------------------------

@primitive("masks(B,M,M):float boxes(B,4):float -> (B,H,W)", differentiable=False, synchronises=True)
def paste_masks(xp, masks, boxes, /, size):
    """Lay masks that cover boxes into images.

    A mask, with a border of zeros one step wide, is resized to the whole pixels that its box, so widened, touches.

    Args:
        masks (B, M, M): one for each box, as seen in it.
        boxes (B, 4): x1, y1, x2, y2 in pixels.
        size (height, width): of an image, in pixels.

    Returns:
        (B, H, W): 0 outside the boxes.

    Source: He et al. 2017, "Mask R-CNN", arXiv:1703.06870, section 3.1.
    """
    (count, steps, _), sides = masks.shape, tuple(size)
    out, padded = xp.zeros((count, *sides), masks.dtype), xp.pad(masks, ((0, 0), (1, 1), (1, 1)))
    for b, corners in enumerate(_widened(to_host(boxes), steps)):
        (y, rows), (x, columns) = (_resized(xp, low, high, steps + 2, side, masks.dtype)
                                   for low, high, side in zip(corners[[1, 0]], corners[[3, 2]], sides))
        if y.stop > y.start and x.stop > x.start:
            out[b, y, x] = rows @ padded[b] @ columns.T
    return out


def _widened(boxes, steps):
    """Whole pixels (B, 4) that boxes touch when each is a step of its mask wider on every side."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) * 0.5, (boxes[:, 2:] - boxes[:, :2]) * 0.5
    half = half * ((steps + 2) / max(steps, 1))
    corners = np.concatenate([middle - half, middle + half], 1)
    return np.clip(np.nan_to_num(corners), -FAR, FAR).astype("int64")                 # (towards 0)


def _resized(xp, low, high, steps, length, dtype):
    """(slice of an axis of `length` pixels that lie in [low, high], how much each takes from each step)."""
    total = max(int(high - low) + 1, 1)
    seen = slice(max(int(low), 0), min(int(high) + 1, length))
    at = xp.maximum((xp.arange(seen.start, seen.stop) - int(low) + 0.5) * (steps / total) - 0.5, 0.0)
    return seen, xp.maximum(1 - xp.abs(xp.minimum(at, steps - 1.0)[:, None] - xp.arange(steps)), 0).astype(dtype)


# -- samples --------------------------------------------------------------------------

@roi_align.samples
def _(make):
    boxes = np.array([[0, 0, 0, 5, 7], [1, 1, 2, 3, 3], [0, -3, 1, 9, 12], [1, 4, 4, 2, 2]])
    yield make.normal(2, 3, 6, 5), boxes, (2, 3)
    yield make.normal(2, 1, 6, 5), boxes, 2, 0.7, 2, True
    yield make.normal(2, 1, 6, 5), boxes, 2, 0.5, 0, True


@roi_pool.samples
def _(make):
    boxes = np.array([[0, 0, 0, 4, 5], [1, 1, 2, 3, 3], [0, -3, 1, 9, 12], [1, 4, 4, 2, 2], [1, 9, 9, 9, 9]])
    yield make.distinct(2, 3, 6, 5), boxes, (2, 3)
    yield make.distinct(2, 1, 6, 5), boxes, 2, 0.7


@paste_masks.samples
def _(make):
    boxes = np.array([[1, 1, 4.5, 3.2], [-3, 2, 2, 9], [2, 2, 2, 2], [9, 9, 12, 12], [4, 4, 2, 2]])
    yield make.unit(5, 3, 3), boxes, (6, 5)
    yield make.unit(0, 3, 3), boxes[:0], (6, 5)
