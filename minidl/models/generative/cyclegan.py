"""CycleGAN: a residual network that translates images, learning without pairs.

Source: Zhu, Park, Isola, Efros 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", arXiv:1703.10593, appendix 7.2; the network: Johnson, Alahi, Fei-Fei 2016, arXiv:1603.08155.
Differs from the paper: nothing.

    image (N,C,H,W) -> 7x7, two 3x3 /2 -> Blocks -> two transposed 3x3 x2, 7x7 -> tanh -> image (N,K,H,W)
"""
from dataclasses import dataclass

from ... import nn
from ...errors import ArgumentError, ShapeError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .generator import small_normal
from .patchgan import PatchGAN, PatchGANConfig, dropped, normed

PADS = {"reflect": nn.ReflectionPad2d, "replicate": nn.ReplicationPad2d, "zero": None}


@dataclass(frozen=True)
class ResNetGeneratorConfig(ModelConfig):
    """Sizes of a residual network that translates.

    Args:
        in_channels, out_channels: of the images, whose sides are multiples of 4.
        width: channels of the first layer; the blocks have four times as many.
        num_blocks: 9 for 256 pixels, 6 for 128.
        norm: "instance" or "batch".
        padding: of the blocks: "reflect", "replicate" or "zero".
        dropout: inside the blocks; None: there is none.
    """

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    num_blocks: int = 9
    norm: str = "instance"
    padding: str = "reflect"
    dropout: float | None = None

    def __post_init__(self):
        normed(self.norm, "ResNetGeneratorConfig")
        if self.padding not in PADS:
            raise ArgumentError(message("ResNetGeneratorConfig", "padding", f"one of {', '.join(PADS)}",
                                        repr(self.padding)))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(2, 2, 4, 1, dropout=0.1)


class Block(nn.Module):
    """Two 3x3 convolutions around which the input passes."""

    def __init__(self, width, config):
        norm, bias = normed(config.norm, "ResNetGeneratorConfig")
        pad = PADS[config.padding]
        def convolution():
            return [*([pad(1)] if pad else []), nn.Conv2d(width, width, 3, padding=0 if pad else 1, bias=bias),
                    norm(width)]
        drop = [] if config.dropout is None else [nn.Dropout(config.dropout)]
        self.conv_block = nn.Sequential(*convolution(), nn.ReLU(), *drop, *convolution())

    def forward(self, x):
        """x (N, C, H, W) -> the same shape."""
        return x + self.conv_block(x)


def layout(config):
    """Names as they are; instance norms of old files hold running statistics, which nobody uses."""
    return dropped("model.{i}.", "model.{i}.conv_block.{j}.") if config.norm == "instance" else ()


class ResNetGenerator(Model):
    """The network of the module's docstring."""

    config_class = ResNetGeneratorConfig
    layouts = {"pytorch-CycleGAN-and-pix2pix": layout}

    def __init__(self, config):
        c = self.config = config
        (norm, bias), w = normed(c.norm, "ResNetGeneratorConfig"), c.width
        self.model = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(c.in_channels, w, 7, bias=bias), norm(w), nn.ReLU())
        for width in (w, 2 * w):
            self.model.extend([nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), norm(2 * width), nn.ReLU()])
        self.model.extend(Block(4 * w, c) for _ in range(c.num_blocks))
        for width in (4 * w, 2 * w):
            self.model.extend([nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1, bias=bias), norm(width // 2),
                               nn.ReLU()])
        self.model.extend([nn.ReflectionPad2d(3), nn.Conv2d(w, c.out_channels, 7), nn.Tanh()])
        small_normal(self)

    def adversary(self):
        """The discriminator of what this network makes."""
        return PatchGAN(PatchGANConfig(self.config.out_channels, self.config.width, 3, self.config.norm))

    def forward(self, image):
        """image (N, C, H, W) in [-1, 1] -> image (N, K, H, W) in [-1, 1].

        Raises:
            ShapeError: a side is no multiple of 4, or too short to mirror.
        """
        if image.shape[2] % 4 or image.shape[3] % 4 or min(image.shape[2:]) < 8:
            raise ShapeError(message("ResNetGenerator", "image", "sides that are multiples of 4, from 8 on",
                                     image.shape))
        return self.model(image)


PAPER = "Zhu, Park, Isola, Efros 2017, arXiv:1703.10593"


@family(ResNetGenerator, "image-generation", PAPER)("cyclegan/resnet_9blocks")
def cyclegan():
    """9 blocks, for 256 by 256 pixels."""
    return ResNetGeneratorConfig()
