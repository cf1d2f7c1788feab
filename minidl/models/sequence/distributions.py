"""Distributions that networks forecast: any numbers as parameters, likelihood, samples.

Source: Salinas et al. 2017, "DeepAR", arXiv:1704.04110, section 3.1; the parameters' ranges: GluonTS (Alexandrov et al.
2019, arXiv:1906.05264).

A network sees a series less its place `loc`, over its `scale`, (N, 1) each, and gives `raw` numbers per step, which
`domain` takes to where the parameters live. `log_prob` and `draw` are about the series as it is.
"""
import math

import numpy as np

from ... import ops
from ...backend import random


def squareplus(x):
    """A smooth max(x, 0). Source: Barron 2021, arXiv:2112.11687, eq. 1."""
    return (x + ops.sqrt(x * x + 4.0)) / 2.0


def _positive(x):
    return ops.maximum(squareplus(x), float(np.finfo(np.float32).eps))


def _generator(key):
    """NumPy's generator, for distributions that minidl has no bits for."""
    return np.random.Generator(np.random.Philox(key=random.bits(np, key, 1)[0]))


class Distribution:
    """Base: of a scaled series, brought back by its place and scale."""

    raw: int
    whole = False                                      # are samples whole numbers from 0 on?

    @classmethod
    def placed(cls, scale, *params):
        """The parameters as an output gives them: here those of the scaled series."""
        return params

    @classmethod
    def log_prob(cls, y, loc, scale, *params):
        """Of y (N, H), element by element."""
        return cls.standard((y - loc) / scale, *params) - ops.log(scale)

    @classmethod
    def draw(cls, key, loc, scale, *params):
        """A sample each (N, H); all are arrays."""
        return (cls.sample(key, *params) * scale + loc).astype(np.float32)


class StudentT(Distribution):
    """Heavy tails. Parameters: degrees of freedom, place, scale."""

    raw = 3

    @staticmethod
    def domain(df, loc, scale):
        """Any numbers as parameters."""
        return 2.0 + squareplus(df), loc, _positive(scale)

    @staticmethod
    def standard(y, df, loc, scale):
        """Logarithm of the density of y."""
        z = (y - loc) / scale
        norm = ops.log(scale) + 0.5 * ops.log(df) + 0.5 * math.log(math.pi) + ops.lgamma(0.5 * df) - ops.lgamma(
            0.5 * (df + 1.0))
        return -0.5 * (df + 1.0) * ops.log1p(z * z / df) - norm

    @staticmethod
    def sample(key, df, loc, scale):
        """Arrays."""
        return loc + scale * _generator(key).standard_t(df)


class Normal(Distribution):
    """Parameters: place, scale."""

    raw = 2

    @staticmethod
    def domain(loc, scale):
        """Any numbers as parameters."""
        return loc, _positive(scale)

    @staticmethod
    def standard(y, loc, scale):
        """Logarithm of the density of y."""
        z = (y - loc) / scale
        return -0.5 * z * z - ops.log(scale) - 0.5 * math.log(2 * math.pi)

    @staticmethod
    def sample(key, loc, scale):
        """Arrays."""
        return loc + scale * random.normal(np, key, loc.shape)


class NegativeBinomial(Distribution):
    """Counts, with a variance above their mean: how many successes before n failures. Parameters: n, log odds.

    Counts stay whole: it is not they that are scaled, but the odds (as a gamma distribution's mean is).
    """

    raw = 2
    whole = True

    @staticmethod
    def domain(total, logits):
        """Any numbers as parameters."""
        return squareplus(total), logits

    @classmethod
    def placed(cls, scale, total, logits):
        """Of the counts themselves."""
        return total, logits + ops.log(scale)

    @classmethod
    def log_prob(cls, y, loc, scale, total, logits):
        """Of counts y (N, H), element by element, of parameters that are `placed`."""
        ways = ops.lgamma(y + total) - ops.lgamma(y + 1.0) - ops.lgamma(total)
        return ways - total * ops.softplus(logits) - y * ops.softplus(-logits)

    @classmethod
    def draw(cls, key, loc, scale, total, logits):
        """A sample each (N, H), of parameters that are `placed`; all are arrays."""
        generator = _generator(key)
        mean = generator.standard_gamma(total) * np.exp(np.minimum(logits, 30.0).astype(np.float64))
        return generator.poisson(np.minimum(mean, 1e15)).astype(np.float32)


DISTRIBUTIONS = {"student_t": StudentT, "normal": Normal, "negative_binomial": NegativeBinomial}
