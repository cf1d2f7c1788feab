"""What a detector sees while it trains: images moved, scaled, mirrored, joined and coloured, their objects with them.

All that moves pixels is one affine map from an image to a frame, for its pixels, boxes and masks alike; maps are
composed before a pixel is touched.

    image, target -> map (3, 3) -> warp -> image (H, W, 3) uint8, target -> colours -> (3, H, W) float32 in [0, 1]
"""
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...backend import random
from ...errors import number
from ..image import fitted

GRAY = 114                         # what is around an image
MOST = {"mosaic": 1, "mixup": 1, "flip": 1, "flip_ud": 1, "scale": 0.99, "translate": 1, "degrees": 180,
        "shear": 44}               # of a DetectionView's numbers: beyond, a map could have no inverse
LEAST_SIDE, LEAST_SHARE = 2.0, 0.1             # of a box in a frame: pixels, and the share of all of it


# -- maps (3, 3) of columns (x, y, 1), pixels of an image to pixels of a frame --------------------

def moved(x, y):
    """Shifts by x and y pixels."""
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def linear(a, b, c, d):
    """(x, y) -> (a x + b y, c x + d y)."""
    return np.array([[a, b, 0.0], [c, d, 0], [0, 0, 1]])


def letterbox_map(shape, size):
    """Fits an image of `shape` (height, width) into the middle of a frame of `size`, keeping its proportions."""
    _, (height, width), ((top, _), (left, _)) = fitted(shape, size, False, True, 1)
    return moved(left, top) @ linear(width / shape[1], 0, 0, height / shape[0])


def map_boxes(matrix, boxes):
    """The boxes (n, 4) around what boxes become under a map (3, 3); float64."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = np.stack([boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]], 1)                  # (n, 2, 4)
    corners = matrix[:2, :2] @ corners + matrix[:2, 2:]
    return np.concatenate([corners.min(2), corners.max(2)], 1)


def warp(image, target, matrix, onto):
    """Lay an image and its objects into a frame.

    Args:
        image (H, W, C): uint8.
        target: {"boxes" (n, 4), "labels" (n)[, "masks" (n, H, W)][, other parts (n, ...)]}.
        matrix (3, 3): from pixels of the image to pixels of the frame, invertible.
        onto (height, width, C): uint8, the frame: where the image reaches, it is overwritten, between the nearest four
            pixels of the image.

    Returns:
        the target of what is still seen: boxes clipped, masks (n, height, width).
    """
    size = onto.shape[:2]
    inside, places, shares = _sampling(np.linalg.inv(matrix), image.shape[:2], size)
    planes = image.transpose(2, 0, 1).astype(np.float32, order="C")          # (gathers from rows of 3 take longer)
    mixed = [sum(plane.take(place) * share for place, share in zip(places, shares)) for plane in planes]
    onto[inside] = np.rint(np.stack(mixed, -1))
    return _seen(target, matrix, size, inside, places, shares)


def frame(size, fill=GRAY):
    """An empty frame (height, width, 3), uint8."""
    return np.full((*size, 3), fill, np.uint8)


def _sampling(inverse, shape, size):
    """inside (H, W) bool, and of the P places there: four numbers of pixels (4, P) and their shares (4, P)."""
    height, width = shape
    x1, y1, x2, y2 = map_boxes(np.linalg.inv(inverse), [[0, 0, width, height]])[0]
    columns, rows = (np.arange(max(int(low), 0), min(math.ceil(high), n)) for low, high, n in
                     ((x1, x2, size[1]), (y1, y2, size[0])))
    x, y = (m[0] * (columns + 0.5) + (m[1] * (rows + 0.5) + m[2])[:, None] for m in inverse[:2])
    there = (x > 0) & (x < width) & (y > 0) & (y < height)
    x, y = (np.clip(v[there] - 0.5, 0, n - 1) for v, n in ((x, width), (y, height)))         # of pixels' centres
    inside = np.zeros(size, bool)
    inside[rows[:, None], columns] = there
    left, top = x.astype(np.int64), y.astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left).astype(np.float32), (y - top).astype(np.float32)
    return inside, [top * width + left, top * width + right, bottom * width + left, bottom * width + right], \
        [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v]


def _seen(target, matrix, size, inside, places, shares):
    """The target under a map: boxes clipped, masks of the nearest pixel, without what is hardly inside."""
    whole = map_boxes(matrix, target["boxes"])
    boxes = np.clip(whole, 0, np.tile(size[::-1], 2))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= LEAST_SIDE).all(1) & (sides.prod(1) >= LEAST_SHARE * (whole[:, 2:] - whole[:, :2]).prod(1))
    found = {name: part[kept] for name, part in target.items()}
    found["boxes"] = boxes[kept].astype(np.float32)
    if "masks" in target:
        nearest = np.choose(np.argmax(shares, 0), places)
        flat = found["masks"].reshape(len(found["masks"]), math.prod(target["masks"].shape[1:]))
        found["masks"] = np.zeros((len(flat), *size), bool)
        found["masks"][:, inside] = flat[:, nearest]
    return found


# -- colours ------------------------------------------------------------------------------

def shift_hsv(image, hue, saturation, value):
    """Turn the hue by a share of the circle and multiply saturation and value.

    Args:
        image (H, W, 3): uint8, red, green, blue.

    Source: Smith 1978, "Color gamut transform pairs", SIGGRAPH.
    """
    r, g, b = planes = image.transpose(2, 0, 1).astype(np.float32, order="C")
    high = np.maximum(np.maximum(r, g), b)
    chroma = high - np.minimum(np.minimum(r, g), b)
    safe = np.maximum(chroma, 1)                                             # (levels are whole numbers)
    angle = np.where(high == r, (g - b) / safe, np.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    top = np.minimum(high * np.float32(value), 255)
    chroma = np.minimum(chroma / np.maximum(high, 1) * np.float32(saturation), 1) * top
    for plane, turn in zip(planes, (5, 3, 1)):                               # how far each is from where it falls
        corner = np.remainder(angle + np.float32(turn + 6 * hue), 6)
        plane[...] = top - chroma * np.clip(np.minimum(corner, 4 - corner), 0, 1)
    return np.rint(planes).astype(np.uint8).transpose(1, 2, 0)


def mixup(first, second, share):
    """Two samples of one size laid over each other; the objects are those of both.

    Args:
        first, second: (image (H, W, C) uint8, target).
        share: of the first, in [0, 1].

    Source: Zhang et al. 2017, "mixup", arXiv:1710.09412, eq. 1; of detection, Zhang et al. 2019, arXiv:1902.04103.
    """
    (a, one), (b, other) = first, second
    image = np.rint(a * np.float32(share) + b * np.float32(1 - share)).astype(np.uint8)
    return image, joined([one, other])


def joined(targets):
    """One target of several; parts that one of them lacks are left out."""
    names = [name for name in targets[0] if all(name in target for target in targets)]
    return {name: np.concatenate([target[name] for target in targets]) for name in names}


# -- views: transforms of a DataLoader ----------------------------------------------------------

def as_input(image):
    """(H, W, C) uint8 -> (C, H, W) float32 in [0, 1], what detectors take."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class DetectionView:
    """A training view of an item: mosaic or letterbox, moved at random, perhaps mixed with another, coloured.

    Args:
        dataset: where a mosaic's and a mix's other images are from; its items are (image, target).
        size: pixels a side of what the model sees.
        mosaic: the share of views that are four images around a point.
        mixup: the share of these that are laid over another mosaic.
        hsv: the largest changes of hue, of a circle, and of saturation and value, relative.
        flip, flip_ud: the shares that are mirrored left to right, and upside down.
        scale, translate: the largest changes of size, relative, and place, in sides.
        degrees, shear: the largest angles of turning and shearing.

    Raises:
        ArgumentError: a number is below 0 or beyond what makes sense.

    Source: Bochkovskiy, Wang, Liao 2020, "YOLOv4", arXiv:2004.10934, section 3.3, for the mosaic.
    """

    dataset: Any
    size: int = 640
    mosaic: float = 1.0
    mixup: float = 0.0
    hsv: tuple = (0.015, 0.7, 0.4)
    flip: float = 0.5
    flip_ud: float = 0.0
    scale: float = 0.5
    translate: float = 0.1
    degrees: float = 0.0
    shear: float = 0.0

    def __post_init__(self):
        number("DetectionView", "size", self.size, 1, whole=True)
        for name, most in MOST.items():
            number("DetectionView", name, getattr(self, name), 0, most)
        for change in self.hsv:
            number("DetectionView", "hsv", change, 0, 1)

    def __call__(self, item, key):
        """(image (H, W, 3) uint8, target), key -> (image (3, size, size) float32 in [0, 1], target without crowds)."""
        first, second, colours, mix = random.split(key, 4)
        sample = self._sample(item, first)
        if random.uniform(np, mix, ()) < self.mixup:
            index, = random.integers(np, second, (1,), 0, len(self.dataset)).tolist()
            # the median of 63 uniform numbers: Beta(32, 32), as the recipes have it
            share = float(np.median(random.uniform(np, random.fold_in(mix, 1), (63,))))
            sample = mixup(sample, self._sample(self.dataset[index], random.fold_in(second, 1)), share)
        change = random.uniform(np, colours, (3,), -1.0, 1.0) * np.array(self.hsv, np.float32)
        image = shift_hsv(sample[0], change[0], 1 + change[1], 1 + change[2]) if any(self.hsv) else sample[0]
        return as_input(image), sample[1]

    def _sample(self, item, key):
        """A mosaic of the item and three others, or the item in a frame; moved at random."""
        chance, place, others, motion = random.split(key, 4)
        size, item = (self.size, self.size), _to_learn(item)
        matrix = self._motion(motion)
        if random.uniform(np, chance, ()) >= self.mosaic:
            image = frame(size)
            return image, warp(*item, matrix @ letterbox_map(item[0].shape[:2], size), image)
        centre = random.uniform(np, place, (2,), -0.5, 0.5).tolist()
        items = [item, *(_to_learn(self.dataset[i]) for i in
                         random.integers(np, others, (3,), 0, len(self.dataset)).tolist())]
        image = frame(size)
        return image, joined([warp(pixels, target, matrix @ self._quadrant(i, pixels.shape[:2], centre), image)
                              for i, (pixels, target) in enumerate(items)])

    def _quadrant(self, i, shape, centre):
        """Lays image i of a mosaic, as large as a frame, with one corner at the centre, given from the middle."""
        height, width = shape
        zoom = self.size / max(shape)
        x, y = (self.size * (0.5 + c) for c in centre)
        right, below = i % 2, i // 2
        return moved(x - (0 if right else width * zoom), y - (0 if below else height * zoom)) @ linear(zoom, 0, 0, zoom)

    def _motion(self, key):
        """A random map of the frame onto itself, around its middle."""
        u = random.uniform(np, key, (8,), -1.0, 1.0).tolist()
        turn, lean, tilt = (math.radians(v) for v in (u[0] * self.degrees, u[1] * self.shear, u[2] * self.shear))
        zoom, half = 1 + u[3] * self.scale, self.size / 2
        matrix = linear(math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)) @ linear(
            1, math.tan(lean), math.tan(tilt), 1) @ linear(zoom, 0, 0, zoom)
        across, down = (-1 if (v + 1) / 2 < share else 1 for v, share in ((u[4], self.flip), (u[5], self.flip_ud)))
        shift = moved(half + u[6] * self.translate * self.size, half + u[7] * self.translate * self.size)
        return shift @ linear(across, 0, 0, down) @ matrix @ moved(-half, -half)


def _to_learn(item):
    """An item without its crowds, which teach nothing, and without what only evaluation wants."""
    image, target = item
    alone = ~target["crowd"] if "crowd" in target else slice(None)
    return image, {name: part[alone] for name, part in target.items() if name in ("boxes", "labels", "masks")}


@dataclass(frozen=True)
class WholeImage:
    """An item as it is: what validation sees."""

    def __call__(self, item, key):
        """(image (H, W, 3) uint8, target), key -> (image (3, H, W) float32 in [0, 1], target)."""
        return as_input(item[0]), item[1]


def collate(items):
    """Items (image, target) -> (list of images, list of targets): what detectors take."""
    return [image for image, _ in items], [target for _, target in items]
