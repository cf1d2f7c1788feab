"""EfficientNet: inverted residuals with squeeze-and-excitation, widened and deepened together.

Source: Tan, Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946;
the block: Sandler et al. 2018, arXiv:1801.04381, and Hu et al. 2017, arXiv:1709.01507; Lite: TensorFlow's
"EfficientNet-Lite" (no squeeze, ReLU6, stem and head of fixed width).
Differs from the paper: nothing in the network; weights ported from TensorFlow want its padding and eps 1e-3.

    image (N,C,H,W) -> 3x3 conv /2 -> 7 stages of Blocks -> 1x1 conv -> mean -> dropout -> logits (N,K)
"""
import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ... import nn, ops
from ...data.preprocess import ImagePreprocess
from ..config import ModelConfig
from ..features import Feature
from ..model import Classifier, linear_head
from ..registry import family


class Stage(NamedTuple):
    """Blocks of one resolution. Paper: a row of table 1."""

    expansion: int                 # channels inside a block, as a multiple of those that come in
    kernel: int
    stride: int                    # of the first block
    channels: int
    blocks: int


B0 = (Stage(1, 3, 1, 16, 1), Stage(6, 3, 2, 24, 2), Stage(6, 5, 2, 40, 2), Stage(6, 3, 2, 80, 3),
      Stage(6, 5, 1, 112, 3), Stage(6, 5, 2, 192, 4), Stage(6, 3, 1, 320, 1))


@dataclass(frozen=True)
class EfficientNetConfig(ModelConfig):
    """Sizes of an EfficientNet.

    Args:
        stages: of Stages, or tuples of their five numbers.
        stem, features: channels of the first and of the last convolution.
        in_channels, num_classes: of the image, and of the logits.
        squeeze: with squeeze-and-excitation, of a quarter of a block's input channels.
        activation: "silu", or "relu6" for Lite.
        padding: "symmetric", or "same" as TensorFlow pads: by the image's size, the odd one behind.
        dropout: in front of the head; drop_path: of the last block, from 0 at the first.
        eps, momentum: of the batch norms.
    """

    stages: tuple = B0
    stem: int = 32
    features: int = 1280
    in_channels: int = 3
    num_classes: int = 1000
    squeeze: bool = True
    activation: str = "silu"
    padding: str = "symmetric"
    dropout: float = 0.2
    drop_path: float = 0.2
    eps: float = 1e-5
    momentum: float = 0.1

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls((Stage(1, 3, 1, 8, 1), Stage(6, 5, 2, 8, 2)), 8, 16, num_classes=3, padding="same", dropout=0.0,
                   drop_path=0.0)

    @classmethod
    def scaled(cls, width=1.0, depth=1.0, stages=B0, **settings):
        """B0's stages, wider and deeper. Paper: section 3.3, eq. 3."""
        grown = tuple(s._replace(channels=rounded(width * s.channels), blocks=math.ceil(depth * s.blocks))
                      for s in stages)
        return cls(grown, rounded(32 * width), rounded(1280 * width), **settings)


def rounded(channels, divisor=8):
    """The nearest multiple of 8, at least 8 and at least nine tenths of what was asked for."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near


class SameConv2d(nn.Conv2d):
    """A convolution whose output has ceil(input / stride) pixels, as TensorFlow's "SAME": an odd pad goes behind."""

    def pads(self, shape):
        """The padding of an input (N, C, H, W): (before, after) of rows and of columns."""
        totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
                  for n, s, k, d in zip(shape[2:], self.stride, self.kernel_size, self.dilation)]
        return [(total // 2, total - total // 2) for total in totals]


class SqueezeExcite(nn.Module):
    """Scale each channel by a number in (0, 1) that all channels' means decide. Hu et al.: section 3."""

    def __init__(self, channels, inner):
        self.conv_reduce = nn.Conv2d(channels, inner, 1)
        self.conv_expand = nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        """x (N, C, H, W) -> the same shape."""
        reduce, expand = self.conv_reduce, self.conv_expand
        return ops.squeeze_excite(x, reduce.weight[:, :, 0, 0], reduce.bias, expand.weight[:, :, 0, 0], expand.bias)


class Block(nn.Module):
    """Widen, convolve each channel alone, weigh channels, narrow: the inverted residual. Sandler et al.: figure 3."""

    def __init__(self, inputs, stage, stride, drop_path, config, conv, norm):
        inner = inputs * stage.expansion
        self.activation = config.activation
        self.expands = stage.expansion > 1
        depthwise = conv(inner, inner, stage.kernel, stride, groups=inner)
        squeeze = SqueezeExcite(inner, max(1, inputs // 4)) if config.squeeze else nn.Identity()
        project = nn.Conv2d(inner, stage.channels, 1, bias=False)
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), norm(inner)
            self.conv_dw, self.bn2 = depthwise, norm(inner)
            self.se = squeeze
            self.conv_pwl, self.bn3 = project, norm(stage.channels)
        else:
            self.conv_dw, self.bn1 = depthwise, norm(inner)
            self.se = squeeze
            self.conv_pw, self.bn2 = project, norm(stage.channels)
        self.drop_path = nn.DropPath(drop_path) if stride == 1 and inputs == stage.channels else None

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H/stride, W/stride)."""
        if self.expands:
            y = nn.conv_norm(x, self.conv_pw, self.bn1, self.activation)
            y = self.se(nn.conv_norm(y, self.conv_dw, self.bn2, self.activation))
            y = nn.conv_norm(y, self.conv_pwl, self.bn3)
        else:
            y = self.se(nn.conv_norm(x, self.conv_dw, self.bn1, self.activation))
            y = nn.conv_norm(y, self.conv_pw, self.bn2)
        return y if self.drop_path is None else x + self.drop_path(y)


def torchvision(config):
    """torchvision's names: every convolution and norm of a block by its position."""
    wide = ("0.0", "conv_pw"), ("0.1", "bn1"), ("1.0", "conv_dw"), ("1.1", "bn2"), ("2.fc1", "se.conv_reduce"), \
        ("2.fc2", "se.conv_expand"), ("3.0", "conv_pwl"), ("3.1", "bn3")
    plain = ("0.0", "conv_dw"), ("0.1", "bn1"), ("1.fc1", "se.conv_reduce"), ("1.fc2", "se.conv_expand"), \
        ("2.0", "conv_pw"), ("2.1", "bn2")
    last = len(config.stages) + 1
    yield from [("features.0.0.*", "conv_stem.*"), ("features.0.1.*", "bn1.*"), (f"features.{last}.0.*", "conv_head.*"),
                (f"features.{last}.1.*", "bn2.*"), ("classifier.1.*", "classifier.*")]
    for i, stage in enumerate(config.stages):
        yield from ((f"features.{i + 1}.{{j}}.block.{theirs}.*", f"blocks.{i}.{{j}}.{ours}.*")
                    for theirs, ours in (wide if stage.expansion > 1 else plain))


def lukemelas(config):
    """The names of EfficientNet-PyTorch: blocks numbered through."""
    wide = ("_expand_conv", "conv_pw"), ("_bn0", "bn1"), ("_depthwise_conv", "conv_dw"), ("_bn1", "bn2"), \
        ("_project_conv", "conv_pwl"), ("_bn2", "bn3")
    plain = ("_depthwise_conv", "conv_dw"), ("_bn1", "bn1"), ("_project_conv", "conv_pw"), ("_bn2", "bn2")
    squeeze = ("_se_reduce", "se.conv_reduce"), ("_se_expand", "se.conv_expand")
    yield from [("_conv_stem.*", "conv_stem.*"), ("_bn0.*", "bn1.*"), ("_conv_head.*", "conv_head.*"),
                ("_bn1.*", "bn2.*"), ("_fc.*", "classifier.*")]
    places = [(i, j, stage) for i, stage in enumerate(config.stages) for j in range(stage.blocks)]
    for n, (i, j, stage) in enumerate(places):
        yield from ((f"_blocks.{n}.{theirs}.*", f"blocks.{i}.{j}.{ours}.*")
                    for theirs, ours in (wide if stage.expansion > 1 else plain) + squeeze)


class EfficientNet(Classifier):
    """The network of the module's docstring."""

    config_class = EfficientNetConfig
    layouts = {"torchvision": torchvision, "timm": (), "lukemelas": lukemelas}
    head_name = "classifier"

    def __init__(self, config):
        stages = tuple(Stage(*s) for s in config.stages)
        c = self.config = config.replace(stages=stages)
        norm = partial(nn.BatchNorm2d, eps=c.eps, momentum=c.momentum)

        def conv(inputs, outputs, kernel, stride, groups=1):
            if c.padding == "same":
                return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
            return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)

        self.conv_stem, self.bn1 = conv(c.in_channels, c.stem, 3, 2), norm(c.stem)
        self.blocks, inputs, done, total = nn.Sequential(), c.stem, 0, sum(s.blocks for s in stages)
        for stage in stages:
            blocks = nn.Sequential()
            for j in range(stage.blocks):
                drop = c.drop_path * done / total
                blocks.append(Block(inputs, stage, 1 if j else stage.stride, drop, c, conv, norm))
                inputs, done = stage.channels, done + 1
            self.blocks.append(blocks)
        self.conv_head, self.bn2 = nn.Conv2d(inputs, c.features, 1, bias=False), norm(c.features)
        self.dropout, self.width = nn.Dropout(c.dropout), c.features
        self.classifier = linear_head(c.features, c.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def feature_info(self):
        """Features of the maps of `pyramid`: at each resolution the last stage's."""
        return tuple(Feature(channels, stride) for _, channels, stride in self._levels())

    def _levels(self):
        """[(stage, channels, stride)] of the last stage at each resolution."""
        rows, stride = [], 2
        for i, stage in enumerate(self.config.stages):
            stride *= stage.stride
            if rows and rows[-1][2] == stride:
                rows.pop()
            rows.append((i, stage.channels, stride))
        return rows

    def pyramid(self, image):
        """image (N, C, H, W) -> the last map of each resolution, fine to coarse."""
        x, maps = nn.conv_norm(image, self.conv_stem, self.bn1, self.config.activation), {}
        for i, stage in enumerate(self.blocks):
            maps[i] = x = stage(x)
        return [maps[i] for i, *_ in self._levels()]

    def forward_features(self, image):
        """image (N, C, H, W) -> the last convolution's map (N, features, H/32, W/32)."""
        activation = self.config.activation
        x = self.blocks(nn.conv_norm(image, self.conv_stem, self.bn1, activation))
        return nn.conv_norm(x, self.conv_head, self.bn2, activation)

    def forward_head(self, features):
        """The last map -> logits (N, num_classes)."""
        return self.classifier(self.dropout(features.mean((2, 3))))


PAPER = "Tan, Le 2019, arXiv:1905.11946"
# width, depth, dropout; torchvision's (size, resize) and timm's (size, the crop's share of the resized image)
SIZES = {"b0": (1.0, 1.0, 0.2, (224, 256), (224, 0.875)), "b1": (1.0, 1.1, 0.2, (240, 255), (240, 0.882)),
         "b2": (1.1, 1.2, 0.3, (288, 288), (260, 0.890)), "b3": (1.2, 1.4, 0.3, (300, 320), (300, 0.904)),
         "b4": (1.4, 1.8, 0.4, (380, 384), (380, 0.922)), "b5": (1.6, 2.2, 0.4, (456, 456), (456, 0.934)),
         "b6": (1.8, 2.6, 0.5, (528, 528), (528, 0.942)), "b7": (2.0, 3.1, 0.5, (600, 600), (600, 0.949))}
efficientnet = family(EfficientNet, "image-classification", PAPER, labels="imagenet")


def _register(size, width, depth, dropout, torchvision_size, timm_size):
    def symmetric():
        late = {"eps": 1e-3, "momentum": 0.01} if size in ("b5", "b6", "b7") else {}
        return EfficientNetConfig.scaled(width, depth, dropout=dropout, **late)

    def tensorflow():
        return EfficientNetConfig.scaled(width, depth, dropout=dropout, padding="same", eps=1e-3)

    inputs = ImagePreprocess(*torchvision_size, "bilinear" if size == "b1" else "bicubic")
    efficientnet(f"torchvision/efficientnet_{size}", inputs=inputs, name=f"efficientnet_{size}")(symmetric)
    pixels, share = timm_size
    efficientnet({f"timm/tf_efficientnet_{size}": "timm"}, name=f"tf_efficientnet_{size}",
                 inputs=ImagePreprocess(pixels, int(pixels / share), "bicubic"))(tensorflow)


for _size, _numbers in SIZES.items():
    _register(_size, *_numbers)


LITE = (127 / 255,) * 3, (128 / 255,) * 3              # TensorFlow's: levels less 127, over 128


@efficientnet(inputs=ImagePreprocess(224, 224, "bicubic", *LITE))     # (no margin: EfficientNet-PyTorch's examples)
def efficientnet_lite0():
    """EfficientNet-Lite0."""
    return EfficientNetConfig(squeeze=False, activation="relu6", padding="same", eps=1e-3, momentum=0.01)
