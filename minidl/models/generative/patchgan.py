"""PatchGAN: a discriminator that judges patches, each of its scores seeing a part of the image.

Source: Isola, Zhu, Zhou, Efros 2016, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv:1611.07004, section 3.2.2 and appendix 6.1.2; instance norm: Zhu et al. 2017, arXiv:1703.10593.
Differs from the paper: nothing.

    image (N,C,H,W) -> 4x4 convolutions /2, norms, leaky ReLUs -> 4x4 convolutions /1 -> scores (N,1,H',W')
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, ShapeError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .generator import small_normal

NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}


def normed(name, kind):
    """(the layer that normalises, do convolutions before it have biases) of "batch" or "instance".

    Raises:
        ArgumentError: another name; `kind` is whose.
    """
    if name not in NORMS:
        raise ArgumentError(message(kind, "norm", f"one of {', '.join(NORMS)}", repr(name)))
    return NORMS[name], name == "instance"


@dataclass(frozen=True)
class PatchGANConfig(ModelConfig):
    """Sizes of a PatchGAN.

    Args:
        in_channels: of the image; of a pair, of both together.
        width: channels of the first layer; they double up to eightfold.
        num_layers: convolutions that halve the resolution: with 3 a score sees 70 by 70 pixels.
        norm: "batch" or "instance".
    """

    in_channels: int = 3
    width: int = 64
    num_layers: int = 3
    norm: str = "instance"

    def __post_init__(self):
        normed(self.norm, "PatchGANConfig")

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(2, 4, 2, "batch")


def layout(config):
    """Names as they are; instance norms of old files hold running statistics, which nobody uses."""
    return () if config.norm == "batch" else dropped("model.{i}.")


def dropped(*paths):
    """Rows for the statistics that instance norms had before PyTorch 0.4."""
    return tuple((path + name, None) for path in paths
                 for name in ("running_mean", "running_var", "num_batches_tracked"))


class PatchGAN(Model):
    """The network of the module's docstring."""

    config_class = PatchGANConfig
    layouts = {"pytorch-CycleGAN-and-pix2pix": layout}

    def __init__(self, config):
        c = self.config = config
        norm, bias = normed(c.norm, "PatchGANConfig")
        widths = [c.width * min(2 ** i, 8) for i in range(c.num_layers + 1)]
        self.model = nn.Sequential(nn.Conv2d(c.in_channels, c.width, 4, 2, 1), nn.LeakyReLU(0.2))
        for i, (inputs, outputs) in enumerate(zip(widths, widths[1:]), 1):
            stride = 2 if i < c.num_layers else 1
            self.model.extend([nn.Conv2d(inputs, outputs, 4, stride, 1, bias=bias), norm(outputs), nn.LeakyReLU(0.2)])
        self.model.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        small_normal(self)

    def forward(self, image, condition=None):
        """image (N, C, H, W) -> scores (N, 1, H', W'); a condition stands before the image, in its channels.

        Raises:
            ShapeError: the image is smaller than a patch.
        """
        least = 3 * 2 ** self.config.num_layers
        if min(image.shape[2:]) < least:
            raise ShapeError(message("PatchGAN", "image", f"at least {least} pixels a side", image.shape))
        return self.model(image if condition is None else ops.concat([condition, image], 1))


PAPER = "Isola, Zhu, Zhou, Efros 2016, arXiv:1611.07004"


@family(PatchGAN, "image-generation", PAPER)("pix2pix/discriminator")
def pix2pix_discriminator():
    """70x70 patches of pairs of images, batch norm."""
    return PatchGANConfig(6, norm="batch")


@family(PatchGAN, "image-generation", "Zhu, Park, Isola, Efros 2017, arXiv:1703.10593")("cyclegan/discriminator")
def cyclegan_discriminator():
    """70x70 patches of images, instance norm."""
    return PatchGANConfig()
