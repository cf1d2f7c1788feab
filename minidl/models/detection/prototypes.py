"""Masks as combinations of prototypes: the image gives some maps, and every object coefficients for them.

Source: Bolya et al. 2019, "YOLACT: Real-time Instance Segmentation", arXiv:1904.02689, section 3: the prototypes from
the finest map, coefficients beside boxes and classes, masks cut at the boxes, a cross-entropy per pixel over the box's
area.  Names and shapes: YOLOv8's state dicts.
"""
import math

import numpy as np

from ... import nn, ops
from ...errors import ArgumentError, message
from .blocks import ConvNorm
from .taskaligned import DistributionHead, branch, joined
from .yolo import index, like

AT_ONCE = 1 << 25                  # logits of pixels: what memory is spent on when a large image has many objects


class Prototypes(nn.Module):
    """The maps that masks are made of, at twice the resolution of the map they are made from. Paper: figure 3."""

    def __init__(self, inputs, hidden, outputs):
        self.cv1 = ConvNorm(inputs, hidden, 3)
        self.upsample = nn.ConvTranspose2d(hidden, hidden, 2, 2)
        self.cv2 = ConvNorm(hidden, hidden, 3)
        self.cv3 = ConvNorm(hidden, outputs)

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, 2H, 2W)."""
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class MaskHead(DistributionHead):
    """A DistributionHead with a third branch, for coefficients, and prototypes.

    Args:
        masks: P, how many prototypes.
        prototypes: channels in front of them.
    """

    def __init__(self, channels, num_classes, strides=(8, 16, 32), gains=(7.5, 0.5, 1.5), masks=32, prototypes=256):
        super().__init__(channels, num_classes, strides, gains)
        self.masks, self.prototypes = masks, prototypes
        self.proto = Prototypes(channels[0], prototypes, masks)
        self.cv4 = nn.ModuleList(branch(c, max(channels[0] // 4, masks), masks) for c in channels)

    def with_classes(self, num_classes):
        """A head like this one for other classes, drawn anew."""
        return type(self)(self.channels, num_classes, self.strides, self.gains, self.masks, self.prototypes)

    def forward(self, *maps):
        """The raw outputs of DistributionHead, coefficients (N, P, A) and prototypes (N, P, H/4, W/4)."""
        return [*super().forward(*maps), joined(self.cv4, maps), self.proto(maps[0])]

    def losses(self, raw, targets, size, answers):
        """Those of DistributionHead, and "masks", which counts as boxes do."""
        if targets.masks is None:
            raise ArgumentError(message("MaskHead", "targets", "masks of every image with objects", "none"))
        return {**super().losses(raw, targets, size, answers),
                "masks": mask_loss(raw[2], raw[3], targets, answers) * self.gains[0]}


def mask_loss(coefficients, prototypes, targets, answers):
    """Mean over the cells that answer: the cross-entropy of the pixels in the object's box, over the box's area.

    Args:
        coefficients (N, P, A), prototypes (N, P, H, W): what the head gives.
        targets: the Targets, with masks.
        answers: (image, cell, target, worth) of the cells that answer.

    Source: YOLACT, section 3.2 and 3.3.
    """
    image, cell, target, _ = answers
    p, h, w = prototypes.shape[1:]
    step, total = targets.masks.shape[1] // h, like(0, prototypes)
    for i in np.unique(image):
        own = image == i
        chosen = ops.take(coefficients[int(i)], *index(coefficients, cell[own]), axis=1)                     # (P, M)
        logits = ops.swapaxes(chosen, 0, 1) @ prototypes[int(i)].reshape((p, h * w))
        things, which = np.unique(target[own], return_inverse=True)
        wanted = targets.masks[things].reshape(-1, h, step, w, step).mean((2, 4), dtype=np.float32) >= 0.5
        weight = inside(targets.boxes[things] / step, (h, w)).astype(np.float32)
        weight /= np.maximum(weight.sum((1, 2), keepdims=True), 1)
        wanted, weight = (like(x.reshape(-1, h * w)[which], prototypes) for x in (wanted, weight))
        total = total + ops.binary_cross_entropy_with_logits(logits, wanted, weight, reduction="sum")
    return total / float(max(len(cell), 1))


def inside(boxes, size):
    """(M, H, W) bool: the pixels of an image (H, W) whose middles lie in each of the boxes (M, 4), x1, y1, x2, y2."""
    x1, y1, x2, y2 = boxes.T[:, :, None]
    row, column = (np.arange(n) + 0.5 for n in size)
    rows, columns = (y1 <= row) & (row <= y2), (x1 <= column) & (column <= x2)
    return rows[:, :, None] & columns[:, None]


def masks(coefficients, prototypes, boxes, frame, step=4):
    """The masks of an image's detections.

    Args:
        coefficients (P, M), prototypes (P, h, w): of the image's frame.
        boxes (M, 4): in pixels of the frame.
        frame: the Frame.
        step: pixels of the frame per cell of the prototypes.

    Returns:
        (M, H, W) bool, in pixels of the image.
    """
    p, h, w = prototypes.shape
    count = len(boxes)
    if not count:
        return ops.zeros((0, *frame.size), "bool", prototypes.device)
    logits = (ops.swapaxes(coefficients, 0, 1) @ prototypes.reshape((p, h * w))).reshape((1, count, h, w))
    some = max(1, AT_ONCE // math.prod(frame.size))
    found = ops.concat([frame.cut(logits[:, i:i + some], step)[0] > 0.0 for i in range(0, count, some)])
    return found & ops.tensor(inside(frame.leave(boxes).numpy(), frame.size), device=prototypes.device)
