"""Example calls of ops: `@op.samples` generators yield them; checks and benches use them.

A sample is a tuple of the inputs (arrays, None, or for a sequence a list of
arrays) and then the parameters in order; a last dict holds parameters by name.
"""
import numpy as np

from ..backend import random


class Make:
    """Makes sample arrays: float64, seeded, and kept off kinks and poles."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape):
        """Standard normal."""
        return np.asarray(self.rng.standard_normal(shape))

    def positive(self, *shape):
        """Uniform in [0.5, 2)."""
        return np.asarray(self.rng.uniform(0.5, 2.0, shape))

    def unit(self, *shape):
        """Uniform in [0.05, 0.95): probabilities."""
        return np.asarray(self.rng.uniform(0.05, 0.95, shape))

    def distinct(self, *shape):
        """No two elements nearer than 1/4, and none nearer than 1/8 to 0."""
        n = int(np.prod(shape))
        return (self.rng.permutation(n) - n // 2).reshape(shape) / 4.0 + 0.125

    def integers(self, high, *shape):
        """Uniform int64 in [0, high)."""
        return np.asarray(self.rng.integers(0, high, shape))

    def bools(self, *shape):
        """Fair coins."""
        return np.asarray(self.rng.random(shape) < 0.5)

    def key(self, number=0):
        """A random key."""
        return random.key(number)


def samples(op):
    """[(inputs, parameters by name)] of an op. The arrays are read-only: checks leave nothing behind."""
    assert op.sampler, f"op {op.name!r} has no samples: add `@{op.name}.samples`"
    found = []
    for sample in op.sampler(Make()):
        named = sample[-1] if isinstance(sample[-1], dict) else {}
        sample = sample[:-1] if isinstance(sample[-1], dict) else sample
        n = len(op.inputs)
        inputs = (*sample[:n], *[None] * (n - len(sample)))
        found.append((mapped(frozen, inputs), {**dict(zip(op.params, sample[n:])), **named}))
    assert found, f"op {op.name!r}: its samples yield nothing"
    return found


def frozen(array):
    """The array, for reading only: who writes to it fails."""
    array = np.asarray(array).view()
    array.flags.writeable = False
    return array


def mapped(function, inputs):
    """`function` of every array among the inputs; None stays."""
    return [i if i is None else [function(a) for a in i] if isinstance(i, (list, tuple)) else function(i)
            for i in inputs]


def flat(inputs):
    """The arrays among the inputs."""
    return [a for i in inputs if i is not None for a in (i if isinstance(i, (list, tuple)) else [i])]


def outputs(result):
    """A tuple of an op's outputs."""
    return result if isinstance(result, tuple) else (result,)
