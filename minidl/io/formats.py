"""The formats of checkpoints, told by their content, each read into a nest with a `View` in place of every tensor.

    Mapped -> safetensors | torch's zip file | torch's file before 1.6 | a plain pickle | npz | CTranslate2's -> nest of
    Views
"""
import json
import re
import struct
from dataclasses import replace
from functools import partial
from math import prod

import numpy as np
from safetensors import safe_open

from . import ctranslate2
from .inert import UNFOLDED, Budget, Call, Forbidden, Machine, StandIn, settle
from .names import StorageType, plain_dtype, resolve
from .storage import BY_SAFETENSORS_NAME, Storage, View, packed
from .zipped import entries

MOST_TENSORS, MOST_TEXT = 1 << 16, 1 << 25             # of a safetensors file: tensors, bytes of JSON
MAGIC, VERSION = 0x1950a86a20f9469cfc6c, 1001          # what files of torch before 1.6 begin with
_BESIDE = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")


def read(file):
    """The nest in a file, its tensors as `View`s, all of them checked.

    Args:
        file: `Mapped`.

    Raises:
        Forbidden: it wants to run something.
        ValueError, LookupError, TypeError, SafetensorError: it is damaged, or of no format that is known.
    """
    head = bytes(file.data[:9])
    if head[4:] == b"\0\0\0\0{":                       # the length of a header in 8 bytes, and a JSON object
        return _safetensors(file)
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return _zip(file)
    if head[:1] == b"\x80":
        nest = _checked(_pickled(file), file)
        if not isinstance(nest, (dict, list, tuple, StandIn, View)):
            raise ValueError(f"a pickle of a {type(nest).__name__}, in which there is no tensor")
        return nest
    if ctranslate2.looks_like(head):
        return ctranslate2.read(file)
    raise ValueError("it begins as no file of safetensors, zip, pickle or CTranslate2 does")


def _checked(nest, file):
    def leaf(view):
        view.check(file)
        return view
    return settle(nest, leaf)


# -- safetensors ----------------------------------------------------------------------

def _safetensors(file):
    views = {}
    if int.from_bytes(file.data[:8], "little") > MOST_TEXT:
        raise ValueError(f"a header of over {MOST_TEXT} bytes")
    with safe_open(f"/dev/fd/{file.file.fileno()}", "np", backend="pread") as header:
        at = 8 + int.from_bytes(file.data[:8], "little")       # the data follow the header, without gaps
        if len(header.offset_keys()) > MOST_TENSORS:
            raise ValueError(f"over {MOST_TENSORS} tensors")
        for name in header.offset_keys():
            entry = header.get_slice(name)
            if entry.get_dtype() not in BY_SAFETENSORS_NAME:
                raise ValueError(f"{name} is of dtype {entry.get_dtype()}, which NumPy lacks")
            dtype, shape = np.dtype(BY_SAFETENSORS_NAME[entry.get_dtype()]), entry.get_shape()
            end = at + dtype.itemsize * prod(shape)
            views[name] = packed(Storage(dtype, end - at, file.data[at:end], name=name), shape)
            views[name].check(file)
            at = end
        tree = (header.metadata() or {}).get("minidl")
    if tree is None:
        return views
    nest = decode(json.loads(checked_json(tree)), views)
    if views:
        raise ValueError(f"the metadata have no place for {', '.join(views)}")
    return nest


def checked_json(text):
    """A text in JSON, if its values do not take far more memory than it does.

    Raises:
        ValueError: they could.
    """
    containers, values = text.count("[") + text.count("{"), text.count(",")
    if len(text) > MOST_TEXT or containers > UNFOLDED or values > 4 * UNFOLDED:
        raise ValueError(f"{containers} containers and {values} values in {len(text)} characters of JSON; at most "
                         f"{UNFOLDED}, {4 * UNFOLDED} and {MOST_TEXT} are read. Numbers belong into arrays")
    return text


def decode(tree, arrays):
    """The value of a tree as `save` writes it; its arrays are taken out of `arrays`."""
    if isinstance(tree, list):
        return [decode(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    (kind, value), = tree.items()
    return {"tensor": arrays.pop,
            "dict": lambda items: {key: decode(item, arrays) for key, item in items.items()},
            "tuple": lambda items: tuple([decode(item, arrays) for item in items]),
            "float": float}[kind](value)


# -- zip files: torch's, NumPy's --------------------------------------------------------

def _zip(file):
    found = entries(file.data)
    roots = {name.partition("/")[0] for name in found}
    if any(name.endswith("/data.pkl") for name in found):
        if len(roots) != 1:
            raise ValueError(f"a zip file of torch has one directory, not {sorted(roots)}")
        return _checked(_torch_zip(found, roots.pop(), file), file)
    if found and all(name.endswith(".npy") for name in found):
        return _checked({name.removesuffix(".npy"): _npy(entry) for name, entry in found.items()}, file)
    raise ValueError(f"a zip file, but neither torch's nor NumPy's: it has {', '.join(sorted(found)[:4]) or 'nothing'}")


def _torch_zip(found, root, file):
    inside = {name[len(root) + 1:]: entry for name, entry in found.items()}
    for name, entry in inside.items():
        if name != "data.pkl" and name not in _BESIDE and not name.startswith("data/"):
            raise Forbidden(f"the entry {entry.name!r}, which no checkpoint needs")
        if entry.packed:
            raise ValueError(f"the entry {entry.name!r} is packed, which torch never does")
    if "byteorder" in inside and bytes(inside["byteorder"].data) != b"little":
        raise ValueError("its numbers are not little-endian")
    storages: dict = {}

    def persistent(identity):
        dtype, key, nbytes = _identity(identity)
        if key not in storages:
            entry = inside[f"data/{key}"]
            storages[key] = Storage(dtype, len(entry.data), entry.data, name=entry.name, crc=entry.crc)
        return _same(storages[key], dtype, nbytes)

    pickle = inside["data.pkl"]
    data = Storage(None, pickle.size, pickle.data, name=pickle.name, crc=pickle.crc).bytes(file)
    machine = Machine(data, resolve, Budget(len(file)), persistent)
    value = machine.run()
    _at_end(machine, len(data))
    return value


def _npy(entry):
    """The array in an entry of NumPy's format.

    Source: NEP 1, "A simple file format for NumPy arrays".
    """
    head = entry.head(_NPY_HEADER)
    if head[:6] != b"\x93NUMPY" or len(head) < 12 or head[6] not in (1, 2, 3):
        raise ValueError(f"{entry.name} is no array of NumPy's")
    first = 10 + struct.unpack_from("<H", head, 8)[0] if head[6] == 1 else 12 + struct.unpack_from("<I", head, 8)[0]
    match = _NPY.fullmatch(str(head[10 if head[6] == 1 else 12:first], "latin-1"))
    if not match:
        raise ValueError(f"{entry.name} is an array of objects or fields, or damaged")
    dtype, shape = plain_dtype(match[1]), [int(n) for n in match[3].split(",") if n.strip()]
    whole = Storage(None, entry.size, entry.unpack if entry.packed else entry.data, name=entry.name, crc=entry.crc)
    view = packed(Storage(dtype, dtype.itemsize * prod(shape)), shape, "F" if match[2] == "True" else "C")
    if first + view.storage.nbytes != entry.size:
        raise ValueError(f"{entry.name} of shape {tuple(shape)} and dtype {dtype} is of {entry.size} bytes")
    return replace(view, storage=whole.part(first, view.storage.nbytes))


_NPY_HEADER = 1 << 14
_NPY = re.compile(r"\{'descr': '([^']*)', 'fortran_order': (True|False), "
                  r"'shape': \(((?:\d{1,19}, ?)*(?:\d{1,19})?)\), \} *\n")


# -- pickles: torch's before 1.6, and plain ones ------------------------------------------

def _pickled(file):
    budget, data = Budget(len(file)), file.data
    machine = Machine(data, partial(_resolve, budget), budget)
    value = machine.run()
    if value == MAGIC and isinstance(value, int):
        return _legacy(data, machine.at, partial(_resolve, budget), budget)
    _at_end(machine, len(data))
    return value


def _legacy(data, at, resolve, budget):
    """A file of torch before 1.6: the magic number, a version, the machine, the value, the keys, the storages."""
    storages: dict = {}

    def persistent(identity):
        if isinstance(identity, tuple) and identity[:1] == ("module",) and len(identity) == 4:
            return identity[1]                         # (the class, its file, its source: the class)
        *identity, part = identity if isinstance(identity, tuple) else ()
        dtype, key, nbytes = _identity(tuple(identity))
        storages.setdefault(key, Storage(dtype, nbytes, name=f"storage {key!r}"))
        storage = _same(storages[key], dtype, nbytes)
        if part is None:
            return storage
        _, start, count = part
        size = dtype.itemsize if dtype else 1
        return storage.part(start * size, count * size)

    values = []
    for _ in range(4):
        machine = Machine(data[at:], resolve, budget, persistent)
        values.append(machine.run())
        at += machine.at
    version, system, value, keys = values
    if version != VERSION or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("it is of an unknown version, or its numbers are not little-endian")
    if not isinstance(keys, list) or len(keys) != len(storages) or not all(key in storages for key in keys):
        raise ValueError("the keys of its storages are not those that its tensors name")
    for key in keys:
        storage = storages[key]
        size = storage.dtype.itemsize if storage.dtype else 1
        if len(data) < at + 8 + storage.nbytes or struct.unpack_from("<q", data, at)[0] * size != storage.nbytes:
            raise ValueError(f"{storage.name} is cut short, or not as long as its tensors say")
        storage.fill(data[at + 8:at + 8 + storage.nbytes])
        at += 8 + storage.nbytes
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes follow the last storage")
    return value


def _resolve(budget, module, name):
    """As `resolve`; besides, a storage that torch has put into a plain pickle as a whole file in bytes."""
    if (module, name) != ("torch.storage", "_load_from_bytes"):
        return resolve(module, name)

    def load_from_bytes(data):
        inner = Machine(memoryview(data), resolve, budget)
        if inner.run() != MAGIC:
            raise ValueError("bytes that are no file of torch")
        value = _legacy(memoryview(data), inner.at, resolve, budget)
        if not isinstance(value, Storage):
            raise ValueError("bytes that hold more than a storage")
        return value
    return Call(f"{module}.{name}", load_from_bytes)


# -- what both of torch's have -------------------------------------------------------------

def _identity(identity):
    """The dtype (None: bytes), the key and the number of bytes of the storage that a persistent id names."""
    if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
        raise Forbidden("a persistent id that is none of a storage")
    _, kind, key, _, count = identity
    if not isinstance(kind, StorageType):
        raise Forbidden(f"a storage of the type {getattr(kind, 'name', kind)!r}")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a persistent id without a key or a length")
    return kind.dtype, key, count * kind.itemsize


def _same(storage, dtype, nbytes):
    if storage.dtype != dtype or storage.nbytes != nbytes:
        raise ValueError(f"{storage.name} is of {storage.nbytes} bytes of {storage.dtype}, and of {nbytes} of {dtype}")
    return storage


def _at_end(machine, length):
    if machine.at != length:
        raise ValueError(f"{length - machine.at} bytes follow its pickle")
