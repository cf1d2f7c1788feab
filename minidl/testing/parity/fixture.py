"""Reads a case: weights drawn by a rule from their names, inputs, expected outputs and gradients."""
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import CheckpointError, message


@dataclass
class Case:
    """One case, as its files say."""

    name: str
    path: Path
    config: dict
    meta: dict
    weights: dict                  # official name -> array
    inputs: dict
    outputs: dict                  # expected; where the meta has a stride, that subset
    grads: dict                    # expected, likewise, and "cotangent"
    norms: dict                    # official name -> L2 norm of the gradient

    def draw(self, name, shape):
        """`shape` numbers of mean 0 and variance 1, by the rule, from `name`."""
        return np.asarray(_draw(name, self.meta["seed"], shape, "s")).astype(np.float32)


def cases(directory):
    """The names of all cases in a directory.

    Raises:
        CheckpointError: there are none.
    """
    found = sorted(p.parent.name for p in Path(directory).glob("cases/*/meta.json"))
    if not found:
        raise CheckpointError(message("parity", "directory", "cases/*/meta.json in it", str(directory)))
    return found


def load(directory, name):
    """Read one case."""
    path = Path(directory) / "cases" / name
    if not (path / "meta.json").exists():
        raise CheckpointError(message("parity", "case", f"one of {', '.join(cases(directory))}", repr(name)))
    meta, rows = _text(path / "meta.json"), _text(path / "weights.json") or []
    grads = _arrays(path / "grads.npz")
    weights = _weights(rows, meta["seed"], _arrays(path / "explicit.npz"))
    norms = {row[0]: float(g) for row, g in zip(rows, grads.pop("norms", [])) if not np.isnan(g)}
    case = Case(name, path, _text(path / "config.json"), meta, weights, _arrays(path / "inputs.npz"),
                _arrays(path / "outputs.npz"), grads, norms)
    if "grad" in meta:
        case.grads["cotangent"] = case.draw("cotangent", meta["outputs"][meta["grad"]["of"]]["shape"])
    return case


def _text(path):
    return json.loads(path.read_text()) if path.exists() else None


def _arrays(path):
    """The arrays of an .npz file; halves in it are exact and mean float32."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {k: v.astype("f4") if v.dtype == "f2" else v for k, v in file.items()}


def _unit(name, seed, n):
    """n float64 numbers in [0, 1): the top 53 bits of a Philox 4x64 stream keyed by name and seed."""
    stream = np.random.Philox(key=zlib.crc32(name.encode()) + (seed << 32))
    return (stream.random_raw(n) >> np.uint64(11)) * 2.0 ** -53


def _draw(name, seed, shape, kind):
    value = _unit(name, seed, math.prod(shape)).reshape(shape)
    value = value if kind == "u" else (2 * value - 1) * math.sqrt(3)
    if kind == "t":                                    # some channels with a small variance
        thin = np.where(_unit(name + "#thin", seed, shape[0]) < 0.25, 0.03, 1.0)
        value = value * thin.reshape(-1, *[1] * (len(shape) - 1))
    return value


def _weights(rows, seed, explicit):
    weights, used = {}, dict.fromkeys(("half", "single", "int"), 0)
    for key, shape, kind, *rest in rows:
        if kind in "sut":
            scale, shift = rest
            weights[key] = np.asarray(shift + scale * _draw(key, seed, shape, kind)).astype(np.float32)
        elif kind == "c":
            weights[key] = np.full(shape, rest[0], rest[1])
        elif kind == "=":
            weights[key] = weights[rest[0]]
        else:                                          # the next values of a stream
            stream, n = {"h": "half", "f": "single", "i": "int"}[kind], math.prod(shape)
            part = explicit[stream][used[stream]:used[stream] + n]
            used[stream] += n
            weights[key] = part.reshape(shape).astype(rest[0] if rest else "f4")
    return weights
