"""What YOLO networks have in common: numbered layers, of which the last one is the head.

    image (N,C,H,W) -> layers, each reading earlier ones by number -> head -> raw outputs per map

Official state dicts count layers ("model.9.cv1.conv.weight"), those without weights, too: a network here is a program
that adds its layers in that order.  It was written from the papers, and from the names and shapes of the state dicts.
"""
from typing import NamedTuple

import numpy as np

from ... import nn, ops
from ...errors import ArgumentError, message, number
from ..config import ModelConfig
from .blocks import ConvNorm
from .detector import Detector

IMAGE = -1                         # the number of what the first layer reads


class YOLOConfig(ModelConfig):
    """Base of the configs. A subclass has `depth`, unless its networks have one, and all of these fields.

    Raises:
        ArgumentError: `in_channels`, `num_classes` or `image_size` is no number from 1 on, or `gains` are not three.
    """

    def __post_init__(self):
        for name in ("in_channels", "num_classes", "image_size"):
            number(type(self).__name__, name, getattr(self, name), 1, whole=True)
        if len(self.gains) != 3:
            raise ArgumentError(message(type(self).__name__, "gains", "three numbers, one for each loss", self.gains))

    def blocks(self, count):
        """How many of so many blocks there are, at least one."""
        return max(round(count * self.depth), 1)


class Node(NamedTuple):
    """What a layer gives, while a network is put together."""

    index: int
    channels: int


class Concat(nn.Module):
    """Maps beside each other."""

    def forward(self, *maps):
        """maps (N, C_i, H, W) -> (N, sum of C_i, H, W)."""
        return ops.concat(maps, 1)


class Layers(nn.ModuleList):
    """Layers by number, each of which reads earlier ones. `activation` is that of its convolutions."""

    def __init__(self, activation="silu"):
        super().__init__()
        self.activation, self.sources = activation, []

    def image(self, channels):
        """The Node of what the first layer reads."""
        return Node(IMAGE, channels)

    def add(self, layer, channels, *sources):
        """Add a layer that reads the Nodes `sources` and gives so many channels; the Node that it is."""
        self.append(layer)
        self.sources.append(tuple(node.index for node in sources))
        return Node(len(self) - 1, channels)

    def conv(self, x, channels, kernel=1, stride=1, padding=None):
        """Add a convolution, with norm and activation."""
        layer = ConvNorm(x.channels, channels, kernel, stride, padding, self.activation)
        return self.add(layer, channels, x)

    def block(self, kind, x, channels, *args, **keywords):
        """Add a block that reads one node: kind(inputs, channels, ...)."""
        return self.add(kind(x.channels, channels, *args, **keywords), channels, x)

    def stack(self, kind, count, x, channels, *args, **keywords):
        """Add a layer of several blocks in a row; one alone stands for itself."""
        blocks = [kind(channels if i else x.channels, channels, *args, **keywords) for i in range(count)]
        return self.add(blocks[0] if count == 1 else nn.Sequential(*blocks), channels, x)

    def concat(self, *nodes):
        """Add what puts maps beside each other."""
        return self.add(Concat(), sum(node.channels for node in nodes), *nodes)

    def upsample(self, x):
        """Add what doubles the resolution: every pixel becomes four."""
        return self.add(nn.Upsample(scale_factor=2), x.channels, x)

    def pool(self, x, kernel=2, stride=2, padding=0):
        """Add a max pool."""
        return self.add(nn.MaxPool2d(kernel, stride, padding), x.channels, x)

    def forward(self, image):
        """image (N, C, H, W) -> the maps that the last layer reads. No map is held longer than it is read."""
        *layers, _ = self
        last = {source: i for i, sources in enumerate(self.sources) for source in sources}
        given = {IMAGE: image}
        for i, layer in enumerate(layers):
            sources = self.sources[i]
            given[i] = layer(*[given[s] for s in sources])
            for source in {s for s in sources if last[s] == i}:
                del given[source]
        return [given[s] for s in self.sources[-1]]


class YOLO(Detector):
    """A detector that is Layers, `model`, the last of which is its head.

    The head is called with maps and gives the raw outputs, a list; it has `decode(raw, size)` and `loss(raw, targets,
    size)`, as of Detector, and `with_classes(num_classes)`, a new head.
    """

    layouts = {"ultralytics": ()}

    @property
    def head(self):
        """The last layer."""
        return self.model[-1]

    @property
    def head_name(self):
        """The path of the head."""
        return f"model.{len(self.model) - 1}"

    def make_head(self, num_classes):
        """A head like this one, drawn anew."""
        return self.head.with_classes(num_classes)

    def forward_raw(self, batch):
        """batch (N, C, H, W) -> what the head gives."""
        return self.head(*self.model(batch))

    def decode(self, raw, size):
        """The head's boxes and scores."""
        return self.head.decode(raw, size)

    def loss(self, raw, targets, size):
        """The head's losses."""
        return self.head.loss(raw, targets, size)


def cells(height, width, middle=0.0):
    """(height * width, 2): x and y of the cells of a map, row by row, at this place in them; an array."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    return np.stack([x, y], 1) + middle


def like(array, tensor):
    """An array as a Tensor of another one's dtype, and where that one is."""
    return ops.tensor(np.asarray(array), tensor.dtype, tensor.device)


def index(tensor, *arrays):
    """Arrays of whole numbers as an index of a Tensor: where that one is."""
    return tuple([ops.tensor(array, device=tensor.device) for array in arrays])
