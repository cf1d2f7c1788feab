"""Anchors' boxes that answer for objects, chosen by what they predict: the cheapest, as many as overlap well.

Sources: Ge et al. 2021, "YOLOX", arXiv:2107.08430, section 2.1 (SimOTA), after Ge et al. 2021, "OTA", arXiv:2103.14259;
Wang et al. 2022, "YOLOv7", arXiv:2207.02696, section 4.2: the auxiliary head's answers are the lead head's, from more
cells (coarse-to-fine, lead head guided).
"""
import numpy as np

from ... import nn, ops
from ...tape import no_grad
from ...tensor import Tensor
from .anchors import AnchorHead, grid_boxes, neighbours, stretched
from .yolo import index

TOP, COARSE_TOP = 10, 20           # overlaps whose sum says how many boxes answer; of the auxiliary head's
AUXILIARY = 0.25                   # what the auxiliary head's losses count. YOLOv7: section 5.4
OVERLAP = 3.0                      # what the overlap counts beside the classes. YOLOX: eq. 1


class OTAHead(AnchorHead):
    """An AnchorHead whose boxes are chosen for objects by `simota`. `auxiliary`: with a second head, for training.

    Official state dicts hold the anchors twice, the second time in pixels.
    """

    def __init__(self, channels, num_classes, anchors, strides, gains=(0.05, 0.7, 0.3), auxiliary=()):
        super().__init__(channels, num_classes, anchors, strides, gains)
        boxes = np.array(anchors, np.float32).reshape(len(strides), 1, -1, 1, 1, 2)
        self.anchor_grid = nn.Buffer(Tensor(boxes))
        self.auxiliary = tuple(auxiliary)
        if auxiliary:
            self.m2 = nn.ModuleList(self.convolution(c, stride) for c, stride in zip(auxiliary, strides))

    def with_classes(self, num_classes):
        """A head like this one for other classes, drawn anew."""
        return type(self)(self.channels, num_classes, self.pixels, self.strides, self.gains, self.auxiliary)

    def forward(self, *maps):
        """Those of AnchorHead; in training the auxiliary head's behind them, of the maps that follow."""
        lead = super().forward(*maps[:len(self.channels)])
        if not self.training or not self.auxiliary:
            return lead
        return lead + [self.split(conv(x)) for conv, x in zip(self.m2, maps[len(lead):])]

    def loss(self, raw, targets, size):
        """Those of AnchorHead; the auxiliary head's, where there is one, are in them."""
        count = len(self.strides)
        lead, auxiliary = raw[:count], raw[count:]
        losses = self.losses(lead, targets, self.assigned(lead, targets))
        if auxiliary:
            more = self.losses(auxiliary, targets, self.assigned(lead, targets, 1.0, COARSE_TOP))
            losses = {name: losses[name] + AUXILIARY * more[name] for name in losses}
        return losses

    def assigned(self, raw, targets, reach=0.5, top=TOP):
        """For each map (object, anchor, row, column), each (M): of `neighbours`, those that `simota` chooses."""
        rows, boxes, scores = [], [], []
        for level, (x, anchors, stride) in enumerate(zip(raw, self.anchors.numpy(), self.strides)):
            target, anchor, row, column = neighbours(grid_boxes(targets.boxes, stride), anchors, x.shape[2:4], reach)
            with no_grad():
                found = x.detach()[index(x, targets.image[target], anchor, row, column)]
                box = stretched(found[:, :4], anchors[anchor]).numpy() * np.float32(stride)
                score = ops.sigmoid(found[:, 4:]).numpy()
            box[:, :2] += np.stack([column, row], 1) * np.float32(stride)
            rows.append(np.stack([target, np.full_like(target, level), anchor, row, column]))
            boxes.append(box)
            scores.append(np.sqrt(score[:, 1:] * score[:, :1]))
        rows, boxes, scores = np.concatenate(rows, 1), np.concatenate(boxes), np.concatenate(scores)
        kept = [self._of_image(own, rows, boxes, scores, targets, top) for i in np.unique(targets.image)
                if len(own := np.flatnonzero(targets.image[rows[0]] == i))]
        rows = np.concatenate([rows[:, :0], *kept], 1)
        return [rows[np.ix_([0, 2, 3, 4], rows[1] == level)] for level in range(len(raw))]

    def _of_image(self, own, rows, boxes, scores, targets, top):
        """Of the pairs (object, box) of an image, the columns `own` of `rows`, those that are chosen."""
        things, thing = np.unique(rows[0, own], return_inverse=True)
        _, first, box = np.unique(rows[1:, own], axis=1, return_index=True, return_inverse=True)
        fits = np.zeros((len(things), len(first)), bool)
        fits[thing, box.reshape(-1)] = True
        with no_grad():
            got = ops.box_convert(Tensor(boxes[own[first]].astype(np.float32)), "cxcywh", "xyxy")
            overlap = ops.box_iou(Tensor(targets.boxes[things]), got).numpy()
        score = np.clip(scores[own[first]], 1e-7, 1 - 1e-7)
        yes, no = -np.log(score), -np.log1p(-score)
        classes = no.sum(1) + (yes - no)[:, targets.label[things]].T         # cross-entropy with the object's class
        owner = simota(classes - OVERLAP * np.log(overlap + 1e-8), overlap, fits, top)
        chosen = rows[:, own[first]][:, owner >= 0]
        chosen[0] = things[owner[owner >= 0]]
        return chosen


def simota(cost, overlap, fits, top):
    """Which box answers for which object: for each the cheapest, as many as its best overlaps sum up to, but one.

    Args:
        cost (T, P), overlap (T, P): of each object and each box.
        fits (T, P): may the box answer for the object?
        top: how many overlaps are summed.

    Returns:
        (P) int64: the object that each box answers for, the cheapest of those that want it; -1: none.

    Source: YOLOX, section 2.1, "SimOTA"; the number: OTA, section 3.3, "dynamic k estimation".
    """
    cost = np.where(fits, cost, np.inf)
    best = -np.sort(-np.where(fits, overlap, 0), 1)[:, :top]
    count = np.maximum(best.sum(1).astype(np.int64), 1)
    rank = np.argsort(np.argsort(cost, 1, kind="stable"), 1, kind="stable")
    wanted = np.where((rank < count[:, None]) & fits, cost, np.inf)
    owner = wanted.argmin(0)
    return np.where(np.isfinite(wanted.min(0)), owner, -1)
