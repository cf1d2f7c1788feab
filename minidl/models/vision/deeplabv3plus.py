"""DeepLabv3+: atrous convolutions at several rates, refined by a fine map.

Source: Chen, Zhu, Papandreou, Schroff, Adam 2018, "Encoder-Decoder with Atrous Separable Convolution for Semantic
Image Segmentation", arXiv:1802.02611; ASPP: Chen et al. 2017, arXiv:1706.05587.
Differs from the paper: the backbone is a ResNet; two published variants, one with plain convolutions
(DeepLabV3Plus-Pytorch), one with separable ones (segmentation-models-pytorch).

    image (N,C,H,W) -> ResNet, its last stages dilated -> ASPP -> up, join with the first stage's map, conv
    -> logits at 1/4 -> up to (N,K,H,W)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...data.preprocess import ImagePreprocess
from ...errors import ArgumentError, message
from ..config import ModelConfig
from ..model import Segmenter
from ..registry import family
from .resnet import ResNet, ResNetConfig


@dataclass(frozen=True)
class DeepLabV3PlusConfig(ModelConfig):
    """Sizes of a DeepLabv3+.

    Args:
        block, layers, width: of the ResNet.
        output_stride: pixels per step of its last map, 8 or 16.
        rates: of the three dilated convolutions of ASPP.
        channels: behind ASPP; low_level: of the fine map.
        in_channels, num_classes: of the image, and of the logits.
        separable: depthwise convolutions followed by 1x1 ones, and one such behind ASPP; all blocks of a dilated stage
            dilate alike; maps grow with their corners aligned: segmentation-models-pytorch's variant.
        dropout: behind ASPP.
    """

    block: str = "bottleneck"
    layers: tuple = (3, 4, 6, 3)
    width: int = 64
    output_stride: int = 16
    rates: tuple = (6, 12, 18)
    channels: int = 256
    low_level: int = 48
    in_channels: int = 3
    num_classes: int = 21
    separable: bool = False
    dropout: float = 0.1

    def __post_init__(self):
        if self.output_stride not in (8, 16):
            raise ArgumentError(message("DeepLabV3PlusConfig", "output_stride", "8 or 16", self.output_stride))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls("bottleneck", (1, 1, 1, 1), 4, rates=(1, 2, 3), channels=8, low_level=4, num_classes=3, dropout=0.0)


class ConvNorm(nn.Module):
    """A convolution, perhaps separable, a norm and a ReLU."""

    def __init__(self, inputs, outputs, kernel, dilation=1, separable=False):
        padding = dilation * (kernel // 2)
        window = kernel, 1, padding, dilation
        self.depthwise = nn.Conv2d(inputs, inputs, *window, inputs, bias=False) if separable else None
        self.conv = nn.Conv2d(inputs, outputs, *((1,) if separable else window), bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        x = x if self.depthwise is None else self.depthwise(x)
        return nn.conv_norm(x, self.conv, self.norm, "relu")


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated 3x3, and the image's mean, side by side. Paper: figure 2."""

    def __init__(self, inputs, config):
        c = config
        self.branches = nn.ModuleList([ConvNorm(inputs, c.channels, 1)])
        self.branches.extend(ConvNorm(inputs, c.channels, 3, rate, c.separable) for rate in c.rates)
        self.pooled = ConvNorm(inputs, c.channels, 1)
        self.project = ConvNorm((len(c.rates) + 2) * c.channels, c.channels, 1)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x):
        """x (N, I, H, W) -> (N, channels, H, W)."""
        maps = [branch(x) for branch in self.branches]
        mean = self.pooled(x.mean((2, 3), keepdims=True))
        maps.append(ops.broadcast_to(mean, (*mean.shape[:2], *x.shape[2:])))
        return self.dropout(self.project(ops.concat(maps, 1)))


def names(aspp, low_level, after, head, backbone):
    """Rows for a layout: what each part is called there."""
    def block(theirs, ours, conv="0", norm="1"):
        return (f"{theirs}.{conv}.*", f"{ours}.conv.*"), (f"{theirs}.{norm}.*", f"{ours}.norm.*")

    yield f"{backbone}.*", "backbone.*"
    yield from block(f"{aspp}.convs.0", "aspp.branches.0")
    yield from block(f"{aspp}.convs.4", "aspp.pooled", "1", "2")
    yield from block(f"{aspp}.project", "aspp.project")
    yield from block(low_level, "low_level")
    yield f"{after}.1.*", "fuse.norm.*"
    yield f"{head}.*", "head.*"


def vainf(config):
    """DeepLabV3Plus-Pytorch's names."""
    yield from names("classifier.aspp", "classifier.project", "classifier.classifier", "classifier.classifier.3",
                     "backbone")
    for i in (1, 2, 3):
        yield f"classifier.aspp.convs.{i}.0.*", f"aspp.branches.{i}.conv.*"
        yield f"classifier.aspp.convs.{i}.1.*", f"aspp.branches.{i}.norm.*"
    yield "classifier.classifier.0.*", "fuse.conv.*"


def smp(config):
    """segmentation-models-pytorch's names."""
    yield from names("decoder.aspp.0", "decoder.block1", "decoder.block2", "segmentation_head.0", "encoder")
    branches = [(f"decoder.aspp.0.convs.{i}.0", f"aspp.branches.{i}") for i in (1, 2, 3)]
    for theirs, ours in (*branches, ("decoder.block2.0", "fuse"), ("decoder.aspp.1", "refine")):
        yield f"{theirs}.0.*", f"{ours}.depthwise.*"
        yield f"{theirs}.1.*", f"{ours}.conv.*"
    yield from ((f"decoder.aspp.0.convs.{i}.1.*", f"aspp.branches.{i}.norm.*") for i in (1, 2, 3))
    yield "decoder.aspp.2.*", "refine.norm.*"


class DeepLabV3Plus(Segmenter):
    """The network of the module's docstring."""

    config_class = DeepLabV3PlusConfig
    head_name = "head"

    def __init__(self, config):
        c = self.config = config
        self.backbone = ResNet(ResNetConfig(c.block, c.layers, c.width, c.in_channels, 0, output_stride=c.output_stride,
                                            dilate_first=c.separable))
        _, fine, *_, coarse = (f.channels for f in self.backbone.feature_info)
        self.aspp = ASPP(coarse, c)
        self.refine = ConvNorm(c.channels, c.channels, 3, separable=True) if c.separable else nn.Identity()
        self.low_level = ConvNorm(fine, c.low_level, 1)
        self.fuse = ConvNorm(c.low_level + c.channels, c.channels, 3, separable=c.separable)
        self.head = nn.Conv2d(c.channels, c.num_classes, 1)

    @property
    def layouts(self):
        """Each variant has a layout of its own."""
        return {"smp": smp} if self.config.separable else {"vainf": vainf}

    def forward(self, image):
        """image (N, C, H, W) -> logits (N, num_classes, H, W)."""
        _, fine, *_, coarse = self.backbone.pyramid(image)
        return self.decode(fine, coarse, image.shape[2:])

    def decode(self, fine, coarse, size):
        """fine (N, F, H/4, W/4), coarse (N, G, H/16, W/16) -> logits (N, num_classes, *size)."""
        fine, x = self.low_level(fine), self.refine(self.aspp(coarse))
        x = self._grown(x, fine.shape[2:])
        x = self.fuse(ops.concat([x, fine] if self.config.separable else [fine, x], 1))
        return self._grown(self.head(x), size)

    def _grown(self, x, size):
        return ops.interpolate(x, size, mode="bilinear", align_corners=self.config.separable)


deeplab = family(DeepLabV3Plus, "image-segmentation", "Chen et al. 2018, arXiv:1802.02611", ImagePreprocess(None),
                 "voc")
SEPARABLE = {"separable": True, "rates": (12, 24, 36), "dropout": 0.5}


@deeplab({"deeplabv3plus/vainf_resnet50_voc": "vainf"})
def deeplabv3plus_resnet50():
    """ResNet-50, output stride 16; output_stride=8, rates=(12, 24, 36) for finer maps."""
    return DeepLabV3PlusConfig()


@deeplab()
def deeplabv3plus_resnet101():
    """ResNet-101."""
    return DeepLabV3PlusConfig(layers=(3, 4, 23, 3))


@deeplab({"deeplabv3plus/smp_resnet50": "smp"})
def deeplabv3plus_separable_resnet50():
    """ResNet-50, separable convolutions."""
    return DeepLabV3PlusConfig(**SEPARABLE)


@deeplab()
def deeplabv3plus_separable_resnet101():
    """ResNet-101, separable convolutions."""
    return DeepLabV3PlusConfig(layers=(3, 4, 23, 3), **SEPARABLE)
