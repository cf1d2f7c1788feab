"""YOLOv5: CSP bottlenecks (C3), a fast pyramid of pools, a path down and up again, anchors with neighbours.

Source: there is no paper.  Written from public descriptions of the network and of its training, and from the names and
shapes of its state dicts (releases 6 and 7: 6x6 stem, C3, SPPF): Wang et al. 2019, "CSPNet", arXiv:1911.11929; Liu et
al. 2018, "Path Aggregation Network", arXiv:1803.01534.  No line of its code was used, or read.

    image (N,3,H,W) -> stem /2 -> 4 stages /2 of C3 -> SPPF -> up, with C3 -> down, with C3 -> heads at /8, /16, /32
"""
from dataclasses import dataclass

from ..registry import family
from .anchors import AnchorHead
from .blocks import C3, SPPF, widened
from .yolo import YOLO, Layers, YOLOConfig

ANCHORS = (10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)


@dataclass(frozen=True)
class YOLOv5Config(YOLOConfig):
    """Sizes of a YOLOv5.

    Args:
        depth: how many of the blocks of size l there are.
        width: how many of its channels.
        in_channels, num_classes: of the image, and how many kinds of objects.
        anchors: for each map (w1, h1, w2, h2, ...) in pixels, fine to coarse.
        image_size: the longer side of a frame.
        gains: what the losses of boxes, objectness and classes count.
    """

    depth: float = 1.0
    width: float = 1.0
    in_channels: int = 3
    num_classes: int = 80
    anchors: tuple = ANCHORS
    image_size: int = 640
    gains: tuple = (0.05, 1.0, 0.5)

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(0.33, 1 / 32, num_classes=3, image_size=64)

    def channels(self, count):
        """How many of so many channels there are."""
        return widened(count, self.width)


class YOLOv5(YOLO):
    """The network of the module's docstring."""

    config_class = YOLOv5Config

    def __init__(self, config):
        c = self.config = config
        w, d, net = c.channels, c.blocks, Layers()
        x = net.conv(net.image(c.in_channels), w(64), 6, 2, 2)
        x = net.conv(x, w(128), 3, 2)
        x = net.block(C3, x, w(128), d(3))
        x = net.conv(x, w(256), 3, 2)
        fine = net.block(C3, x, w(256), d(6))
        x = net.conv(fine, w(512), 3, 2)
        middle = net.block(C3, x, w(512), d(9))
        x = net.conv(middle, w(1024), 3, 2)
        x = net.block(C3, x, w(1024), d(3))
        x = net.block(SPPF, x, w(1024))
        coarse = net.conv(x, w(512))
        x = net.concat(net.upsample(coarse), middle)
        x = net.block(C3, x, w(512), d(3), shortcut=False)
        middle = net.conv(x, w(256))
        x = net.concat(net.upsample(middle), fine)
        fine = net.block(C3, x, w(256), d(3), shortcut=False)
        x = net.concat(net.conv(fine, w(256), 3, 2), middle)
        middle = net.block(C3, x, w(512), d(3), shortcut=False)
        x = net.concat(net.conv(middle, w(512), 3, 2), coarse)
        coarse = net.block(C3, x, w(1024), d(3), shortcut=False)
        maps = fine, middle, coarse
        net.add(AnchorHead([m.channels for m in maps], c.num_classes, c.anchors, (8, 16, 32), c.gains), 0, *maps)
        self.model = net


yolov5 = family(YOLOv5, "object-detection", "Ultralytics 2020, YOLOv5 (no paper)", labels="coco")


@yolov5("yolo/yolov5n")
def yolov5n():
    """1.9 million parameters."""
    return YOLOv5Config(0.33, 0.25)


@yolov5("yolo/yolov5s")
def yolov5s():
    """7.2 million parameters."""
    return YOLOv5Config(0.33, 0.5)


@yolov5("yolo/yolov5m")
def yolov5m():
    """21 million parameters."""
    return YOLOv5Config(0.67, 0.75)


@yolov5("yolo/yolov5l")
def yolov5l():
    """47 million parameters."""
    return YOLOv5Config()


@yolov5("yolo/yolov5x")
def yolov5x():
    """87 million parameters."""
    return YOLOv5Config(1.33, 1.25)
