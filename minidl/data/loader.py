"""DataLoader: batches of a dataset, the same at any number of workers, from any point of any epoch."""
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from numbers import Integral, Real
from operator import length_hint
from typing import Any

from ..backend.random import fold_in
from ..errors import ArgumentError, CheckpointError, fields, message
from .collate import default_collate
from .samplers import BatchSampler, RandomSampler, SequentialSampler, epoch_key, set_epoch
from .workers import Pool


@dataclass(frozen=True)
class _Fetch:
    """How a batch is made, here or in a worker."""

    dataset: Any
    transform: Callable | None
    collate_fn: Callable
    seed: int

    def __call__(self, argument, note):
        epoch, indices = argument
        key, items = epoch_key(self.seed, epoch), []
        for index in indices:
            note(f"item {index}")
            item = self.dataset[index]
            items.append(item if self.transform is None else self.transform(item, fold_in(key, index)))
        note(f"the batch of items {indices[:20]}")
        return self.collate_fn(items)


class DataLoader:
    """Iterate for an epoch of batches; each iteration is the next epoch.

    Which items a batch has, and what a transform makes of them, depends on the seed, the epoch and the items'
    indices alone: not on the number of workers, nor on whether the epoch was resumed.

        dataset[index] -> transform(item, key) -> collate_fn(items) -> batch

    Args:
        dataset: with `len` and items by number.
        batch_size: items in a batch, > 0.
        shuffle: a new order each epoch, or the dataset's own?
        sampler: an iterable of indices, instead of shuffle; its `set_epoch` is called where it has one.
        batch_sampler: an iterable of lists of indices, instead of batch_size, shuffle, sampler, drop_last.
        num_workers: processes that make batches ahead; 0: this process makes them when they are asked for.
            What they need (dataset, transform, collate_fn) is pickled; arrays go through shared memory.
        collate_fn: of a list of items; makes the batch.
        drop_last: leave out a last batch that is shorter?
        seed: integer in [0, 2**64), of the order and of the transforms' keys.
        timeout: seconds to wait for a batch of a worker; 0: for ever.
        prefetch_factor: batches that each worker may be ahead, in [1, 100].
        persistent_workers: keep the workers from a completed epoch for the next? They do not see what is
            changed in the dataset in between.
        transform: of an item and a `minidl.backend.random.Key`, from which it draws all its random numbers.

    Raises:
        ArgumentError: an argument is out of its range, or two exclude each other.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, sampler=None, batch_sampler=None, num_workers=0,
                 collate_fn=None, drop_last=False, seed=0, timeout=0, prefetch_factor=2,
                 persistent_workers=False, transform=None):
        if not hasattr(dataset, "__getitem__") or sampler is batch_sampler is None and not hasattr(dataset, "__len__"):
            raise _wrong("dataset", "items by number, and a length where no sampler is given", repr(dataset)[:60])
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise _wrong("batch_sampler", "no batch_size, shuffle, sampler or drop_last beside it", "one")
        if sampler is not None and shuffle:
            raise _wrong("sampler", "no shuffle beside it", "both")
        if not isinstance(num_workers, Integral) or num_workers < 0:
            raise _wrong("num_workers", "an integer >= 0", repr(num_workers))
        if not isinstance(prefetch_factor, Integral) or not 1 <= prefetch_factor <= 100:
            # (hundreds of messages would fill a socket)
            raise _wrong("prefetch_factor", "an integer in [1, 100]", repr(prefetch_factor))
        if not isinstance(timeout, Real) or not timeout >= 0:
            raise _wrong("timeout", "seconds >= 0", repr(timeout))
        if sampler is None:
            sampler = RandomSampler(dataset, seed) if shuffle else SequentialSampler(dataset)
        if batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset, self.batch_sampler, self.seed = dataset, batch_sampler, seed
        self.collate_fn, self.transform = collate_fn or default_collate, transform
        self.num_workers, self.timeout, self.prefetch_factor = num_workers, timeout, prefetch_factor
        self.persistent_workers, self._pool = persistent_workers, None
        self.epoch = self.batches = 0                  # the epoch that is on or next, and batches given of it
        self._resumed = False

    def __len__(self):
        """Batches in an epoch."""
        return len(self.batch_sampler)

    def __iter__(self):
        """The batches of the next epoch, or of what is left of a resumed one.

        Raises:
            WorkerError: a worker died, was slower than the timeout, or an item raised an error in it; the
                message names the worker, its process, the item, and the signal or the error's traceback.
        """
        if self.batches and not self._resumed:         # the epoch before was left early
            self.epoch, self.batches = self.epoch + 1, 0
        self._resumed = False
        epoch, start = self.epoch, self.batches
        set_epoch(self.batch_sampler, epoch)
        arguments = ((epoch, list(indices)) for indices in islice(self.batch_sampler, start, None))
        with self._fetching() as batches_of:
            for given, batch in enumerate(batches_of(arguments), start + 1):
                self.epoch, self.batches = epoch, given
                yield batch
        self.epoch, self.batches = epoch + 1, 0

    @contextmanager
    def _fetching(self):
        """What maps (epoch, indices) to batches; workers are stopped at the end, unless they persist."""
        fetch = _Fetch(self.dataset, self.transform, self.collate_fn, self.seed)
        if not self.num_workers:
            yield lambda arguments: (fetch(argument, lambda text: None) for argument in arguments)
            return
        pool = self._pool or Pool(fetch, self.num_workers, self.timeout, self.prefetch_factor)
        self._pool = None                              # (an iteration beside this one takes its own)
        try:
            yield pool.map
            self._pool = pool if self.persistent_workers else None
        finally:
            if self._pool is not pool:                 # (as after an error or a break: work is under way)
                pool.close()

    def state_dict(self):
        """Where the iteration stands: {"epoch", "batches" given of it, "seed"}, integers."""
        return {"epoch": self.epoch, "batches": self.batches, "seed": self.seed}

    def load_state_dict(self, state):
        """Let the next iteration go on from where `state_dict()` was called.

        Raises:
            CheckpointError: `state` is not of that form, or of another seed, or beyond the end of an epoch.
        """
        limits = {"epoch": (0, 2**64 - 1), "batches": (0, length_hint(self.batch_sampler, 2**63 - 1)),
                  "seed": (self.seed, self.seed)}
        fields("DataLoader", state, *limits)
        if state.keys() != limits.keys():
            raise CheckpointError(message("DataLoader", "state", f"the keys {list(limits)}", list(state)))
        for name, (least, most) in limits.items():
            if not isinstance(state[name], Integral) or not least <= state[name] <= most:
                expected = f"an integer in [{least}, {most}]"
                raise CheckpointError(message("DataLoader", f"state[{name!r}]", expected, state[name],
                                              "Had the loader other arguments?"))
        self.epoch, self.batches, self._resumed = state["epoch"], state["batches"], True


def _wrong(argument, expected, got):
    return ArgumentError(message("DataLoader", argument, expected, got))
