"""Fashion-MNIST: grey images of ten kinds of clothes, 28 by 28; all where they are installed, else a subset.

Source: Xiao, Rasul, Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", arXiv:1708.07747; the files' format: LeCun, Cortes, Burges, "The MNIST database of handwritten
digits", "file formats".
"""
import gzip
import lzma
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, message
from .datasets import ArrayDataset

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
INSTALLED = Path("/usr/share/datasets/fashion-mnist")          # Debian's package dataset-fashion-mnist
SUBSET = Path(__file__).with_suffix("")                        # see the README.md there

_OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}
_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def fashion_mnist(data=None):
    """The training and the test images with their labels.

    Args:
        data: a directory with the four IDX files, plain, or compressed by gzip or xz; "subset" for the 13,000
            training and 2,000 test images that minidl ships; None for Debian's directory where it is
            installed (60,000 and 10,000 images), else the subset.

    Returns:
        train, test: ArrayDatasets of images (N, 28, 28), uint8 with background 0, and labels (N), int64 in
        [0, 10); their `classes` are the labels' names.

    Raises:
        ArgumentError: a file is missing, cut short or damaged; the message names it.
    """
    if data is None:
        data = INSTALLED if INSTALLED.is_dir() else SUBSET
    folder = SUBSET if data == "subset" else Path(data)
    return tuple(ArrayDataset(*read_split(folder, split), classes=CLASSES) for split in ("train", "t10k"))


def read_split(folder, split):
    """The images (N, 28, 28), uint8, and labels (N), int64, of "train" or "t10k" in a directory.

    Raises:
        ArgumentError: as of `fashion_mnist`.
    """
    paths = [_find(folder, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = map(read_idx, paths)
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise _damaged(paths[0], "images (N, 28, 28), uint8", f"{images.shape}, {images.dtype}")
    if labels.shape != images.shape[:1] or not np.isin(labels, np.arange(len(CLASSES))).all():
        got = f"{labels.shape} of {np.unique(labels)}"
        raise _damaged(paths[1], f"{len(images)} labels in [0, 10)", got)
    return images, labels.astype(np.int64)


def read_idx(path):
    """The array in an IDX file, plain, or compressed as its suffix (.gz, .xz) says.

    Raises:
        ArgumentError: the file is missing, cut short or damaged.
    """
    path = Path(path)
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            content = file.read()
        zeros, kind, ndim = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{ndim}I", content, 4)
        if zeros or kind not in _DTYPES:
            raise ValueError("its first bytes are not those of the format")
        return np.frombuffer(content, _DTYPES[kind], offset=4 + 4 * ndim).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, "a whole IDX file", error) from error


def _find(folder, stem):
    paths = [Path(folder) / (stem + suffix) for suffix in _OPENERS]
    found = next(filter(Path.is_file, paths), None)
    if found is None:
        raise ArgumentError(message("fashion_mnist", "data", f"{stem}[.gz|.xz] in {folder}", "no such file",
                                    'data="subset" takes the images that minidl ships.'))
    return found


def _damaged(path, expected, got):
    hint = "The file may be cut short or damaged."
    return ArgumentError(message("fashion_mnist", "data", f"{expected} in {path}", got, hint))
