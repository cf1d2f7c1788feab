"""The weights in a file or directory, by name: arrays over the mapped file, made when they are asked for.

    path -> files (a directory, an index of shards) -> nest of each -> the state dict in it -> Weights
"""
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..errors import CheckpointError, message
from .formats import MOST_TEXT, checked_json, read
from .inert import Forbidden, StandIn
from .storage import Mapped, View

# What a directory in Hugging Face's layout has: the first of these that is there.
IN_DIRECTORY = tuple(f"{stem}{end}" for stem in ("model", "pytorch_model", "diffusion_pytorch_model")
                     for end in (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json"))

# Under which keys checkpoints keep their state dicts. Of the names in a row the first that is there is taken: they
# are the same weights, averaged or not. Names of different rows are different weights, and one must be chosen.
NESTS = (
    ("ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema",
     "state_dict", "model_state_dict", "model_state", "params", "model", "module", "net", "network"),
    ("G_ema", "g_ema", "G", "netG_state_dict", "netG", "generator"),
    ("D", "netD_state_dict", "netD", "discriminator"),
)
_DEPTH = 6                                             # of such keys in one another


@contextmanager
def reading(op, path):
    """What goes wrong inside is a CheckpointError that names the file."""
    try:
        yield
    except CheckpointError:
        raise
    except Forbidden as error:
        raise CheckpointError(message(op, "path", "a checkpoint that is data and nothing else", f"{path}: {error}",
                                      "Nothing was run; a program that trusts the file might run it.")) from error
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError, OverflowError,
            RecursionError) as error:
        raise CheckpointError(message(op, "path", "a whole checkpoint", f"{path}: {error}",
                                      "It may be cut short, damaged, or of another format.")) from error


def weights(path, key=None):
    """The weights in a file or directory, in any format that `minidl.io` names; nothing in them is ever run.

    The state dict is looked for inside what a training run saves with it, under the keys of `NESTS`; a pickled
    module gives its parameters and buffers by their names in the tree of modules.

    Args:
        path: of a file; of an index of shards (.index.json); or of a directory with one of IN_DIRECTORY.
        key: under which keys of the file to look first, "G_ema" or "models/generator"; None: where NESTS says.

    Returns:
        `Weights`: a Mapping from names to arrays.

    Raises:
        CheckpointError: as of `load`; there are no weights, several, or none under `key`.
    """
    with reading("weights", path):
        views: dict = {}
        for part, names in parts(Path(os.fsdecode(path))).items():
            with reading("weights", part), Mapped(part) as file:
                found = _state_dict(read(file), key)
                views.update({name: (file, found[name]) for name in names or found})
        return Weights(path, views)


class Weights(Mapping):
    """Arrays by name, read-only, over the mapped file where its format allows (packed npz files do not).

    Each is made when it is asked for, is not aligned to more than the file is, and stays good after `release`.

    Attributes:
        path: as it was given.
    """

    def __init__(self, path, views):
        self.path, self._views = path, views

    def __getitem__(self, name):
        file, view = self._views[name]
        with reading("weights", self.path):
            array = view.array(view.storage.bytes(file))
        array.flags.writeable = False                  # (also where it is a copy)
        return array

    def __iter__(self):
        return iter(self._views)

    def __len__(self):
        return len(self._views)

    def __contains__(self, name):
        return name in self._views

    def __repr__(self):
        return f"Weights({str(self.path)!r}: {len(self)} arrays)"

    def shape(self, name):
        """The shape of an array, without making it."""
        return self._views[name][1].shape

    def dtype(self, name):
        """The dtype of an array, without making it."""
        return self._views[name][1].dtype

    def release(self, name):
        """Let the memory of an array go, once it was copied. Looked at again, it is read from the file again."""
        file, view = self._views[name]
        file.release(view.storage.bytes(file))


# -- files ------------------------------------------------------------------------------

def parts(path):
    """The files that the weights at a path are in: of a directory its best, of an index of shards all of them.

    Returns:
        {file: the names it must have, or None: whatever it has}.

    Raises:
        ValueError, OSError: the index is damaged, or names a file that is not beside it; the directory has none.
    """
    if path.is_dir():
        here = [name for name in IN_DIRECTORY if (path / name).is_file()]
        if not here:
            raise ValueError(f"a directory with none of {', '.join(IN_DIRECTORY)}")
        return parts(path / here[0])
    if not path.is_file() or path.stat().st_size > MOST_TEXT:
        return {path: None}
    with open(path, "rb") as file:
        if file.read(1) != b"{":
            return {path: None}
        content = json.loads(checked_json("{" + str(file.read(), "utf-8")))
    places = content.get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise ValueError("JSON, but no index of shards")
    shards: dict = {}
    for name, shard in places.items():
        shards.setdefault(shard, []).append(name)
    for shard in shards:
        if shard in ("", ".", "..") or set(shard) & set("/\\\0"):
            raise ValueError(f"an index that names the file {shard!r}, which is not beside it")
    return {path.parent / shard: names for shard, names in shards.items()}


# -- the state dict in a nest ---------------------------------------------------------------

def _state_dict(nest, key):
    """The tensors by name (`View`s) that a checkpoint holds, wherever it keeps them."""
    for part in key.split("/") if key else ():
        if not isinstance(nest, dict) or part not in nest:
            raise ValueError(f"no {key!r} in it, but {_keys(nest)}")
        nest = nest[part]
    found = _find(nest, _DEPTH)
    if not found:
        raise ValueError(f"no weights under a name that is known for them, but {_keys(nest)}; choose with key=")
    return found


def _find(nest, depth):
    if isinstance(nest, StandIn):
        return {name: view for name, view in nest.state_dict().items() if isinstance(view, View)}
    if not isinstance(nest, dict) or not depth:
        return {}
    nested = {name: found for name in nest if _may_nest(name) and (found := _find(nest[name], depth - 1))}
    candidates = [next(iter(same)) for row in NESTS if (same := [name for name in row if name in nested])]
    candidates += [name for name in nested if not any(name in row for row in NESTS)]
    if len(candidates) > 1:
        raise ValueError(f"weights of several models: {', '.join(candidates)}; choose with key=")
    if candidates:
        return nested[candidates[0]]
    return {name: view for name, view in nest.items() if isinstance(name, str) and isinstance(view, View)}


def _may_nest(name):
    return any(name in row for row in NESTS) or isinstance(name, str) and name.endswith("state_dict") \
        and not any(part in name.lower() for part in ("optim", "sched", "scaler"))


def _keys(nest):
    if not isinstance(nest, dict):
        return f"a {type(nest).__name__}"
    return f"the keys {', '.join(map(str, list(nest)[:20]))}" if nest else "an empty dict"
