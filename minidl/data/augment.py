"""Random views of an image while training: a crop of random size and place, perhaps mirrored.

Each is a transform of a DataLoader: (item, key) -> item, all randomness from the key.
"""
import math
from dataclasses import dataclass

import numpy as np

from ..backend import random
from .image import normalized, resize
from .preprocess import ImagePreprocess


@dataclass(frozen=True)
class RandomView:
    """A crop of random area and proportions at a random place, resized, mirrored half of the time, normalised.

    Args:
        inputs: how the model wants its images.
        scale: the least and the largest share of the area.
        ratio: the least and the largest width over height.
        mirror: flip half of them left to right?

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv:1409.4842, section 6.
    """

    inputs: ImagePreprocess
    scale: tuple = (0.35, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    mirror: bool = True

    def __call__(self, item, key):
        """(image (H, W, 3) uint8, label), key -> (image (3, size, size) float32, label)."""
        image, label = item
        (height, width), size = image.shape[:2], self.inputs.size
        area, shape, top, left, flip = random.uniform(np, key, (5,)).tolist()
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        shape = math.exp(math.log(self.ratio[0]) + shape * math.log(self.ratio[1] / self.ratio[0]))
        w, h = (max(1, min(round(math.sqrt(v)), most)) for v, most in ((area * shape, width), (area / shape, height)))
        top, left = int(top * (height - h + 1)), int(left * (width - w + 1))
        image = resize(np.ascontiguousarray(image[top:top + h, left:left + w]), (size, size), self.inputs.filter)
        image = image[:, ::-1] if self.mirror and flip < 0.5 else image
        return normalized(image, self.inputs.mean, self.inputs.std), label


@dataclass(frozen=True)
class RandomPatch:
    """A square of an image and of its mask, at a random place, mirrored at random; mirrored edges where it is smaller.

    Args:
        inputs: how the model wants its images; levels only.
        size: pixels a side.
    """

    inputs: ImagePreprocess
    size: int

    def __call__(self, item, key):
        """(image (H, W, 3), mask (H, W)), uint8, key -> (image (3, size, size) float32, mask (size, size) int64)."""
        image, mask = (_at_least(a, self.size) for a in item)
        top, left, across, down = random.uniform(np, key, (4,)).tolist()
        top, left = (int(u * (n - self.size + 1)) for u, n in zip((top, left), mask.shape))
        window = slice(top, top + self.size), slice(left, left + self.size)
        image, mask = (a[window][::-1 if down < 0.5 else 1, ::-1 if across < 0.5 else 1] for a in (image, mask))
        return normalized(image, self.inputs.mean, self.inputs.std), mask.astype(np.int64)


def _at_least(array, size):
    """An image with its edges mirrored outwards until both sides have `size` pixels."""
    spare = [max(size - n, 0) for n in array.shape[:2]]
    return np.pad(array, [(0, s) for s in spare] + [(0, 0)] * (array.ndim - 2), "symmetric") if any(spare) else array


@dataclass(frozen=True)
class RandomShift:
    """An image moved by up to `pad` pixels each way, what comes in from outside 0, mirrored half of the time.

    Source: He, Zhang, Ren, Sun 2015, arXiv:1512.03385, section 4.2.
    """

    inputs: ImagePreprocess
    pad: int = 2

    def __call__(self, item, key):
        """(image (H, W, C) uint8, label), key -> (image (C, H, W) float32, label)."""
        image, label = item
        down, right, flip = random.integers(np, key, (3,), 0, 2 * self.pad + 1).tolist()
        wide = np.pad(image, [(self.pad, self.pad)] * 2 + [(0, 0)])
        image = wide[down:down + image.shape[0], right:right + image.shape[1]]
        return normalized(image[:, ::-1] if flip % 2 else image, self.inputs.mean, self.inputs.std), label


@dataclass(frozen=True)
class Prepared:
    """An image as it is, prepared for the model: what validation sees."""

    inputs: ImagePreprocess

    def __call__(self, item, key):
        """(image (H, W, C) uint8, label or mask), key -> (image (C, h, w) float32, label or mask, int64)."""
        return self.inputs(item[0]), np.asarray(item[1], np.int64)[()]
