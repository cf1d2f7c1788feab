"""Make the subset of Fashion-MNIST that minidl ships, from the IDX files of the whole.

    python tools/make_fashion_mnist_subset.py /usr/share/datasets/fashion-mnist minidl/data/fashion_mnist

Takes the first images of each class, in their original order, and writes IDX files again, compressed by xz.
"""
import lzma
import struct
import sys
from pathlib import Path

import numpy as np

from minidl.data.fashion_mnist import CLASSES, read_split

PER_CLASS = {"train": 1300, "t10k": 200}


def first_of_each_class(labels, count):
    """Where the first `count` of each class are, in order."""
    return np.sort(np.concatenate([np.flatnonzero(labels == k)[:count] for k in range(len(CLASSES))]))


def write_idx(path, array):
    """Write uint8 numbers as an IDX file, compressed by xz."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def main(source, target):
    for split, count in PER_CLASS.items():
        images, labels = read_split(Path(source), split)
        keep = first_of_each_class(labels, count)
        write_idx(Path(target) / f"{split}-images-idx3-ubyte.xz", images[keep])
        write_idx(Path(target) / f"{split}-labels-idx1-ubyte.xz", labels[keep])


if __name__ == "__main__":
    main(*sys.argv[1:])
