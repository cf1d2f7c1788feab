"""StyleGAN2's discriminator: residual blocks that halve the image, and how much a batch deviates.

Source: Karras et al. 2019, arXiv:1912.04958, section 4.1; Karras et al. 2017, arXiv:1710.10196, section 3; see
stylegan2.py.
Differs from the papers: nothing.

    image (N,C,H,W) -> Blocks /2 -> 4x4, deviation over the batch -> score (N,1)
"""
import math
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ShapeError, message
from ..model import Model
from ..registry import family
from .stylegan2_layers import BINOMIAL, Conv, Dense, Mapping, Sizes, activated, halved


@dataclass(frozen=True)
class StyleGAN2DiscriminatorConfig(Sizes):
    """Sizes of a discriminator: those it shares with the generator, and:

    Args:
        architecture: "resnet", "skip" (each block sees the image, halved) or "orig".
        group_size: of how many images the deviation is taken; 1: of none.
        mapping_layers: from class to what scores are weighed by.
    """

    architecture: str = "resnet"
    group_size: int = 4
    mapping_layers: int = 8

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run. (Groups of one: items do not see each other.)"""
        return cls(16, 2, 2, 64, 4, group_size=1, mapping_layers=1)


class DiscriminatorBlock(nn.Module):
    """Halves the maps, by two convolutions; the first block begins with the image, in "skip" nets each looks at it."""

    def __init__(self, size, config, response):
        c, clamp = config, config.conv_clamp
        inputs, outputs, first = c.channels(size), c.channels(size // 2), size == c.image_size
        self.resample_filter, self.shrinks = response, c.architecture == "skip"
        self.fromrgb = Conv(c.in_channels, inputs, 1, response, clamp=clamp) if first or self.shrinks else None
        self.conv0 = Conv(inputs, inputs, 3, response, clamp=clamp)
        self.conv1 = Conv(inputs, outputs, 3, response, down=2, clamp=clamp)
        self.skip = Conv(inputs, outputs, 1, response, bias=False, down=2) if c.architecture == "resnet" else None

    def forward(self, x, image):
        """x (N, I, H, W) or None, image (N, C, H, W) or None -> x (N, O, H/2, W/2), image (N, C, H/2, W/2) or None."""
        if self.fromrgb is not None:
            pixels = self.fromrgb(image)
            x = pixels if x is None else x + pixels
            image = halved(image, self.resample_filter) if self.shrinks else None
        y = self.conv0(x)
        if self.skip is None:
            return self.conv1(y), image
        return self.skip(x, math.sqrt(0.5)) + self.conv1(y, math.sqrt(0.5)), image


class Epilogue(nn.Module):
    """4x4 maps, and how much images of a batch deviate from each other, to a score."""

    def __init__(self, config, response):
        c, width = config, config.channels(4)
        self.fromrgb = Conv(c.in_channels, width, 1, response) if c.architecture == "skip" else None
        self.conv = Conv(width + 1, width, 3, response, clamp=c.conv_clamp)
        self.fc = Dense(16 * width, width)
        self.out = Dense(width, width if c.num_classes else 1)
        self.group_size = c.group_size

    def forward(self, x, image, weights=None):
        """x (N, W, 4, 4), weights (N, W) or None: of classes -> score (N, 1)."""
        if self.fromrgb is not None:
            x = x + self.fromrgb(image)
        x = self.conv(ops.concat([x, deviation(x, self.group_size)], 1))
        x = self.out(activated(self.fc(x.reshape(x.shape[0], -1))))
        return x if weights is None else ops.sum(x * weights, 1, True) * (1 / math.sqrt(x.shape[1]))


def deviation(x, group_size):
    """The mean deviation in a group of images, as a map of each of them. 1710.10196, section 3.

    Args:
        x (N, C, H, W): image i is in a group with i + N/G, i + 2 N/G, ...
        group_size: G; or all images, where there are fewer.

    Returns:
        (N, 1, H, W).

    Raises:
        ShapeError: N is no multiple of G.
    """
    n, _, h, w = x.shape
    size = min(group_size, n)
    if n % size:
        raise ShapeError(message("StyleGAN2Discriminator", "image", f"a batch that is a multiple of {size}", x.shape,
                                 "Let the loader drop the last one, or change group_size."))
    groups = x.reshape(size, n // size, -1)
    centred = groups - ops.mean(groups, 0, True)
    spread = ops.mean(ops.sqrt(ops.mean(centred * centred, 0) + 1e-8), 1)
    return ops.broadcast_to(ops.concat([spread] * size, 0).reshape(n, 1, 1, 1), (n, 1, h, w))


class StyleGAN2Discriminator(Model):
    """Images to scores."""

    config_class = StyleGAN2DiscriminatorConfig
    layouts = {"stylegan2-ada-pytorch": ()}

    def __init__(self, config):
        c, response = config, nn.Buffer(BINOMIAL)
        self.config = c
        for size in c.resolutions[:0:-1]:
            self.add_module(f"b{size}", DiscriminatorBlock(size, c, response))
        self.b4 = Epilogue(c, response)
        self.mapping = Mapping(0, c.num_classes, c.channels(4), c.mapping_layers, False) if c.num_classes else None

    def forward(self, image, labels=None):
        """image (N, C, H, W), labels (N) or shares (N, K) -> score (N, 1), higher being more real.

        Raises:
            ShapeError: another size; a batch that is no multiple of group_size.
            ArgumentError: labels are missing.
        """
        size = self.config.image_size
        if image.shape[2:] != (size, size):
            raise ShapeError(message("StyleGAN2Discriminator", "image", f"{size} by {size} pixels", image.shape))
        weights, x = None, None
        if self.mapping is not None:
            weights = self.mapping(None, labels)
        for size in self.config.resolutions[:0:-1]:
            x, image = getattr(self, f"b{size}")(x, image)
        return self.b4(x, image, weights)


PAPER = "Karras et al. 2019, arXiv:1912.04958"


@family(StyleGAN2Discriminator, "image-generation", PAPER)("stylegan2/ada_ffhq1024_D")
def stylegan2_discriminator():
    """1024 by 1024 pixels."""
    return StyleGAN2DiscriminatorConfig()
