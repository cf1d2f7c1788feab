"""Pyramids of feature maps from classifiers: what detectors and segmentation networks stand on."""
from typing import NamedTuple

from .. import nn
from ..errors import ArgumentError, message


class Feature(NamedTuple):
    """A map of a pyramid."""

    channels: int
    stride: int                    # pixels of the image per step of the map


class FeaturePyramid(nn.Module):
    """A classifier without its head: image (N, C, H, W) -> [map (N, channels, H/stride, W/stride), ...].

    Args:
        backbone: has `pyramid(image)` and `feature_info`, a tuple of Features.
        out_indices: which maps, by position; None: all.

    Raises:
        ArgumentError: the backbone has no pyramid, or there is no such map.
    """

    def __init__(self, backbone, out_indices=None):
        every = getattr(backbone, "feature_info", None)
        if every is None:
            raise ArgumentError(message("FeaturePyramid", "backbone", "a model with a pyramid of feature maps",
                                        type(backbone).__name__))
        wanted = range(len(every)) if out_indices is None else out_indices
        if any(not -len(every) <= i < len(every) for i in wanted):
            expected = f"positions among {len(every)} maps"
            raise ArgumentError(message("FeaturePyramid", "out_indices", expected, out_indices))
        self.out_indices = tuple(i % len(every) for i in wanted)
        self.feature_info = tuple(every[i] for i in self.out_indices)
        backbone.reset_head(0)
        self.backbone = backbone

    def forward(self, image):
        """image (N, C, H, W) -> list of maps, fine to coarse."""
        maps = self.backbone.pyramid(image)
        return [maps[i] for i in self.out_indices]
