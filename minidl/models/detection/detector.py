"""What detectors of one stage have in common: images of any size in, boxes in their pixels out, losses in training.

    images -> letterbox -> batch (N,C,H,W) -> forward_raw -> decode -> boxes, scores -> NMS -> back to the images
                                                          -> loss (with targets, moved into the frames)

Source: Redmon, Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv:1804.02767, for the frame that keeps an
image's proportions; Girshick et al. 2014, arXiv:1311.2524, for non-maximum suppression.
"""
import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ... import ops
from ...data.image import fitted
from ...dtypes import is_float
from ...errors import ArgumentError, DTypeError, ShapeError, message, number
from ...tensor import Tensor
from ..config import near
from ..model import Model

GRAY = 114 / 255                   # of the border around an image


@dataclass(frozen=True)
class Selection:
    """Which of a network's boxes are detections.

    Args:
        score_threshold: only scores above it count.
        iou_threshold: overlap above which the worse of two boxes goes.
        max_detections: of an image, at most.
        multi_label: a box may stand for several classes; else for its best one alone.
        class_agnostic: boxes of different classes remove each other, too.
    """

    score_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 300
    multi_label: bool = False
    class_agnostic: bool = False

    def __post_init__(self):
        number("detect", "max_detections", self.max_detections, 0, whole=True)

    def replace(self, **changes):
        """This one with other values.

        Raises:
            ArgumentError: it has no such field; similar ones are named.
        """
        names = [f.name for f in dataclasses.fields(self)]
        for wrong in (name for name in changes if name not in names):
            raise ArgumentError(message("detect", "argument", f"one of {', '.join(names)}", repr(wrong),
                                        near(wrong, names)))
        return dataclasses.replace(self, **changes)


class Frame(NamedTuple):
    """Where an image of (height, width) lies in its frame: pixel p of an axis lies at p * scale + offset."""

    size: tuple
    scale: tuple                   # of rows, and of columns
    offset: tuple

    def enter(self, boxes):
        """Boxes (n, 4) in pixels of the image -> in pixels of the frame."""
        (sy, sx), (top, left) = self.scale, self.offset
        return boxes * np.array([sx, sy, sx, sy], boxes.dtype) + np.array([left, top, left, top], boxes.dtype)

    def leave(self, boxes):
        """Boxes (n, 4), a Tensor, in pixels of the frame -> in pixels of the image, and none beyond its edges."""
        (sy, sx), (top, left) = self.scale, self.offset
        x1, y1, x2, y2 = ops.unstack(boxes, -1)
        boxes = [(x1 - left) / sx, (y1 - top) / sy, (x2 - left) / sx, (y2 - top) / sy]
        return ops.clip_boxes(ops.stack(boxes, -1), self.size)

    def cut(self, maps, step):
        """Maps (N, C, h, w) of the frame, a cell every `step` pixels -> of the image, (N, C, *size), interpolated."""
        axes = [((np.arange(n) + 0.5) * s + o) * 2 / (cells * step) - 1 for n, s, o, cells in
                zip(self.size, self.scale, self.offset, maps.shape[2:])]
        grid = np.stack(np.meshgrid(*axes[::-1]), -1).astype(maps.dtype)
        grid = np.broadcast_to(grid, (len(maps), *grid.shape))
        return ops.grid_sample(maps, ops.tensor(grid, device=maps.device), padding_mode="border", align_corners=False)

    def enter_masks(self, masks, count, size):
        """Masks (count, height, width) of the image -> (count, *size) bool of the frame: of the nearest pixel."""
        if masks.shape != (count, *self.size) and (masks.size or count):
            expected = f"({count}, {', '.join(map(str, self.size))})"
            raise ShapeError(message("Detector", "masks", expected, masks.shape))
        masks = masks.reshape(count, *self.size).astype(bool)
        rows, inside_y, columns, inside_x = [part for axis in (0, 1) for part in self._nearest(axis, size[axis])]
        return masks[:, rows][:, :, columns] & inside_y[:, None] & inside_x

    def _nearest(self, axis, length):
        """Of the pixels of an axis of the frame: the image's pixel below each, and whether there is one."""
        place = np.floor((np.arange(length) + 0.5 - self.offset[axis]) / self.scale[axis]).astype(np.int64)
        inside = (place >= 0) & (place < self.size[axis])
        return np.clip(place, 0, self.size[axis] - 1), inside


class Targets(NamedTuple):
    """What is to be found in a batch: T objects, on the host."""

    image: np.ndarray              # (T) int64: on which image of the batch
    label: np.ndarray              # (T) int64
    boxes: np.ndarray              # (T, 4) float32: x1, y1, x2, y2 in pixels of the batch
    masks: np.ndarray | None       # (T, H, W) bool, in pixels of the batch; None: there are none


class Detector(Model):
    """A network that finds objects.

    A subclass sets `stride`, of which a frame's sides are multiples, and defines

        forward_raw(batch (N, C, H, W)) -> a list of Tensors, the batch first: what its heads give
        decode(raw, (H, W)) -> boxes (N, A, 4), x1, y1, x2, y2 in pixels of the batch; scores (N, A, K) in [0, 1]
        loss(raw, targets, (H, W)) -> {name: loss ()}, whose sum is to be lowered
        extras(raw, i, index (M), boxes (M, 4), frame) -> what else the detections of image i have: {name: Tensor}

    and its config has `in_channels`, `num_classes` and `image_size`, the longer side of a frame in pixels, if it is a
    multiple of `stride`; else the next one is.

    Attributes:
        selection: a Selection, which the arguments of a call change.
    """

    stride = 32
    selection = Selection()
    has_masks = False              # does it find masks, too?

    def forward(self, images, targets=None, **selection):
        """Find objects; in training mode, compare with what is there.

        Args:
            images: a list of images (C, H, W) in [0, 1], each of any size, which are fitted into frames; or a batch
                (N, C, H, W), taken as it is, but for a border up to a multiple of `stride`.
            targets: in training mode, for each image {"boxes": (n, 4) x1, y1, x2, y2 in its pixels, "labels": (n)
                ints[, "masks": (n, H, W)]}; n may be 0.
            selection: fields of Selection, as `score_threshold=0.1`.

        Returns:
            in evaluation mode, for each image {"boxes": (n, 4) x1, y1, x2, y2 in its pixels, "labels": (n) int64,
            "scores": (n) in [0, 1][, "masks": (n, H, W) bool]}, best first, the same whatever else is in the list;
            in training mode {name: loss ()}, of which the sum is to be lowered.

        Raises:
            ShapeError, DTypeError, ArgumentError: images or targets that cannot be.
        """
        if self.training:
            return self.losses(images, targets)
        chosen, found = self.selection.replace(**selection), [None] * len(images)
        for indices, batch, frames in self._batches(images):
            raw = [_whole(x) for x in self.forward_raw(batch)]
            boxes, scores = self.decode(raw, batch.shape[2:])
            for row, (i, frame) in enumerate(zip(indices, frames)):
                kept, score, label, index = ops.multiclass_nms(boxes[row], scores[row],
                                                               **dataclasses.asdict(chosen))
                found[i] = {"boxes": frame.leave(kept), "labels": label, "scores": score,
                            **self.extras(raw, row, index, kept, frame)}
        return found

    def losses(self, images, targets):
        """{name: loss ()} of images and targets, as `forward` takes them, in whichever mode the network is."""
        if not len(images):
            raise ArgumentError(message(type(self).__name__, "images", "at least one, for training", "none"))
        (_, batch, frames), = self._batches(images, square=True)
        targets = self._framed(targets, frames, batch.shape[2:])
        return self.loss([_whole(x) for x in self.forward_raw(batch)], targets, batch.shape[2:])

    def extras(self, raw, row, index, boxes, frame):
        """What else the detections of an image have; nothing, unless a subclass says so."""
        return {}

    def _batches(self, images, square=False):
        """[(indices, batch (N, C, H, W), frames)]: the images whose frames have one size, together; N is not 0.

        A frame has as little border as may be, or is `square`, so that all images are one batch.
        """
        step = self.stride
        size = -(-self.config.image_size // step) * step
        if not isinstance(images, (list, tuple)):
            batch = self._checked("batch", images, 4)
            whole = [-(-n // step) * step for n in batch.shape[2:]]
            batch, frame = letterbox(batch, whole, scale_up=False)
            return [(range(len(batch)), batch, [frame] * len(batch))] if len(batch) else []
        laid = [letterbox(self._checked(f"image {i}", image, 3)[None], (size, size), auto=not square, stride=step)
                for i, image in enumerate(images)]
        groups: dict = {}
        for i, (x, _) in enumerate(laid):
            groups.setdefault(x.shape, []).append(i)
        return [(group, ops.concat([laid[i][0] for i in group]), [laid[i][1] for i in group])
                for group in groups.values()]

    def _checked(self, name, image, axes):
        image = image if isinstance(image, Tensor) else Tensor(image)
        expected = f"{'(N, C, H, W)' if axes == 4 else '(C, H, W)'} with C={self.config.in_channels}, no axis empty"
        if image.ndim != axes or image.shape[-3] != self.config.in_channels or 0 in image.shape[-3:]:
            raise ShapeError(message(type(self).__name__, name, expected, image.shape))
        if not is_float(image.dtype):
            raise DTypeError(message(type(self).__name__, name, "floats in [0, 1]", image.dtype,
                                     "Divide bytes by 255."))
        return image

    def _framed(self, targets, frames, size):
        """The Targets of a batch whose images lie in these frames."""
        if targets is None or len(targets) != len(frames):
            expected = f"boxes and labels of each of {len(frames)} images, for training"
            raise ArgumentError(message(type(self).__name__, "targets", expected,
                                        "none" if targets is None else len(targets)))
        boxes, labels, masks = [], [], []
        for i, (target, frame) in enumerate(zip(targets, frames)):
            box, label = self._objects(i, target)
            boxes.append(frame.enter(box))
            labels.append(label)
            if "masks" in target or not len(label):
                masks.append(frame.enter_masks(_host(target.get("masks", label)), len(label), size))
        image = np.repeat(np.arange(len(frames)), [len(label) for label in labels])
        return Targets(image, np.concatenate(labels), np.concatenate(boxes),
                       np.concatenate(masks) if len(masks) == len(frames) else None)

    def _objects(self, i, target):
        """(boxes (n, 4) float32, labels (n) int64) of an image's target, on the host."""
        if not {"boxes", "labels"} <= target.keys():
            raise ArgumentError(message(type(self).__name__, f"targets[{i}]", "boxes and labels",
                                        ", ".join(target) or "nothing"))
        boxes, labels = _host(target["boxes"]).astype(np.float32), _host(target["labels"])
        if not boxes.size and not labels.size:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        if labels.ndim != 1 or boxes.shape != (len(labels), 4) or not np.isfinite(boxes).all():
            raise ShapeError(message(type(self).__name__, f"targets[{i}]", "boxes (n, 4), finite, and labels (n)",
                                     f"boxes {boxes.shape}, labels {labels.shape}"))
        classes = self.config.num_classes
        if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < classes:
            expected = f"integers in [0, {classes})"
            raise ArgumentError(message(type(self).__name__, f"targets[{i}]['labels']", expected, np.unique(labels)))
        return boxes, labels.astype(np.int64)


def letterbox(images, size, auto=False, scale_up=True, stride=32):
    """Fit images of one size into frames, keeping their proportions; the border around them is gray.

    Args:
        images (N, C, H, W): in [0, 1].
        size, auto, scale_up, stride: as of `minidl.data.image.letterbox`.

    Returns:
        (N, C, height, width), and their Frame.
    """
    shape = images.shape[2:]
    _, inner, borders = fitted(shape, size, auto, scale_up, stride)
    if inner != shape:
        images = ops.interpolate(images, size=inner, mode="bilinear", align_corners=False)
    if any(map(any, borders)):
        images = ops.pad(images, ((0, 0), (0, 0), *borders), value=GRAY)
    return images, Frame(shape, tuple([new / old for new, old in zip(inner, shape)]), (borders[0][0], borders[1][0]))


def _whole(x):
    """A half type as float32: it could not tell the pixels of a large image apart."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def _host(array):
    return array.numpy() if isinstance(array, Tensor) else np.asarray(array)
