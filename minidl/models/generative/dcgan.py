"""DCGAN: a generator and a discriminator of strided convolutions and batch norms.

Source: Radford, Metz, Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks", arXiv:1511.06434.
Differs from the paper: the discriminator gives scores; their sigmoid is the probability that an image is real.

    latent (N,Z) -> SxS -> doubled until HxW, each but the last with batch norm and ReLU -> tanh -> image (N,C,H,W)
    image (N,C,H,W) -> halved until SxS, leaky ReLUs -> score (N)
"""
import re
from dataclasses import dataclass

import numpy as np

from ... import nn
from ...errors import ArgumentError, message, number
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .generator import Generator, small_normal


@dataclass(frozen=True)
class DCGANConfig(ModelConfig):
    """Sizes of both networks.

    Args:
        image_size: pixels a side: 64 as in the paper, or any even number from 8 on.
        in_channels: of the images.
        latent_size: numbers that an image is made of.
        width: channels next to the image; they double with every halving of the resolution.
    """

    image_size: int = 64
    in_channels: int = 3
    latent_size: int = 100
    width: int = 64

    def __post_init__(self):
        for name, least in (("image_size", 8), ("in_channels", 1), ("latent_size", 1), ("width", 1)):
            number("DCGANConfig", name, getattr(self, name), least, whole=True)
        if self.image_size % 2:
            raise ArgumentError(message("DCGANConfig", "image_size", "an even number from 8 on", self.image_size))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(16, 2, 5, 4)

    @property
    def halvings(self):
        """How often the image is halved, until it has 4 to 7 pixels a side, or an odd number of them."""
        size, count = self.image_size, 0
        while size % 2 == 0 and size >= 8:
            size, count = size // 2, count + 1
        return count

    @property
    def widths(self):
        """Channels from the image inwards."""
        return [self.width << i for i in range(self.halvings)]

    @property
    def start(self):
        """Pixels a side of the smallest map."""
        return self.image_size >> self.halvings


def sizes_of(weights):
    """The config's fields, from the shapes of a generator's official names."""
    found = [re.fullmatch(r"main\.(\d+)\.weight", name) for name in weights]
    places = sorted(int(match[1]) for match in found if match)                 # (files may have sorted them as words)
    convs = [shape for shape in (np.shape(weights[f"main.{place}.weight"]) for place in places) if len(shape) == 4]
    if not convs or places[0] != 0:
        return {}
    return {"latent_size": convs[0][0], "image_size": convs[0][2] << (len(convs) - 1), "width": convs[-1][0],
            "in_channels": convs[-1][1]}


class DCGANGenerator(Generator):
    """Makes images of noise. Paper: figure 1."""

    config_class = DCGANConfig
    layouts = {"pytorch-examples": ()}
    sizes_of = staticmethod(sizes_of)

    def __init__(self, config):
        c = self.config = config
        widths = c.widths[::-1]
        self.main = nn.Sequential(nn.ConvTranspose2d(c.latent_size, widths[0], c.start, bias=False),
                                  nn.BatchNorm2d(widths[0]), nn.ReLU())
        for inputs, outputs in zip(widths, widths[1:]):
            self.main.extend([nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs),
                              nn.ReLU()])
        self.main.extend([nn.ConvTranspose2d(c.width, c.in_channels, 4, 2, 1, bias=False), nn.Tanh()])
        small_normal(self)

    def adversary(self):
        """The discriminator of the same sizes."""
        return DCGANDiscriminator(self.config)

    def forward(self, latent):
        """latent (N, Z), or (N, Z, 1, 1) -> image (N, C, H, W) in [-1, 1]."""
        return self.main(latent.reshape(latent.shape[0], -1, 1, 1))


class DCGANDiscriminator(Model):
    """Tells images from generated ones."""

    config_class = DCGANConfig
    layouts = {"pytorch-examples": ()}

    def __init__(self, config):
        c = self.config = config
        self.main = nn.Sequential(nn.Conv2d(c.in_channels, c.width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2))
        for inputs, outputs in zip(c.widths, c.widths[1:]):
            self.main.extend([nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs),
                              nn.LeakyReLU(0.2)])
        self.main.append(nn.Conv2d(c.widths[-1], 1, c.start, bias=False))
        small_normal(self)

    def forward(self, image):
        """image (N, C, H, W) in [-1, 1] -> score (N), higher being more real."""
        return self.main(image).reshape(image.shape[0])


PAPER = "Radford, Metz, Chintala 2015, arXiv:1511.06434"


@family(DCGANGenerator, "image-generation", PAPER)("dcgan/generator")
def dcgan():
    """64 by 64 pixels in colour."""
    return DCGANConfig()


@family(DCGANDiscriminator, "image-generation", PAPER)("dcgan/discriminator")
def dcgan_discriminator():
    """64 by 64 pixels in colour."""
    return DCGANConfig()
