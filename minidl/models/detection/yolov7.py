"""YOLOv7: layer aggregation (ELAN), pooling beside strided convolutions, RepConv, implicit knowledge; SimOTA training.

Sources: Wang, Bochkovskiy, Liao 2022, "YOLOv7: Trainable bag-of-freebies", arXiv:2207.02696, sections 3 and 4; Wang,
Liao, Yeh 2022, "Designing Network Design Strategies Through Gradient Path Analysis", arXiv:2211.04800 (ELAN); Wang,
Yeh, Liao 2021, "You Only Learn One Representation", arXiv:2105.04206 (implicit knowledge); the names and shapes of
state dicts.  No line of its code was used, or read.
Differs from the paper: the auxiliary head reads the maps in front of the last convolutions.

    image (N,3,H,W) -> stem /4 -> 4 stages of ELAN -> SPPCSPC -> up, with ELAN -> down, with ELAN -> RepConv -> heads
"""
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ... import nn, ops
from ...errors import ArgumentError, message
from ..registry import family
from .blocks import SPPCSPC, RepConv, widened
from .simota import OTAHead
from .yolo import YOLO, Layers, YOLOConfig

ANCHORS = (12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401)
TINY_ANCHORS = (10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)


@dataclass(frozen=True)
class YOLOv7Config(YOLOConfig):
    """Sizes of a YOLOv7.

    Args:
        variant: "base", "x" or "tiny".
        width: how many of the variant's channels there are.
        in_channels, num_classes: of the image, and how many kinds of objects.
        anchors: for each map (w1, h1, w2, h2, ...) in pixels, fine to coarse.
        implicit: with vectors added in front of the head and multiplied behind it, as training has them.
        auxiliary: with a second head, for training alone.
        image_size: the longer side of a frame.
        gains: what the losses of boxes, objectness and classes count.
    """

    variant: str = "base"
    width: float = 1.0
    in_channels: int = 3
    num_classes: int = 80
    anchors: tuple = ANCHORS
    implicit: bool = False
    auxiliary: bool = False
    image_size: int = 640
    gains: tuple = (0.05, 0.7, 0.3)

    def __post_init__(self):
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ArgumentError(message("YOLOv7Config", "variant", f"one of {', '.join(VARIANTS)}", self.variant))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(width=1 / 64, num_classes=3, implicit=True, auxiliary=True, image_size=64)

    def channels(self, *counts):
        """How many of so many channels there are."""
        return [widened(n, self.width) for n in counts]


class Sizes(NamedTuple):
    """What the variants with a large neck differ in. Channels of ELANs are (outer, inner, of the result)."""

    stem: int
    steps: int                     # 3x3 convolutions of an ELAN
    stages: tuple
    pyramid: int                   # channels of the SPPCSPC
    neck: tuple                    # two ELANs on the way up, two on the way down
    every: int                     # of the neck's 3x3 convolutions every one, or every second, is seen at the end


BASE = Sizes(32, 4, ((64, 64, 256), (128, 128, 512), (256, 256, 1024), (256, 256, 1024)), 512,
             ((256, 128, 256), (128, 64, 128), (256, 128, 256), (512, 256, 512)), 1)
X = Sizes(40, 6, ((64, 64, 320), (128, 128, 640), (256, 256, 1280), (256, 256, 1280)), 640,
          ((256, 256, 320), (128, 128, 160), (256, 256, 320), (512, 512, 640)), 2)


def elan(net, x, widths, steps, every):
    """Add two 1x1 convolutions, a row of 3x3 ones behind the second, and one that sees them, of the row every
    one or every second.

    Paper: figure 2.
    """
    outer, inner, result = widths
    rows = [net.conv(x, outer), net.conv(x, outer)]
    for _ in range(steps):
        rows.append(net.conv(rows[-1], inner, 3))
    first, *rows = rows
    return net.conv(net.concat(*rows[::-every], first), result)


def halve(net, x, channels, *beside):
    """Add what halves the resolution twice over, by a pool and by a stride, and puts maps beside it."""
    pooled = net.conv(net.pool(x), channels)
    return net.concat(net.conv(net.conv(x, channels), channels, 3, 2), pooled, *beside)


def large(net, c, sizes):
    """Add the network but for its last convolutions; the three maps, fine to coarse, and those convolutions' channels.
    """
    w, x, stem, maps = c.channels, net.image(c.in_channels), sizes.stem, []
    for channels, stride in (stem, 1), (2 * stem, 2), (2 * stem, 1), (4 * stem, 2):
        x = net.conv(x, *w(channels), 3, stride)
    for i, widths in enumerate(sizes.stages):
        x = halve(net, x, *w(sizes.stages[i - 1][2] // 2)) if i else x
        x = elan(net, x, w(*widths), sizes.steps, 2)
        maps.append(x)
    coarse = net.block(SPPCSPC, x, *w(sizes.pyramid))
    ways, x = [coarse], coarse
    for lateral, channels, widths in zip((maps[2], maps[1]), (sizes.pyramid // 2, sizes.pyramid // 4), sizes.neck[:2]):
        up = net.upsample(net.conv(x, *w(channels)))
        x = elan(net, net.concat(net.conv(lateral, *w(channels)), up), w(*widths), sizes.steps, sizes.every)
        ways.append(x)
    found = [x]
    for way, channels, widths in zip((ways[1], coarse), (sizes.pyramid // 4, sizes.pyramid // 2), sizes.neck[2:]):
        x = elan(net, halve(net, x, *w(channels), way), w(*widths), sizes.steps, sizes.every)
        found.append(x)
    return found, w(*[sizes.pyramid * n // 2 for n in (1, 2, 4)])


def small(net, c):
    """Add the tiny network but for its last convolutions; the three maps, fine to coarse, and those channels."""
    w, maps = c.channels, []
    x = net.conv(net.image(c.in_channels), *w(32), 3, 2)
    x = net.conv(x, *w(64), 3, 2)
    for i, width in enumerate((32, 64, 128, 256)):
        x = elan(net, net.pool(x) if i else x, w(width, width, 2 * width), 2, 1)
        maps.append(x)
    beside, x = net.conv(x, *w(256)), net.conv(x, *w(256))
    pools = [net.pool(x, k, 1, k // 2) for k in (5, 9, 13)]
    x = net.conv(net.concat(*pools[::-1], x), *w(256))
    coarse = x = net.conv(net.concat(x, beside), *w(256))
    ways = []
    for lateral, width in (maps[2], 64), (maps[1], 32):
        up = net.upsample(net.conv(x, *w(2 * width)))
        x = elan(net, net.concat(net.conv(lateral, *w(2 * width)), up), w(width, width, 2 * width), 2, 1)
        ways.append(x)
    found = [x]
    for way, width in (ways[0], 64), (coarse, 128):
        x = net.concat(net.conv(x, *w(2 * width), 3, 2), way)
        x = elan(net, x, w(width, width, 2 * width), 2, 1)
        found.append(x)
    return found, w(128, 256, 512)


VARIANTS = {"base": partial(large, sizes=BASE), "x": partial(large, sizes=X), "tiny": small}


class Implicit(nn.Module):
    """A vector that is learnt, whatever the image. YOLOR: section 3."""

    def __init__(self, channels, mean):
        self.implicit = nn.Parameter(nn.init.normal(mean, 0.02), 1, channels, 1, 1)

    def forward(self):
        """(1, C, 1, 1)."""
        return self.implicit


class ImplicitHead(OTAHead):
    """An OTAHead that adds a vector to its maps, and multiplies its outputs with one."""

    def __init__(self, channels, *args, **keywords):
        super().__init__(channels, *args, **keywords)
        self.ia = nn.ModuleList(Implicit(c, 0.0) for c in channels)
        self.im = nn.ModuleList(Implicit(conv.out_channels, 1.0) for conv in self.m)

    def outputs(self, i, x):
        """Map i (N, C, H, W) -> (N, A (5 + K), H, W)."""
        return self.m[i](x + self.ia[i]()) * self.im[i]()

    def merged(self):
        """{name: Tensor} of the convolutions with the vectors in them. YOLOv7: section 4.4, "implicit knowledge"."""
        found = {}
        for i, (conv, add, multiply) in enumerate(zip(self.m, self.ia, self.im)):
            scale = multiply.implicit.reshape((-1,))
            found[f"m.{i}.weight"] = conv.weight * scale.reshape((-1, 1, 1, 1))
            found[f"m.{i}.bias"] = (conv.bias + ops.sum(conv.weight * add.implicit, (1, 2, 3))) * scale
        return found


class YOLOv7(YOLO):
    """The network of the module's docstring."""

    config_class = YOLOv7Config
    layouts = {"yolov7": ()}

    def __init__(self, config):
        c = self.config = config
        net = Layers("leaky_relu" if c.variant == "tiny" else "silu")
        maps, channels = VARIANTS[c.variant](net, c)
        last = [net.block(RepConv, x, n) if c.variant == "base" else net.conv(x, n, 3) for x, n in zip(maps, channels)]
        kind, beside = ImplicitHead if c.implicit else OTAHead, maps if c.auxiliary else []
        head = kind(channels, c.num_classes, c.anchors, (8, 16, 32), c.gains, [m.channels for m in beside])
        net.add(head, 0, *last, *beside)
        self.model = net

    def deployed(self):
        """The same network without an auxiliary head, and with the vectors in the head's convolutions."""
        twin = YOLOv7(self.config.replace(implicit=False, auxiliary=False))
        state = {**self.state_dict()}
        if self.config.implicit:
            state |= {f"{self.head_name}.{name}": x for name, x in self.head.merged().items()}
        twin.load_state_dict({name: state[name] for name in twin.state_dict()})
        twin.labels, twin.inputs, twin.selection = self.labels, self.inputs, self.selection
        return twin.train(self.training)


yolov7_family = family(YOLOv7, "object-detection", "Wang et al. 2022, arXiv:2207.02696", labels="coco")


@yolov7_family("yolo/yolov7_deploy")
def yolov7():
    """38 million parameters, as released."""
    return YOLOv7Config()


@yolov7_family("yolo/yolov7_training")
def yolov7_training():
    """With the vectors that training has, in front of the head and behind it."""
    return YOLOv7Config(implicit=True)


@yolov7_family("yolo/yolov7x_deploy")
def yolov7x():
    """71 million parameters."""
    return YOLOv7Config("x")


@yolov7_family("yolo/yolov7_tiny_deploy")
def yolov7_tiny():
    """6.2 million parameters."""
    return YOLOv7Config("tiny", anchors=TINY_ANCHORS)
