"""Pix2Pix: a U-Net that translates images, learning from pairs.

Source: Isola, Zhu, Zhou, Efros 2016, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv:1611.07004, section 3.2.1 and appendix 6.1.1.
Differs from the paper: what a skip hands over has passed the leaky ReLU of the way down, as in the published networks.

    image (N,C,H,W) -> 4x4 convolutions /2 down to one pixel -> transposed ones x2 up, each with what it was halved
    from -> tanh -> image (N,K,H,W)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, ShapeError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .generator import small_normal
from .patchgan import PatchGAN, PatchGANConfig, dropped, normed


@dataclass(frozen=True)
class UNetGeneratorConfig(ModelConfig):
    """Sizes of a U-Net that translates.

    Args:
        in_channels, out_channels: of the images.
        width: channels of the first level; they double up to eightfold.
        num_downs: levels, at least 5; sides of images are multiples of 2 ** num_downs.
        norm: "batch" or "instance".
        dropout: the share that is dropped on the innermost levels; the only noise there is.
    """

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    num_downs: int = 8
    norm: str = "batch"
    dropout: float = 0.5

    def __post_init__(self):
        normed(self.norm, "UNetGeneratorConfig")
        if self.num_downs < 5:
            raise ArgumentError(message("UNetGeneratorConfig", "num_downs", "at least 5", self.num_downs))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(3, 3, 4, 6)

    @property
    def widths(self):
        """Channels of each level, from the outside in."""
        return [self.width * min(2 ** i, 8) for i in range(self.num_downs)]


class Level(nn.Module):
    """One level's convolution down, its transposed one up, and the norms behind them, where there are any."""

    def __init__(self, inputs, width, outputs, inner, config, outermost, innermost):
        norm, bias = normed(config.norm, "UNetGeneratorConfig")
        self.down = nn.Conv2d(inputs, width, 4, 2, 1, bias=bias)
        self.down_norm = None if outermost or innermost else norm(width)
        self.up = nn.ConvTranspose2d(inner, outputs, 4, 2, 1, bias=bias or outermost)
        self.up_norm = None if outermost else norm(outputs)

    def halve(self, x):
        """x (N, I, H, W) -> (N, width, H/2, W/2)."""
        x = self.down(x)
        return x if self.down_norm is None else self.down_norm(x)

    def double(self, x):
        """x (N, inner, H/2, W/2) -> (N, O, H, W)."""
        x = self.up(ops.relu(x))
        return x if self.up_norm is None else self.up_norm(x)


def layout(config):
    """Each level lies inside the one above: names grow inwards."""
    rows, path, last = [], "model.model.", config.num_downs - 1
    for i in range(config.num_downs):
        places = {0: (0, None, 3, None), last: (1, None, 3, 4)}.get(i, (1, 2, 5, 6))
        for place, part in zip(places, ("down", "down_norm", "up", "up_norm")):
            if place is not None:
                old = dropped(f"{path}{place}.") if config.norm == "instance" and "norm" in part else ()
                rows += [*old, (f"{path}{place}.*", f"levels.{i}.{part}.*")]
        path += "1.model." if i == 0 else "3.model."
    return tuple(rows)


class UNetGenerator(Model):
    """The network of the module's docstring."""

    config_class = UNetGeneratorConfig
    layouts = {"pytorch-CycleGAN-and-pix2pix": layout}

    def __init__(self, config):
        c, widths = config, config.widths
        self.config, self.levels = config, nn.ModuleList()
        for i, width in enumerate(widths):
            outer, innermost = widths[i - 1] if i else 0, i == c.num_downs - 1
            self.levels.append(Level(outer or c.in_channels, width, outer or c.out_channels,
                                     width if innermost else 2 * width, c, i == 0, innermost))
        self.dropout = nn.Dropout(c.dropout)
        small_normal(self)

    def adversary(self):
        """The discriminator of pairs."""
        c = self.config
        return PatchGAN(PatchGANConfig(c.in_channels + c.out_channels, c.width, 3, c.norm))

    def forward(self, image):
        """image (N, C, H, W) in [-1, 1] -> image (N, K, H, W) in [-1, 1].

        Raises:
            ShapeError: a side is no multiple of 2 ** num_downs.
        """
        step = 2 ** self.config.num_downs
        if image.shape[2] % step or image.shape[3] % step:
            raise ShapeError(message("UNetGenerator", "image", f"sides that are multiples of {step}", image.shape,
                                     "Resize it, or take fewer num_downs."))
        x, skips = self.levels[0].halve(image), []
        for level in self.levels[1:]:
            skips.append(ops.leaky_relu(x, 0.2))
            x = level.halve(skips[-1])
        for i in range(len(self.levels) - 1, 0, -1):
            x = self.levels[i].double(x)
            if 4 <= i < len(self.levels) - 1:
                x = self.dropout(x)
            x = ops.concat([skips.pop(), x], 1)
        return ops.tanh(self.levels[0].double(x))


@family(UNetGenerator, "image-generation", "Isola, Zhu, Zhou, Efros 2016, arXiv:1611.07004")("pix2pix/unet_256")
def pix2pix():
    """256 by 256 pixels, and multiples of it."""
    return UNetGeneratorConfig()
