"""Random numbers (being written)."""
from contextlib import contextmanager


class _Generator:
    def state(self):
        return {}


def default():
    return _Generator()


@contextmanager
def at(state):
    yield


def key(seed):
    return seed
