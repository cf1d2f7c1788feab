"""Images with objects on them: what all formats are read into, and written from."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ArgumentError, message
from ..folder import read_image
from ..image import pillow
from .rle import RLE

TOLERANCE = 1.0                    # pixels by which a box may stick out of its image: it is clipped, tools round


@dataclass(frozen=True)
class Annotation:
    """An object on an image.

    Args:
        box: x1, y1, x2, y2, in pixels.
        label: of its class, from 0.
        segmentation: COCO's: polygons, lists of x, y, ... in pixels, or {"size", "counts"}; None: a box alone.
        crowd: is it a region with many objects?
        area: in pixels; None: that of the box.
    """

    box: tuple
    label: int
    segmentation: list | dict | None = None
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file of (height, width) pixels, and its Annotations; `id` is its number in the set."""

    file: Path
    size: tuple
    objects: tuple = ()
    id: int = 0

    def target(self, masks=False):
        """What is on it: {"boxes" (n, 4) float32, "labels" (n) int64, "crowd" (n) bool, "area" (n) float64[, "masks"
        (n, H, W) bool]}.

        Raises:
            ArgumentError: masks are wanted, and an object has none.
        """
        boxes = np.array([o.box for o in self.objects], np.float64).reshape(-1, 4)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        found = {"boxes": boxes.astype(np.float32), "labels": np.array([o.label for o in self.objects], np.int64),
                 "crowd": np.array([o.crowd for o in self.objects], bool),
                 "area": np.array([a if o.area is None else o.area for o, a in zip(self.objects, area)], np.float64)}
        if masks:
            found["masks"] = np.array([self._mask(o) for o in self.objects], bool).reshape(-1, *self.size)
        return found

    def _mask(self, one):
        if one.segmentation is None:
            raise _wrong("masks", f"a mask of each object of {self.file}", f"a box alone, {one.box}")
        return RLE.from_coco(one.segmentation, self.size).decode()


class DetectionDataset:
    """Images and what is on them.  Item i is (image (H, W, 3) uint8, target), a target as `AnnotatedImage.target` says.

    Args:
        classes: names, in the order of the labels.
        images: AnnotatedImages.
        masks: do targets have masks?

    Raises:
        ArgumentError: there are no classes or images, or a name is empty or comes twice.
    """

    def __init__(self, classes, images, masks=False):
        self.classes, self.images, self.masks = check_classes("classes", classes), list(images), masks
        if not self.images:
            raise _wrong("images", "at least one", "none")

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        one = self.images[index]
        image = read_image(one.file)
        if image.shape[:2] != tuple(one.size):
            raise _wrong("images", f"{tuple(one.size)} pixels, as its annotations say, in {one.file}", image.shape[:2])
        return image, one.target(self.masks)

    @property
    def has_masks(self):
        """Has each object a mask?"""
        return all(thing.segmentation is not None for one in self.images for thing in one.objects)

    def with_masks(self, masks=True):
        """The same images, with masks in the targets or without."""
        return DetectionDataset(self.classes, self.images, masks)


def image_size(path):
    """(height, width) of an image file as `read_image` turns it, from its first bytes.

    Raises:
        ArgumentError: it is no image.
        DeviceError: Pillow is not installed.
    """
    Image = pillow("image_size").Image
    try:
        with Image.open(path) as image:
            width, height = image.size
            lying = image.getexif().get(0x0112, 1) >= 5          # (the camera was turned: EXIF 2.3, Orientation)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _wrong("path", "an image", f"{path}: {error}") from error
    return (width, height) if lying else (height, width)


def check_classes(where, names):
    """Names of classes as a tuple, checked.

    Raises:
        ArgumentError: there are none, or one is no text, empty or double.
    """
    names = tuple(names)
    if not names:
        raise _wrong(where, "at least one class", "none")
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or name in names[:i]:
            raise _wrong(f"{where}[{i}]", "a name that is not empty and comes once", repr(name))
    return names


def check_box(where, box, size):
    """A box x1, y1, x2, y2 as floats inside the image, clipped where it sticks out by TOLERANCE.

    Args:
        where: the file and entry, for the message.
        size: (height, width) of the image.

    Raises:
        ArgumentError: it is inverted, beyond the image, or no four finite numbers.
    """
    try:
        x1, y1, x2, y2 = map(float, box)
    except (TypeError, ValueError):
        raise _wrong(where, "four numbers of a box", repr(box))
    height, width = size
    if not (x1 <= x2 and y1 <= y2):                              # (NaN neither)
        raise _wrong(where, "a box of width and height >= 0", f"({x1:g}, {y1:g}) to ({x2:g}, {y2:g})")
    if min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
        raise _wrong(where, f"a box inside its image of {width} x {height} pixels",
                     f"({x1:g}, {y1:g}) to ({x2:g}, {y2:g})")
    return tuple([min(max(v, 0.0), float(limit)) for v, limit in zip((x1, y1, x2, y2), (width, height) * 2)])


def _wrong(argument, expected, got):
    return ArgumentError(message("DetectionDataset", argument, expected, got))
