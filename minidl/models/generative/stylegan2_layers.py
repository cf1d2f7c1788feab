"""What StyleGAN2's generator and discriminator share: layers scaled at run time, resampling, the mapping of classes.

Source: see stylegan2.py.
"""
import math
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...errors import ArgumentError, message, number
from ...tape import no_grad, recomputing
from ..config import ModelConfig

ARCHITECTURES = "skip", "resnet", "orig"               # 1912.04958, figure 7: b, c, a
BINOMIAL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype("float32") / 64         # 1912.04958, appendix B


@dataclass(frozen=True)
class Sizes(ModelConfig):
    """What the configs of both networks have."""

    image_size: int = 1024
    in_channels: int = 3
    num_classes: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    conv_clamp: float | None = None

    def __post_init__(self):
        kind = type(self).__name__
        number(kind, "channel_base", self.channel_base, number(kind, "image_size", self.image_size, 8, whole=True),
               whole=True)
        if self.image_size & (self.image_size - 1) or self.architecture not in ARCHITECTURES:
            expected = f"a power of 2 from 8 on, and one of {', '.join(ARCHITECTURES)}"
            raise ArgumentError(message(kind, "image_size, architecture", expected,
                                        (self.image_size, self.architecture)))

    def channels(self, size):
        """Of maps of `size` pixels a side."""
        return min(self.channel_base // size, self.channel_max)

    @property
    def resolutions(self):
        """Pixels a side of the blocks' maps: 4, 8, ... up to the image's."""
        return [4 << i for i in range(int(math.log2(self.image_size)) - 1)]


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
