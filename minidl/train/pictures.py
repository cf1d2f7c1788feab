"""What it takes to train what makes images: pictures, pairs of them, and what is shown on the way."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import ops
from ..backend import random
from ..data import ArrayDataset, fashion_mnist
from ..data.folder import ImageFolder, image_files, read_image
from ..data.image import center_crop, resize, sheet, write_image
from ..errors import ArgumentError, message, number
from .callbacks import Callback
from .trainer import Trainer

EDGE = 60                          # levels per pixel from which on there is an edge


# -- datasets ------------------------------------------------------------------------------

@dataclass(frozen=True)
class Picture:
    """A transform of a DataLoader: the middle square of an image, resized, between two numbers.

    Args:
        size: pixels a side.
        channels: 1, grey, or 3.
        low, high: what black and white become.
        mirror: flip half of them left to right? Both of a pair, or none.
    """

    size: int
    channels: int
    low: float = -1.0
    high: float = 1.0
    mirror: bool = False

    def __call__(self, item, key):
        """(image (H, W, 3) or (H, W), uint8, label), key -> (image (C, size, size), float32, label)."""
        image, label = item
        return self.made(image, key), label

    def made(self, image, key):
        """The image alone."""
        if image.shape[:2] != (self.size, self.size):
            scale = self.size / min(image.shape[:2])
            image = resize(image, tuple(max(self.size, round(n * scale)) for n in image.shape[:2]))
            image = center_crop(image, (self.size, self.size))
        image = image[..., None] if image.ndim == 2 else image
        if image.shape[2] != self.channels:
            image = np.repeat(image, 3, 2) if self.channels == 3 else image.mean(2, keepdims=True)
        if self.mirror and random.uniform(np, key, (1,))[0] < 0.5:
            image = image[:, ::-1]
        return (self.low + image.astype(np.float32) * ((self.high - self.low) / 255)).transpose(2, 0, 1)


@dataclass(frozen=True)
class PicturePair(Picture):
    """The same of two images, that belong together."""

    def __call__(self, item, key):
        """(image, image), uint8, key -> (image, image), (C, size, size), float32."""
        return tuple(self.made(image, key) for image in item)


class ImageFiles:
    """Images in a folder and below. Item i is (image (H, W, 3) uint8, 0).

    Raises:
        ArgumentError: there are none.
    """

    classes = ()

    def __init__(self, root):
        self.files = image_files(root)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return read_image(self.files[index]), 0


class PairFolder:
    """Images of two kinds: root/A/1.jpg, root/B/1.png.  Item i is two images (H, W, 3) uint8.

    Args:
        root: the folder.
        paired: do images of the same name belong together? Otherwise any of B stands beside one of A, by `seed`.
        seed: of the order of B.

    Raises:
        ArgumentError: a folder is missing or empty, or an image has no partner.
    """

    def __init__(self, root, paired=True, seed=0):
        self.files = [image_files(Path(root) / kind) for kind in "AB"]
        if paired:
            named = [{path.relative_to(Path(root) / kind).with_suffix(""): path for path in files}
                     for kind, files in zip("AB", self.files)]
            if lonely := sorted(named[0].keys() ^ named[1].keys()):
                raise ArgumentError(message("PairFolder", "root", "images of the same names in A and B",
                                            f"{lonely[0]} in one only"))
            if twice := [path for files, own in zip(self.files, named) for path in files if path not in own.values()]:
                raise ArgumentError(message("PairFolder", "root", "one image of a name in A, and one in B",
                                            f"another beside {twice[0]}"))
            self.files = [[own[name] for name in sorted(own)] for own in named]
        else:
            self.files = [list(files) for files in self.files]
            order = np.argsort(random.uniform(np, random.key(seed), (len(self.files[1]),)))
            self.files[1] = [self.files[1][i] for i in order]

    def __len__(self):
        return len(self.files[0])

    def __getitem__(self, index):
        first, second = self.files
        return read_image(first[index]), read_image(second[index % len(second)])


def edges(images):
    """White lines where images (N, H, W), uint8, change by more than EDGE levels a pixel: (N, H, W), uint8."""
    levels = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1)), "edge")
    down = (levels[:, 2:, 1:-1] - levels[:, :-2, 1:-1]) / 2
    right = (levels[:, 1:-1, 2:] - levels[:, 1:-1, :-2]) / 2
    return (np.hypot(down, right) > EDGE).astype(np.uint8) * 255


def _clothes(folder, size):
    """Fashion-MNIST's training set, with a black border where 29 to 32 pixels are wanted."""
    train, _ = fashion_mnist(folder or None)
    images, labels = train.arrays
    spare = size - 28 if size and 28 < size <= 32 else 0
    return np.pad(images, ((0, 0), *[(spare // 2, spare - spare // 2)] * 2)), labels, train.classes


def pictures(data, size=None):
    """A dataset of (image (H, W, 3) or (H, W) uint8, label), with its `classes`.

    Args:
        data: "fashion-mnist", "fashion-mnist=FOLDER"; or a folder of images, or with a folder per class.
        size: that they will have.

    Raises:
        ArgumentError: there are no images.
    """
    name, _, folder = str(data).partition("=")
    if name == "fashion-mnist":
        images, labels, classes = _clothes(folder, size)
        return ArrayDataset(images, labels, classes=classes)
    inside = [path for path in Path(data).iterdir() if path.name[0] != "."] if Path(data).is_dir() else []
    by_class = inside and all(path.is_dir() for path in inside)
    return ImageFolder(data) if by_class else ImageFiles(data)


def pairs(data, size=None, paired=True, seed=0):
    """A dataset of two images (H, W, 3) or (H, W), uint8, each of a kind.

    Args:
        data: a folder with A and B; or "fashion-mnist": edges, and the clothes that they are of.
        size: that they will have.
        paired: do they belong together?
        seed: of what stands beside what, where they do not.
    """
    name, _, folder = str(data).partition("=")
    if name != "fashion-mnist":
        return PairFolder(data, paired, seed)
    images, _, _ = _clothes(folder, size)
    if paired:
        return ArrayDataset(edges(images), images)
    half = len(images) // 2                            # (no item is of both kinds)
    order = np.argsort(random.uniform(np, random.key(seed), (half,)))
    return ArrayDataset(edges(images[:half]), images[half:2 * half][order])


# -- training --------------------------------------------------------------------------------

class BoundTrainer(Trainer):
    """A Trainer of autoencoders, which give their own loss.

    Args:
        model: a VariationalAutoencoder.
        optimizer, options: as of Trainer, but for the loss.
        labelled: of an M2: (images (L, C, H, W), labels (L)) that stand beside every batch, whose own labels do not
            count; None: they do not.
        bound: what the model's loss takes besides, as {"beta": 4.0}.
    """

    def __init__(self, model, optimizer, labelled=None, bound=None, **options):
        super().__init__(model, optimizer, None, **options)
        self.labelled, self.bound = labelled, bound or {}

    def forward(self, batch):
        """(loss, images, labels, number of images) of images and labels."""
        images, labels = self.batch(batch)
        loss = self.model.loss(images, **self.bound) if self.labelled is None else self._with_labels(images)
        return loss, images, labels, images.shape[0]

    def _with_labels(self, images):
        n, (own, classes) = images.shape[0], self.labelled
        chosen = random.integers(np, random.default().next_key(), (min(n, len(own)),), 0, len(own))
        own, classes = (ops.tensor(x[chosen], device=images.device) for x in (own, classes))
        return self.model.loss(images, **self.bound) + self.model.loss(own, classes, **self.bound)


class Previews(Callback):
    """Writes a picture after each epoch: folder/epoch-001.png, ...

    Args:
        folder: where to.
        draw: () -> images (N, C, H, W).
        pixel_range: what is black in them, and white.
        columns: images a row.
    """

    def __init__(self, folder, draw, pixel_range, columns=None):
        self.folder, self.draw, self.pixel_range, self.columns = Path(folder), draw, pixel_range, columns

    def on_epoch_end(self, trainer):
        images = self.draw().numpy()
        write_image(self.folder / f"epoch-{trainer.epoch:03}.png", sheet(images, self.columns, *self.pixel_range))


def labelled_part(dataset, transform, count, seed=0):
    """(images, labels) of `count` items, as many of each class as may be, and the same for a seed.

    Raises:
        ArgumentError: there are not so many, or fewer than classes.
    """
    labels = np.asarray([dataset[i][1] for i in range(len(dataset))])
    kinds = np.unique(labels)
    order = np.argsort(random.uniform(np, random.key(seed), (len(labels),)))
    number("labelled_part", "count", count, len(kinds), len(labels), whole=True)
    ranked = [order[labels[order] == kind] for kind in kinds]
    turns = [members[i] for i in range(len(labels)) for members in ranked if i < len(members)][:count]
    items = [transform(dataset[i], random.key(seed)) for i in turns]
    return np.stack([image for image, _ in items]), np.asarray([label for _, label in items])
