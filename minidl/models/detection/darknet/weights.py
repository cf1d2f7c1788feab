"""Darknet's `.weights`: a header and then, convolution by convolution, float32 numbers, one after another.

    major, minor, revision: int32; seen: uint64 from version 0.2 on, int32 before
    per [convolutional] and [connected]: biases; where it is normalised, scales, rolling_mean, rolling_variance; weights

Nothing in the file says what is in it: the network's `.cfg` does.  A file that ends behind one of the convolutions, as
that of a backbone, holds those before it.

Written from: the public description of the format in darknet's documentation (pjreddie.com/darknet), and the files
themselves.
"""
import os
import struct
from math import prod
from typing import NamedTuple

import numpy as np

from ....errors import CheckpointError, message
from ....io.storage import Mapped, Storage, packed
from ....io.weights import Weights, reading

VERSION = 0, 2, 5                  # what is written
MOST = 1000                        # of version numbers that are believed
NORMED = "scales", "rolling_mean", "rolling_variance"


class Header(NamedTuple):
    """What a file begins with. `seen`: the images that the network was trained on."""

    major: int = VERSION[0]
    minor: int = VERSION[1]
    revision: int = VERSION[2]
    seen: int = 0

    @property
    def format(self):
        """Of `struct`: `seen` has 64 bits from version 0.2 on."""
        return "<iiiQ" if self.major * 10 + self.minor >= 2 else "<iiii"


def contents(plan):
    """{name: shape} of a network's numbers in the order of the file; conv.0.weights, counted over [convolutional]."""
    found: dict = {}
    counts = dict.fromkeys(PREFIXES, 0)
    for layer in plan.layers:
        if layer.kind not in PREFIXES:
            continue
        name, o = f"{PREFIXES[layer.kind]}.{counts[layer.kind]}", layer.options
        counts[layer.kind] += 1
        outputs, inputs = layer.shape[0], layer.before[0]
        found[f"{name}.biases"] = (outputs,)
        if layer.kind == "convolutional":
            found.update({f"{name}.{part}": (outputs,) for part in NORMED if o["batch_normalize"]})
            found[f"{name}.weights"] = outputs, inputs[0] // o["groups"], o["size"], o["size"]
        else:
            found[f"{name}.weights"] = outputs, prod(inputs)
    return found


PREFIXES = {"convolutional": "conv", "connected": "connected"}


def is_weights(path):
    """Does a file begin as darknet's do? (No other format has four bytes of 0 and a small number first.)"""
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return False
    major, minor = struct.unpack_from("<ii", head) if len(head) == 16 else (-1, -1)
    return major in (0, 1) and 0 < minor + major < MOST


def read_weights(path, plan):
    """The numbers of a file by name, over the mapped file: none is read before it is asked for.

    Args:
        path: of a .weights file.
        plan: the `Plan` of its .cfg.

    Returns:
        (`Weights`: {"conv.0.weights": (O, I, R, S), "conv.0.biases": (O), ...}, Header).

    Raises:
        CheckpointError: the file cannot be read, its header is none, or it ends amid a convolution or behind the last.
    """
    with reading("darknet", path), Mapped(path) as file:
        header = _header(file)
        at, end = struct.calcsize(header.format), len(file)
        views, owner = {}, ""
        for name, shape in contents(plan).items():
            if name.rpartition(".")[0] != owner and at == end:
                break                                  # (the layers before this one are whole)
            owner, size = name.rpartition(".")[0], 4 * prod(shape)
            if at + size > end:
                raise _wrong_length(path, plan, f"{end} bytes: it ends in {name}")
            views[name] = file, packed(Storage(np.dtype("<f4"), size, file.data[at:at + size], name=name), shape)
            at += size
        if at != end:
            raise _wrong_length(path, plan, f"{end} bytes: {end - at} more")
        return Weights(path, views), header


def plan_of(path, plan):
    """The plan, but for as many classes as the length of a .weights file says, where it fits that of any number."""
    if not plan.heads:
        return plan
    with reading("darknet", path), Mapped(path) as file:
        length = len(file) - struct.calcsize(_header(file).format)
    one, two = (_bytes(plan.with_classes(n)) for n in (1, 2))
    more, rest = divmod(length - one, two - one)
    return plan if rest or more < 0 else plan.with_classes(1 + more)


def _bytes(plan):
    return 4 * sum(map(prod, contents(plan).values()))


def _header(file):
    words = struct.unpack_from("<iii", file.data) if len(file) >= 16 else (-1, -1, -1)
    header = Header(*words)
    if not all(0 <= word < MOST for word in words) or len(file) < struct.calcsize(header.format):
        raise ValueError("no header of darknet's")
    return Header(*struct.unpack_from(header.format, file.data))


def _wrong_length(path, plan, got):
    total = struct.calcsize(Header().format) + _bytes(plan)
    return CheckpointError(message("darknet", "path", f"{total} bytes in {path}, or fewer that end behind a layer", got,
                                   "Is it the file of this .cfg?"))


def write_weights(arrays, path, plan, header=Header()):
    """Write a file; `read_weights` gives the same numbers back.

    Args:
        arrays: {name: array}, at least of the names of `contents`.
        path: of the .weights file.
        plan: the `Plan` of its .cfg.
        header: its version and `seen`.

    Raises:
        CheckpointError: an array is not there or of another shape; the file cannot be written.
    """
    wrong = [name for name, shape in contents(plan).items() if name not in arrays or np.shape(arrays[name]) != shape]
    if wrong:
        raise CheckpointError(message("darknet", "arrays", "those of the network", f"none that fit {', '.join(wrong)}"))
    new = f"{path}.new"                                # (whoever reads `path` finds all of it or what was there)
    with reading("darknet", path):
        with open(new, "wb") as file:
            file.write(struct.pack(header.format, *header))
            for name in contents(plan):
                np.ascontiguousarray(arrays[name], "<f4").tofile(file)
        os.replace(new, path)
