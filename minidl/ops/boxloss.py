"""Losses of predicted boxes: 1 less one of the overlaps of minidl/ops/detection.py, box by box."""
from ..errors import ShapeError, message
from .detection import box_ciou, box_diou, box_giou, box_iou, sample_boxes
from .loss import loss, reduced

__all__ = ["box_iou_loss", "complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss"]

PAIRS = "boxes1(*,4):float boxes2(*,4):float -> (_)"


@loss(PAIRS)
def box_iou_loss(boxes1, boxes2, /, reduction="none"):
    """1 - `box_iou`: no gradient where boxes do not touch.

    Args:
        boxes1 (*, 4), boxes2 (*, 4): predicted and true boxes, x1, y1, x2, y2.
        reduction: "mean", "sum" or "none": what becomes of the single losses.

    Returns:
        (), or (*) for "none": in [0, 1].

    Raises:
        ShapeError: the shapes differ.
        ArgumentError: the mean of no boxes.

    Source: Yu et al. 2016, "UnitBox", arXiv:1608.01471, without the logarithm.
    """
    return reduced("box_iou_loss", 1.0 - box_iou(boxes1, boxes2, False), reduction)


@loss(PAIRS)
def generalized_box_iou_loss(boxes1, boxes2, /, reduction="none"):
    """1 - `box_giou`.

    Args:
        boxes1 (*, 4), boxes2 (*, 4), reduction: as in `box_iou_loss`.

    Returns:
        (), or (*) for "none": in [0, 2).

    Raises:
        ShapeError, ArgumentError: as `box_iou_loss`.

    Source: Rezatofighi et al. 2019, "Generalized Intersection over Union", arXiv:1902.09630, algorithm 2.
    """
    return reduced("generalized_box_iou_loss", 1.0 - box_giou(boxes1, boxes2, False), reduction)


@loss(PAIRS)
def distance_box_iou_loss(boxes1, boxes2, /, reduction="none", eps=1e-7):
    """1 - `box_diou`.

    Args:
        boxes1 (*, 4), boxes2 (*, 4), reduction: as in `box_iou_loss`.
        eps: as in `box_diou`.

    Returns:
        (), or (*) for "none": in [0, 2).

    Raises:
        ShapeError, ArgumentError: as `box_iou_loss`.

    Source: Zheng et al. 2019, "Distance-IoU Loss", arXiv:1911.08287, eq. 7.
    """
    return reduced("distance_box_iou_loss", 1.0 - box_diou(boxes1, boxes2, False, eps), reduction)


def complete_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - `box_ciou`.

    Args:
        boxes1 (*, 4), boxes2 (*, 4), reduction: as in `box_iou_loss`.
        eps: as in `box_ciou`.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `box_iou_loss`.

    Source: Zheng et al. 2019, "Distance-IoU Loss", arXiv:1911.08287, eq. 10.
    """
    if boxes1.shape != boxes2.shape:
        raise ShapeError(message("complete_box_iou_loss", "boxes2", f"{boxes1.shape} as boxes1", boxes2.shape,
                                 "Losses do not broadcast."))
    return reduced("complete_box_iou_loss", 1.0 - box_ciou(boxes1, boxes2, False, eps), reduction)


@box_iou_loss.samples
@generalized_box_iou_loss.samples
@distance_box_iou_loss.samples
def _(make):
    for shape, reduction in ((4,), "mean"), ((2, 3), "none"), ((), "sum"):
        yield sample_boxes(make, *shape), sample_boxes(make, *shape), reduction
