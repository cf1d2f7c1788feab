"""StyleGAN2: a generator whose convolutions are modulated by styles, and its discriminator.

Source: Karras, Laine, Aila 2018, "A Style-Based Generator Architecture for Generative Adversarial Networks",
arXiv:1812.04948 (mapping, noise, truncation, mixing); Karras et al. 2019, "Analyzing and Improving the Image Quality of
StyleGAN", arXiv:1912.04958 (modulation, skip and residual nets); scales at run time, minibatch deviation: Karras et al.
2017, arXiv:1710.10196; classes: Karras et al. 2020, arXiv:2006.06676, and Miyato, Koyama 2018, arXiv:1802.05637.
Written from these papers.
Differs from them: nothing.

    latent (N,Z) -> mapping -> styles (N,L,W) -> 4x4 constant -> Blocks x2, each adding to the image -> image (N,C,H,W)
    image (N,C,H,W) -> Blocks /2 -> 4x4, deviation over the batch -> score (N)
"""
import math
import re
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...backend import random
from ...errors import ArgumentError, ShapeError, message
from ...tape import no_grad, recomputing
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .generator import Generator

ARCHITECTURES = "skip", "resnet", "orig"               # 1912.04958, figure 7: b, c, a
BINOMIAL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype("float32") / 64         # 1912.04958, appendix B


@dataclass(frozen=True)
class _Sizes(ModelConfig):
    image_size: int = 1024
    in_channels: int = 3
    num_classes: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    conv_clamp: float | None = None

    def __post_init__(self):
        if self.image_size < 8 or self.image_size & (self.image_size - 1) or self.architecture not in ARCHITECTURES:
            expected = f"a power of 2 from 8 on, and one of {', '.join(ARCHITECTURES)}"
            raise ArgumentError(message(type(self).__name__, "image_size, architecture", expected,
                                        (self.image_size, self.architecture)))

    def channels(self, size):
        """Of maps of `size` pixels a side."""
        return min(self.channel_base // size, self.channel_max)

    @property
    def resolutions(self):
        """Pixels a side of the blocks' maps: 4, 8, ... up to the image's."""
        return [4 << i for i in range(int(math.log2(self.image_size)) - 1)]


@dataclass(frozen=True)
class StyleGAN2Config(_Sizes):
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


@dataclass(frozen=True)
class StyleGAN2DiscriminatorConfig(_Sizes):
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


# -- layers ------------------------------------------------------------------------------------

def activated(x, gain=1.0, clamp=None):
    """Leaky ReLU, scaled to keep the variance, times a gain, within +- clamp times the gain."""
    x = ops.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)
    return x if clamp is None else ops.clip(x, -clamp * gain, clamp * gain)


def normalized(x, axis=-1):
    """x, scaled to a mean square of 1 along an axis. 1710.10196, section 4.2."""
    return x * ops.rsqrt(ops.mean(x * x, axis, True) + 1e-8)


class Dense(nn.Module):
    """A linear layer whose weights are scaled at run time, and learn at a rate of their own. 1710.10196, 4.1."""

    def __init__(self, inputs, outputs, bias=0.0, rate=1.0):
        self.weight = nn.Parameter(nn.init.normal(std=1 / rate), outputs, inputs)
        self.bias = nn.Parameter(nn.init.constant(bias), outputs)
        self.rate = rate

    def forward(self, x):
        """x (N, I) -> (N, O)."""
        return ops.linear(x, self.weight * (self.rate / math.sqrt(x.shape[1])), self.bias * self.rate)


def resampled(x, weight, response, up=1, down=1):
    """Convolve x (N, I, H, W) with weight (O, I, R, R), while the image is doubled or halved, and smoothed.

    1912.04958, appendix B: zeros come between pixels, or pixels go, on the side where the filter has done its work.
    """
    r = weight.shape[2]
    if up == 2 and r > 1:
        x = ops.conv_transpose2d(x, ops.swapaxes(weight, 0, 1), None, 2)
        return ops.upfirdn2d(x, response * 4.0, 1, 1, 1)
    if up == 2:
        return doubled(ops.conv2d(x, weight), response)
    if down == 2 and r > 1:
        return ops.conv2d(ops.upfirdn2d(x, response, 1, 1, 2), weight, None, 2)
    if down == 2:
        return ops.conv2d(halved(x, response), weight)
    return ops.conv2d(x, weight, None, 1, r // 2)


def doubled(image, response):
    """image (N, C, H, W) -> (N, C, 2H, 2W)."""
    return ops.upfirdn2d(image, response * 4.0, 2, 1, ((2, 1), (2, 1)))


def halved(image, response):
    """image (N, C, H, W) -> (N, C, H/2, W/2)."""
    return ops.upfirdn2d(image, response, 1, 2, 1)


class Conv(nn.Module):
    """A convolution whose weights are scaled at run time, doubling or halving the image, and a leaky ReLU."""

    def __init__(self, inputs, outputs, kernel, response, bias=True, up=1, down=1, clamp=None):
        self.weight = nn.Parameter(nn.init.normal(), outputs, inputs, kernel, kernel)
        self.bias = nn.Parameter(nn.init.zeros(), outputs) if bias else None
        self.resample_filter, self.up, self.down, self.clamp = response, up, down, clamp

    def forward(self, x, gain=1.0):
        """x (N, I, H, W) -> (N, O, P, Q), times a gain; without a bias there is no ReLU."""
        weight = self.weight * (1 / math.sqrt(math.prod(self.weight.shape[1:])))
        x = resampled(x, weight, self.resample_filter, self.up, self.down)
        return x * gain if self.bias is None else activated(x + self.bias.reshape(-1, 1, 1), gain, self.clamp)


# -- generator -----------------------------------------------------------------------------------

class Mapping(nn.Module):
    """Latents and classes to styles; their running mean is what truncation draws them to. 1812.04948, section 2."""

    optional_state = ("w_avg",)                        # some checkpoints hold it elsewhere

    def __init__(self, latent_size, num_classes, width, layers, average=True):
        inputs = latent_size
        if num_classes:
            self.embed = Dense(num_classes, width)
            inputs += width
        for i in range(layers):
            self.add_module(f"fc{i}", Dense(width if i else inputs, width, rate=0.01))
        self.layers, self.num_classes = layers, num_classes
        self.w_avg = nn.Buffer(ops.zeros((width,))) if average else None

    def forward(self, latent, labels=None):
        """latent (N, Z) or None, labels (N) or shares (N, K) -> (N, W)."""
        parts = [] if latent is None else [normalized(latent)]
        if self.num_classes:
            parts.append(normalized(self.embed(shares(labels, self.num_classes, self.embed.weight.dtype))))
        x = parts[0] if len(parts) == 1 else ops.concat(parts, 1)
        for i in range(self.layers):
            x = activated(getattr(self, f"fc{i}")(x))
        if self.training and self.w_avg is not None and not recomputing():
            with no_grad():
                self.w_avg.assign(self.w_avg + (ops.mean(x.detach(), 0) - self.w_avg) * 0.005)
        return x


def shares(labels, num_classes, dtype):
    """labels (N), integers, or shares (N, K) -> shares (N, K).

    Raises:
        ArgumentError: there are none.
    """
    if labels is None:
        raise ArgumentError(message("StyleGAN2", "labels", f"classes in [0, {num_classes})", "none"))
    return labels if labels.ndim == 2 else ops.one_hot(labels, num_classes, dtype=dtype)


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


# -- discriminator -------------------------------------------------------------------------------

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


@family(StyleGAN2Generator, "image-generation", PAPER)(
    {"stylegan2/ada_ffhq1024_G": "stylegan2-ada-pytorch", "stylegan2/rosinality_1024_G": "rosinality"})
def stylegan2():
    """1024 by 1024 pixels, of faces in the paper."""
    return StyleGAN2Config()


@family(StyleGAN2Discriminator, "image-generation", PAPER)("stylegan2/ada_ffhq1024_D")
def stylegan2_discriminator():
    """1024 by 1024 pixels."""
    return StyleGAN2DiscriminatorConfig()
