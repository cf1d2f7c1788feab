"""Datasets: anything with a length and items by number; and the few ways to make one of others."""
from bisect import bisect_right
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .. import backend
from ..backend import random
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor


@runtime_checkable
class Dataset(Protocol):
    """Items by number: what a DataLoader takes. Any class with these two methods is one."""

    def __len__(self) -> int:
        """How many items."""

    def __getitem__(self, index) -> Any:
        """Item `index`, 0 <= index < len(self)."""


class ArrayDataset:
    """Arrays whose rows belong together: item i is the tuple of their rows i.

    Args:
        *arrays (N, ...): arrays or Tensors, brought to the host; at least one.
        classes: the names of the labels, kept as an attribute.

    Raises:
        ShapeError: the arrays have different lengths, or none.
    """

    def __init__(self, *arrays, classes=()):
        self.arrays = tuple([to_array(array) for array in arrays])
        self.classes = tuple(classes)
        lengths = {array.shape[:1] for array in self.arrays}
        if len(lengths) != 1 or () in lengths:
            shapes = ", ".join(str(array.shape) for array in self.arrays) or "none"
            raise ShapeError(message("ArrayDataset", "arrays", "arrays of one length", shapes))

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple([array[index] for array in self.arrays])


TensorDataset = ArrayDataset                           # PyTorch's name


def to_array(value):
    """An array, Tensor or nested list of numbers as a NumPy array on the host."""
    value = value.data if isinstance(value, Tensor) else value
    return backend.to_host(value) if backend.is_array(value) else np.asarray(value)


class Subset:
    """Some items of a dataset, in the order of `indices`.

    Args:
        dataset: of N items.
        indices: integers in [0, N).
    """

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]


class ConcatDataset:
    """The items of several datasets, one after the other."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        self.ends = list(accumulate(map(len, self.datasets)))

    def __len__(self):
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        which = bisect_right(self.ends, index)
        return self.datasets[which][index - self.ends[which] + len(self.datasets[which])]


def random_split(dataset, lengths, seed=0):
    """Deal the items of a dataset out at random.

    Args:
        dataset: of N items.
        lengths: integers that sum to N; or fractions that sum to 1, of which every item is in one part.
        seed: integer; the same seed deals the same way.

    Returns:
        list of Subsets.

    Raises:
        ArgumentError: the lengths sum to something else, or one is negative.
    """
    n, lengths = len(dataset), list(lengths)
    fractions = any(isinstance(length, float) for length in lengths)
    if not lengths or min(lengths) < 0 or abs(sum(lengths) - (1 if fractions else n)) > 1e-9:
        expected = f"lengths >= 0 that sum to {n}, or fractions that sum to 1"
        raise ArgumentError(message("random_split", "lengths", expected, lengths))
    ends = [round(n * end) if fractions else end for end in accumulate(lengths)]
    order = random.permutation(np, random.key(seed), n).tolist()
    return [Subset(dataset, order[start:end]) for start, end in zip([0, *ends], ends)]
