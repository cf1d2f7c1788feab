"""A detection set made of real images: clothes of Fashion-MNIST, coloured, on crops of photos, with boxes and masks.

    python -m minidl.data.detection.scenes OUT --train 4000 --val 500 --size 256 --seed 0

writes OUT/train/*.jpg, OUT/train.json, OUT/val/*.jpg and OUT/val.json in COCO's format, masks compressed. Scenes of
"train" have items of Fashion-MNIST's training images, those of "val" of its test images. Items turn up to 20 degrees,
are mirrored, cover each other in part, and are 1/9 to 1/2 of the image high; a box is that of what is seen. The same
seed gives the same scenes, whatever their number.

Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747, for the items; the layout is our own.
"""
import argparse
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...backend import random
from ...errors import DeviceError, message, number
from ..fashion_mnist import fashion_mnist
from ..folder import image_files, read_image
from ..image import pillow, resize
from .coco import write_coco
from .dataset import AnnotatedImage, Annotation, DetectionDataset
from .rle import RLE
from .views import linear, moved, warp

PHOTOS = ("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "motorcycle_left.png",
          "rocket.jpg")                # of scikit-image, large enough to be cut
SIDES = 1 / 9, 1 / 2               # of an item, over that of the scene
SEEN = 0.4                         # the share of each item that no other covers, at least
FAINT = 10                         # levels below it are the noise around an item


@dataclass(frozen=True)
class Scenes:
    """Scenes by number: item i is (image (size, size, 3) uint8, masks (n, size, size) bool, labels (n) int64).

    Args:
        items: (images (N, 28, 28) uint8 on 0, labels (N)).
        photos: images (H, W, 3), uint8.
        size: pixels a side.
        most: items of a scene, at most; at least one is tried.
        seed: of all.
    """

    items: tuple
    photos: Any
    size: int = 256
    most: int = 8
    seed: int = 0

    def __getitem__(self, index):
        ground, count, *keys = random.split(random.fold_in(random.key(self.seed), index), 2 + self.most)
        scene, masks, labels = self._background(ground), [], []
        n, = random.integers(np, count, (1,), 1, self.most + 1).tolist()
        for key in keys[:n]:
            pixels, mask, label = self._item(key)
            rest = [old & ~mask for old in masks]
            if mask.any() and all(r.sum() >= SEEN * whole for r, (_, whole) in zip(rest, labels)):
                scene[mask] = pixels[mask]
                masks, labels = [*rest, mask], [*labels, (label, mask.sum())]
        return scene, np.array(masks, bool).reshape(-1, *scene.shape[:2]), np.array([k for k, _ in labels], np.int64)

    def _background(self, key):
        """A square of a photo, mirrored at random, as large as the scene."""
        u = random.uniform(np, key, (5,)).tolist()
        photo = self.photos[int(u[0] * len(self.photos))]
        side = int(min(photo.shape[:2]) * (0.4 + 0.6 * u[1]))
        top, left = (int(v * (n - side + 1)) for v, n in zip(u[2:4], photo.shape))
        square = photo[top:top + side, left:left + side, :][:, ::-1 if u[4] < 0.5 else 1]
        return resize(np.ascontiguousarray(square), (self.size, self.size)).copy()

    def _item(self, key):
        """(pixels (H, W, 3), mask (H, W), label) of an item somewhere in the scene, coloured."""
        u = random.uniform(np, key, (10,)).tolist()
        images, labels = self.items
        which = int(u[0] * len(images))
        item, size = images[which], self.size
        high = size * SIDES[0] * (SIDES[1] / SIDES[0]) ** u[1]
        zoom, turn, mirror = high / len(item), math.radians(40 * u[2] - 20), -1 if u[3] < 0.5 else 1
        reach = high / 2
        x, y = (reach * 0.6 + v * (size - reach * 1.2) for v in u[4:6])
        matrix = moved(x, y) @ linear(zoom * math.cos(turn) * mirror, -zoom * math.sin(turn),
                                      zoom * math.sin(turn) * mirror, zoom * math.cos(turn))
        matrix = matrix @ moved(-len(item) / 2, -len(item) / 2)
        shape = np.where(item >= FAINT, 255, 0).astype(np.uint8)
        none = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0)}
        both = np.zeros((size, size, 2), np.uint8)
        warp(np.stack([item, shape], -1), none, matrix, both)
        light, mask = both[..., :1].astype(np.float32) / 255, both[..., 1] >= 128
        dark, bright = np.array(u[6:9], np.float32) / 4, np.array(u[7:10], np.float32) * 0.55 + 0.45
        return np.rint(255 * (dark + (bright - dark) * light)).astype(np.uint8), mask, int(labels[which])


def scene_photos(folder=None):
    """The photos of a folder, or of scikit-image where it is installed, (H, W, 3), uint8.

    Raises:
        DeviceError: neither is there.
        ArgumentError: a file is no image.
    """
    if folder is None:
        spec = find_spec("skimage")
        if spec is None or not spec.submodule_search_locations:
            raise DeviceError(message("scenes", "photos", "a folder of photos, or scikit-image", "neither",
                                      "pip install scikit-image"))
        files = [Path(spec.submodule_search_locations[0]) / "data" / name for name in PHOTOS]
    else:
        files = image_files(folder)
    return [read_image(file) for file in files]


def write_scenes(out, train=4000, val=500, size=256, most=8, seed=0, data=None, photos=None):
    """Write a set as the module's docstring says.

    Args:
        out: folder, made if it is not there.
        train, val: how many scenes.
        size, most, seed: as of Scenes.
        data: of `fashion_mnist`.
        photos: a folder; None: those of scikit-image.

    Returns:
        {"train": DetectionDataset, "val": ...}.

    Raises:
        ArgumentError: a number is below 1; the data cannot be read.
    """
    for name, value, least in (("train", train, 1), ("val", val, 1), ("size", size, 32), ("most", most, 1)):
        number("scenes", name, value, least, whole=True)
    out, grounds, made = Path(out), scene_photos(photos), {}
    for part, items, n in zip(("train", "val"), fashion_mnist(data), (train, val)):
        key = random.fold_in(random.key(seed), part == "val").seed
        scenes, images = Scenes(items.arrays, grounds, size, most, key), []
        (out / part).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            images.append(_write(out / part / f"{i:06}.jpg", i + 1, *scenes[i]))
        made[part] = DetectionDataset(items.classes, images, masks=True)
        write_coco(made[part], out / f"{part}.json")
    return made


def _write(file, number, image, masks, labels):
    """The AnnotatedImage of a scene, its pixels in a file."""
    pillow("scenes").Image.fromarray(image).save(file, quality=95)
    shapes = [RLE.encode(mask) for mask in masks]
    objects = tuple([Annotation(tuple(shape.box.tolist()), int(label), shape.to_coco(), False, float(shape.area))
                     for shape, label in zip(shapes, labels)])
    return AnnotatedImage(file, image.shape[:2], objects, number)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m minidl.data.detection.scenes", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    for name, default in ("train", 4000), ("val", 500), ("size", 256), ("most", 8), ("seed", 0):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--data", help="a folder with Fashion-MNIST, or subset")
    parser.add_argument("--photos", help="a folder of photos for the backgrounds")
    made = write_scenes(**vars(parser.parse_args()))
    for part, dataset in made.items():
        objects = sum(len(one.objects) for one in dataset.images)
        print(f"{part}: {len(dataset)} scenes, {objects} objects of {len(dataset.classes)} classes")


if __name__ == "__main__":
    main()
