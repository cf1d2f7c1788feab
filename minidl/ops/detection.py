"""Boxes: their shapes, their overlaps, and which of many overlapping ones to keep.

A box is (x1, y1, x2, y2): the left, upper, right and lower edge, in any unit. An inverted box (x2 < x1
or y2 < y1) is empty, its area 0; the overlap of two empty boxes is 0. A coordinate NaN makes every overlap of
its box NaN; such a box removes no other, and none removes it.
"""
import math

import numpy as np

from ..errors import ArgumentError, message
from ..op import fused, primitive
from . import elementwise
from .arrange import stack, unstack
from .elementwise import clip, maximum, minimum, square
from .shape import expand_dims
from .special import atan2

__all__ = ["batched_nms", "box_area", "box_ciou", "box_convert", "box_diou", "box_giou", "box_iou",
           "clip_boxes", "multiclass_nms", "nms", "soft_nms"]

TINY = 1.1754944e-38               # the least normal float32: makes 0 / 0 a 0, and changes no other quotient


# -- one box at a time ----------------------------------------------------------------

def _area(lib, x1, y1, x2, y2):
    """Of tensors or arrays; `lib`: the ops, or xp."""
    return lib.maximum(x2 - x1, 0.0) * lib.maximum(y2 - y1, 0.0)


@fused("boxes(*,4):float -> (*)")
def box_area(boxes, /):
    """Width times height.

    Args:
        boxes (*, 4): x1, y1, x2, y2.

    Returns:
        (*): 0 for inverted boxes.
    """
    return _area(elementwise, *unstack(boxes, -1))


@fused("boxes(*,4):float -> (*,4)")
def box_convert(boxes, /, in_fmt, out_fmt):
    """Write boxes another way.

    Args:
        boxes (*, 4): in the format `in_fmt`.
        in_fmt, out_fmt: "xyxy" (left, upper, right, lower edge), "xywh" (left, upper edge, width, height) or
            "cxcywh" (centre, width, height).

    Returns:
        (*, 4): in the format `out_fmt`.

    Raises:
        ArgumentError: another format.
    """
    for name, fmt in ("in_fmt", in_fmt), ("out_fmt", out_fmt):
        if fmt not in ("xyxy", "xywh", "cxcywh"):
            raise ArgumentError(message("box_convert", name, '"xyxy", "xywh" or "cxcywh"', repr(fmt)))
    if in_fmt == out_fmt:
        return boxes
    a, b, c, d = unstack(boxes, -1)
    if in_fmt == "xywh":
        c, d = a + c, b + d
    elif in_fmt == "cxcywh":
        a, b, c, d = a - c * 0.5, b - d * 0.5, a + c * 0.5, b + d * 0.5
    if out_fmt == "xywh":
        c, d = c - a, d - b
    elif out_fmt == "cxcywh":
        a, b, c, d = (a + c) * 0.5, (b + d) * 0.5, c - a, d - b
    return stack([a, b, c, d], -1)


@fused("boxes(*,4):float -> (*,4)")
def clip_boxes(boxes, /, size):
    """Move the edges of boxes into an image.

    Args:
        boxes (*, 4): x1, y1, x2, y2 in pixels.
        size (height, width): of the image, in pixels.

    Returns:
        (*, 4): x in [0, width], y in [0, height].
    """
    height, width = map(float, size)
    limits = width, height, width, height
    return stack([clip(edge, 0.0, limit) for edge, limit in zip(unstack(boxes, -1), limits)], -1)


# -- overlaps of two boxes ------------------------------------------------------------

def _iou(lib, a, b):
    """(intersection over union, union) of boxes given edge by edge."""
    inter = _area(lib, lib.maximum(a[0], b[0]), lib.maximum(a[1], b[1]),
                  lib.minimum(a[2], b[2]), lib.minimum(a[3], b[3]))
    union = _area(lib, *a) + _area(lib, *b) - inter
    return inter / (union + TINY), union


def _edges(boxes1, boxes2, pairwise):
    """The edges of both, so shaped that every box of one meets every box of the other if `pairwise`."""
    a, b = unstack(boxes1, -1), unstack(boxes2, -1)
    return ([expand_dims(e, -1) for e in a], [expand_dims(e, -2) for e in b]) if pairwise else (a, b)


def _hull(a, b):
    """The edges of the least box around both."""
    return minimum(a[0], b[0]), minimum(a[1], b[1]), maximum(a[2], b[2]), maximum(a[3], b[3])


@fused("boxes1(_,4):float boxes2(_,4):float -> (_)")
def box_iou(boxes1, boxes2, /, pairwise=True):
    """Overlap of boxes: intersection over union.

    Args:
        boxes1 (*, N, 4), boxes2 (*, M, 4): x1, y1, x2, y2. Leading axes broadcast.
        pairwise: every box with every box; False: one by one, boxes1 and boxes2 (*, 4).

    Returns:
        (*, N, M), or (*): in [0, 1]; 0 where both boxes are empty.

    Source: Jaccard 1901; Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2.
    """
    return _iou(elementwise, *_edges(boxes1, boxes2, pairwise))[0]


@fused("boxes1(_,4):float boxes2(_,4):float -> (_)")
def box_giou(boxes1, boxes2, /, pairwise=True):
    """Overlap less the share of the least box around both that neither covers: it tells near from far.

    Args:
        boxes1, boxes2, pairwise: as in `box_iou`.

    Returns:
        (*, N, M), or (*): in (-1, 1].

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", arXiv:1902.09630, algorithm 1.
    """
    a, b = _edges(boxes1, boxes2, pairwise)
    iou, union = _iou(elementwise, a, b)
    hull = _area(elementwise, *_hull(a, b))
    return iou - (hull - union) / (hull + TINY)


@fused("boxes1(_,4):float boxes2(_,4):float -> (_)")
def box_diou(boxes1, boxes2, /, pairwise=True, eps=1e-7):
    """Overlap less (distance of the centres / diagonal of the least box around both) squared.

    Args:
        boxes1, boxes2, pairwise: as in `box_iou`.
        eps: added to the squared diagonal; a squared length.

    Returns:
        (*, N, M), or (*): in (-1, 1].

    Source: Zheng et al. 2019, "Distance-IoU Loss", arXiv:1911.08287, eq. 7.
    """
    a, b = _edges(boxes1, boxes2, pairwise)
    left, top, right, bottom = _hull(a, b)
    diagonal = square(maximum(right - left, 0.0)) + square(maximum(bottom - top, 0.0)) + eps
    distance = square(a[0] + a[2] - b[0] - b[2]) + square(a[1] + a[3] - b[1] - b[3])    # of twice the centres
    return _iou(elementwise, a, b)[0] - distance * 0.25 / diagonal


def box_ciou(boxes1, boxes2, pairwise=True, eps=1e-7):
    """`box_diou` less a term for unequal aspect ratios, whose weight passes no gradient.

    Args:
        boxes1, boxes2, pairwise, eps: as in `box_diou`.

    Returns:
        (*, N, M), or (*).

    Source: Zheng et al. 2019, "Distance-IoU Loss", arXiv:1911.08287, eqs. 8-11.
    """
    angle1, angle2 = [atan2(maximum(x2 - x1, 0.0), maximum(y2 - y1, eps))
                      for x1, y1, x2, y2 in _edges(boxes1, boxes2, pairwise)]
    unlike = square(angle1 - angle2) * (4 / math.pi ** 2)
    weight = unlike / (1.0 - box_iou(boxes1, boxes2, pairwise) + unlike + eps)
    return box_diou(boxes1, boxes2, pairwise, eps) - weight.detach() * unlike


# -- which boxes to keep --------------------------------------------------------------

@primitive("boxes(N,4):float scores(N):float -> (K)", differentiable=False, synchronises=True)
def nms(xp, boxes, scores, /, iou_threshold):
    """Keep the best of overlapping boxes: a box goes if a better one that stays overlaps it too much.

    Args:
        boxes (N, 4): x1, y1, x2, y2.
        scores (N): higher is better; of equal ones the first is better, NaN is worst.
        iou_threshold: overlap above which the worse of two boxes goes.

    Returns:
        (K) int64: which boxes stay, best first.

    Source: Girshick et al. 2014, "Rich feature hierarchies", arXiv:1311.2524, section 2.2.
    """
    return _survivors(xp, boxes, scores, xp.zeros(len(boxes), "int64"), iou_threshold)


@primitive("boxes(N,4):float scores(N):float groups(N):int -> (K)", differentiable=False, synchronises=True)
def batched_nms(xp, boxes, scores, groups, /, iou_threshold):
    """`nms` for many groups at once (classes, images): boxes of different groups do not meet.

    Args:
        boxes (N, 4), scores (N), iou_threshold: as in `nms`.
        groups (N): the number of each box's group, int.

    Returns:
        (K) int64: which boxes stay, best first. In each group just those that `nms` keeps of it alone.
    """
    return _survivors(xp, boxes, scores, groups, iou_threshold)


BLOCK = 64                         # boxes settled at a time: their overlaps with the others fit the cache


def _survivors(xp, boxes, scores, groups, threshold):
    """Block by block in the order of group and score: the boxes of a block that stay remove all they can."""
    edges = xp.ascontiguousarray(boxes.T)
    order = xp.argsort(-scores, kind="stable")
    order = order[xp.argsort(groups[order], kind="stable")]
    kept = [order[:0]]

    def removes(a, b):
        overlap = _iou(xp, edges[:, a, None], edges[:, None, b])[0]
        return (overlap > xp.float64(threshold)) & (groups[a, None] == groups[b])    # (0.1 is no float32)

    while len(order):
        block, order = order[:BLOCK], order[BLOCK:]
        alive = xp.ones(len(block), bool)
        for i, row in enumerate(removes(block, block)):
            alive[i + 1:] &= ~(row[i + 1:] & alive[i])
        block = block[alive]
        kept.append(block)
        if len(order):
            last = groups[block[-1]]                             # only this group goes on behind the block
            rest, order = order[groups[order] == last], order[groups[order] != last]
            rest = rest[~removes(block[groups[block] == last], rest).any(0)]
            order = xp.concatenate([rest, order])
    kept = xp.sort(xp.concatenate(kept))
    return kept[xp.argsort(-scores[kept], kind="stable")]


@primitive("boxes(N,4):float scores(N):float -> (K) (K)", differentiable=False, synchronises=True)
def soft_nms(xp, boxes, scores, /, sigma=0.5, score_threshold=0.001, iou_threshold=None):
    """Lower the scores of boxes that better ones overlap, instead of dropping them.

    Args:
        boxes (N, 4): x1, y1, x2, y2.
        scores (N): in [0, 1], higher is better.
        sigma: scores are multiplied by exp(-overlap**2 / sigma).
        score_threshold: boxes whose lowered score is not above it go.
        iou_threshold: a number: multiply by 1 - overlap instead, where the overlap is above it.

    Returns:
        (K) int64: which boxes stay, best first; and their lowered scores (K).

    Source: Bodla et al. 2017, "Soft-NMS", arXiv:1704.04503, figure 2.
    """
    edges, left = xp.ascontiguousarray(boxes.T), scores.copy()
    order, lowered = xp.zeros(len(scores), "int64"), xp.zeros_like(scores)
    for i in range(len(scores)):
        best = order[i:i + 1]                                    # an array: the value stays on the device
        best[0] = left.argmax()
        lowered[i] = left[best][0]
        overlap = _iou(xp, edges, edges[:, best])[0]
        decay = xp.exp(overlap * overlap / -sigma) if iou_threshold is None else \
            xp.where(overlap > iou_threshold, 1 - overlap, 1).astype(scores.dtype)
        left = xp.where(left > -xp.inf, left * decay, left)
        left[best] = -xp.inf
    stays = lowered > score_threshold
    return order[stays], lowered[stays]


@primitive("boxes(N,4):float scores(N,K):float -> (M,4) (M) (M) (M)", differentiable=False, synchronises=True)
def multiclass_nms(xp, boxes, scores, /, score_threshold=0.25, iou_threshold=0.45, max_detections=300,
                   multi_label=False, class_agnostic=False):
    """From a detector's raw boxes and class scores to detections: threshold, `nms` in each class, the best.

    Args:
        boxes (N, 4): x1, y1, x2, y2.
        scores (N, K): of each class.
        score_threshold: only scores above it count.
        iou_threshold: as in `nms`.
        max_detections: at most so many.
        multi_label: a box may stand for several classes; else for its best one alone.
        class_agnostic: boxes of different classes remove each other, too.

    Returns:
        boxes (M, 4), scores (M), labels (M) int64, and which of the N boxes they are (M) int64, best first.
    """
    return detections(_survivors, xp, boxes, scores, score_threshold, iou_threshold, max_detections, multi_label,
                      class_agnostic)


def detections(survivors, xp, boxes, scores, score_threshold, iou_threshold, max_detections, multi_label,
               class_agnostic):
    """`multiclass_nms` with this function for `batched_nms`, of xp and its arguments."""
    if multi_label:
        box, label = xp.nonzero(scores > score_threshold)
    else:
        box, = xp.nonzero(scores.max(1) > score_threshold)
        label = scores[box].argmax(1)
    boxes, scores = boxes[box], scores[box, label]
    groups = xp.zeros_like(label) if class_agnostic else label
    kept = survivors(xp, boxes, scores, groups, iou_threshold)[:max_detections]
    return boxes[kept], scores[kept], label[kept], box[kept]


# -- samples --------------------------------------------------------------------------

def sample_boxes(make, *shape):
    """Boxes whose overlaps have no kink nearby."""
    corner = make.unit(*shape, 2) * 3
    return np.concatenate([corner, corner + make.positive(*shape, 2)], -1)


@box_area.samples
def _(make):
    yield sample_boxes(make, 3),
    yield sample_boxes(make),
    yield sample_boxes(make, 0),


@box_convert.samples
def _(make):
    for before, after in ("xyxy", "cxcywh"), ("cxcywh", "xywh"), ("xywh", "xyxy"), ("xyxy", "xyxy"):
        yield sample_boxes(make, 2), before, after


@clip_boxes.samples
def _(make):
    yield sample_boxes(make, 2, 3), (2, 3)


@box_iou.samples
@box_giou.samples
@box_diou.samples
def _(make):
    yield sample_boxes(make, 3), sample_boxes(make, 2)
    yield sample_boxes(make, 2, 3), sample_boxes(make, 2, 3), False
    yield sample_boxes(make, 0), sample_boxes(make, 2)


@nms.samples
def _(make):
    yield sample_boxes(make, 9), make.unit(9), 0.3


@soft_nms.samples
def _(make):
    yield sample_boxes(make, 5), make.unit(5), 0.5, 0.2
    yield sample_boxes(make, 5), make.unit(5), 0.5, 0.2, 0.3


@batched_nms.samples
def _(make):
    yield sample_boxes(make, 9), make.unit(9), make.integers(2, 9), 0.3


@multiclass_nms.samples
def _(make):
    yield sample_boxes(make, 9), make.unit(9, 3), 0.5
    yield sample_boxes(make, 9), make.unit(9, 3), 0.25, 0.2, 4, True
    yield sample_boxes(make, 9), make.unit(9, 3), {"class_agnostic": True}
