"""Datasets and functions for the tests of the loader: a module of their own, as workers must import them."""
import ctypes
import gc
import os
import signal
import sys
import time

import numpy as np

from minidl.backend import random
from minidl.data import DataLoader, default_collate


def holdings():
    """How many descriptors this process has open, and the shared memory that bears its number."""
    gc.collect()
    names = [name for name in os.listdir("/dev/shm") if f"-{os.getpid()}-" in name]
    return len(os.listdir("/proc/self/fd")), names


class Squares:
    """n items, each (the square of its number, an image, a dict)."""

    def __init__(self, n):
        self.images = np.arange(n * 12, dtype="float32").reshape(n, 3, 4)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return index * index, self.images[index], {"name": f"item {index}", "half": index / 2}


def jitter(item, key):
    """An augmentation: numbers from the key alone."""
    square, image, names = item
    return square, image + random.uniform(np, key, image.shape), names


def strings(items):
    """A collate_fn whose batch has no arrays."""
    return ["".join(str(item[0]) for item in items)] * 1000


class Numbers:
    """n numbers; item `at` meets with a fault before."""

    def __init__(self, n, at=-1, fault=None):
        self.n, self.at, self.fault = n, at, fault

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.at:
            self.fault()
        return index


class Pids(Numbers):
    """Each item is the process that made it."""

    def __getitem__(self, index):
        super().__getitem__(index)
        return os.getpid()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def segfault():
    ctypes.string_at(0)


def leave():
    os._exit(3)


def fail():
    raise ZeroDivisionError("as asked")


def hang():
    while True:
        pass


def doze():
    time.sleep(60)


class KillsItsNeighbour(Numbers):
    """The worker of the even items sleeps; that of the odd ones dies."""

    def __getitem__(self, index):
        kill() if index % 2 else doze()


class Unpicklable(Numbers):
    """Can be sent, but not received."""

    def __reduce__(self):
        return fail, ()


def batch_that_cannot_be_sent(items):
    return lambda: items


def collate_and_fail(items):
    fail()


def default_dtype_of_batch(items):
    return default_collate([0.5] * len(items)).dtype.name


if __name__ == "__main__":                             # print the workers' pids, then wait within an epoch
    dataset = Pids(100, at=50, fault={"hang": hang, "doze": doze}[sys.argv[1]])
    batches = iter(DataLoader(dataset, num_workers=2))
    print(*{next(batches).item() for _ in range(10)}, flush=True)
    for _ in batches:
        pass


def increment(item, key):
    """A transform that writes into the item that it is given."""
    item[0][...] += 1
    return item
