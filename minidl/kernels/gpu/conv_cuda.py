"""Convolutions in CUDA C++: on tensor cores, as Triton's (conv.py); and depthwise ones, a channel by itself."""
from .activation import ACTIVATIONS
from .arrays import PROGRAMS, column_sum, dense, unless_served
from .conv import Convolutions, channels_last, images_of, phases, some_unseen, windows_of, with_padding
from .launch import cdiv, launch
from .matmul import padded

LEAST_WINDOWS = 256                    # that a block of the gradient of depthwise filters sums


def depthwise(weight, groups):
    """Is a convolution with weight (O, C/groups, ...) depthwise?"""
    return groups > 1 and weight.shape[1] == 1


def _by_tap(xp, weight):
    """Filters (O, 1, ...) as (R S, O padded)."""
    return with_padding(xp, weight.reshape(len(weight), -1).T)


def _correlate_into(xp, y, places, images, channels, weight, outputs, axes, scale=None, shift=None, activation="none"):
    """What `channels` give to `outputs`, to elements places . (1, n, i, j) of y: one is a multiple of the other."""
    (p, q, *seen), taps = windows_of(axes)
    launch("depthwise_correlate_cuda",
           lambda c: (cdiv(len(images) * p * cdiv(q, c["ALONG"]) * (padded(outputs) // c["VECTOR"]), c["THREADS"]),),
           (images, _by_tap(xp, weight), y, dense(xp, scale), dense(xp, shift), len(images) * p * q, p, q, *seen,
            channels, outputs, *taps, max(1, channels // outputs), *places, ACTIVATIONS[activation]),
           dtype=images.dtype.name)


class CudaConvolutions(Convolutions):
    """All of them: those that are depthwise by kernels of their own."""

    def unserved(self, x, weight, groups):
        """See conv.py."""
        if depthwise(weight, groups):
            return unless_served("depthwise_correlate_cuda", x)
        return super().unserved(x, weight, groups)

    def correlate(self, xp, x, weight, axes, groups, scale=None, shift=None, activation="none"):
        """See conv.py."""
        if not depthwise(weight, groups):
            return super().correlate(xp, x, weight, axes, groups, scale, shift, activation)
        images, (h, w), row = channels_last(xp, x, 1), axes, padded(len(weight))
        y = xp.empty((len(images), h.count, w.count, 1, row), x.dtype)
        _correlate_into(xp, y, (0, h.count * w.count * row, w.count * row, row), images, groups, weight, len(weight),
                        axes, scale, shift, activation)
        return images_of(y, len(weight), x.ndim)

    def spread(self, xp, g, weight, axes, groups, shift=None):
        """See conv.py."""
        if not depthwise(weight, groups):
            return super().spread(xp, g, weight, axes, groups, shift)
        images, (h, w), weight = channels_last(xp, g, 1), axes, weight if weight.ndim == 4 else weight[:, :, None]
        x = xp.empty((len(images), h.size, w.size, 1, padded(groups)), g.dtype)
        if some_unseen(axes):
            x[..., :groups] = 0 if shift is None else shift
        for places, taps, seen in phases(axes, padded(groups)):
            _correlate_into(xp, x, places, images, len(weight), weight[(..., *taps)], groups, seen, shift=shift)
        return images_of(x, groups, g.ndim)

    def filter_gradient(self, xp, x, g, weight, axes, groups):
        """See conv.py."""
        if not depthwise(weight, groups):
            return super().filter_gradient(xp, x, g, weight, axes, groups)
        (p, q, *seen), (taps, *steps) = windows_of(axes)
        windows, row = len(x) * p * q, padded(len(weight))
        blocks = cdiv(row, 64) * cdiv(taps, 5)
        parts = max(1, min(PROGRAMS // blocks, windows // LEAST_WINDOWS))
        chunk = cdiv(max(windows, 1), parts)
        sums = xp.empty((parts, taps, row), "float32")
        launch("depthwise_filter_gradient_cuda", lambda c: (cdiv(row, c["CHANNELS"]), cdiv(taps, c["TAPS"]), parts),
               (channels_last(xp, x, 1), channels_last(xp, g, 1), sums, windows, p, q, *seen, groups, len(weight), taps,
                *steps, chunk), dtype=x.dtype.name)
        found = column_sum(xp, sums, x.dtype).reshape(taps, row)[:, :len(weight)]
        return xp.ascontiguousarray(found.T).reshape(weight.shape)


CudaConvolutions("cuda", "correlate_cuda", "filter_gradient_cuda",
                 key=lambda outputs: {"outputs": 64 if outputs <= 64 else 128}).register()
