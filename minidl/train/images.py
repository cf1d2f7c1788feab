"""What it takes to train on images: where they are, how they are prepared, what is measured."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import nn
from ..data import ArrayDataset, ImageFolder, MaskFolder, fashion_mnist, random_split
from ..data.augment import Prepared, RandomPatch, RandomShift, RandomView
from ..data.preprocess import ImagePreprocess
from ..errors import ArgumentError, message
from .metrics import Accuracy, MeanIoU

IGNORED = 255                      # of a mask: pixels that do not count


@dataclass(frozen=True)
class ImageTask:
    """Training and validation images with what belongs to them.

    Args:
        train, validation: datasets of (image (H, W, C) uint8, label or mask).
        classes: names, in the order of the labels.
        inputs: how the model wants its images.
        augment: makes a training item of one, a transform of a DataLoader.
        loss, metric: of outputs and targets.
        batch_size: of validation; None: that of training.
    """

    train: object
    validation: object
    classes: tuple
    inputs: ImagePreprocess
    augment: object
    loss: object
    metric: object
    validation_batch: int | None = None

    @property
    def channels(self):
        """Of the images."""
        return len(self.inputs.mean)

    @property
    def prepare(self):
        """Makes a validation item."""
        return Prepared(self.inputs)


def image_task(data, inputs=None, size=None, seed=0, share=0.2):
    """The ImageTask of a folder, or of Fashion-MNIST.

    Args:
        data: "fashion-mnist", or "fashion-mnist=FOLDER"; a folder with a folder per class; one with `images` and
            `masks`; or one with `train` and `val` of either kind.
        inputs: how the model wants its images.
        size: pixels a side that it sees while training, if not as `inputs` has it.
        seed: which images are held out, where there is no `val`.
        share: how many of them.

    Raises:
        ArgumentError: it is none of these, or a file is no image; the message names it.
    """
    name, _, folder = str(data).partition("=")
    if name == "fashion-mnist":
        return _fashion_mnist(folder or None)
    root, inputs = Path(data), inputs or ImagePreprocess()
    parts = [root / part for part in ("train", "val")] if (root / "train").is_dir() else [root]
    if (parts[0] / "images").is_dir() and (parts[0] / "masks").is_dir():
        return _segmentation([MaskFolder(p) for p in parts], inputs, size or 256, seed, share)
    first = ImageFolder(parts[0])
    sets = [first, *(ImageFolder(p, first.classes) for p in parts[1:])]
    train, validation = sets if len(sets) == 2 else random_split(first, [1.0 - share, share], seed)
    inputs = inputs.sized(size) if size else inputs
    return ImageTask(train, validation, first.classes, inputs, RandomView(inputs),
                     nn.CrossEntropyLoss(label_smoothing=0.1), Accuracy())


def _fashion_mnist(folder):
    """28 by 28 pixels, mean 0 and variance 1 over the training images."""
    sets = fashion_mnist(folder)
    images = sets[0].arrays[0]
    inputs = ImagePreprocess(None, mean=(float(images.mean()) / 255,), std=(float(images.std()) / 255,))
    sets = [ArrayDataset(s.arrays[0][..., None], s.arrays[1], classes=s.classes) for s in sets]
    return ImageTask(*sets, sets[0].classes, inputs, RandomShift(inputs), nn.CrossEntropyLoss(label_smoothing=0.1),
                     Accuracy())


def _segmentation(sets, inputs, size, seed, share):
    train, validation = sets if len(sets) == 2 else random_split(sets[0], [1.0 - share, share], seed)
    highest = max(int(np.where(mask == IGNORED, 0, mask).max()) for s in sets for _, mask in s)
    if highest == 0:
        expected = "levels that are classes, 0, 1, ..."
        raise ArgumentError(message("image_task", "masks", expected, "nothing but 0 and 255",
                                    "A mask of two classes has the levels 0 and 1."))
    classes = tuple(["background", *(f"class {i}" for i in range(1, highest + 1))])
    return ImageTask(train, validation, classes, inputs, RandomPatch(inputs, size),
                     nn.CrossEntropyLoss(ignore_index=IGNORED), MeanIoU(len(classes), ignore_index=IGNORED), 1)
