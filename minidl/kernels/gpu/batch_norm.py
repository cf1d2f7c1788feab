"""Batch norm over samples and places. Channels lie last, as convolutions leave them: else arrays are copied, so that
the bits do not depend on how they lay."""
from functools import cache

from ...dispatch import Kernel, register
from .arrays import column_sum, dense, parts_of, unless_served
from .launch import cdiv, launch


def _odd_channels(arrays, params):
    x, *of_channels = arrays
    fits = x.ndim > 1 and x.size and all([a is None or a.shape == x.shape[1:2] for a in of_channels])
    return unless_served("batch_norm_forward", x) or (None if fits else "no elements, or no channels of their number")


def _rows(xp, x):
    """x (N, C, *spatial) as rows of channels, dense."""
    return dense(xp, x.transpose(0, *range(2, x.ndim), 1)).reshape(x.size // x.shape[1], x.shape[1])


def _images(rows, shape):
    """Rows of channels, seen as (N, C, *spatial)."""
    n, channels, *spatial = shape
    return rows.reshape(n, *spatial, channels).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))


def _parts(xp, kernel, *arrays):
    """(what a kernel leaves of each chunk of rows, (P, 2, C); rows of a chunk)."""
    rows, channels = arrays[0].shape
    count, chunk = parts_of(rows, channels)
    parts = xp.empty((count, 2, channels), "float32")
    launch(kernel, lambda c: (cdiv(channels, c["COLUMNS"]), count), (*arrays, parts, rows, channels, chunk),
           dtype=arrays[0].dtype.name)
    return parts, chunk


def _each(xp, kernel, arrays, *numbers):
    """A kernel's pass over all elements of rows, the first of the arrays: what it gives, a new array."""
    (rows, channels), y = arrays[0].shape, xp.empty_like(arrays[0])
    launch(kernel, lambda c: (cdiv(rows, c["ROWS"]) * cdiv(channels, c["COLUMNS"]),),
           (*arrays, y, rows, channels, *numbers), dtype=y.dtype.name)
    return y


def _batch_norm(xp, x, weight, bias, eps):
    rows, channels = _rows(xp, x), x.shape[1]
    parts, chunk = _parts(xp, "batch_norm_parts", rows)
    mean, variance = [xp.empty(channels, x.dtype) for _ in range(2)]
    centre, rstd = [xp.empty(channels, "float32") for _ in range(2)]
    launch("batch_norm_statistics", lambda c: (cdiv(channels, c["COLUMNS"]),),
           (parts, mean, variance, centre, rstd, len(parts), *rows.shape, chunk, eps), dtype=x.dtype.name)
    y = _each(xp, "batch_norm_forward", (rows, centre, rstd, dense(xp, weight), dense(xp, bias)))
    return (_images(y, x.shape), mean, variance), (centre, rstd)


def _sums(xp, g, rows, centre, rstd):
    """The sums of g * xhat, and of g, by channel: (2, C), float32."""
    parts, _ = _parts(xp, "batch_norm_sums", g, rows, centre, rstd)
    return parts[0] if len(parts) == 1 else column_sum(xp, parts, "float32").reshape(parts.shape[1:])


def _batch_norm_backward(xp, gs, kept, x, weight, bias, eps):
    (g, *of_statistics), rows = gs, _rows(xp, x)
    g = _rows(xp, g)
    sums = _sums(xp, g, rows, *kept)

    def of_x():
        given = g, *[dense(xp, a) for a in of_statistics], rows, *kept, dense(xp, weight), sums
        return _images(_each(xp, "batch_norm_backward", given), x.shape)

    return of_x, *[None if a is None else lambda i=i, a=a: sums[i].astype(a.dtype, copy=False)
                   for i, a in enumerate((weight, bias))]


def _batch_norm_inference(xp, x, mean, variance, weight, bias, eps):
    given = _rows(xp, x), *[dense(xp, a) for a in (mean, variance, weight, bias)]
    return _images(_each(xp, "batch_norm_inference", given, eps), x.shape), None


def _batch_norm_inference_backward(xp, g, kept, x, mean, variance, weight, bias, eps):
    g, dtype = _rows(xp, g), x.dtype

    @cache
    def sums():
        """Those of g * xhat and of g; and what x was multiplied by to give xhat, and y."""
        rstd = 1 / xp.sqrt(variance.astype("float32", copy=False) + xp.float32(eps))
        scale = rstd if weight is None else rstd * weight.astype("float32", copy=False)
        return *_sums(xp, g, _rows(xp, x), dense(xp, mean.astype("float32", copy=False)), rstd), rstd, scale

    def of_variance():
        product, _, rstd, scale = sums()
        return (product * scale * rstd * -0.5).astype(dtype, copy=False)

    given = g, None, dense(xp, variance), dense(xp, weight), None
    return ((lambda: _images(_each(xp, "batch_norm_inference", given, eps), x.shape)),
            (lambda: (sums()[1] * -sums()[3]).astype(dtype, copy=False)), of_variance,
            *[None if a is None else lambda i=i: sums()[i].astype(dtype, copy=False)
              for i, a in enumerate((weight, bias))])


register(Kernel("batch_norm.triton", "batch_norm", "cuda", _batch_norm, _batch_norm_backward, _odd_channels))
register(Kernel("batch_norm_inference.triton", "batch_norm_inference", "cuda", _batch_norm_inference,
                _batch_norm_inference_backward, _odd_channels))
