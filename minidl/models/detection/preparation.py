"""Images of any size become a batch that a network sees, and boxes go there and back.

Source: Ren et al. 2015, "Faster R-CNN", arXiv:1506.01497, section 3.3: the shorter side gets a given length.
"""
from typing import NamedTuple

import numpy as np

from ... import ops
from ...backend import random
from ...dtypes import is_float
from ...errors import ArgumentError, DTypeError, ShapeError, message
from ...tensor import Tensor

DIVISOR = 32                       # of a batch's sides: the coarsest stage's stride


class Batch(NamedTuple):
    """Images side by side, each in the upper left corner of its frame, zeros around it."""

    pixels: Tensor                 # (N, C, H, W), normalised
    sizes: tuple                   # (height, width) of each image in it
    shapes: tuple                  # (height, width) that each image had before

    def enter(self, i, boxes):
        """Boxes (n, 4) in pixels of image i -> in pixels of the batch."""
        return boxes * _scales(self.shapes[i], self.sizes[i], boxes)

    def leave(self, i, boxes):
        """Boxes (n, 4) in pixels of the batch -> in pixels of image i."""
        return boxes * _scales(self.sizes[i], self.shapes[i], boxes)


def _scales(old, new, boxes):
    """(4): by what coordinates are multiplied when an image gets another size."""
    y, x = (n / m for n, m in zip(new, old))
    return ops.tensor([x, y, x, y], boxes.dtype, boxes.device)


def prepare(images, config, training=False):
    """The Batch of a list of images (C, H, W) in [0, 1].

    Their shorter sides become `config.min_size`, in training one of several at random, unless the longer one would be
    over `config.max_size`.

    Raises:
        ArgumentError: no images.
        ShapeError, DTypeError: an image that cannot be; it is named.
    """
    if not len(images):
        raise ArgumentError(message("prepare", "images", "at least one", "none"))
    images = [_image(i, image, config) for i, image in enumerate(images)]
    short = config.min_size if isinstance(config.min_size, tuple) else (config.min_size,)
    short = short[_any_of(len(short)) if training and len(short) > 1 else -1]
    shapes = tuple([image.shape[1:] for image in images])
    sizes = tuple([_fitted(shape, short, config.max_size) for shape in shapes])
    frame = [-(-max(size[axis] for size in sizes) // DIVISOR) * DIVISOR for axis in (0, 1)]
    mean, std = (ops.reshape(ops.tensor(v, images[0].dtype, images[0].device), (-1, 1, 1))
                 for v in (config.image_mean, config.image_std))
    rows = []
    for image, size in zip(images, sizes):
        x = ((image - mean) / std)[None]
        x = x if x.shape[2:] == size else ops.interpolate(x, size, mode="bilinear", align_corners=False)
        border = [(0, whole - part) for whole, part in zip(frame, size)]
        rows.append(ops.pad(x, ((0, 0), (0, 0), *border)) if any(map(any, border)) else x)
    return Batch(rows[0] if len(rows) == 1 else ops.concat(rows), sizes, shapes)


def _image(i, image, config):
    image = image if isinstance(image, Tensor) else Tensor(image)
    if image.ndim != 3 or len(image) != config.in_channels or 0 in image.shape:
        expected = f"(C, H, W) with C={config.in_channels}, none empty"
        raise ShapeError(message("prepare", f"images[{i}]", expected, image.shape))
    if not is_float(image.dtype):
        raise DTypeError(message("prepare", f"images[{i}]", "floats in [0, 1]", image.dtype, "Divide bytes by 255."))
    return image


def _any_of(count):
    return int(random.integers(np, random.default().next_key(), (), 0, count))


def _fitted(shape, short, long):
    """(height, width) of an image of a shape, its sides not over these."""
    scale = min(short / min(shape), long / max(shape))
    return tuple([max(1, int(n * scale)) for n in shape])


def prepare_targets(targets, batch, num_classes, masks=False):
    """What is to be found in a Batch, in its pixels; empty boxes, which teach nothing, are left out.

    Args:
        targets: for each image {"boxes": (n, 4), "labels": (n)[, "masks": (n, H, W)]}, in its pixels.
        batch: the Batch.
        num_classes: labels are below it, and over 0, which is background.
        masks: are there to be any?

    Returns:
        list of the same dicts: boxes float, labels int64, masks float.

    Raises:
        ArgumentError, ShapeError: targets that cannot be; they are named.
    """
    if targets is None or len(targets) != len(batch.sizes):
        raise ArgumentError(message("prepare_targets", "targets", f"one for each of {len(batch.sizes)} images",
                                    "none" if targets is None else len(targets), "Or use eval()."))
    return [_target(i, target, batch, num_classes, masks) for i, target in enumerate(targets)]


def _target(i, target, batch, num_classes, masks):
    lacking = [name for name in ("boxes", "labels", "masks")[:3 if masks else 2] if name not in target]
    if lacking:
        raise ArgumentError(message("prepare_targets", f"targets[{i}]", " and ".join(lacking), ", ".join(target)))
    boxes, labels = (_host(target[name]) for name in ("boxes", "labels"))
    boxes = boxes.reshape(-1, 4) if boxes.size in (0, 4 * labels.size) else boxes
    if boxes.shape != (labels.size, 4) or not np.isfinite(boxes).all():
        raise ShapeError(message("prepare_targets", f"targets[{i}]", "boxes (n, 4), finite, and labels (n)",
                                 f"boxes {boxes.shape}, labels {labels.shape}"))
    if labels.size and not (labels.dtype.kind in "iu" and 0 < labels.min() <= labels.max() < num_classes):
        expected = f"integers from 1 to {num_classes - 1}; 0 is background"
        raise ArgumentError(message("prepare_targets", f"targets[{i}]['labels']", expected, np.unique(labels)))
    pixels, (kept,) = batch.pixels, np.nonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    found = {"boxes": batch.enter(i, ops.tensor(boxes[kept], pixels.dtype, pixels.device)),
             "labels": ops.tensor(labels.reshape(-1)[kept].astype(np.int64), device=pixels.device)}
    if masks:
        found["masks"] = _masks(i, _host(target["masks"]), labels.size, kept, batch)
    return found


def _masks(i, masks, count, kept, batch):
    """(n, h, w), 0 or 1, of the size that image i has in the batch."""
    if masks.shape != (count, *batch.shapes[i]) and (masks.size or count):
        expected = f"masks {(count, *batch.shapes[i])}, one for each box, of the image's size"
        raise ShapeError(message("prepare_targets", f"targets[{i}]", expected, masks.shape))
    masks = masks.reshape(count, *batch.shapes[i])[kept]
    masks = ops.tensor(masks.astype(np.float32), batch.pixels.dtype, batch.pixels.device)
    return ops.interpolate(masks[None], batch.sizes[i])[0] if len(kept) else ops.reshape(masks, (0, *batch.sizes[i]))


def _host(values):
    return values.numpy() if isinstance(values, Tensor) else np.asarray(values)
