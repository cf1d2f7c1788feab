"""Weights from checkpoints into models and back, under official names.

    file or mapping -> the prefixes that fit -> the KeyMap of the layout that fits -> our names -> the model
"""
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import io
from ..dtypes import is_float
from ..errors import CheckpointError, message
from ..io import hub
from ..nn.module import LoadResult

WRAPPERS = "module.", "_orig_mod.", "model.", "net."            # what training scripts put in front of every name
OLD_NORMS = (re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias")     # as TensorFlow's BERT had them
SHARD = 5_000_000_000


def load_weights(model, weights, strict=True, layout=None, new_head=False, check_finite=True):
    """Take the weights of an official checkpoint over into a model.

    Args:
        model: of the zoo.
        weights: path of a file or a directory (safetensors, sharded or not, torch's formats, npz), the name of a
            model on the hub, or a mapping of names to arrays.  Prefixes of wrappers ("module."), a base prefix
            ("bert.") too many or too few, and old names of norms (gamma, beta) are understood.
        strict: refuse names that are missing or unexpected.
        layout: whose names they are; None: those of the model's layout that fits best.
        new_head: where the checkpoint has other classes, leave the model's last layer as it is.
        check_finite: refuse weights that hold NaN or infinity.

    Returns:
        LoadResult(missing_keys, unexpected_keys) of official names.

    Raises:
        CheckpointError: it lists all that is missing, unexpected or of another shape, or names what is not finite; the
            model keeps its old weights.
    """
    if hub.is_name(weights):
        weights = hub.download(weights)
    official = weights if isinstance(weights, Mapping) else model.read_weights(weights)
    found, keymap = _best(model, official, [layout] if layout else model.layouts)
    found = _Checked(model, found, check_finite)
    if new_head:
        found.leave_out(_unfit_head(model, found))
    missing, unexpected = model.compare_names(found)
    missing = [keymap.official_name(name) for name in missing if name not in found.left_out]
    unexpected = [" + ".join(found.sources(name)) for name in unexpected]
    problems = [f"{len(names)} {what}: {', '.join(names)}" for what, names in
                (("missing", missing), ("unexpected", unexpected)) if names]
    if strict and problems:
        expected = f"the names of {type(model).__name__} ({' or '.join(model.layouts)})"
        raise CheckpointError(message("load_weights", "weights", expected, "; ".join(problems), "Nothing was changed."))
    model.load_state_dict(found, strict=False)
    return LoadResult(missing, unexpected)


def _best(model, official, layouts):
    """(tensors under our names, the KeyMap) by the layout and prefixes under which most names are ours."""
    own = model.state_dict().keys()
    best, most = None, -1
    for tensors in _readings(official, model.base_prefix):
        for layout in layouts:
            keymap = model.keymap(layout)
            found = keymap.read(tensors)
            fit = sum(name in own for name in found)
            fit -= len(found) - fit
            if best is None or fit > most:
                best, most = (found, keymap), fit
    return best


def _readings(official, base):
    """The mapping under its own names, and under those without wrappers, with or without a base prefix, as BERT's."""
    plain = [official]
    for prefix in WRAPPERS:
        if names := [n for n in official if n.startswith(prefix)]:
            inner = _Named(official, {n[len(prefix):]: n for n in names})
            plain.append(inner)
            plain += [_Named(inner, {n[len(p):]: n for n in inner if n.startswith(p)}) for p in WRAPPERS
                      if any(n.startswith(p) for n in inner)]
    for tensors in plain:
        yield tensors
        if base:
            yield _Named(tensors, {n if n.startswith(base) else base + n: n for n in tensors})
            yield _Named(tensors, {n.removeprefix(base): n for n in tensors})
        if any(pattern.search(n) for n in tensors for pattern, _ in OLD_NORMS):
            renamed = {}
            for name in tensors:
                new = name
                for pattern, end in OLD_NORMS:
                    new = pattern.sub(end, new)
                renamed[new] = name
            yield _Named(tensors, renamed)


def below(weights, prefix):
    """The tensors of a mapping whose names begin with a prefix, under their names without it."""
    return _Named(weights, {n[len(prefix):]: n for n in weights if n.startswith(prefix)})


class _Named(Mapping):
    """A mapping under other names: {new: old}."""

    def __init__(self, tensors, names):
        self._tensors, self._names = tensors, names

    def __getitem__(self, name):
        return self._tensors[self._names[name]]

    def release(self, name):
        """Let the memory of an array go, where the mapping can."""
        if hasattr(self._tensors, "release"):
            self._tensors.release(self._names[name])

    def __contains__(self, name):
        return name in self._names

    def __iter__(self):
        return iter(self._names)

    def __len__(self):
        return len(self._names)


class _Checked(Mapping):
    """Tensors under our names; reading one for the first time makes sure that it is finite."""

    def __init__(self, model, found, check_finite):
        self._model, self._found, self.left_out = model, found, set()
        self._unchecked = set(found) if check_finite else set()

    def leave_out(self, names):
        """Hide some."""
        self.left_out |= set(names)

    def sources(self, name):
        """The official names of what a tensor is made of."""
        return self._found.sources(name)

    def release(self, name):
        """Let the memory of what a tensor is made of go."""
        self._found.release(name)

    def __getitem__(self, name):
        value = self._found[name]
        if name in self._unchecked:
            array = np.asarray(value)
            if is_float(array.dtype) and not np.isfinite(array).all():
                got = f"NaN or infinity in {' + '.join(self.sources(name))}"
                raise CheckpointError(message("load_weights", "weights", "finite numbers", got, "Nothing was changed. "
                                              "With check_finite=False they are taken as they are."))
            self._unchecked.remove(name)
            self.release(name)
        return self._model.adapt_weight(name, value)

    def __contains__(self, name):
        return name in self._found and name not in self.left_out

    def __iter__(self):
        return (name for name in self._found if name not in self.left_out)

    def __len__(self):
        return len(self._found) - len(self.left_out)


def _unfit_head(model, found):
    """The names of the last layers' tensors, if the checkpoint's are of another shape or not there."""
    paths = model.head_paths()
    own = {f"{path}.{name}": t.shape for path in paths for name, t in model.get_submodule(path).state_dict().items()}
    fits = all(name in found and np.shape(found[name]) == shape for name, shape in own.items())
    return [] if fits else [*own, *(n for n in found if n.startswith(tuple(f"{path}." for path in paths)))]


# -- writing ------------------------------------------------------------------------------

def official_state(model, layout=None):
    """The weights of a model under the official names of a layout, the first that it reads unless named."""
    return model.keymap(layout).write({name: tensor.numpy() for name, tensor in model.state_dict().items()})


def save_state(tensors, directory, max_shard_bytes=SHARD):
    """Write tensors to directory/model.safetensors; if they are too many bytes, to several files and their index.

    Raises:
        CheckpointError: a file cannot be written.
    """
    shards, room = [[]], max_shard_bytes
    sizes = {name: np.asarray(tensors[name]).nbytes for name in tensors}
    for name, size in sizes.items():
        if size > room and shards[-1]:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(name)
        room -= size
    files = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    index = Path(directory) / "model.safetensors.index.json"
    for file, names in zip(files, shards):
        io.save({name: tensors[name] for name in names}, Path(directory) / file)
    if len(shards) == 1:
        index.unlink(missing_ok=True)                  # (of an earlier save: readers look for it first)
    else:
        index.write_text(json.dumps({"metadata": {"total_size": sum(sizes.values())}, "weight_map": {
            name: file for file, names in zip(files, shards) for name in names}}, indent=2))
