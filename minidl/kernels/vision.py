"""Resizing, regions of interest, and which of overlapping boxes to keep."""
from functools import lru_cache

import numpy as np

from ..dispatch import Kernel, register
from ..ops.detection import detections
from . import cpu
from .arrays import dense, unless_float32

# -- resizing of one axis; its gradient is the same with `back` turned ------------------

@lru_cache(128)
def _taps(resizing, back):
    """(elements (taps, count) int64, weights or None) of each output."""
    taps = resizing.users(np) if back else resizing.taps(np)
    if all(weight is None for _, weight in taps):
        return np.stack([index for index, _ in taps]), None
    return np.stack([index for index, _ in taps]), np.stack([weight for _, weight in taps]).astype("float32")


def _resize(xp, x, axis, resizing, back):
    index, weight = _taps(resizing, back)
    shape, axis = x.shape, axis % x.ndim
    y = np.empty((*shape[:axis], index.shape[1], *shape[axis + 1:]), "float32")
    inner = int(np.prod(shape[axis + 1:]))
    cpu.vision.resize(dense(x).reshape(-1, shape[axis], inner), index, weight, y.reshape(-1, index.shape[1], inner))
    return y


def _no_resize(arrays, params):
    return unless_float32(*arrays) or (None if arrays[0].size else "no elements")


register(Kernel("resize.cpu", "_resize", "cpu", _resize, None, _no_resize))


# -- roi_align ------------------------------------------------------------------------

def _boxes(boxes):
    return dense(boxes.astype("float32", copy=False))


def _roi_align(xp, input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    p, q = (output_size,) * 2 if isinstance(output_size, int) else output_size
    y = np.empty((len(boxes), input.shape[1], p, q), "float32")
    cpu.vision.roi_align_forward(dense(input), _boxes(boxes), y, spatial_scale, max(sampling_ratio, 0), aligned)
    return y, None


def _roi_align_backward(xp, g, kept, input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    def of_input():
        gx = np.empty(input.shape, "float32")
        cpu.vision.roi_align_backward(dense(g), _boxes(boxes), gx, spatial_scale, max(sampling_ratio, 0), aligned)
        return gx

    return of_input, None


LARGEST = 65536                    # pixels away from an image's corner: boxes beyond are the reference's


def _no_roi_align(arrays, params):
    x, boxes = arrays
    if reason := unless_float32(x):
        return reason
    size = params["output_size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    if len(size) != 2 or min(size) < 1 or not isinstance(params["sampling_ratio"], int):
        return "an odd output_size or sampling_ratio"
    if not x.size or not boxes.size:
        return "no pixels, or no boxes"
    image = boxes[:, 0].astype("float32")
    if not (image.min() >= 0 and image.max() < len(x)):
        return "images that are not there"
    far = np.abs(boxes[:, 1:]).max() * abs(params["spatial_scale"])
    return None if far < LARGEST and params["sampling_ratio"] < LARGEST else "boxes far away, or not finite"


register(Kernel("roi_align.cpu", "roi_align", "cpu", _roi_align, _roi_align_backward, _no_roi_align))


# -- nms ------------------------------------------------------------------------------

def _survivors(boxes, order, threshold):
    """Those of `order` that stay."""
    keep = np.empty(len(order), bool)
    cpu.vision.nms(np.ascontiguousarray(boxes[order].T), keep, float(threshold))
    return order[keep]


def _nms(xp, boxes, scores, iou_threshold):
    return _survivors(boxes, np.argsort(-scores, kind="stable"), iou_threshold)


def _batched_nms(xp, boxes, scores, groups, iou_threshold):
    order = np.argsort(-scores, kind="stable")
    order = order[np.argsort(groups[order], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    kept = np.sort(np.concatenate([_survivors(boxes, part, iou_threshold) for part in parts]))
    return kept[np.argsort(-scores[kept], kind="stable")]


def _multiclass_nms(xp, boxes, scores, *options):
    return detections(_batched_nms, xp, boxes, scores, *options)


for name, forward in ("nms", _nms), ("batched_nms", _batched_nms), ("multiclass_nms", _multiclass_nms):
    register(Kernel(f"{name}.cpu", name, "cpu", forward, None, lambda arrays, params: unless_float32(*arrays[:2])))
