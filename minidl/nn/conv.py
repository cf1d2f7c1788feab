"""Convolutions and transposed convolutions of one, two and three dimensions."""
import math

from .. import ops
from ..errors import ArgumentError, message
from ..ops.window import per_axis
from . import init
from .linear import bias_or_none
from .module import Module
from .parameter import Parameter

PADDING_MODES = "zeros", "reflect", "replicate", "circular"


class _Layer(Module):
    """What all convolutions share: their settings, one integer per axis, and their parameters."""

    axes, op = 0, None             # how many spatial axes; the op that runs

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias):
        if groups < 1 or in_channels % groups or out_channels % groups:
            expected = f"a divisor of in_channels={in_channels} and out_channels={out_channels}"
            raise ArgumentError(message(type(self).__name__, "groups", expected, groups))
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._per_axis("kernel_size", kernel_size, 1)
        self.stride = self._per_axis("stride", stride, 1)
        self.padding = padding if padding in ("same", "valid") else self._per_axis("padding", padding, 0)
        self.dilation = self._per_axis("dilation", dilation, 1)
        shape = (*self._channels(), *self.kernel_size)
        self.weight = Parameter(init.kaiming_uniform(math.sqrt(5)), *shape)
        self.bias = bias_or_none(bias, out_channels, init.fans("conv", shape)[0])

    def _per_axis(self, name, value, least):
        return per_axis(type(self).__name__, name, value, self.axes, least)


class _Conv(_Layer):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        if padding_mode not in PADDING_MODES:
            expected = f"one of {', '.join(PADDING_MODES)}"
            raise ArgumentError(message(type(self).__name__, "padding_mode", expected, repr(padding_mode)))
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        if padding == "same" and set(self.stride) != {1}:
            expected = '"same" with stride 1 only'
            raise ArgumentError(message(type(self).__name__, "padding", expected, f"stride {stride}"))
        self.padding_mode = padding_mode

    def _channels(self):
        return self.out_channels, self.in_channels // self.groups

    def _widths(self):
        """(before, after) of every axis."""
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            return [(t // 2, t - t // 2) for t in totals]
        return [(0, 0)] * self.axes if self.padding == "valid" else [(p, p) for p in self.padding]

    def pads(self, shape):
        """The padding of an input (N, C, *), as the op takes it."""
        return self.padding

    def forward(self, x):
        """x (N, C, *) -> (N, O, *)."""
        padding = self.pads(x.shape)
        if self.padding_mode != "zeros":
            x, padding = ops.pad(x, self._widths(), self.padding_mode), 0
        return self.op(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv1d(_Conv):
    """Cross-correlate signals with filters.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: R.
        stride: steps between outputs.
        padding: elements put before and after the signal; "same" keeps the length (stride 1), "valid" is 0.
        dilation: steps between a filter's taps.
        groups: each of so many parts of the channels is convolved alone.
        bias: add one per output channel.
        padding_mode: what is put there: zeros, reflect, replicate, circular.

    Parameters: weight (O, C / groups, R), bias (O): uniform in +-1/sqrt(C R / groups).

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 1, staticmethod(ops.conv1d)


class Conv2d(_Conv):
    """Cross-correlate images (N, C, H, W) with filters. Arguments as of Conv1d, each one or (rows, columns).

    Parameters: weight (O, C / groups, R, S), bias (O): uniform in +-1/sqrt(C R S / groups).

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 2, staticmethod(ops.conv2d)


class Conv3d(_Conv):
    """Cross-correlate volumes (N, C, D, H, W) with filters. Arguments as of Conv1d, each one or one per axis.

    Parameters: weight (O, C / groups, *kernel_size), bias (O): uniform as of Conv1d.

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 3, staticmethod(ops.conv3d)


class _ConvTranspose(_Layer):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1):
        self.output_padding = self._per_axis("output_padding", output_padding, 0)
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)

    def _channels(self):
        return self.in_channels, self.out_channels // self.groups

    def forward(self, x, output_size=None):
        """x (N, C, *) -> (N, O, *). Of the sizes that a stride over 1 leaves open, `output_size` chooses one."""
        extra = self.output_padding if output_size is None else self._extra(x, tuple(output_size)[-self.axes:])
        return self.op(x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra(self, x, sizes):
        """The output padding that leads to these sizes."""
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in zip(
            x.shape[2:], self.stride, self.padding, self.dilation, self.kernel_size)]
        extra = tuple([size - low for size, low in zip(sizes, least)])
        if len(sizes) != self.axes or not all(0 <= e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation)):
            ranges = ", ".join(f"{low} to {low + s - 1}" for low, s in zip(least, self.stride))
            raise ArgumentError(message(type(self).__name__, "output_size", f"sizes in {ranges}", sizes))
        return extra


class ConvTranspose1d(_ConvTranspose):
    """The transpose of a Conv1d: each input element spreads a filter over the output.

    Args:
        in_channels, out_channels: C and O.
        kernel_size: R.
        stride: steps between the places of neighbouring inputs in the output.
        padding: elements cut off at either end of the output.
        output_padding: elements more at the end of the output.
        groups: each of so many parts of the channels is convolved alone.
        bias: add one per output channel.
        dilation: steps between a filter's taps.

    Parameters: weight (C, O / groups, R), bias (O): uniform in +-1/sqrt(O R / groups).

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 1, staticmethod(ops.conv_transpose1d)


class ConvTranspose2d(_ConvTranspose):
    """The transpose of a Conv2d. Arguments as of ConvTranspose1d, each one or (rows, columns).

    Parameters: weight (C, O / groups, R, S), bias (O).

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 2, staticmethod(ops.conv_transpose2d)


class ConvTranspose3d(_ConvTranspose):
    """The transpose of a Conv3d. Arguments as of ConvTranspose1d, each one or one per axis.

    Parameters: weight (C, O / groups, *kernel_size), bias (O).

    Raises:
        ArgumentError: values that do not fit each other.
    """

    axes, op = 3, staticmethod(ops.conv_transpose3d)
