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

import numpy as np
from safetensors import SafetensorError, TensorSpec, serialize_file

from .. import backend
from ..errors import CheckpointError, message
from ..tensor import Tensor
from .formats import MOST_TENSORS, checked_json, read
from .inert import settle
from .storage import BY_SAFETENSORS_NAME, Mapped
from .weights import parts, reading, weights

_NAMES = sorted(np.dtype(dtype).name for dtype in BY_SAFETENSORS_NAME.values())


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
        tree = checked_json(json.dumps(_encode(state, (), arrays)))
        if len(arrays) > MOST_TENSORS:
            raise ValueError(f"{len(arrays)} arrays, over {MOST_TENSORS}")
    except (RecursionError, ValueError) as error:      # (an integer of over 4300 digits is a ValueError)
        expected = "a finite nest of ordinary size, with numbers of ordinary length"
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
    """Read a checkpoint of any format that `minidl.io` names, told by its content; nothing in it is ever run.

    Args:
        path: of the file, path-like; of shards, that of their index, or of the directory with them.

    Returns:
        The nest in the file: dicts, lists, tuples, numbers, strings, and NumPy arrays of one's own in the place
        of tensors (tensors that share memory in the file share it here). Of a safetensors file that `save` wrote,
        what `save` was given; of another one, of npz and of shards, a dict of its arrays by name. In the place of
        objects whose class is not here there are `StandIn`s.

    Raises:
        CheckpointError: there is no such file, it cannot be read, is damaged, is of no such format, or wants to
            run something.
    """
    with reading("load", path):
        path = Path(os.fsdecode(path))
        if path not in parts(path):
            return {name: np.array(array) for name, array in weights(path).items()}
        with Mapped(path) as file:
            copies: dict = {}
            return settle(read(file), lambda view: view.copy(file, copies))


def outline(path):
    """The nest in a file, as of `load`, with numbers in place of tensors without axes, and None in place of others.

    Raises:
        CheckpointError: as of `load`.
    """
    with reading("outline", path), Mapped(Path(os.fsdecode(path))) as file:
        return settle(read(file), lambda view: None if view.shape else view.array(view.storage.bytes(file)).item())


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


# -- the file -----------------------------------------------------------------------

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
