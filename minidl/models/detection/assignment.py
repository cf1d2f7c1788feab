"""What boxes teach: offsets between boxes, which candidate stands for which object, and which of them count.

Source: Girshick, Donahue, Darrell, Malik 2014, "Rich feature hierarchies", arXiv:1311.2524, appendix C (offsets);
Ren, He, Girshick, Sun 2015, "Faster R-CNN", arXiv:1506.01497, sections 3.1.2 and 3.1.3 (assignment, sampling).
Differs from the papers: an object that overlaps no candidate at all has no best one.
"""
import math

from ... import ops
from ...backend import random

BACKGROUND, BETWEEN = -1, -2
LARGEST = math.log(1000 / 16)      # of a predicted offset of width or height: exp of more is nonsense
AT_ONCE = 1 << 22                  # overlaps: what memory is spent on when thousands of objects are compared


def encode(boxes, references, weights):
    """How boxes lie to references.

    Args:
        boxes (n, 4), references (n, 4): x1, y1, x2, y2, none empty.
        weights: four numbers, of which the offsets of centres and of sizes are multiples.

    Returns:
        (n, 4): (dx, dy) in widths and heights of the reference, and logarithms of the ratios of sizes.
    """
    (x, y, w, h), (rx, ry, rw, rh) = (ops.unstack(ops.box_convert(x, "xyxy", "cxcywh"), -1)
                                      for x in (boxes, references))
    offsets = (x - rx) / rw, (y - ry) / rh, ops.log(w / rw), ops.log(h / rh)
    return ops.stack([offset * weight for offset, weight in zip(offsets, weights)], -1)


def decode(offsets, references, weights):
    """The boxes that lie so to their references: the inverse of `encode`.

    Args:
        offsets (*, 4), references (*, 4), weights: as of `encode`.

    Returns:
        (*, 4): x1, y1, x2, y2.
    """
    dx, dy, dw, dh = (offset / weight for offset, weight in zip(ops.unstack(offsets, -1), weights))
    x1, y1, x2, y2 = ops.unstack(references, -1)
    rw, rh = x2 - x1, y2 - y1
    x, y = dx * rw + (x1 + 0.5 * rw), dy * rh + (y1 + 0.5 * rh)
    w, h = (ops.exp(ops.minimum(d, LARGEST)) * size * 0.5 for d, size in ((dw, rw), (dh, rh)))
    return ops.stack([x - w, y - h, x + w, y + h], -1)


def match(boxes, candidates, low, high, best_too=False):
    """Which object each candidate stands for.

    Args:
        boxes (G, 4): of the objects.
        candidates (A, 4).
        low, high: a candidate stands for the object that it overlaps most if the overlap is at least `high`, for
            background if it is below `low`, else for nothing.
        best_too: the candidates that overlap an object most stand for something, too, whatever the overlap.

    Returns:
        (A) int64: number of the object, BACKGROUND or BETWEEN.
    """
    count, device = len(candidates), candidates.device
    most, which = ops.full(count, -1.0, boxes.dtype, device), ops.zeros(count, "int64", device)
    favoured = ops.zeros(count, "bool", device)
    step = max(1, AT_ONCE // max(count, 1))
    for first in range(0, len(boxes), step):
        overlaps = ops.box_iou(boxes[first:first + step], candidates)
        top = ops.max(overlaps, 0)
        which = ops.where(top > most, ops.argmax(overlaps, 0) + first, which)
        most = ops.maximum(most, top)
        if best_too:
            best = ops.max(overlaps, 1, keepdims=True)
            favoured = favoured | ops.any((overlaps == best) & (best > 0), 0)
    found = ops.where(most < low, BACKGROUND, ops.where(most < high, BETWEEN, which))
    return ops.where(favoured, which, found) if len(boxes) else found


def sample(matched, count, share, key):
    """Choose at random which candidates count.

    Args:
        matched (A): as `match` gives it.
        count: how many are wanted.
        share: of them, at most, stand for objects.
        key: a random Key.

    Returns:
        two int64 Tensors, the candidates chosen that stand for objects, and for background; as many of these as are
        missing from `count`, if there are so many.
    """
    positive, negative = ops.nonzero(matched >= 0)[0], ops.nonzero(matched == BACKGROUND)[0]
    few, many = random.split(key)
    positive = _some(positive, int(count * share), few)
    return positive, _some(negative, count - len(positive), many)


def _some(x, count, key):
    """At most `count` elements, in any order."""
    return x if len(x) <= count else x[ops.randperm(len(x), device=x.device, key=key)[:count]]
