"""ResNet: residual learning for images, the version whose stride lies on the 3x3 convolution (v1.5).

Source: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385.
Differs from the paper: a bottleneck halves the resolution in its 3x3 convolution, not in its first 1x1, as the
published checkpoints do.

    image (N,C,H,W) -> 7x7 conv /2, max pool /2 -> 4 stages of Blocks, /1 /2 /2 /2 -> mean -> logits (N,K)
"""
from dataclasses import dataclass
from functools import partial

from ... import nn
from ...data.preprocess import ImagePreprocess
from ...errors import ArgumentError, message
from ..config import ModelConfig
from ..features import Feature
from ..model import Classifier, linear_head
from ..registry import family


@dataclass(frozen=True)
class ResNetConfig(ModelConfig):
    """Sizes of a ResNet.

    Args:
        block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        layers: blocks of each stage.
        width: channels of the first stage; each further stage has twice as many.
        in_channels, num_classes: of the image, and of the logits.
        stem: "imagenet" (7x7 /2 and a pool), or "small", for images of 32 pixels (3x3, no pool).
        output_stride: pixels per step of the last map: 32, 16 or 8; stages that would go beyond dilate.
        dilate_first: in a stage that dilates, the first block does, too (not so in torchvision).
        eps, momentum: of the batch norms.
        frozen: do the batch norms stay what they are, in training too, as detectors have it?
    """

    block: str = "basic"
    layers: tuple = (2, 2, 2, 2)
    width: int = 64
    in_channels: int = 3
    num_classes: int = 1000
    stem: str = "imagenet"
    output_stride: int = 32
    dilate_first: bool = False
    eps: float = 1e-5
    momentum: float = 0.1
    frozen: bool = False

    def __post_init__(self):
        if self.block not in BLOCKS or self.stem not in ("imagenet", "small") or self.output_stride not in (8, 16, 32):
            expected = "block basic or bottleneck, stem imagenet or small, output_stride 8, 16 or 32"
            raise ArgumentError(message("ResNetConfig", "block, stem, output_stride", expected,
                                        (self.block, self.stem, self.output_stride)))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls("bottleneck", (1, 1, 1, 1), width=4, num_classes=3)

    def stages(self):
        """[(width, blocks, stride, dilation of the first block, of the others, pixels per step of its map)]."""
        rows, dilation, pixels = [], 1, 4 if self.stem == "imagenet" else 1
        for i, blocks in enumerate(self.layers):
            before, stride = dilation, 2 if i else 1
            if pixels * stride > self.output_stride:
                dilation, stride = dilation * stride, 1
            pixels *= stride
            rows.append((self.width << i, blocks, stride, dilation if self.dilate_first else before, dilation, pixels))
        return rows


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input passes. Paper: figure 5, left."""

    expansion = 1

    def __init__(self, inputs, width, stride, dilation, norm):
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = norm(width)
        self.downsample = projection(inputs, width * self.expansion, stride, norm)

    def forward(self, x):
        """x (N, I, H, W) -> (N, width, H/stride, W/stride)."""
        y = nn.conv_norm(x, self.conv1, self.bn1, "relu")
        return nn.conv_norm(y, self.conv2, self.bn2, "relu", shortcut(x, self.downsample))


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3, 1x1 to four times as many. Paper: figure 5, right."""

    expansion = 4

    def __init__(self, inputs, width, stride, dilation, norm):
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = norm(4 * width)
        self.downsample = projection(inputs, width * self.expansion, stride, norm)

    def forward(self, x):
        """x (N, I, H, W) -> (N, 4 width, H/stride, W/stride)."""
        y = nn.conv_norm(x, self.conv1, self.bn1, "relu")
        y = nn.conv_norm(y, self.conv2, self.bn2, "relu")
        return nn.conv_norm(y, self.conv3, self.bn3, "relu", shortcut(x, self.downsample))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


def projection(inputs, outputs, stride, norm):
    """What brings a block's input to the shape of its output, if that differs. Paper: section 3.3, option B."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))


def shortcut(x, downsample):
    """A block's input, brought to the shape of its output."""
    return x if downsample is None else nn.conv_norm(x, *downsample)


class ResNet(Classifier):
    """The network of the module's docstring."""

    config_class = ResNetConfig
    layouts = {"torchvision": (), "timm": ()}

    def __init__(self, config):
        c = self.config = config
        norm = partial(nn.FrozenBatchNorm2d, eps=c.eps) if c.frozen else \
            partial(nn.BatchNorm2d, eps=c.eps, momentum=c.momentum)
        kernel, stride, padding = (7, 2, 3) if c.stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(c.in_channels, c.width, kernel, stride, padding, bias=False)
        self.bn1 = norm(c.width)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if c.stem == "imagenet" else nn.Identity()
        block, inputs = BLOCKS[c.block], c.width
        for i, (width, blocks, stride, first, others, _) in enumerate(c.stages(), 1):
            stage = nn.Sequential()
            for j in range(blocks):
                stage.append(block(inputs, width, 1 if j else stride, others if j else first, norm))
                inputs = width * block.expansion
            self.add_module(f"layer{i}", stage)
        self.width = inputs
        self.fc = linear_head(self.width, c.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def feature_info(self):
        """Features of the maps of `pyramid`: the stem's, and each stage's."""
        c = self.config
        expansion = BLOCKS[c.block].expansion
        return (Feature(c.width, 2 if c.stem == "imagenet" else 1),
                *(Feature(width * expansion, pixels) for width, *_, pixels in c.stages()))

    def pyramid(self, image):
        """image (N, C, H, W) -> maps of the stem and of each stage, fine to coarse."""
        maps = [nn.conv_norm(image, self.conv1, self.bn1, "relu")]
        x = self.maxpool(maps[0])
        for i in range(1, len(self.config.layers) + 1):
            x = getattr(self, f"layer{i}")(x)
            maps.append(x)
        return maps

    def forward_features(self, image):
        """image (N, C, H, W) -> the last map (N, width, H/32, W/32)."""
        return self.pyramid(image)[-1]

    def forward_head(self, features):
        """The last map -> logits (N, num_classes)."""
        return self.fc(features.mean((2, 3)))


resnet = family(ResNet, "image-classification", "He et al. 2015, arXiv:1512.03385", ImagePreprocess(), "imagenet")


@resnet("torchvision/resnet18")
def resnet18():
    """18 layers."""
    return ResNetConfig("basic", (2, 2, 2, 2))


@resnet("torchvision/resnet34")
def resnet34():
    """34 layers."""
    return ResNetConfig("basic", (3, 4, 6, 3))


@resnet("torchvision/resnet50")
def resnet50():
    """50 layers."""
    return ResNetConfig("bottleneck", (3, 4, 6, 3))


@resnet("torchvision/resnet101")
def resnet101():
    """101 layers."""
    return ResNetConfig("bottleneck", (3, 4, 23, 3))


@resnet("torchvision/resnet152")
def resnet152():
    """152 layers."""
    return ResNetConfig("bottleneck", (3, 8, 36, 3))
