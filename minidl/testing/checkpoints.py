"""Writers of the formats that `minidl.io` reads from others, so that tests need none of the others.

    nest of arrays, Globals, Calls -> pickled -> plain | torch_zip | torch_legacy

What is written may be as wrong as one likes: a pickle is put together from its opcodes and nothing is run.
"""
import io
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..io.ctranslate2 import DTYPES
from ..io.formats import MAGIC, VERSION
from ..io.names import STORAGES
from ..io.storage import BY_TORCH_NAME

_KINDS = {np.dtype(BY_TORCH_NAME[dtype]): kind for kind, dtype in STORAGES.items()}
_DTYPES = {np.dtype(dtype): name for name, dtype in reversed(BY_TORCH_NAME.items())}


@dataclass(frozen=True)
class Global:
    """The name of something: "torch._utils", "_rebuild_tensor_v2"."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """What a `Global` makes of arguments, and is then given a `state`; `code`: the opcode that makes it."""

    function: Any
    args: tuple = ()
    state: Any = None
    code: bytes = b"R"


@dataclass(frozen=True)
class Persistent:
    """What a persistent id stands for."""

    identity: tuple


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are."""

    code: bytes


@dataclass(frozen=True)
class Bare:
    """An array as a storage, without a shape."""

    array: np.ndarray


ORDERED = Global("collections", "OrderedDict")


def pickled(value, array=None, protocol=2):
    """The bytes of a pickle.

    Args:
        value: a nest of dicts, lists, tuples, numbers, strings, bytes, None and this module's classes.
        array: from an array in it to what stands for it; None: `numpy_array`.
        protocol: that it says it is of.
    """
    return b"\x80" + bytes([protocol]) + _code(value, array or numpy_array) + b"."


def _code(value, array):
    def code(inner):
        return _code(inner, array)

    if isinstance(value, bool) or value is None:
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"K" + data[:1] if 0 <= value < 256 else b"\x8a" + bytes([len(data)]) + data
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, (bytes, bytearray)):
        return b"B" + struct.pack("<I", len(value)) + value
    if isinstance(value, tuple):
        return b"(" + b"".join(map(code, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(code, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join([code(k) + code(v) for k, v in value.items()]) + b"u"
    if isinstance(value, Global):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        made = code(value.function) + code(value.args) + value.code
        return made if value.state is None else made + code(value.state) + b"b"
    if isinstance(value, Persistent):
        return code(value.identity) + b"Q"
    return value.code if isinstance(value, Raw) else code(array(value))


# -- what stands for an array ---------------------------------------------------------------

def numpy_array(array):
    """As NumPy pickles it."""
    dtype = Call(Global("numpy", "dtype"), (array.dtype.str[1:], False, True), (3, "<", None, None, None, -1, -1, 0))
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    empty = Call(Global("numpy.core.multiarray", "_reconstruct"), (Global("numpy", "ndarray"), (0,), b"b"))
    return Call(empty.function, empty.args, (1, array.shape, dtype, fortran, array.tobytes("A")))


class Storages:
    """Puts arrays into storages as torch does: arrays that are views of one array share its storage.

    Attributes:
        found: {key: (array that is the storage, `(n,)`)}.
    """

    def __init__(self, *view):
        self.found, self._keys, self._view = {}, {}, view      # (files before 1.6: one more field)

    def __call__(self, array):
        """What stands for an array, or for a `Bare` one."""
        if isinstance(array, Bare):
            return self._storage(array.array)[0]
        storage, flat = self._storage(array)
        start = array.ctypes.data - flat.ctypes.data if array.size else 0
        place = (storage, start // array.itemsize, array.shape, _strides(array), False, Call(ORDERED))
        if array.dtype in _KINDS:
            return Call(Global("torch._utils", "_rebuild_tensor_v2"), place)
        dtype = Global("torch", _DTYPES[array.dtype])
        return Call(Global("torch._utils", "_rebuild_tensor_v3"), (*place, dtype))

    def _storage(self, array):
        whole = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        key = self._keys.setdefault(id(whole), str(len(self._keys)))
        # (whole is in one piece, its axes in any order)
        self.found[key] = flat = as_strided(whole, (whole.size,), (whole.itemsize,)).view(array.dtype)
        kind = Global("torch", f"{_KINDS[array.dtype]}Storage") if array.dtype in _KINDS \
            else Global("torch.storage", "UntypedStorage")
        length = flat.size if array.dtype in _KINDS else flat.nbytes
        return Persistent(("storage", kind, key, "cpu", length, *self._view)), flat


def torch_array(array):
    """As a plain pickle has a tensor of torch: a storage that is a file of its own."""
    array = np.ascontiguousarray(array)
    storage = Call(Global("torch.storage", "_load_from_bytes"), (torch_legacy(Bare(array)),))
    place = (storage, 0, array.shape, _strides(array), False, Call(ORDERED))
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), place)


def _strides(array):
    return tuple([n // array.itemsize for n in array.strides])


# -- files --------------------------------------------------------------------------------

def torch_zip(value, root="archive", extra=()):
    """The bytes of a file of torch since 1.6.

    Args:
        value: as of `pickled`; its arrays become tensors.
        root: the directory in the zip file.
        extra: more entries, as (name, bytes).
    """
    storages = Storages()
    entries = [("data.pkl", pickled(value, storages)), ("byteorder", b"little"),
               *[(f"data/{key}", flat.tobytes()) for key, flat in storages.found.items()], ("version", b"3\n")]
    return zipped([*[(f"{root}/{name}", data) for name, data in entries], *extra])


def zipped(entries, packed=False):
    """The bytes of a zip file of (name, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def torch_legacy(value):
    """The bytes of a file of torch before 1.6; `value` as of `torch_zip`."""
    storages = Storages(None)
    content = pickled(value, storages)
    system = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = pickled(MAGIC) + pickled(VERSION) + pickled(system) + content + pickled(list(storages.found))
    return head + b"".join([struct.pack("<q", flat.size if flat.dtype in _KINDS else flat.nbytes) + flat.tobytes()
                            for flat in storages.found.values()])


def npz(arrays, packed=False):
    """The bytes of a file of NumPy's, of {name: array}."""
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def ctranslate2(arrays, aliases=(), version=6):
    """The bytes of a model.bin of CTranslate2: {name: array}, and (alias, name) pairs."""
    def string(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    found = [struct.pack("<I", version), string("WhisperSpec"), struct.pack("<II", 3, len(arrays))]
    for name, array in arrays.items():
        shape = array.shape
        found += [string(name), struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, DTYPES.index(array.dtype),
                                            array.nbytes), array.tobytes()]
    found.append(struct.pack("<I", len(aliases)))
    return b"".join([*found, *[string(name) for pair in aliases for name in pair]])


def module(name, parameters=None, buffers=None, modules=None):
    """A module of torch as it is pickled whole: the class `name`, "models.yolo.Detect", and three dicts."""
    state = {"training": False, "_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {}}
    package, _, name = name.rpartition(".")
    return Call(Global(package, name), (), state, b"\x81")
