"""Pooling layers. The maths, with sources, stands at the ops of the same names.

Args, of all, in elements, one integer for all axes or one per axis: `kernel_size`, of the window; `stride`, from window
to window, as large as the window unless given; `padding`, by which windows reach over the edges; `dilation`, from
element to element of a window; `ceil_mode`: one more window where the last one leaves something over.
`output_size`, of adaptive pooling: an integer, or one per axis; None: as large as x.
All take x (N, C, *) or (C, *), and give (N, C, *) or (C, *).
"""
from .. import ops
from .module import Module


class _MaxPool(Module):
    axes = 0

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, x):
        """x (N, C, *) -> (N, C, *); and, with `return_indices`, where in the flattened axes each maximum is."""
        pool = ops.max_pool_with_indices if self.return_indices else ops.max_pool
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.axes)


class MaxPool1d(_MaxPool):
    """The largest element of each window of x (N, C, L)."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of x (N, C, H, W)."""

    axes = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of x (N, C, D, H, W)."""

    axes = 3


class _MaxUnpool(Module):
    axes = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x, indices, output_size=None):
        """x (N, C, *) and indices, as MaxPool gives them -> (N, C, *), `output_size` if that is given."""
        return ops.max_unpool(x, indices, self.kernel_size, self.stride, self.padding, output_size, self.axes)


class MaxUnpool1d(_MaxUnpool):
    """Put the maxima of a MaxPool1d back where they came from, with zeros around them."""

    axes = 1


class MaxUnpool2d(_MaxUnpool):
    """Put the maxima of a MaxPool2d back where they came from, with zeros around them."""

    axes = 2


class MaxUnpool3d(_MaxUnpool):
    """Put the maxima of a MaxPool3d back where they came from, with zeros around them."""

    axes = 3


class _AvgPool(Module):
    axes = 0

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
                 divisor_override=None):
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.avg_pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                            self.divisor_override, self.axes)


class AvgPool1d(_AvgPool):
    """The mean of each window of x (N, C, L); zeros of the padding count unless `count_include_pad` is False."""

    axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of x (N, C, H, W); zeros of the padding count unless `count_include_pad` is False."""

    axes = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of x (N, C, D, H, W); zeros of the padding count unless `count_include_pad` is False."""

    axes = 3


class _LPPool(Module):
    axes = 0

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.lp_pool(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode, self.axes)


class LPPool1d(_LPPool):
    """(The sum of x ** norm_type) ** (1 / norm_type) of each window of x (N, C, L)."""

    axes = 1


class LPPool2d(_LPPool):
    """(The sum of x ** norm_type) ** (1 / norm_type) of each window of x (N, C, H, W)."""

    axes = 2


class LPPool3d(_LPPool):
    """(The sum of x ** norm_type) ** (1 / norm_type) of each window of x (N, C, D, H, W)."""

    axes = 3


class _AdaptiveAvgPool(Module):
    axes = 0

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        """x (N, C, *) -> (N, C, *output_size)."""
        return ops.adaptive_avg_pool(x, self.output_size, self.axes)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of so many equal parts of x (N, C, L)."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of so many equal parts of x (N, C, H, W); AdaptiveAvgPool2d(1): the mean of each image."""

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of so many equal parts of x (N, C, D, H, W)."""

    axes = 3


class _AdaptiveMaxPool(Module):
    axes = 0

    def __init__(self, output_size, return_indices=False):
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, x):
        """x (N, C, *) -> (N, C, *output_size); and, with `return_indices`, where in the flattened axes maxima are."""
        pool = ops.adaptive_max_pool_with_indices if self.return_indices else ops.adaptive_max_pool
        return pool(x, self.output_size, self.axes)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of so many equal parts of x (N, C, L)."""

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of so many equal parts of x (N, C, H, W)."""

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest elements of so many equal parts of x (N, C, D, H, W)."""

    axes = 3
