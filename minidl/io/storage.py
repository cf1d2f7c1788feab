"""Where the numbers of a file lie, and arrays over them: every bound is checked in exact integers.

    file -> Mapped (bytes that the system pages in when they are read) -> Storage (a run of them) -> View -> array
"""
import mmap
import os
import zlib
from dataclasses import dataclass
from math import prod

import ml_dtypes
import numpy as np

SLACK = 1 << 20                                        # a view may be larger than its file (stride 0) by so many bytes
_CHUNK = 1 << 22

BY_TORCH_NAME = {
    "float64": np.float64, "double": np.float64, "float32": np.float32, "float": np.float32,
    "float16": np.float16, "half": np.float16, "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64, "long": np.int64, "int32": np.int32, "int": np.int32, "int16": np.int16, "short": np.int16,
    "int8": np.int8, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
    "bool": np.bool_, "complex64": np.complex64, "cfloat": np.complex64,
    "complex128": np.complex128, "cdouble": np.complex128,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn, "float8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "float8_e5m2": ml_dtypes.float8_e5m2, "float8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "float8_e8m0fnu": ml_dtypes.float8_e8m0fnu,
}
BY_SAFETENSORS_NAME = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64, "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}


class Mapped:
    """A file mapped into memory, read-only: its bytes count as memory only while they are looked at.

    Another program that cuts the file short while it is mapped kills whoever looks at what is gone; `copy`,
    which reads in the ordinary way, gives an error instead.

    Args:
        path: of the file.

    Raises:
        OSError, ValueError: it cannot be read, is no ordinary file, or is empty.
    """

    def __init__(self, path):
        if not os.path.isfile(path):                   # (to open a pipe would be to wait for a writer)
            raise OSError("there is no such file")
        self.path = path
        self.file = open(path, "rb", buffering=0)      # closed by __exit__: what is mapped stays so
        try:
            self._map = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self.file.close()
            raise
        self.data = memoryview(self._map)
        self._address = address(self.data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __len__(self):
        return len(self.data)

    def offset(self, data):
        """Where a piece of bytes begins in the file; None: it lies elsewhere in memory."""
        start = address(data) - self._address
        return start if 0 <= start <= len(self) - len(data) else None

    def copy(self, data, into):
        """Read the bytes of a piece, without the mapping, into an array `(n,)` of uint8.

        Raises:
            ValueError: the file has become shorter meanwhile.
        """
        start = self.offset(data)
        if start is None:
            into[:] = np.frombuffer(data, np.uint8)
            return
        done = 0
        while done < len(into):
            count = os.preadv(self.file.fileno(), [memoryview(into)[done:]], start + done)
            if not count:
                raise ValueError("it became shorter while it was read")
            done += count

    def release(self, data):
        """Give the memory of a piece back: it is read again from the file where it is looked at again."""
        start = self.offset(data)
        if start is None or not hasattr(mmap, "MADV_DONTNEED"):
            return
        first = start - start % mmap.PAGESIZE
        if length := start + len(data) - first:
            self._map.madvise(mmap.MADV_DONTNEED, first, length)


def address(data):
    """Where bytes begin in memory."""
    return np.frombuffer(data, np.uint8).ctypes.data if len(data) else 0


class Storage:
    """A run of bytes that views share.

    Attributes:
        dtype: of its elements, None where only views know.
        nbytes: its length, known before its bytes are.
        crc: of its bytes, if the file says and it was not compared yet; else 0.
        root, start: of a part of a storage, that storage and where in it this one begins; else itself and 0.
    """

    __slots__ = ("crc", "dtype", "name", "nbytes", "root", "start", "_data")

    def __init__(self, dtype, nbytes, data=None, *, name="a storage", crc=0):
        self.dtype, self.nbytes, self.name, self.crc = dtype, nbytes, name, crc
        self.root, self.start = self, 0                # (of a part: the whole, and where in it)
        self._data = data                              # bytes, or a function that unpacks them

    def fill(self, data):
        """Give a storage its bytes, which must be as long as was said.

        Raises:
            ValueError: they are not, or it has some.
        """
        if self._data is not None or len(data) != self.nbytes:
            raise ValueError(f"{self.name} is of {self.nbytes} bytes, but {len(data)} are there")
        self._data = data

    def part(self, start, nbytes):
        """A storage inside this one."""
        if not 0 <= start <= start + nbytes <= self.nbytes:
            raise ValueError(f"bytes {start} to {start + nbytes} of {self.name}, which has {self.nbytes}")
        part = Storage(self.dtype, nbytes, name=self.name)
        part.root, part.start = self.root, self.start + start
        return part

    def place(self):
        """What two storages over the same bytes have in common."""
        return self if callable(self._data) else (address(self._data), self.nbytes)

    def view(self):
        """All of it as one tensor `(n,)`, of its dtype or of bytes."""
        dtype = self.dtype or np.dtype(np.uint8)
        return View(self, dtype, 0, (self.nbytes // dtype.itemsize,), (1,))

    def bytes(self, file):
        """Its bytes, compared with their checksum where the file has one.

        Raises:
            ValueError: they are not the ones that were written, or there are none.
        """
        if self.root is not self:
            return self.root.bytes(file)[self.start:self.start + self.nbytes]
        if self._data is None:
            raise ValueError(f"{self.name} has no bytes in it")
        data = self._data() if callable(self._data) else self._data
        if self.crc:
            crc = 0
            for start in range(0, len(data), _CHUNK):
                chunk = data[start:start + _CHUNK]
                crc = zlib.crc32(chunk, crc)
                file.release(chunk)
            if crc != self.crc:
                raise ValueError(f"the bytes of {self.name} do not have their checksum: they are damaged")
            self.crc = 0                               # once is enough
        return data


@dataclass(frozen=True)
class View:
    """A tensor in a file: not read yet.

    Attributes:
        storage: where its elements are.
        dtype: a NumPy dtype.
        start: of its first element, in elements.
        shape: a size for each axis.
        strides: from an element to the next along each axis, in elements, not negative.
    """

    storage: Storage
    dtype: np.dtype
    start: int
    shape: tuple
    strides: tuple

    @property
    def nbytes(self):
        """Of the array that it becomes."""
        return prod(self.shape) * self.dtype.itemsize

    def check(self, file):
        """Is every element inside the storage? (Exact integers: nothing wraps around.)

        Raises:
            ValueError: one is not, or sizes and strides are no such things.
        """
        numbers = (self.start, *self.shape, *self.strides)
        if any(type(n) is not int or n < 0 or n >> 62 for n in numbers) or len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides}, start {self.start}")
        if len(self.shape) > 64:
            raise ValueError(f"a tensor of {len(self.shape)} axes, over the 64 that NumPy has")
        last = self.start + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides))
        if self.nbytes and (last + 1) * self.dtype.itemsize > self.storage.nbytes:
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides} and dtype {self.dtype} from "
                             f"element {self.start} ends outside {self.storage.name} of {self.storage.nbytes} bytes")
        if self.nbytes > len(file) + SLACK:
            raise ValueError(f"a tensor of shape {self.shape} and dtype {self.dtype}, larger than the whole file")

    def array(self, data):
        """The array over its storage's bytes: a view, of which one may write what one may of `data`."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        size = self.dtype.itemsize
        strides = [n * size for n in self.strides]
        return _true_bools(np.ndarray(self.shape, self.dtype, data, self.start * size, strides))

    def copy(self, file, copies):
        """An array of one's own; what shares bytes in the file shares them here.

        Args:
            file: `Mapped`.
            copies: a dict of the storages that were copied before, which this adds to.
        """
        root = self.storage.root
        place = root.place()
        if place not in copies:
            all_of_it = self == packed(root, self.shape, dtype=self.dtype) and self.nbytes == root.nbytes
            whole = self if all_of_it else root.view()
            copies[place] = np.empty(whole.shape, whole.dtype)
            file.copy(root.bytes(file), copies[place].reshape(-1).view(np.uint8))
            if whole is self:
                return _true_bools(copies[place])
        start = self.storage.start
        return self.array(copies[place].reshape(-1).view(np.uint8)[start:start + self.storage.nbytes])


def _true_bools(array):
    """To NumPy only the bytes 0 and 1 are bools."""
    if array.dtype.kind != "b" or not array.size or array.view(np.uint8).max() < 2:
        return array
    return np.minimum(array.view(np.uint8), 1, out=array.view(np.uint8) if array.flags.writeable else None).view(bool)


def packed(storage, shape, order="C", dtype=None):
    """A view over all of a storage, its elements one after another.

    Args:
        storage: of so many bytes.
        shape: a size for each axis.
        order: "C", the last axis is the fastest, or "F", the first.
        dtype: of its elements; None: that of the storage.
    """
    strides, step = [], 1
    for n in (shape if order == "F" else shape[::-1]):
        strides.append(step)
        step *= n
    return View(storage, dtype or storage.dtype, 0, tuple(shape), tuple(strides if order == "F" else strides[::-1]))
