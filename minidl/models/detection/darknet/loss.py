"""What training lowers: which box of which head answers for an object, and how far off it is.

Written from: Redmon, Farhadi 2018, "YOLOv3", arXiv:1804.02767, sections 2.1 and 2.2: the anchor whose shape fits an
object best answers for it, in the cell where its centre lies; other boxes that overlap an object by more than a
threshold are neither right nor wrong; squared errors of places, binary cross-entropy of objects and classes.
Bochkovskiy, Wang, Liao 2020, "YOLOv4", arXiv:2004.10934, section 3.4: CIoU, and several anchors for one object
(iou_thresh).  Szegedy et al. 2015, arXiv:1512.00567, section 7 (label_smooth_eps).
Differs from the papers: where they are silent, sums over boxes are divided by the number of images; objects of no area
are left out; of two objects that one box would answer for it takes the later one's place, and the classes of both.
"""
from typing import NamedTuple

import numpy as np

from .... import ops
from ....tape import no_grad
from ..yolo import index, like

OVERLAP_LOSSES = {"iou": ops.box_iou_loss, "giou": ops.generalized_box_iou_loss, "diou": ops.distance_box_iou_loss,
                  "ciou": ops.complete_box_iou_loss}

MOST = 256                         # objects of an image that are compared with all of its boxes at a time


class Answers(NamedTuple):
    """The S boxes of a head that answer for objects, on the host."""

    rows: np.ndarray               # (S) int64, ascending: of all rows (N A H W) of the batch
    boxes: np.ndarray              # (S, 4) float64: x1, y1, x2, y2 in pixels
    places: np.ndarray             # (S, 4) float64: centre in its cell, in cells; width and height over the anchor's
    classes: np.ndarray            # (S, K) float32: 1 where it is of the class


def overlaps_of_shapes(sizes, anchors):
    """Intersection over union (T, A) of boxes of two lists of (width, height), put on one centre."""
    least = np.minimum(sizes[:, None], anchors[None]).prod(-1)
    return least / (sizes.prod(-1)[:, None] + anchors.prod(-1) - least)


def assign(head, targets, grid, size, num_classes):
    """Which boxes of a head answer for objects.

    Args:
        head: a `Head`.
        targets: `Targets` of a batch.
        grid: (H, W) of the head's map; size: (height, width) of the images in pixels.
        num_classes: K.

    Returns:
        Answers.
    """
    boxes = targets.boxes.astype(np.float64)           # (so that ties are as rare as they should be)
    sizes = boxes[:, 2:] - boxes[:, :2]
    solid = (sizes > 0).all(1)
    image, label, boxes, sizes = targets.image[solid], targets.label[solid], boxes[solid], sizes[solid]
    overlap = overlaps_of_shapes(sizes, head.anchors)
    fits = overlap > head.options["iou_thresh"]
    fits[np.arange(len(sizes)), overlap.argmax(1)] = True
    which, anchor = np.nonzero(fits[:, head.mask])
    image, label, boxes, sizes = image[which], label[which], boxes[which], sizes[which]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 * grid[::-1] / size[::-1]
    cell = np.clip(np.floor(centre), 0, [grid[1] - 1, grid[0] - 1]).astype(np.int64)
    rows = ((image * len(head.mask) + anchor) * grid[0] + cell[:, 1]) * grid[1] + cell[:, 0]
    taken, last = np.unique(rows[::-1], return_index=True)
    last = len(rows) - 1 - last
    classes = np.zeros((len(taken), num_classes), np.float32)
    classes[np.searchsorted(taken, rows), label] = 1
    places = np.concatenate([centre - cell, sizes / head.anchors[head.mask][anchor]], 1)
    return Answers(taken, boxes[last], places[last], classes)


def head_losses(head, x, targets, size):
    """{"box", "objectness", "classes"}: the losses () of a head's map, summed over the boxes of the batch.

    Args:
        head: a `Head`.
        x (N, A (5+K), H, W): its map.
        targets: `Targets`.
        size: (height, width) of the images in pixels.
    """
    o, rows, grid = head.options, head.rows(x), x.shape[2:]
    offsets, boxes = head.places(rows, grid, size)
    counts = ~_near(boxes, targets, o["ignore_thresh"]).reshape(-1)
    rows, offsets, boxes = (ops.reshape(part, (-1, part.shape[-1])) for part in (rows, offsets, boxes))
    right = assign(head, targets, grid, size, rows.shape[-1] - 5)
    there = np.zeros(len(counts), bool)
    there[right.rows] = True
    answers, offsets, boxes = (ops.take(part, *index(x, right.rows), 0) for part in (rows, offsets, boxes))
    classes = right.classes * (1 - o["label_smooth_eps"]) + o["label_smooth_eps"] / 2
    return {"box": _box_loss(head, offsets, answers[:, 2:4], boxes, right),
            "objectness": _entropy(head, rows[:, 4], there, counts | there) * o["obj_normalizer"],
            "classes": _entropy(head, answers[:, 5:], classes) * o["cls_normalizer"]}


def _near(boxes, targets, threshold):
    """(N, A H W) bool, on the host: does a box (N, A H W, 4) overlap an object of its image by more than that?"""
    found = np.zeros(boxes.shape[:2], bool)
    with no_grad():
        for i in np.unique(targets.image):
            objects = targets.boxes[targets.image == i]
            for part in np.split(objects, range(MOST, len(objects), MOST)):
                overlap = ops.box_iou(boxes[int(i)].detach(), like(part, boxes))
                found[i] |= (ops.max(overlap, 1) > threshold).numpy()
    return found


def _box_loss(head, offsets, sizes, boxes, right):
    """Of the places (S, 2), the numbers for sizes (S, 2), and the boxes (S, 4) of the rows that answer."""
    o = head.options
    if o["iou_loss"] != "mse":
        return OVERLAP_LOSSES[o["iou_loss"]](boxes, like(right.boxes, boxes), reduction="sum") * o["iou_normalizer"]
    places, ratios = right.places[:, :2], right.places[:, 2:]
    wanted = np.sqrt(ratios) / 2 if o["new_coords"] else np.log(ratios)
    off = offsets - like(places, offsets), sizes - like(wanted, sizes)
    return sum(ops.sum(ops.square(part)) for part in off) * 0.5


def _entropy(head, numbers, wanted, counts=None):
    """Binary cross-entropy, summed where it counts, of what the map has for probabilities."""
    entropy = ops.binary_cross_entropy if head.options["new_coords"] else ops.binary_cross_entropy_with_logits
    weight = None if counts is None else like(counts, numbers)
    return entropy(numbers, like(wanted, numbers), weight, reduction="sum")
