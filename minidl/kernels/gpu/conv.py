"""Convolutions over one and two axes, and their transposes, on tensor cores: three functions, as in minidl/ops/conv.py.

Both makers' kernels take the same arguments.
Arrays lie with their channels last, so that layers which follow each other convert nothing: what comes out is
(N, O, P, Q) to look at, and (N, P, Q, O) in memory.
"""
from itertools import product
from math import prod

from ... import tape
from ...dispatch import Kernel, register
from ...errors import MinidlError
from ...ops.conv import Axis, conv_axes, transposed_axes
from ...ops.epilogue import alike
from .activation import ACTIVATIONS, bent, through_bent
from .arrays import ALIGNMENT, column_sum, dense, multiplied, unless_served
from .launch import cdiv, launch
from .matmul import BUSY, LEAST_CHUNK, TILE, padded

_ONE = Axis(1, count=1)                # the rows of a sequence


# -- how arrays lie in memory ------------------------------------------------------------

def channels_last(xp, x, groups):
    """(N, C, ...) as (N, H, W, G, C/G padded): a view where it lies like that; sequences have H = 1."""
    x = x if x.ndim == 4 else x[:, :, None]
    n, c, h, w = x.shape
    channels = c // groups
    x = x.transpose(0, 2, 3, 1).reshape(n, h, w, groups, channels)
    if x.flags.c_contiguous and padded(channels) == channels and not x.data.ptr % ALIGNMENT:
        return x
    return with_padding(xp, x)


def with_padding(xp, x):
    """A copy of an array (..., C), channels padded with zeros."""
    channels = x.shape[-1]
    make = xp.empty if padded(channels) == channels else xp.zeros
    copy = make((*x.shape[:-1], padded(channels)), x.dtype)
    copy[..., :channels] = x
    return copy


def _filters(xp, weight):
    """Weights (G, O, I, R, S) as (G, O, R, S, I padded)."""
    return with_padding(xp, weight.transpose(0, 1, 3, 4, 2))


def _grouped(weight, groups):
    """Weights (O, I, R, S) or (O, I, R) as (G, O/G, I, R, S)."""
    weight = weight if weight.ndim == 4 else weight[:, :, None]
    return weight.reshape(groups, len(weight) // groups, *weight.shape[1:])


def images_of(y, channels, ndim):
    """(N, H, W, G, padded) as (N, G channels, H, W), or (N, G channels, W)."""
    n, h, w, groups, _ = y.shape
    y = y[..., :channels].reshape(n, h, w, groups * channels).transpose(0, 3, 1, 2)
    return y if ndim == 4 else y[:, :, 0]


def _both(axes):
    """The axes of images, of those of sequences."""
    return [_ONE, *axes][-2:]


def windows_of(axes):
    """What both kernels are told of windows, taps and strides."""
    (h, w) = axes
    return (h.count, w.count, h.size, w.size), (h.kernel * w.kernel, w.kernel, h.start, w.start, h.stride, w.stride,
                                                h.dilation, w.dilation)


def _bias_gradient(xp, g):
    rows = channels_last(xp, g, 1)
    return column_sum(xp, rows.reshape(prod(rows.shape[:3]), rows.shape[-1]), g.dtype)[:g.shape[1]]


def phases(axes, pixel):
    """[(places, taps, axes)] of the correlations that spread what windows saw: pixels are `pixel` elements apart."""
    h, w = axes
    return [(((rows.start * w.size + columns.start) * pixel, h.size * w.size * pixel, rows.step * w.size * pixel,
              columns.step * pixel), (row_taps, column_taps), (high, wide))
            for (rows, row_taps, high), (columns, column_taps, wide) in product(h.phases(), w.phases())]


def some_unseen(axes):
    """Are there elements that no window sees?"""
    return any([len(a.phases()) < min(a.stride, a.size) for a in axes])


# -- the three functions, and the kernels that they make ------------------------------------

class Convolutions:
    """Those of one maker: `correlates` and `differentiates` are the names of its two kernels.

    Args:
        key: of `correlates`, besides dtype, for so many outputs of a group.
    """

    def __init__(self, maker, correlates, differentiates, key=lambda outputs: {}):
        self.maker, self.correlates, self.differentiates, self.key = maker, correlates, differentiates, key

    def _correlate_into(self, xp, y, places, images, filters, axes, scale=None, shift=None, activation="none"):
        """A correlation, window (n, i, j) of it at element places . (1, n, i, j) of y."""
        groups, outputs, *_, channels = filters.shape
        windows, (seen, taps) = len(images) * prod([a.count for a in axes]), windows_of(axes)
        launch(self.correlates, lambda c: (cdiv(windows, c["BLOCK_M"]) * cdiv(outputs, c["BLOCK_N"]), groups),
               (images, filters, y, dense(xp, scale), dense(xp, shift), windows, *seen, channels, outputs, *taps,
                *places, ACTIVATIONS[activation]), dtype=multiplied(images), **self.key(outputs))

    def correlate(self, xp, x, weight, axes, groups, scale=None, shift=None, activation="none"):
        """activation(correlation of x (N, C, ...) with weight (O, C/groups, ...) * scale + shift): (N, O, ...)."""
        filters, (h, w) = _filters(xp, _grouped(weight, groups)), axes
        y = xp.empty((len(x), h.count, w.count, groups, padded(filters.shape[1])), x.dtype)
        line = y.shape[3] * y.shape[4]
        places = 0, h.count * w.count * line, w.count * line, line
        self._correlate_into(xp, y, places, channels_last(xp, x, groups), filters, axes, scale, shift, activation)
        return images_of(y, filters.shape[1], x.ndim)

    def spread(self, xp, g, weight, axes, groups, shift=None):
        """What outputs g (N, O, ...) send back to the elements that they saw, plus shift: (N, C, ...).

        One correlation for each phase of the strides: see minidl/ops/conv.py.
        """
        filters, (h, w), images = _grouped(weight, groups).swapaxes(1, 2), axes, channels_last(xp, g, groups)
        channels = filters.shape[1]
        x = xp.empty((len(g), h.size, w.size, groups, padded(channels)), g.dtype)
        if some_unseen(axes):
            x[..., :channels] = 0 if shift is None else shift.reshape(groups, channels)
        for places, taps, seen in phases(axes, groups * padded(channels)):
            self._correlate_into(xp, x, places, images, _filters(xp, filters[(..., *taps)]), seen, shift=shift)
        return images_of(x, channels, g.ndim)

    def filter_gradient(self, xp, x, g, weight, axes, groups):
        """The derivative of sum(g * correlate(x, weight)) in the weight."""
        images, rows = channels_last(xp, x, groups), channels_last(xp, g, groups)
        outputs, channels, (h, w) = len(weight) // groups, images.shape[-1], axes
        windows, depth, (seen, taps) = len(x) * h.count * w.count, h.kernel * w.kernel * channels, windows_of(axes)
        parts = max(1, min(BUSY // (cdiv(outputs, TILE) * cdiv(depth, TILE) * groups), windows // LEAST_CHUNK))
        chunk = cdiv(max(cdiv(windows, parts), 1), TILE) * TILE
        parts = max(1, cdiv(windows, chunk))
        sums = xp.empty((parts, groups, outputs, depth), "float32")
        launch(self.differentiates,
               lambda c: (cdiv(outputs, c["BLOCK_M"]) * cdiv(depth, c["BLOCK_N"]), groups, parts),
               (images, rows, sums, windows, *seen, channels, outputs, *taps, chunk), dtype=multiplied(x))
        found = column_sum(xp, sums, x.dtype).reshape(groups * outputs, h.kernel, w.kernel, channels)
        return found[..., :weight.shape[1]].transpose(0, 3, 1, 2).reshape(weight.shape)

    def register(self):
        """The kernels of all ops."""
        kernels = {"conv2d_activation": (self._activated, self._activated_backward, self._odd_epilogue)}
        for rank in 1, 2:
            kernels[f"conv{rank}d"] = self._convolve, self._convolve_backward, self._odd
            kernels[f"conv_transpose{rank}d"] = self._transpose, self._transpose_backward, self._odd_transpose
        for op, (forward, backward, refuses) in kernels.items():
            register(Kernel(f"{op}.{self.maker}", op, "cuda", forward, backward, refuses))

    def _convolve(self, xp, x, weight, bias, stride, padding, dilation, groups):
        axes = _both(conv_axes(x.shape, weight.shape, stride, padding, dilation, groups))
        return self.correlate(xp, x, weight, axes, groups, shift=bias), axes

    def _convolve_backward(self, xp, g, axes, x, weight, bias, stride, padding, dilation, groups):
        return ((lambda: self.spread(xp, g, weight, axes, groups)),
                (lambda: self.filter_gradient(xp, x, g, weight, axes, groups)),
                None if bias is None else lambda: _bias_gradient(xp, g))

    def _transpose(self, xp, x, weight, bias, stride, padding, output_padding, groups, dilation):
        axes = _both(transposed_axes(x.shape, weight.shape, bias, stride, padding, output_padding, groups, dilation))
        return self.spread(xp, x, weight, axes, groups, shift=bias), axes

    def _transpose_backward(self, xp, g, axes, x, weight, bias, stride, padding, output_padding, groups, dilation):
        return ((lambda: self.correlate(xp, g, weight, axes, groups)),
                (lambda: self.filter_gradient(xp, g, x, weight, axes, groups)),
                None if bias is None else lambda: _bias_gradient(xp, g))

    def _activated(self, xp, x, weight, bias, scale, residual, stride, padding, dilation, groups, activation):
        axes = conv_axes(x.shape, weight.shape, stride, padding, dilation, groups)
        if residual is None and (not tape.recording() or activation == "none"):
            return self.correlate(xp, x, weight, axes, groups, scale, bias, activation), (axes, None)
        sums = self.correlate(xp, x, weight, axes, groups, scale, bias)
        sums = sums if residual is None else sums + alike(residual, sums)
        if activation == "none":
            return sums, (axes, None)
        y = bent(xp, sums.transpose(0, 2, 3, 1), None, activation)         # (in the order of memory)
        return y.transpose(0, 3, 1, 2), (axes, sums)

    def _activated_backward(self, xp, g, kept, x, weight, bias, scale, residual, stride, padding, dilation, groups,
                            activation):
        axes, sums = kept
        if sums is not None:
            g = through_bent(xp, g.transpose(0, 2, 3, 1), sums.transpose(0, 2, 3, 1), None, activation)[0]
            g = g.transpose(0, 3, 1, 2)
        return *self._convolve_backward(xp, g, axes, x, weight, bias, stride, padding, dilation, groups), None, g

    def unserved(self, x, weight, groups):
        """Why there is no kernel for such filters and images of this dtype, or None."""
        if groups == len(weight) > 1 and weight.shape[1] == 1:
            return "depthwise: tensor cores sum over channels, and here there is one"
        return unless_served(self.correlates, x, **self.key(len(weight) // groups))

    def _unless(self, x, weight, groups, derive, *arguments):
        try:
            derive(*arguments)
        except MinidlError:
            return "odd arguments"
        return self.unserved(x, weight, groups) if weight.size else "no weights"

    def _odd(self, arrays, params):
        x, weight, _ = arrays
        return self._unless(x, weight, params["groups"], conv_axes, x.shape, weight.shape, params["stride"],
                            params["padding"], params["dilation"], params["groups"])

    def _odd_transpose(self, arrays, params):
        x, weight, bias = arrays
        return self._unless(x, weight, params["groups"], transposed_axes, x.shape, weight.shape, bias,
                            params["stride"], params["padding"], params["output_padding"], params["groups"],
                            params["dilation"])

    def _odd_epilogue(self, arrays, params):
        x, weight, bias, scale, residual = arrays
        if tape.recording() and scale is not None:
            return "a scale, whose gradient needs the sums alone: for inference only"
        bends = params["activation"] != "none" and (tape.recording() or residual is not None)
        if bends and (reason := unless_served("gate_forward", x)):
            return reason
        known = params["activation"] in ACTIVATIONS
        return self._odd((x, weight, bias), params) or (None if known else "the op explains what it may be")


Convolutions("triton", "correlate", "filter_gradient").register()
