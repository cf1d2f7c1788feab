"""Layers that change resolution without weights. The maths, with sources, stands at the ops of the same names."""
from .. import ops
from .module import Module


class Upsample(Module):
    """Resize the last axes to a size, or by a factor.

    Args:
        size: the new lengths, one for all axes or one per axis; or
        scale_factor: by what the lengths are multiplied, likewise.
        mode: "nearest", "nearest-exact" or "area"; "linear" for x (N, C, L), "bilinear" or "bicubic" for (N, C, H, W),
            "trilinear" for (N, C, D, H, W).
        align_corners: the outermost elements' centres, rather than their edges, stay where they are.
        recompute_scale_factor: distances follow from the sizes, not from `scale_factor`.
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners, self.recompute_scale_factor = align_corners, recompute_scale_factor

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners,
                               self.recompute_scale_factor)


class UpsamplingNearest2d(Upsample):
    """Upsample images (N, C, H, W), each new pixel taking the nearest one's value."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Upsample images (N, C, H, W) bilinearly; the outermost pixels' centres stay in place."""

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class PixelShuffle(Module):
    """Make images finer: of r * r channels, one with r times the rows and columns; r is `upscale_factor`."""

    def __init__(self, upscale_factor):
        self.upscale_factor = upscale_factor

    def forward(self, x):
        """x (N, C r r, H, W) -> (N, C, H r, W r)."""
        return ops.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Module):
    """Undo a PixelShuffle: of r by r pixels, one with r * r times the channels; r is `downscale_factor`."""

    def __init__(self, downscale_factor):
        self.downscale_factor = downscale_factor

    def forward(self, x):
        """x (N, C, H r, W r) -> (N, C r r, H, W)."""
        return ops.pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Module):
    """Deal the channels of each of `groups` groups out over new groups."""

    def __init__(self, groups):
        self.groups = groups

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.channel_shuffle(x, self.groups)


class Unfold(Module):
    """Lay windows of images out as columns.

    Args, in pixels, one integer or (rows, columns): kernel_size, of a window; dilation, from element to element of it;
    padding, zeros around the image; stride, from window to window.
    """

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, x):
        """x (N, C, H, W) -> (N, C R S, L), for L windows of R by S pixels."""
        return ops.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """Add columns up to images of size `output_size`: the transpose of Unfold, whose other arguments it has."""

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x):
        """x (N, C R S, L) -> (N, C, H, W)."""
        return ops.fold(x, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
