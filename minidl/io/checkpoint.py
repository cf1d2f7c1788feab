"""Checkpoints: a nest of dicts, lists and tuples as one safetensors file, replaced as a whole or not at all.

    state -> tree, arrays -> file in a scratch directory beside the target -> fsync -> rename -> path

Arrays are the file's tensors, named by their path in the nest ("optimizer/momentum/0"): a flat mapping of
names to tensors is a plain safetensors file under these names.  Everything else is one JSON text in the
metadata.  There an object has one key, its kind: tensor, dict, tuple, or float for those that are not finite;
lists, strings and all other numbers stand for themselves.

Source: the format, https://github.com/safetensors/safetensors; how to replace a file: Pillai et al. 2014,
"All file systems are not created equal", OSDI, section 4.
"""
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, TensorSpec, safe_open, serialize_file

from .. import backend
from ..errors import CheckpointError, message
from ..tensor import Tensor

_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
    "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64, "C64": np.complex64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
}
_NAMES = sorted(np.dtype(dtype).name for dtype in _DTYPES.values())


def save(state, path):
    """Write a nest of values to a safetensors file: a crash at any moment leaves the old file or the new one.

    Args:
        state: dicts (their keys strings), lists and tuples, nested in any way, of Tensors, arrays (both are
            brought to the host), numbers, strings, bools and None. A NumPy number is saved as a 0-d array.
        path: of the file, path-like. Where it is a symbolic link, the link's target is replaced.

    Raises:
        CheckpointError: `state` holds something else, or the file cannot be written; the old one is kept.
    """
    arrays: dict = {}
    try:
        tree = json.dumps(_encode(state, (), arrays))
    except (RecursionError, ValueError) as error:      # (an integer of over 4300 digits is a ValueError)
        expected = "a finite nest and numbers of ordinary length"
        raise CheckpointError(message("save", "state", expected, error)) from error
    try:
        path = _resolve(path)
        if path.exists() and not path.is_file():
            raise OSError("what is there is not a file")
        _replace(path, arrays, {"format": "pt", "minidl": tree})       # (transformers wants a "format")
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(message("save", "path", f"to write {path}", reason,
                                      "What was there before is unchanged.")) from error


def load(path):
    """Read a safetensors file.

    Args:
        path: of the file, path-like.

    Returns:
        The nest that `save` was given, its tensors and arrays as NumPy arrays; of a file that `save` did not
        write, a dict of its arrays by name.

    Raises:
        CheckpointError: there is no such file, or it cannot be read, is damaged, or is no safetensors file.
    """
    try:
        path = _resolve(path)
        if not path.is_file():                         # (to open a pipe would be to wait for a writer)
            raise OSError("there is no such file")
        arrays, tree = _read(path)
        if tree is None:
            return arrays
        state = _decode(json.loads(tree), arrays)
        if arrays:
            raise ValueError(f"the metadata have no place for {', '.join(arrays)}")
        return state
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError,
            RecursionError) as error:
        raise CheckpointError(message("load", "path", "a whole safetensors file", f"{path}: {error}",
                                      "It may be cut short, damaged, or of another format.")) from error


def _resolve(path):
    return Path(os.path.realpath(os.fsdecode(path)))


# -- the nest as a tree for JSON, and the arrays that it names ----------------------

def _encode(value, path, arrays):
    """The tree of a value; its arrays are put into `arrays`."""
    if isinstance(value, Tensor):
        value = value.data
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if backend.is_array(value):
        name = "/".join(path)
        if name in arrays or name == "__metadata__":
            raise _unsavable(path, "a name of its own", f"{name!r}, which is taken")
        if value.dtype.name not in _NAMES:
            raise _unsavable(path, f"a dtype of the format ({', '.join(_NAMES)})", value.dtype)
        arrays[name] = np.asarray(backend.to_host(value), value.dtype.newbyteorder("<"), order="C")
        return {"tensor": name}
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise _unsavable(path, "keys that are strings", f"the key {wrong[0]!r}")
        return {"dict": {key: _encode(item, (*path, key), arrays) for key, item in value.items()}}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, (*path, str(i)), arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}                   # (JSON has no such numbers)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    expected = "a dict, list, tuple, Tensor, array, number, string, bool or None"
    raise _unsavable(path, expected, type(value).__name__)


def _unsavable(path, expected, got):
    place = "".join(f"[{key!r}]" for key in path)
    return CheckpointError(message("save", f"state{place}", expected, got))


def _decode(tree, arrays):
    """The value of a tree; its arrays are taken out of `arrays`."""
    if isinstance(tree, list):
        return [_decode(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    (kind, value), = tree.items()
    return {"tensor": arrays.pop,
            "dict": lambda items: {key: _decode(item, arrays) for key, item in items.items()},
            "tuple": lambda items: tuple([_decode(item, arrays) for item in items]),
            "float": float}[kind](value)


# -- the file -----------------------------------------------------------------------

def _read(path):
    """The file's arrays by name, and the JSON text of its tree (None: it has none)."""
    arrays = {}
    with open(path, "rb") as file, safe_open(f"/dev/fd/{file.fileno()}", "np", backend="pread") as header:
        file.seek(8 + int.from_bytes(file.read(8), "little"))  # the data follow the header, without gaps
        for name in header.offset_keys():                      # (the library makes no arrays of 8-bit floats)
            entry = header.get_slice(name)
            if entry.get_dtype() not in _DTYPES:
                raise ValueError(f"{name} is of dtype {entry.get_dtype()}, which NumPy lacks")
            arrays[name] = array = np.empty(entry.get_shape(), _DTYPES[entry.get_dtype()])
            if file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
                raise ValueError("it became shorter while it was read")
        return arrays, (header.metadata() or {}).get("minidl")


def _replace(path, arrays, metadata):
    """Write a file aside, and put it in the place of `path` once all of it is on the disk."""
    tensors = {name: TensorSpec(dtype=a.dtype.name, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
               for name, a in arrays.items()}
    with _scratch(path.parent) as scratch:
        new = scratch / "new"
        serialize_file(tensors, new, metadata)
        mode = (path if path.exists() else scratch).stat().st_mode
        new.chmod(mode & 0o666)                        # (the library makes it private to the user)
        _sync(new)
        os.replace(new, path)
    with suppress(OSError):                            # without it a power cut may bring the old one back
        _sync(path.parent)


@contextmanager
def _scratch(folder):
    """A new directory in `folder`, gone at the end; those left by processes that were killed go first.

    A process locks its directory, and the system lets the lock go when the process dies. (Process ids are
    reused, and mean nothing to another machine.)  A filesystem without locks keeps what was left.
    """
    scratch = folder / f".minidl-{secrets.token_hex(8)}.tmp"
    with ExitStack() as stack:
        with _open(folder) as descriptor:
            with suppress(OSError):                    # nobody sweeps between a directory's birth and lock
                flock(descriptor, LOCK_EX)
            for left in folder.glob(".minidl-*.tmp"):
                with suppress(OSError), _open(left) as other:
                    flock(other, LOCK_EX | LOCK_NB)
                    shutil.rmtree(left)
            scratch.mkdir()
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            with suppress(OSError):
                flock(stack.enter_context(_open(scratch)), LOCK_EX)
        yield scratch


def _sync(path):
    """Wait until a file or directory is on the disk."""
    with _open(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _open(path):
    """A descriptor of a file or directory, closed at the end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
