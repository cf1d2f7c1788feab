"""YOLOv8: C2f blocks, a head without anchors that gives edges as distributions, task-aligned training; masks.

Sources: there is no paper.  Written from public descriptions of the network, the papers named in taskaligned.py and
blocks.py, and from the names and shapes of its state dicts; masks: Bolya et al. 2019, "YOLACT", arXiv:1904.02689,
section 3: a mask is a combination of prototypes of the image.  No line of its code was used, or read.

    image (N,3,H,W) -> stem /2 -> 4 stages /2 of C2f -> SPPF -> up, with C2f -> down, with C2f -> heads at /8, /16, /32
"""
from dataclasses import dataclass

from ..registry import family
from .blocks import SPPF, C2f, widened
from .prototypes import MaskHead, masks
from .taskaligned import DistributionHead
from .yolo import YOLO, Layers, YOLOConfig


@dataclass(frozen=True)
class YOLOv8Config(YOLOConfig):
    """Sizes of a YOLOv8.

    Args:
        depth: how many of the blocks of size l there are.
        width: how many channels: of 64, 128, 256, 512 and 1024, but those above `most` count as so many.
        in_channels, num_classes: of the image, and how many kinds of objects.
        image_size: the longer side of a frame.
        gains: what the losses of boxes (and masks), classes and distributions count.
    """

    depth: float = 1.0
    width: float = 1.0
    most: int = 512
    in_channels: int = 3
    num_classes: int = 80
    image_size: int = 640
    gains: tuple = (7.5, 0.5, 1.5)

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(0.33, 1 / 32, num_classes=3, image_size=64)

    def channels(self, count):
        """How many of so many channels there are."""
        return widened(min(count, self.most), self.width)


@dataclass(frozen=True)
class YOLOv8SegmentationConfig(YOLOv8Config):
    """Sizes of a YOLOv8 with masks.

    Args:
        masks: prototypes of an image, and coefficients of a mask.
        prototypes: channels in front of them.
    """

    masks: int = 32
    prototypes: int = 256


class YOLOv8(YOLO):
    """The network of the module's docstring."""

    config_class = YOLOv8Config

    def __init__(self, config):
        c = self.config = config
        w, d, net = c.channels, c.blocks, Layers()
        x = net.conv(net.image(c.in_channels), w(64), 3, 2)
        x = net.conv(x, w(128), 3, 2)
        x = net.block(C2f, x, w(128), d(3), True)
        x = net.conv(x, w(256), 3, 2)
        fine = net.block(C2f, x, w(256), d(6), True)
        x = net.conv(fine, w(512), 3, 2)
        middle = net.block(C2f, x, w(512), d(6), True)
        x = net.conv(middle, w(1024), 3, 2)
        x = net.block(C2f, x, w(1024), d(3), True)
        coarse = net.block(SPPF, x, w(1024))
        x = net.concat(net.upsample(coarse), middle)
        middle = net.block(C2f, x, w(512), d(3))
        x = net.concat(net.upsample(middle), fine)
        fine = net.block(C2f, x, w(256), d(3))
        x = net.concat(net.conv(fine, w(256), 3, 2), middle)
        middle = net.block(C2f, x, w(512), d(3))
        x = net.concat(net.conv(middle, w(512), 3, 2), coarse)
        coarse = net.block(C2f, x, w(1024), d(3))
        maps = fine, middle, coarse
        net.add(self.build_head([m.channels for m in maps]), 0, *maps)
        self.model = net

    def build_head(self, channels):
        """The head for maps of these channels."""
        return DistributionHead(channels, self.config.num_classes, gains=self.config.gains)


class YOLOv8Segmentation(YOLOv8):
    """YOLOv8 that gives a mask of every object, too."""

    config_class = YOLOv8SegmentationConfig
    has_masks = True

    def build_head(self, channels):
        """The head for maps of these channels."""
        c = self.config
        return MaskHead(channels, c.num_classes, gains=c.gains, masks=c.masks, prototypes=c.channels(c.prototypes))

    def extras(self, raw, row, index, boxes, frame):
        """{"masks": (M, H, W) bool, in pixels of the image}."""
        *_, coefficients, prototypes = raw
        return {"masks": masks(coefficients[row][:, index], prototypes[row], boxes, frame)}


PAPER = "Ultralytics 2023, YOLOv8 (no paper)"
yolov8 = family(YOLOv8, "object-detection", PAPER, labels="coco")
yolov8_seg = family(YOLOv8Segmentation, "object-detection", f"{PAPER}; Bolya et al. 2019, arXiv:1904.02689",
                    labels="coco")
SIZES = {"n": (0.33, 0.25, 1024), "s": (0.33, 0.5, 1024), "m": (0.67, 0.75, 768), "l": (1.0, 1.0, 512),
         "x": (1.0, 1.25, 512)}


@yolov8("yolo/yolov8n")
def yolov8n():
    """3.2 million parameters."""
    return YOLOv8Config(*SIZES["n"])


@yolov8("yolo/yolov8s")
def yolov8s():
    """11 million parameters."""
    return YOLOv8Config(*SIZES["s"])


@yolov8("yolo/yolov8m")
def yolov8m():
    """26 million parameters."""
    return YOLOv8Config(*SIZES["m"])


@yolov8("yolo/yolov8l")
def yolov8l():
    """44 million parameters."""
    return YOLOv8Config(*SIZES["l"])


@yolov8("yolo/yolov8x")
def yolov8x():
    """68 million parameters."""
    return YOLOv8Config(*SIZES["x"])


@yolov8_seg()
def yolov8n_seg():
    """3.4 million parameters, with masks."""
    return YOLOv8SegmentationConfig(*SIZES["n"])


@yolov8_seg()
def yolov8s_seg():
    """12 million parameters, with masks."""
    return YOLOv8SegmentationConfig(*SIZES["s"])


@yolov8_seg()
def yolov8m_seg():
    """27 million parameters, with masks."""
    return YOLOv8SegmentationConfig(*SIZES["m"])


@yolov8_seg()
def yolov8l_seg():
    """46 million parameters, with masks."""
    return YOLOv8SegmentationConfig(*SIZES["l"])


@yolov8_seg()
def yolov8x_seg():
    """72 million parameters, with masks."""
    return YOLOv8SegmentationConfig(*SIZES["x"])
