"""Heads without anchors: every cell says how far the edges of its box are, as distributions, and how likely each class.

Which cells answer for an object is decided by how well they do already: the task-aligned assignment.

Sources: Tian et al. 2019, "FCOS", arXiv:1904.01355, section 3.1 (distances to the four edges); Li et al. 2020,
"Generalized Focal Loss", arXiv:2006.04388, section 3.2 (edges as distributions, DFL); Feng et al. 2021, "TOOD",
arXiv:2108.07755, section 3.2 (assignment); Zheng et al. 2019, arXiv:1911.08287 (CIoU); the public description of
"small-target-aware label assignment" (2025): an object has four cells of the finest map, however small it is.
"""
import math

import numpy as np

from ... import nn, ops
from ...tape import no_grad
from ...tensor import Tensor
from .blocks import ConvNorm
from .yolo import cells, index, like

BINS = 16                          # a distance is the mean of a distribution over 0, 1, ... 15 cells
TOP, ALPHA, BETA = 10, 0.5, 6.0    # cells for an object; what its score, and its overlap, count. TOOD: section 4.1


class Projection(nn.Module):
    """The mean of a distribution over 0, 1, ... Official state dicts hold these numbers as a convolution's weight."""

    def __init__(self, bins):
        self.conv = nn.Conv2d(bins, 1, 1, bias=False)
        self.conv.weight = nn.Parameter(Tensor(np.arange(bins, dtype=np.float32).reshape(1, -1, 1, 1)),
                                        requires_grad=False)

    def forward(self, logits):
        """logits (*, bins) -> (*)."""
        return ops.sum(ops.softmax(logits) * self.conv.weight.astype(logits.dtype).reshape((-1,)), -1)


def branch(inputs, hidden, outputs):
    """Two 3x3 convolutions and a 1x1 one."""
    return nn.Sequential(ConvNorm(inputs, hidden, 3), ConvNorm(hidden, hidden, 3), nn.Conv2d(hidden, outputs, 1))


class DistributionHead(nn.Module):
    """For each map a branch for the distances of the four edges, and one for the classes.

    Args:
        channels: of the maps it reads, fine to coarse.
        num_classes: K.
        strides: pixels per cell of each map.
        gains: what the losses of boxes, classes and distributions count.
    """

    def __init__(self, channels, num_classes, strides=(8, 16, 32), gains=(7.5, 0.5, 1.5)):
        self.channels, self.num_classes = tuple(channels), num_classes
        self.strides, self.gains = tuple(strides), tuple(gains)
        edges, kinds = max(16, channels[0] // 4, 4 * BINS), max(channels[0], min(num_classes, 100))
        self.cv2 = nn.ModuleList(branch(c, edges, 4 * BINS) for c in channels)
        self.cv3 = nn.ModuleList(branch(c, kinds, num_classes) for c in channels)
        self.dfl = Projection(BINS)
        for box, kind, stride in zip(self.cv2, self.cv3, strides):     # (5 objects are expected on 640 pixels squared)
            nn.init.ones_(box[2].bias)
            nn.init.constant_(kind[2].bias, math.log(5 / num_classes / (640 / stride) ** 2))

    def with_classes(self, num_classes):
        """A head like this one for other classes, drawn anew."""
        return type(self)(self.channels, num_classes, self.strides, self.gains)

    def forward(self, *maps):
        """maps (N, C_i, H_i, W_i) -> edges (N, 4 bins, A) and classes (N, K, A) of all cells, before any softmax."""
        return [joined(branches, maps) for branches in (self.cv2, self.cv3)]

    def points(self, size):
        """Of every cell of maps of an image (H, W): middle (A, 2) in cells, pixels per cell (A, 1); arrays."""
        shapes = [(size[0] // stride, size[1] // stride) for stride in self.strides]
        middles = np.concatenate([cells(h, w, 0.5) for h, w in shapes])
        return middles, np.repeat(self.strides, [h * w for h, w in shapes])[:, None]

    def edges(self, logits, middles):
        """Logits (*, 4 bins) at middles (*, 2) -> x1, y1, x2, y2 (*, 4), all in cells."""
        distances = self.dfl(logits.reshape((*logits.shape[:-1], 4, BINS)))
        return ops.concat([middles - distances[..., :2], middles + distances[..., 2:]], -1)

    def decode(self, raw, size):
        """Raw outputs -> boxes (N, A, 4), x1, y1, x2, y2 in pixels; scores (N, A, K)."""
        middles, strides = (like(part, raw[0]) for part in self.points(size))
        return self.edges(ops.swapaxes(raw[0], 1, 2), middles) * strides, ops.swapaxes(ops.sigmoid(raw[1]), 1, 2)

    def loss(self, raw, targets, size):
        """{name: loss ()} of what the cells that answer for objects say; see `assigned`, `losses`."""
        return self.losses(raw, targets, size, self.assigned(raw, targets, size))

    def assigned(self, raw, targets, size):
        """(image, cell, target, worth), each (F): the cells of a batch that answer for its objects; see `align`."""
        points, strides = self.points(size)
        points, found = points * strides, []
        with no_grad():
            boxes, scores = (x.numpy() for x in self.decode([x.detach() for x in raw], size))
            for i in np.unique(targets.image):
                own, = np.nonzero(targets.image == i)
                cell, target, worth = align(scores[i], boxes[i], points, targets.label[own], targets.boxes[own],
                                            2 * self.strides[0])
                found.append((np.full(len(cell), i), cell, own[target], worth))
        if not found:
            return (*np.zeros((3, 0), np.int64), np.zeros(0, np.float32))
        return tuple(np.concatenate(parts) for parts in zip(*found))

    def losses(self, raw, targets, size, answers):
        """{"box", "classes", "distribution"}: sums over the cells that answer, by their worth, over the sum of it."""
        image, cell, target, worth = answers
        scores, whole = raw[1], max(float(worth.sum()), 1.0)
        wanted = np.zeros(scores.shape, np.float32)
        wanted[image, targets.label[target], cell] = worth
        classes = ops.binary_cross_entropy_with_logits(scores, like(wanted, scores), reduction="sum")
        box = spread = like(0, scores)
        if len(cell):
            middles, strides = (like(part[cell], scores) for part in self.points(size))
            logits = ops.swapaxes(raw[0], 1, 2)[index(scores, image, cell)]
            worth = like(worth, scores)
            want = like(targets.boxes[target], scores) / strides
            box = ops.sum((1.0 - ops.box_ciou(self.edges(logits, middles), want, pairwise=False)) * worth)
            distances = ops.concat([middles - want[:, :2], want[:, 2:] - middles], -1)
            spread = distribution_focal_loss(logits.reshape((-1, 4, BINS)), distances)
            spread = ops.sum(ops.mean(spread, -1) * worth)
        return {name: part * (gain / whole) for name, part, gain in
                zip(("box", "classes", "distribution"), (box, classes, spread), self.gains)}


def joined(branches, maps):
    """Each branch on its map: (N, outputs, all cells)."""
    found = [each(x) for each, x in zip(branches, maps)]
    return ops.concat([x.reshape((*x.shape[:2], -1)) for x in found], 2)


def align(scores, boxes, points, labels, wanted, least):
    """Which cells answer for which objects: of those inside, the ones that score and overlap best.

    Args:
        scores (A, K): of each class, in [0, 1].
        boxes (A, 4): what the cells predict, x1, y1, x2, y2 in pixels.
        points (A, 2): the cells' middles, in pixels.
        labels (T): the objects' classes.
        wanted (T, 4): their boxes.
        least: which cells are inside is asked of a box at least so wide and high, in pixels.

    Returns:
        cell (F), target (F): a cell answers for one object at most, that which it overlaps most; worth (F): what its
        class's score shall be, score^alpha overlap^beta, so scaled that an object's best cell has its best overlap.

    Source: Feng et al. 2021, "TOOD", arXiv:2108.07755, eqs. 8-10.
    """
    middle, side = (wanted[:, :2] + wanted[:, 2:]) / 2, np.maximum(wanted[:, 2:] - wanted[:, :2], least)
    inside = (side[:, None] / 2 - np.abs(points[None] - middle[:, None])).min(-1) > 1e-9
    overlap = np.maximum(ops.box_ciou(Tensor(wanted.astype(boxes.dtype)), Tensor(boxes)).numpy(), 0) * inside
    metric = scores[:, labels].T ** np.float32(ALPHA) * overlap ** np.float32(BETA)
    best = np.argsort(np.where(inside, -metric, 1), 1, kind="stable")[:, :TOP]
    answers = np.zeros_like(inside)
    np.put_along_axis(answers, best, True, 1)
    answers &= inside
    torn, = np.nonzero(answers.sum(0) > 1)
    answers[:, torn] = overlap[:, torn].argmax(0) == np.arange(len(labels))[:, None]
    cell, = np.nonzero(answers.any(0))
    target = answers[:, cell].argmax(0)
    largest, closest = (np.where(answers, x, 0).max(1, initial=0) for x in (metric, overlap))
    worth = metric[target, cell] * closest[target] / (largest[target] + np.float32(1e-9))
    return cell, target, worth.astype(np.float32)


def distribution_focal_loss(logits, distances):
    """Cross-entropy with the two bins beside a distance, weighed by its nearness.

    Args:
        logits (*, bins): of distances 0, 1, ...
        distances (*): beyond the last bin they count as just below it.

    Returns:
        (*): at least the entropy of the two weights.

    Source: Li et al. 2020, "Generalized Focal Loss", arXiv:2006.04388, eq. 6.
    """
    distances = np.clip(distances.numpy(), 0, logits.shape[-1] - 1 - 0.01)
    lower = np.floor(distances)
    weight = like(distances - lower, logits)
    chosen, = index(logits, lower.astype(np.int64)[..., None])
    log = ops.log_softmax(logits)
    below, above = (ops.squeeze(ops.take_along_axis(log, bins, -1), -1) for bins in (chosen, chosen + 1))
    return -(below * (1.0 - weight) + above * weight)
