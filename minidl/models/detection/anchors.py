"""Heads with anchors: at every cell of every map, boxes that stretch a few given ones.

Sources: Redmon, Farhadi 2016, "YOLO9000", arXiv:1612.08242, section 2, and 2018, "YOLOv3", arXiv:1804.02767, section
2.1, for anchors and logistic centres; Bochkovskiy, Wang, Liao 2020, "YOLOv4", arXiv:2004.10934, section 3.4, for
centres that reach beyond their cell; the public description of YOLOv5's outputs, xy = 2 s - 0.5 and wh = (2 s)^2
anchors, of sigmoids s, and of its targets; Lin et al. 2017, "Focal Loss", arXiv:1708.02002, section 4.1, for biases
that start with rare objects.
"""
import math

import numpy as np

from ... import nn, ops
from ...errors import ArgumentError, message
from ...tensor import Tensor
from .yolo import cells, index, like


class AnchorHead(nn.Module):
    """A 1x1 convolution for each map: x, y, width, height, objectness and classes of A boxes a cell.

    Args:
        channels: of the maps it reads, fine to coarse.
        num_classes: K.
        anchors: for each map (w1, h1, w2, h2, ...) in pixels.
        strides: pixels per cell of each map.
        gains: what the losses of boxes, objectness and classes count.

    Raises:
        ArgumentError: there are not as many anchors for each map.
    """

    def __init__(self, channels, num_classes, anchors, strides, gains=(0.05, 1.0, 0.5)):
        self.channels, self.num_classes, self.pixels = tuple(channels), num_classes, tuple(map(tuple, anchors))
        self.strides, self.gains = tuple(strides), tuple(gains)
        if len(anchors) != len(strides) or len({len(own) for own in anchors}) != 1 or len(anchors[0]) % 2:
            expected = f"(w1, h1, w2, h2, ...) of each of {len(strides)} maps, as many of all"
            raise ArgumentError(message(type(self).__name__, "anchors", expected, anchors))
        boxes = np.array(anchors, np.float32).reshape(len(strides), -1, 2)
        self.anchors = nn.Buffer(Tensor(boxes / np.array(strides, np.float32)[:, None, None]))
        self.m = nn.ModuleList(self.convolution(c, stride) for c, stride in zip(channels, strides))

    def convolution(self, channels, stride):
        """That of a map; 8 objects are expected on an image of 640 pixels squared, all classes alike.

        One class alone, of which no loss tells anything, is that of every object.
        """
        conv = nn.Conv2d(channels, len(self.pixels[0]) // 2 * (5 + self.num_classes), 1)
        if not nn.parameter.is_placeholder(conv.bias.data):
            bias = conv.bias.numpy().reshape(-1, 5 + self.num_classes).copy()
            bias[:, 4] += math.log(8 / (640 / stride) ** 2)
            bias[:, 5:] += math.log(0.6 / (self.num_classes - 0.6)) if self.num_classes > 1 else CERTAIN
            conv.bias.assign(Tensor(bias.reshape(-1)))
        return conv

    def with_classes(self, num_classes):
        """A head like this one for other classes, drawn anew."""
        return type(self)(self.channels, num_classes, self.pixels, self.strides, self.gains)

    def forward(self, *maps):
        """maps (N, C_i, H_i, W_i) -> for each (N, A, H_i, W_i, 5 + K), before any sigmoid."""
        return [self.split(self.outputs(i, x)) for i, x in enumerate(maps)]

    def outputs(self, i, x):
        """Map i (N, C, H, W) -> (N, A (5 + K), H, W)."""
        return self.m[i](x)

    def split(self, x):
        """(N, A (5 + K), H, W) -> (N, A, H, W, 5 + K)."""
        n, _, h, w = x.shape
        return ops.permute_dims(x.reshape((n, -1, 5 + self.num_classes, h, w)), (0, 1, 3, 4, 2))

    def predictions(self, raw):
        """Raw outputs -> (N, B, 5 + K): centre, width and height in pixels; objectness, classes in [0, 1]."""
        rows = []
        for x, anchors, stride in zip(raw, self.anchors.numpy(), self.strides):
            n, a, h, w, k = x.shape
            s = ops.sigmoid(x).reshape((n, a, h * w, k))
            xy = (s[..., :2] * 2.0 - 0.5 + like(cells(h, w), x)) * float(stride)
            wh = ops.square(s[..., 2:4] * 2.0) * like(anchors[:, None] * stride, x)
            rows.append(ops.concat([xy, wh, s[..., 4:]], -1).reshape((n, a * h * w, k)))
        return ops.concat(rows, 1)

    def decode(self, raw, size):
        """Raw outputs -> boxes (N, B, 4), x1, y1, x2, y2 in pixels; scores (N, B, K): objectness times class."""
        found = self.predictions(raw)
        return ops.box_convert(found[..., :4], "cxcywh", "xyxy"), found[..., 5:] * found[..., 4:5]

    def loss(self, raw, targets, size):
        """{"box", "objectness", "classes"}: each the sum of the maps' means, times its gain."""
        return self.losses(raw, targets, self.assigned(raw, targets))

    def assigned(self, raw, targets):
        """For each map (object, anchor, row, column), each (M): the boxes that answer for objects; see `neighbours`."""
        return [neighbours(grid_boxes(targets.boxes, stride), anchors, x.shape[2:4])
                for x, anchors, stride in zip(raw, self.anchors.numpy(), self.strides)]

    def losses(self, raw, targets, answers):
        """The losses of boxes that answer for objects; see `loss`."""
        levels = [level_loss(x, anchors, grid_boxes(targets.boxes, stride), targets.label, targets.image, answer)
                  for x, anchors, stride, answer in zip(raw, self.anchors.numpy(), self.strides, answers)]
        balance = BALANCE if len(raw) == 3 else (4.0, 1.0)
        box, objectness, classes = zip(*levels)
        parts = sum(box), sum(b * o for b, o in zip(balance, objectness)), sum(classes)
        return {name: part * gain for name, part, gain in zip(("box", "objectness", "classes"), parts, self.gains)}


CERTAIN = 12.0                     # the sigmoid of it is 1 but for 6e-6
BALANCE = 4.0, 1.0, 0.4            # of the maps' objectness: the finest has most cells, and most of them are empty
RATIO = 4.0                        # an anchor stands for boxes up to so many times as wide, or high, and as narrow


def grid_boxes(boxes, stride):
    """Boxes (T, 4), x1, y1, x2, y2 in pixels -> centre, width, height in cells."""
    return np.concatenate([boxes[:, :2] + boxes[:, 2:], 2 * (boxes[:, 2:] - boxes[:, :2])], 1) / np.float32(2 * stride)


def neighbours(boxes, anchors, shape, reach=0.5):
    """Which boxes of a map's cells answer for which objects: those whose anchor is like the object.

    The cell that the object's centre is in answers, and those beside it that the centre is nearer to than `reach`.

    Args:
        boxes (T, 4): the objects' centres, widths and heights, in cells.
        anchors (A, 2): widths and heights, in cells.
        shape: rows and columns of the map.
        reach: 0.5: of left and right one cell answers, of above and below one; 1: both of each.

    Returns:
        object, anchor, row, column, each (M) int64.
    """
    size, limit = boxes[None, :, 2:], np.array(shape[::-1], np.int64)
    alike = ((size < RATIO * anchors[:, None]) & (anchors[:, None] < RATIO * size)).all(-1)
    anchor, target = np.nonzero(alike)
    centre = boxes[target, :2]
    before, behind = centre % 1 < reach, (limit - centre) % 1 < reach
    found = []
    for move, answers in ((0, 0), np.ones(len(target), bool)), ((-1, 0), before[:, 0]), ((0, -1), before[:, 1]), \
            ((1, 0), behind[:, 0]), ((0, 1), behind[:, 1]):
        cell = np.floor(centre + reach * np.array(move, np.float32)).astype(np.int64)
        answers = answers & ((cell >= 0) & (cell < limit)).all(-1)
        found.append(np.stack([target, anchor, cell[:, 1], cell[:, 0]])[:, answers])
    return np.concatenate(found, 1)


def stretched(found, anchors):
    """Raw outputs (M, 4), anchors (M, 2) in cells -> centre from the cell's corner, width and height, in cells."""
    s = ops.sigmoid(found) * 2.0
    return ops.concat([s[:, :2] - 0.5, ops.square(s[:, 2:]) * like(anchors, found)], 1)


def level_loss(x, anchors, boxes, labels, images, answer):
    """(box, objectness, classes) losses of a map.

    Args:
        x (N, A, H, W, 5 + K): what the head gives.
        anchors (A, 2): in cells.
        boxes (T, 4): the objects, centre, width, height in cells.
        labels (T), images (T): the objects' classes, and which image of the batch they are on.
        answer: (object, anchor, row, column), each (M), of the boxes that answer for objects.

    Returns:
        three of (): mean of 1 - CIoU; of the cross-entropy of objectness, which is to be the CIoU; of the classes.
    """
    target, anchor, row, column = answer
    place = images[target], anchor, row, column
    wanted = np.zeros(x.shape[:4], np.float32)
    box = classes = like(0, x)
    if len(target):
        found = x[index(x, *place)]
        got = stretched(found[:, :4], anchors[anchor])
        want = boxes[target] - np.stack([column, row, 0 * row, 0 * row], 1).astype(np.float32)
        overlap = ops.box_ciou(ops.box_convert(got, "cxcywh", "xyxy"),
                               ops.box_convert(like(want, x), "cxcywh", "xyxy"), pairwise=False)
        box = ops.mean(1.0 - overlap)
        wanted[place] = np.maximum(overlap.numpy(), 0)           # (of several objects the last one counts)
        if x.shape[-1] > 6:
            one_hot = np.eye(x.shape[-1] - 5)[labels[target]]
            classes = ops.binary_cross_entropy_with_logits(found[:, 5:], like(one_hot, x))
    return box, ops.binary_cross_entropy_with_logits(x[..., 4], like(wanted, x)), classes
