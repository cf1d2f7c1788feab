"""YOLOv3 in the layout of state dicts: Darknet-53, a path up over three maps, anchors; with a pyramid of pools; tiny.

Source: Redmon, Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv:1804.02767; He et al. 2014, arXiv:1406.4729
(SPP).
Differs from the paper, as the state dicts do: SiLU, norms of eps 1e-3, boxes and losses as YOLOv5's.  Written from the
paper and from the names and shapes of the state dicts; no line of other code was used, or read.  The networks of the
authors' own files, and their losses, are in darknet's layout.

    image (N,3,H,W) -> Darknet-53, /32 -> heads at /8, /16, /32, each reading its map and what came up from below
"""
from dataclasses import dataclass

from ... import nn
from ...errors import ArgumentError, message
from ..registry import family
from .anchors import AnchorHead
from .blocks import SPP, Bottleneck, widened
from .yolo import YOLO, Layers, YOLOConfig

ANCHORS = (10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)
TINY_ANCHORS = (10, 14, 23, 27, 37, 58), (81, 82, 135, 169, 344, 319)


@dataclass(frozen=True)
class YOLOv3Config(YOLOConfig):
    """Sizes of a YOLOv3.

    Args:
        variant: "full", "spp" (a pyramid of pools before the heads) or "tiny" (seven convolutions, two maps).
        depth, width: how many of the paper's residual blocks, and channels, there are.
        in_channels, num_classes: of the image, and how many kinds of objects.
        anchors: for each map (w1, h1, w2, h2, ...) in pixels, fine to coarse.
        image_size: the longer side of a frame.
        gains: what the losses of boxes, objectness and classes count.
    """

    variant: str = "full"
    depth: float = 1.0
    width: float = 1.0
    in_channels: int = 3
    num_classes: int = 80
    anchors: tuple = ANCHORS
    image_size: int = 640
    gains: tuple = (0.05, 1.0, 0.5)

    def __post_init__(self):
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ArgumentError(message("YOLOv3Config", "variant", f"one of {', '.join(VARIANTS)}", self.variant))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls("spp", 0.25, 1 / 64, num_classes=3, image_size=64)

    def channels(self, count):
        """How many of so many channels there are."""
        return widened(count, self.width)


def full(net, c):
    """Add Darknet-53 and three ways out; the maps that the head reads, fine to coarse. Paper: table 1, section 2.3."""
    w, maps = c.channels, []
    x = net.conv(net.image(c.in_channels), w(32), 3)
    for channels, count in (64, 1), (128, 2), (256, 8), (512, 8), (1024, 4):
        x = net.conv(x, w(channels), 3, 2)
        x = net.stack(Bottleneck, c.blocks(count), x, w(channels))
        maps.append(x)
    x = net.block(Bottleneck, x, w(1024), shortcut=False)
    x = net.block(SPP, x, w(512)) if c.variant == "spp" else net.conv(x, w(512))
    x = net.conv(net.conv(x, w(1024), 3), w(512))
    coarse = net.conv(x, w(1024), 3)
    x = net.concat(net.upsample(net.conv(x, w(256))), maps[3])
    x = net.block(Bottleneck, net.block(Bottleneck, x, w(512), shortcut=False), w(512), shortcut=False)
    x = net.conv(x, w(256))
    middle = net.conv(x, w(512), 3)
    x = net.concat(net.upsample(net.conv(x, w(128))), maps[2])
    x = net.block(Bottleneck, x, w(256), shortcut=False)
    fine = net.stack(Bottleneck, c.blocks(2), x, w(256), shortcut=False)
    return fine, middle, coarse


def tiny(net, c):
    """Add seven convolutions with pools between them and two ways out; the maps that the head reads, fine to coarse."""
    w, x, maps = c.channels, net.image(c.in_channels), []
    for channels in 16, 32, 64, 128, 256:
        maps.append(net.conv(x, w(channels), 3))
        x = net.pool(maps[-1])
    x = net.conv(x, w(512), 3)
    x = net.pool(net.add(nn.ZeroPad2d((0, 1, 0, 1)), x.channels, x), 2, 1)
    x = net.conv(net.conv(x, w(1024), 3), w(256))
    coarse = net.conv(x, w(512), 3)
    x = net.concat(net.upsample(net.conv(x, w(128))), maps[4])
    return net.conv(x, w(256), 3), coarse


VARIANTS = {"full": full, "spp": full, "tiny": tiny}


class YOLOv3(YOLO):
    """The network of the module's docstring."""

    config_class = YOLOv3Config

    def __init__(self, config):
        c, net = config, Layers()
        maps = VARIANTS[c.variant](net, c)
        head = AnchorHead([m.channels for m in maps], c.num_classes, c.anchors, (8, 16, 32)[-len(maps):], c.gains)
        net.add(head, 0, *maps)
        self.config, self.model = c, net


yolov3 = family(YOLOv3, "object-detection", "Redmon, Farhadi 2018, arXiv:1804.02767", labels="coco")


@yolov3("yolo/yolov3u")
def yolov3u():
    """62 million parameters."""
    return YOLOv3Config()


@yolov3("yolo/yolov3u_spp")
def yolov3u_spp():
    """With a pyramid of pools."""
    return YOLOv3Config("spp")


@yolov3("yolo/yolov3u_tiny")
def yolov3u_tiny():
    """8.9 million parameters, two maps."""
    return YOLOv3Config("tiny", anchors=TINY_ANCHORS)
