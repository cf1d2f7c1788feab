"""StyleGAN2: a generator whose convolutions are modulated by styles.

Source: Karras, Laine, Aila 2018, "A Style-Based Generator Architecture for Generative Adversarial Networks",
arXiv:1812.04948 (mapping, noise, truncation, mixing); Karras et al. 2019, "Analyzing and Improving the Image Quality of
StyleGAN", arXiv:1912.04958 (modulation, skip and residual nets); scales at run time, minibatch deviation: Karras et al.
2017, arXiv:1710.10196; classes: Karras et al. 2020, arXiv:2006.06676, and Miyato, Koyama 2018, arXiv:1802.05637.
Written from these papers.
Differs from them: nothing.

    latent (N,Z) -> mapping -> styles (N,L,W) -> 4x4 constant -> Blocks x2, each adding to the image -> image (N,C,H,W)
"""
import math
import re
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, message
from ...tape import no_grad
from ..registry import family
from .generator import Generator
from .stylegan2_discriminator import PAPER, StyleGAN2Discriminator, StyleGAN2DiscriminatorConfig
from .stylegan2_layers import BINOMIAL, Conv, Dense, Mapping, Sizes, activated, doubled, resampled


@dataclass(frozen=True)
class StyleGAN2Config(Sizes):
    """Sizes of a generator.

    Args:
        image_size: pixels a side, a power of 2.
        in_channels: of images.
        num_classes: that it is told of; 0: none.
        channel_base, channel_max: maps of S pixels a side have channel_base / S channels, at most channel_max.
        architecture: how blocks meet the image: "skip": each adds to it; "resnet": blocks are residual; "orig".
        conv_clamp: activations lie within +- this, against overflows of half types; None: anywhere.
        latent_size, style_size: Z and W.
        mapping_layers: from latent to style.
    """

    latent_size: int = 512
    style_size: int = 512
    mapping_layers: int = 8

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(8, 2, 2, 32, 4, latent_size=4, style_size=4, mapping_layers=2)


def modulated(x, weight, style, response=None, up=1, demodulate=True):
    """Convolve each image with weights that its style scales. 1912.04958, eq. 1 to 3.

    The scales of inputs are put on x, and those of outputs on the result: one convolution serves all images.

    Args:
        x (N, I, H, W): maps.
        weight (O, I, R, R): shared by all.
        style (N, I): scales of the input channels.
        response: the filter with which the image is doubled.
        up: 1, or 2.
        demodulate: scale outputs so that their deviation would be 1 for inputs of deviation 1.
    """
    n, i = style.shape
    y = resampled(x * style.reshape(n, i, 1, 1), weight, response, up)
    if not demodulate:
        return y
    squares = ops.sum(weight * weight, (2, 3))
    return y * ops.rsqrt(ops.linear(style * style, squares) + 1e-8).reshape(n, -1, 1, 1)


class StyledConv(nn.Module):
    """A modulated convolution, noise of a strength that is learnt, and a leaky ReLU. 1912.04958, figure 2 (d)."""

    def __init__(self, inputs, outputs, size, up, config, response):
        self.weight = nn.Parameter(nn.init.normal(), outputs, inputs, 3, 3)
        self.noise_strength = nn.Parameter(nn.init.zeros())
        self.bias = nn.Parameter(nn.init.zeros(), outputs)
        self.noise_const = nn.Buffer(nn.init.normal(), size, size)
        self.affine = Dense(config.style_size, inputs, 1.0)
        self.resample_filter, self.up, self.clamp = response, up, config.conv_clamp

    def forward(self, x, style, noise, gain=1.0):
        """x (N, I, H, W), style (N, W) -> (N, O, H up, W up). Noise: "random", "const" or "none"."""
        x = modulated(x, self.weight, self.affine(style), self.resample_filter, self.up)
        if noise != "none":
            drawn = self.noise_const if noise == "const" else ops.randn(
                (x.shape[0], 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
            x = x + drawn * self.noise_strength
        return activated(x + self.bias.reshape(-1, 1, 1), gain, self.clamp)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to pixels, without demodulation."""

    def __init__(self, inputs, config):
        self.weight = nn.Parameter(nn.init.normal(), config.in_channels, inputs, 1, 1)
        self.bias = nn.Parameter(nn.init.zeros(), config.in_channels)
        self.affine, self.clamp = Dense(config.style_size, inputs, 1.0), config.conv_clamp

    def forward(self, x, style):
        """x (N, I, H, W), style (N, W) -> (N, C, H, W)."""
        style = self.affine(style) * (1 / math.sqrt(x.shape[1]))
        x = modulated(x, self.weight, style, demodulate=False) + self.bias.reshape(-1, 1, 1)
        return x if self.clamp is None else ops.clip(x, -self.clamp, self.clamp)


class SynthesisBlock(nn.Module):
    """Doubles the maps, by two convolutions; the first block begins with a constant and has one."""

    def __init__(self, inputs, size, config, response):
        outputs, kind = config.channels(size), config.architecture
        if not inputs:
            self.const = nn.Parameter(nn.init.normal(), outputs, 4, 4)
        self.resample_filter, self.residual = response, bool(inputs) and kind == "resnet"
        self.conv0 = StyledConv(inputs, outputs, size, 2, config, response) if inputs else None
        self.conv1 = StyledConv(outputs, outputs, size, 1, config, response)
        self.torgb = ToRGB(outputs, config) if kind == "skip" or size == config.image_size else None
        self.skip = Conv(inputs, outputs, 1, response, bias=False, up=2) if self.residual else None
        self.num_convs = 2 if inputs else 1

    def forward(self, x, image, styles, noise):
        """x (N, I, H/2, W/2), image (N, C, H/2, W/2), each or None, styles (N, 2 or 3, W) -> both, doubled."""
        each = iter([styles[:, i] for i in range(styles.shape[1])])
        if self.conv0 is None:
            x = ops.broadcast_to(self.const, (styles.shape[0], *self.const.shape))
            x = self.conv1(x, next(each), noise)
        else:
            past, gain = x, math.sqrt(0.5) if self.residual else 1.0
            x = self.conv1(self.conv0(x, next(each), noise), next(each), noise, gain)
            if self.residual:
                x = x + self.skip(past, gain)
        image = image if image is None else doubled(image, self.resample_filter)
        if self.torgb is not None:
            pixels = self.torgb(x, next(each))
            image = pixels if image is None else image + pixels
        return x, image


class Synthesis(nn.Module):
    """Styles to images."""

    def __init__(self, config):
        response, inputs = nn.Buffer(BINOMIAL), 0
        self.resolutions = config.resolutions
        for size in self.resolutions:
            self.add_module(f"b{size}", SynthesisBlock(inputs, size, config, response))
            inputs = config.channels(size)
        self.num_styles = 2 * len(self.resolutions)

    def forward(self, styles, noise):
        """styles (N, L, W) -> image (N, C, H, W)."""
        x = image = None
        first = 0
        for size in self.resolutions:
            block = getattr(self, f"b{size}")
            x, image = block(x, image, styles[:, first:first + block.num_convs + 1], noise)
            first += block.num_convs
        return image


def _inside(before, after=0):
    """(read, write) of a tensor that has so many axes of length 1 before and after its own."""
    return (lambda a: a.reshape(a.shape[before:a.ndim - after]),
            lambda a: a.reshape((1,) * before + a.shape + (1,) * after))


def rosinality(config):
    """rosinality/stylegan2-pytorch's names: convolutions and images are counted through, filters hold their gain of 4.

    The mean of styles is not among them; nor are the filters of layers that do not resample.
    """
    rows = [(f"style.{i + 1}.*", f"mapping.fc{i}.*") for i in range(config.mapping_layers)]
    rows += [("input.input", "synthesis.b4.const", _inside(1)), (None, "mapping.w_avg"),
             (None, "synthesis.b4.resample_filter")]
    gain = (lambda a: a / 4, lambda a: a * 4)
    for i, size in enumerate(config.resolutions):
        own = f"synthesis.b{size}."
        convs = [(f"convs.{2 * i - 2}.", "conv0.", 2 * i - 1), (f"convs.{2 * i - 1}.", "conv1.", 2 * i)]
        for path, conv, number in convs if i else [("conv1.", "conv1.", 0)]:
            rows += [(path + "conv.weight", own + conv + "weight", _inside(1)),
                     (path + "conv.modulation.*", own + conv + "affine.*"),
                     (path + "noise.weight", own + conv + "noise_strength", _inside(1)),
                     (path + "activate.bias", own + conv + "bias"),
                     (f"noises.noise_{number}", own + conv + "noise_const", _inside(2)),
                     (path + "conv.blur.kernel", own + conv + "resample_filter", gain) if conv == "conv0." else
                     (None, own + conv + "resample_filter")]
        path = f"to_rgbs.{i - 1}." if i else "to_rgb1."
        rows += [(path + "conv.weight", own + "torgb.weight", _inside(1)),
                 (path + "bias", own + "torgb.bias", _inside(1, 2)),
                 (path + "conv.modulation.*", own + "torgb.affine.*")]
        rows += [(path + "upsample.kernel", own + "resample_filter", gain)] if i else []
    return tuple(rows)


def sizes_of(weights):
    """The config's fields, from the shapes of a generator's names in either layout."""
    shape = {name: np.shape(weights[name]) for name in weights}
    if "input.input" in shape:                         # rosinality's
        pixels = [name for name in shape if re.fullmatch(r"to_rgbs.\d+.conv.weight", name)]
        last = max(int(name.split(".")[1]) for name in pixels)
        layers = sum(re.fullmatch(r"style.\d+.weight", name) is not None for name in shape)
        size, latent, style = 8 << last, shape["style.1.weight"][1], shape["style.1.weight"][0]
        const, (channels, inner), classes = shape["input.input"][1], shape[f"to_rgbs.{last}.conv.weight"][1:3], 0
    elif "synthesis.b4.const" in shape:
        size = max(int(name.split(".")[1][1:]) for name in shape if name.startswith("synthesis.b"))
        layers = sum(re.fullmatch(r"mapping.fc\d+.weight", name) is not None for name in shape)
        style, inputs = shape["mapping.fc0.weight"]
        width, classes = shape.get("mapping.embed.weight", (0, 0))
        latent, const = inputs - width, shape["synthesis.b4.const"][0]
        channels, inner = shape[f"synthesis.b{size}.torgb.weight"][:2]
    else:
        return {}
    kind = "resnet" if "synthesis.b8.skip.weight" in shape else "skip" if {
        "to_rgb1.bias", "synthesis.b4.torgb.bias"} & shape.keys() else "orig"
    return {"image_size": size, "in_channels": channels, "num_classes": classes, "channel_base": inner * size,
            "channel_max": const, "architecture": kind, "latent_size": latent, "style_size": style,
            "mapping_layers": layers}


class StyleGAN2Generator(Generator):
    """Latents to images, by way of styles."""

    config_class = StyleGAN2Config
    layouts = {"stylegan2-ada-pytorch": (), "rosinality": rosinality}
    sizes_of = staticmethod(sizes_of)

    def __init__(self, config):
        c = self.config = config
        self.mapping = Mapping(c.latent_size, c.num_classes, c.style_size, c.mapping_layers)
        self.synthesis = Synthesis(c)

    def adversary(self):
        """The discriminator of the same sizes."""
        c = self.config
        return StyleGAN2Discriminator(StyleGAN2DiscriminatorConfig(
            c.image_size, c.in_channels, c.num_classes, c.channel_base, c.channel_max, conv_clamp=c.conv_clamp))

    def styles(self, latent, labels=None, truncation=1.0, cutoff=None):
        """latent (N, Z), labels (N) -> styles (N, L, W), one for each layer.

        Args:
            truncation: how far styles lie from their mean, of what they would; below 1 images are more usual, and
                more alike. 1812.04948, appendix B.
            cutoff: of so many layers; None: of all.
        """
        style = self.mapping(latent, labels)
        styles = ops.stack([style] * self.synthesis.num_styles, 1)
        if truncation == 1.0:
            return styles
        drawn = self.mapping.w_avg + (styles - self.mapping.w_avg) * truncation
        return drawn if cutoff is None else ops.concat([drawn[:, :cutoff], styles[:, cutoff:]], 1)

    def average_styles(self, count=4096, seed=0):
        """Set the mean that truncation draws styles to from so many draws: rosinality's checkpoints do not hold it."""
        keys, like, classes = random.split(random.key(seed)), self.mapping.w_avg, self.num_classes
        latents = ops.randn((count, self.latent_size), dtype=like.dtype, device=like.device, key=keys[0])
        labels = ops.randint(0, classes, (count,), device=like.device, key=keys[1]) if classes else None
        training = self.training
        with no_grad():
            style = self.eval().mapping(latents, labels)
            like.assign(ops.mean(style, 0))
        self.train(training)

    def mixed(self, styles, others, crossover):
        """Styles (N, L, W) whose layers from `crossover` on are those of others (N, L, W). 1812.04948, section 3.1."""
        return ops.concat([styles[:, :crossover], others[:, crossover:]], 1)

    def forward(self, latent, labels=None, truncation=1.0, cutoff=None, noise=None):
        """latent (N, Z) -> image (N, C, H, W), about [-1, 1].

        Args:
            labels (N): classes, integers, or shares (N, K), where there are classes.
            truncation, cutoff: as of `styles`.
            noise: "random", "const" (always the same) or "none"; None: random in training, const in evaluation.

        Raises:
            ArgumentError: labels are missing; another kind of noise.
        """
        return self.synthesize(self.styles(latent, labels, truncation, cutoff), noise)

    def synthesize(self, styles, noise=None):
        """styles (N, L, W) -> image (N, C, H, W). Noise as of `forward`."""
        noise = noise or ("random" if self.training else "const")
        if noise not in ("random", "const", "none"):
            raise ArgumentError(message("StyleGAN2Generator", "noise", "random, const or none", repr(noise)))
        return self.synthesis(styles, noise)

    def generate(self, latents, labels=None, truncation=1.0):
        """latents (N, Z), labels (N) or None -> images (N, C, H, W)."""
        return ops.clip(self(latents, labels, truncation), -1.0, 1.0)


@family(StyleGAN2Generator, "image-generation", PAPER)(
    {"stylegan2/ada_ffhq1024_G": "stylegan2-ada-pytorch", "stylegan2/rosinality_1024_G": "rosinality"})
def stylegan2():
    """1024 by 1024 pixels, of faces in the paper."""
    return StyleGAN2Config()
