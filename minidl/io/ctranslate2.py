"""CTranslate2's files (`model.bin`): arrays by name, some of them as 8- or 16-bit integers with scales.

    version, specification, its revision; n, then n arrays: name, shape, dtype, bytes; aliases: two names of one array

Source: what CTranslate2's `ModelSpec.serialize` writes, binary version 6; little-endian throughout.
"""
import struct
from math import prod

import ml_dtypes
import numpy as np

from .storage import Storage, packed

VERSION, MOST_AXES, MOST_ARRAYS = 6, 8, 1 << 16
DTYPES = tuple(map(np.dtype, (np.float32, np.int8, np.int16, np.int32, np.float16, ml_dtypes.bfloat16)))
SCALE = "_scale"                   # behind the name of an integer array: what its rows were multiplied by


def looks_like(head):
    """Do these bytes, the first 9 of a file, begin one of these?"""
    version, length, *_ = struct.unpack("<IH3s", head) if len(head) == 9 else (0, 0, b"")
    return version in range(1, 100) and length in range(1, 200) and head[6:].isalnum()


class _Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        """The next bytes."""
        if not 0 <= count <= len(self.data) - self.at:
            raise ValueError(f"{count} bytes at {self.at}, where {len(self.data) - self.at} are left")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, kind="I"):
        """The next number."""
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)))[0]

    def name(self):
        """The next string."""
        return str(self.take(self.number("H")), "utf-8").removesuffix("\0")


def read(file):
    """{name: View} of a file; integers that have scales become the float32 that they stand for, on reading.

    Args:
        file: `Mapped`.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    cursor = _Cursor(file.data)
    if (version := cursor.number()) != VERSION:
        raise ValueError(f"binary version {version} of CTranslate2, which is not {VERSION}")
    cursor.name()                                      # the specification
    cursor.number()                                    # its revision
    views: dict = {}
    for _ in range(_count(cursor)):
        name, view = _array(cursor)
        view.check(file)
        views[name] = view
    for _ in range(_count(cursor)):
        alias, name = cursor.name(), cursor.name()
        views[alias] = views[name]
    if cursor.at != len(file):
        raise ValueError(f"{len(file) - cursor.at} bytes follow the last name")
    scales = [name for name in views if name.endswith(SCALE) and name.removesuffix(SCALE) in views]
    for scale in scales:
        name = scale.removesuffix(SCALE)
        views[name] = _scaled(views[name], views.pop(scale), file)
    return views


def _count(cursor):
    count = cursor.number()
    if count > MOST_ARRAYS:
        raise ValueError(f"{count} arrays, over {MOST_ARRAYS}")
    return count


def _array(cursor):
    name, rank = cursor.name(), cursor.number("B")
    if rank > MOST_AXES:
        raise ValueError(f"{name} has {rank} axes, over {MOST_AXES}")
    shape, kind, nbytes = tuple(cursor.number() for _ in range(rank)), cursor.number("B"), cursor.number()
    if kind >= len(DTYPES) or prod(shape) * DTYPES[kind].itemsize != nbytes:
        raise ValueError(f"{name} of shape {shape} and dtype number {kind} in {nbytes} bytes")
    return name, packed(Storage(DTYPES[kind], nbytes, cursor.take(nbytes), name=name), shape)


def _scaled(view, scale, file):
    """Integers over their scales: one for all, or one a row of the first axis."""
    if view.dtype.kind != "i" or scale.shape not in ((), (1,), view.shape[:1]):
        raise ValueError(f"{view.storage.name}: scales of shape {scale.shape} for {view.dtype} of shape {view.shape}")

    def numbers():
        rows = scale.array(scale.storage.bytes(file)).astype(np.float32)
        rows = rows.reshape(-1, *[1] * (len(view.shape) - 1)) if view.shape else rows.reshape(())
        with np.errstate(divide="ignore", invalid="ignore"):           # (what is not finite is for the reader to judge)
            floats = np.divide(view.array(view.storage.bytes(file)), rows, dtype=np.float32)
        return memoryview(floats.reshape(-1).view(np.uint8))

    dtype = np.dtype(np.float32)
    storage = Storage(dtype, prod(view.shape) * dtype.itemsize, numbers, name=view.storage.name)
    return packed(storage, view.shape)
