"""Samplers: in which order a dataset's items come. It depends on the seed and the epoch's number alone."""
from numbers import Integral

import numpy as np

from ..backend import random
from ..errors import ArgumentError, message
from .datasets import to_array


def epoch_key(seed, epoch):
    """The Key from which all randomness of an epoch comes: its order, and by index that of each item."""
    return random.fold_in(random.key(seed), epoch)


class Sampler:
    """An order of indices for each epoch: iterate to get that of `epoch`.

    A DataLoader calls `set_epoch` where a sampler has it, so that any iterable of indices will do as well;
    but only one that gives the same indices again can be resumed in the middle of an epoch.
    """

    epoch = 0

    def set_epoch(self, epoch):
        """Which epoch's order the next iteration gives, an integer from 0."""
        self.epoch = epoch


class SequentialSampler(Sampler):
    """0, 1, 2, ..., the same in each epoch."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(Sampler):
    """Each index once, in an order of its own for each epoch.

    Args:
        data_source: whose length counts.
        seed: integer in [0, 2**64).
    """

    def __init__(self, data_source, seed=0):
        self.data_source, self.seed = data_source, seed

    def __iter__(self):
        return iter(random.permutation(np, epoch_key(self.seed, self.epoch), len(self.data_source)).tolist())

    def __len__(self):
        return len(self.data_source)


class WeightedRandomSampler(Sampler):
    """Indices drawn with probabilities in proportion to weights.

    Args:
        weights (N): not negative, in any unit.
        num_samples: how many indices an epoch has.
        replacement: may an index come twice in an epoch?
        seed: integer in [0, 2**64).

    Raises:
        ArgumentError: the weights are not like that; or, without replacement, too few are positive.

    Source: without replacement, Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir",
    algorithm A.
    """

    def __init__(self, weights, num_samples, replacement=True, seed=0):
        self.weights, self.num_samples = to_array(weights).astype(np.float64), num_samples
        self.replacement, self.seed = replacement, seed
        positive, valid = np.count_nonzero(self.weights), np.isfinite(self.weights) & (self.weights >= 0)
        if self.weights.ndim != 1 or not valid.all() or not positive:
            expected = "finite numbers (N), none below 0, one above"
            raise ArgumentError(message("WeightedRandomSampler", "weights", expected, weights))
        most = 2**63 if replacement else positive
        if not 0 <= num_samples <= most:
            expected = f"an integer in [0, {most}], which is how many can be drawn"
            raise ArgumentError(message("WeightedRandomSampler", "num_samples", expected, num_samples))

    def __iter__(self):
        key = epoch_key(self.seed, self.epoch)
        if self.replacement:
            ends = np.cumsum(self.weights)
            draws = random.uniform(np, key, self.num_samples, dtype="float64") * ends[-1]
            return iter(np.searchsorted(ends, draws, side="right").tolist())
        times = random.exponential(np, key, len(self.weights), dtype="float64")    # = -log u
        with np.errstate(divide="ignore"):
            arrivals = times / self.weights            # weight 0: never
        return iter(np.argsort(arrivals, kind="stable")[:self.num_samples].tolist())

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of `batch_size` indices, from a sampler's.

    Args:
        sampler: any iterable of indices.
        batch_size: of each list, > 0.
        drop_last: leave a shorter last list out.

    Raises:
        ArgumentError: batch_size is not a positive integer.
    """

    def __init__(self, sampler, batch_size, drop_last=False):
        if not isinstance(batch_size, Integral) or batch_size < 1:
            raise ArgumentError(message("BatchSampler", "batch_size", "an integer > 0", repr(batch_size)))
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def set_epoch(self, epoch):
        """Passed on to the sampler, where it wants to know."""
        set_epoch(self.sampler, epoch)

    def __iter__(self):
        batch = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self):
        return (len(self.sampler) + (0 if self.drop_last else self.batch_size - 1)) // self.batch_size


def set_epoch(sampler, epoch):
    """Tell any iterable of indices the epoch, where it wants to know."""
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
