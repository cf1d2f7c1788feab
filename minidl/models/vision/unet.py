"""U-Net: what is coarse and what is fine, joined again at every resolution.

Source: Ronneberger, Fischer, Brox 2015, "U-Net", arXiv:1505.04597; with an encoder of ResNet's: the layout of
segmentation-models-pytorch (Iakubovskii 2019).
Differs from the paper: convolutions are padded, so that the result is as large as the image, and batch norms follow
them, as in published weights.

    image (N,C,H,W) -> DoubleConv -> 4 x (pool, DoubleConv) -> 4 x (up, join, DoubleConv) -> 1x1 conv
    -> logits (N,K,H,W)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...data.preprocess import ImagePreprocess
from ..config import ModelConfig
from ..model import Segmenter
from ..registry import family
from .resnet import ResNet, ResNetConfig


def conv_block(inputs, outputs):
    """[3x3 convolution, its norm]."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)


class DoubleConv(nn.Module):
    """Twice a 3x3 convolution, a norm and a ReLU."""

    def __init__(self, inputs, outputs, middle=None):
        middle = middle or outputs
        self.double_conv = nn.Sequential(*conv_block(inputs, middle), nn.ReLU(),
                                         *conv_block(middle, outputs), nn.ReLU())

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        conv1, norm1, _, conv2, norm2, _ = self.double_conv
        return nn.conv_norm(nn.conv_norm(x, conv1, norm1, "relu"), conv2, norm2, "relu")


class Down(nn.Module):
    """Half the resolution, then a DoubleConv."""

    def __init__(self, inputs, outputs):
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H/2, W/2)."""
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Twice the resolution, joined with the map of that resolution on the way down, then a DoubleConv."""

    def __init__(self, inputs, outputs, bilinear):
        if bilinear:
            self.up, self.conv = nn.UpsamplingBilinear2d(scale_factor=2), DoubleConv(inputs, outputs, inputs // 2)
        else:
            self.up, self.conv = nn.ConvTranspose2d(inputs, inputs // 2, 2, 2), DoubleConv(inputs, outputs)

    def forward(self, x, skip):
        """x (N, I, H, W), skip (N, J, about 2H, about 2W) -> (N, O, as skip)."""
        x = self.up(x)
        spare = [s - n for s, n in zip(skip.shape[2:], x.shape[2:])]
        if any(spare):
            x = ops.pad(x, ((0, 0), (0, 0), *((s // 2, s - s // 2) for s in spare)))
        return self.conv(ops.concat([skip, x], 1))


@dataclass(frozen=True)
class UNetConfig(ModelConfig):
    """Sizes of a U-Net.

    Args:
        width: channels at the image's resolution; twice as many at each below.
        in_channels, num_classes: of the image, and of the logits.
        bilinear: grow by interpolation, not by transposed convolutions.
    """

    width: int = 64
    in_channels: int = 3
    num_classes: int = 2
    bilinear: bool = False

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(4, num_classes=3)


class UNet(Segmenter):
    """The network of the module's docstring. Images may have any size from 16 pixels up."""

    config_class = UNetConfig
    layouts = {"milesial": (("mask_values", None),)}
    head_name = "outc.conv"

    def __init__(self, config):
        c = self.config = config
        last = 2 if c.bilinear else 1
        w = [c.width << i for i in range(5)]
        self.inc = DoubleConv(c.in_channels, w[0])
        self.down1, self.down2, self.down3 = (Down(w[i], w[i + 1]) for i in range(3))
        self.down4 = Down(w[3], w[4] // last)
        self.up1, self.up2, self.up3 = (Up(w[4 - i], w[3 - i] // last, c.bilinear) for i in range(3))
        self.up4 = Up(w[1], w[0], c.bilinear)
        self.outc = nn.Sequential()
        self.outc.add_module("conv", nn.Conv2d(w[0], c.num_classes, 1))

    def forward(self, image):
        """image (N, C, H, W) -> logits (N, num_classes, H, W)."""
        maps = [self.inc(image)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            maps.append(down(maps[-1]))
        x = maps.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, maps.pop())
        return self.outc(x)


# -- with a ResNet on the way down ----------------------------------------------------------

@dataclass(frozen=True)
class ResNetUNetConfig(ModelConfig):
    """Sizes of a U-Net whose way down is a ResNet.

    Args:
        block, layers, width: of the ResNet.
        decoder: channels of the five steps up.
        in_channels, num_classes: of the image, and of the logits.
    """

    block: str = "basic"
    layers: tuple = (3, 4, 6, 3)
    width: int = 64
    decoder: tuple = (256, 128, 64, 32, 16)
    in_channels: int = 3
    num_classes: int = 2

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls("basic", (1, 1, 1, 1), 4, (8, 8, 4, 4, 4), num_classes=3)


class DecoderBlock(nn.Module):
    """Twice the resolution by repetition, joined with the encoder's map, two convolutions."""

    def __init__(self, inputs, skip, outputs):
        self.conv1 = nn.Sequential(*conv_block(inputs + skip, outputs))
        self.conv2 = nn.Sequential(*conv_block(outputs, outputs))

    def forward(self, x, skip=None):
        """x (N, I, H, W), skip (N, J, 2H, 2W) -> (N, O, 2H, 2W)."""
        x = ops.interpolate(x, scale_factor=2, mode="nearest")
        x = x if skip is None else ops.concat([x, skip], 1)
        return nn.conv_norm(nn.conv_norm(x, *self.conv1, "relu"), *self.conv2, "relu")


class ResNetUNet(Segmenter):
    """image (N,C,H,W) -> ResNet's maps /2 ... /32 -> five DecoderBlocks -> 3x3 conv -> logits (N,K,H,W)."""

    config_class = ResNetUNetConfig
    layouts = {"smp": (("decoder.blocks.{i}.*", "decoder.{i}.*"), ("segmentation_head.0.*", "head.*"))}
    head_name = "head"

    def __init__(self, config):
        c = self.config = config
        self.encoder = ResNet(ResNetConfig(c.block, c.layers, c.width, c.in_channels, num_classes=0))
        *skips, inputs = (f.channels for f in self.encoder.feature_info)
        self.decoder = nn.ModuleList()
        for outputs, skip in zip(c.decoder, [*reversed(skips), 0]):
            self.decoder.append(DecoderBlock(inputs, skip, outputs))
            inputs = outputs
        self.head = nn.Conv2d(inputs, c.num_classes, 3, padding=1)

    def forward(self, image):
        """image (N, C, H, W) -> logits (N, num_classes, H, W); sizes that 32 does not divide are filled meanwhile."""
        (h, w), maps = image.shape[2:], self.encoder.pyramid(filled(image, 32))
        x = maps.pop()
        for block in self.decoder:
            x = block(x, maps.pop() if maps else None)
        return self.head(x)[:, :, :h, :w]


def filled(image, multiple):
    """Zeros to the right and below, so that both sides are multiples."""
    spare = [-n % multiple for n in image.shape[2:]]
    return ops.pad(image, ((0, 0), (0, 0), *((0, s) for s in spare))) if any(spare) else image


PAPER = "Ronneberger, Fischer, Brox 2015, arXiv:1505.04597"
unet_family = family(UNet, "image-segmentation", PAPER, ImagePreprocess(None, mean=(0, 0, 0), std=(1, 1, 1)))


@unet_family("unet/milesial_carvana")
def unet():
    """Growing by transposed convolutions."""
    return UNetConfig()


@unet_family()
def unet_bilinear():
    """Growing by interpolation."""
    return UNetConfig(bilinear=True)


@family(ResNetUNet, "image-segmentation", PAPER, ImagePreprocess(None))("unet/smp_resnet34")
def unet_resnet34():
    """On ResNet-34's maps."""
    return ResNetUNetConfig()
