"""Initialisers: what parameters hold before training.

Each comes in two forms.  `normal(std=0.02)` gives a function that a new parameter is made with, as in
`Parameter(init.normal(std=0.02), 10, 5)`; `normal_(tensor, std=0.02)` fills a tensor that is there, and gives
it back.  Random numbers come from `generator` (minidl.backend.random), or else from the default one, which
`ml.seed` sets; each call takes one key from it.
"""
import math
from functools import wraps

from .. import backend
from ..backend import random
from ..errors import ArgumentError, ShapeError, message, number
from ..tensor import Tensor
from .parameter import is_placeholder

__all__ = ["calculate_gain", "constant", "constant_", "eye", "eye_", "fans", "kaiming_normal", "kaiming_normal_",
           "kaiming_uniform", "kaiming_uniform_", "normal", "normal_", "ones", "ones_", "orthogonal", "orthogonal_",
           "trunc_normal", "trunc_normal_", "uniform", "uniform_", "xavier_normal", "xavier_normal_",
           "xavier_uniform", "xavier_uniform_", "zeros", "zeros_"]


def _filling(make):
    """The form of an initialiser that fills a tensor."""
    @wraps(make)
    def fill(tensor, *args, **keywords):
        if not isinstance(tensor, Tensor):
            raise ArgumentError(message(f"{make.__name__}_", "tensor", "a Tensor", type(tensor).__name__))
        if not is_placeholder(tensor.data):
            draw = make(*args, **keywords)
            tensor.assign(draw(backend.namespace(tensor.data), tensor.shape, tensor.dtype))
        return tensor

    fill.__name__ = fill.__qualname__ = f"{make.__name__}_"
    del fill.__wrapped__                               # (its signature would hide `tensor`)
    return fill


def _key(generator):
    return (generator or random.default()).next_key()


# -- plain ------------------------------------------------------------------------

def constant(value):
    """Every element is `value`."""
    number("constant", "value", value)
    return lambda xp, shape, dtype: xp.full(shape, value, dtype)


def zeros():
    """Every element is 0."""
    return constant(0)


def ones():
    """Every element is 1."""
    return constant(1)


def eye():
    """1 on the diagonal, 0 elsewhere; two axes.

    Raises:
        ShapeError: another number of axes.
    """
    def draw(xp, shape, dtype):
        _matrix("eye", shape, exactly=True)
        return xp.eye(*shape, dtype=dtype)

    return draw


def uniform(a=0.0, b=1.0, generator=None):
    """Uniform in [a, b)."""
    if a == b:
        return constant(a)
    return lambda xp, shape, dtype: random.uniform(xp, _key(generator), shape, a, b, dtype)


def normal(mean=0.0, std=1.0, generator=None):
    """Normal, of this mean and standard deviation."""
    number("normal", "std", std, 0)

    def draw(xp, shape, dtype):
        x = random.normal(xp, _key(generator), shape, dtype)
        x *= std
        x += mean
        return x

    return draw


def trunc_normal(mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Normal, of this mean and standard deviation, under the condition that it lies in [a, b]."""
    def draw(xp, shape, dtype):
        x = random.truncated_normal(xp, _key(generator), shape, (a - mean) / std, (b - mean) / std, dtype)
        x *= std
        x += mean
        return x

    return draw


# -- by the number of inputs and outputs -----------------------------------------------

def calculate_gain(nonlinearity, param=None):
    """How much larger weights must be so that the variance survives a nonlinearity.

    Args:
        nonlinearity: linear, sigmoid, tanh, relu, leaky_relu, selu; or a convolution's name, which is as linear.
        param: the negative slope of leaky_relu, 0.01 unless given.

    Raises:
        ArgumentError: none of these.

    Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, eq. 10, 14 and section 2.2.
    """
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75,
             "leaky_relu": math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2)),
             **{f"conv{t}{n}d": 1.0 for t in ("", "_transpose") for n in (1, 2, 3)}}
    if nonlinearity not in gains:
        expected = f"one of {', '.join(gains)}"
        raise ArgumentError(message("calculate_gain", "nonlinearity", expected, repr(nonlinearity)))
    return gains[nonlinearity]


def fans(op, shape):
    """(inputs of one output, outputs of one input) of weights (out, in, *kernel).

    Raises:
        ShapeError: fewer than two axes.
    """
    _matrix(op, shape)
    area = math.prod(shape[2:])
    return shape[1] * area, shape[0] * area


def _matrix(op, shape, exactly=False):
    if len(shape) < 2 or exactly and len(shape) > 2:
        raise ShapeError(message(op, "shape", f"{'' if exactly else 'at least '}2 axes", tuple(shape)))


def xavier_uniform(gain=1.0, generator=None):
    """Uniform in +-gain sqrt(6 / (inputs + outputs)).

    Raises:
        ShapeError: fewer than two axes.

    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    eq. 16.
    """
    def draw(xp, shape, dtype):
        bound = gain * math.sqrt(6 / max(sum(fans("xavier_uniform", shape)), 1))
        return uniform(-bound, bound, generator)(xp, shape, dtype)

    return draw


def xavier_normal(gain=1.0, generator=None):
    """Normal of standard deviation gain sqrt(2 / (inputs + outputs)).

    Raises:
        ShapeError: fewer than two axes.

    Source: Glorot, Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
    eq. 12.
    """
    def draw(xp, shape, dtype):
        std = gain * math.sqrt(2 / max(sum(fans("xavier_normal", shape)), 1))
        return normal(0.0, std, generator)(xp, shape, dtype)

    return draw


def _kaiming_std(op, shape, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(message(op, "mode", "fan_in or fan_out", repr(mode)))
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fans(op, shape)[mode == "fan_out"], 1))


def kaiming_uniform(a=0.0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Uniform in +-gain sqrt(3 / fan).

    Args:
        a: the negative slope of leaky_relu.
        mode: fan_in keeps the variance of activations, fan_out that of gradients.
        nonlinearity: what follows; see `calculate_gain`.

    Raises:
        ShapeError: fewer than two axes.
        ArgumentError: no such mode or nonlinearity.

    Source: He et al. 2015, "Delving Deep into Rectifiers", arXiv:1502.01852, eq. 10 and 14.
    """
    def draw(xp, shape, dtype):
        bound = math.sqrt(3) * _kaiming_std("kaiming_uniform", shape, a, mode, nonlinearity)
        return uniform(-bound, bound, generator)(xp, shape, dtype)

    return draw


def kaiming_normal(a=0.0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Normal of standard deviation gain / sqrt(fan); arguments, errors and source as of `kaiming_uniform`."""
    def draw(xp, shape, dtype):
        std = _kaiming_std("kaiming_normal", shape, a, mode, nonlinearity)
        return normal(0.0, std, generator)(xp, shape, dtype)

    return draw


def orthogonal(gain=1.0, generator=None):
    """A random matrix whose rows, or columns where there are fewer, are orthogonal and of length `gain`.

    More axes than two: all but the first are taken together.

    Raises:
        ShapeError: fewer than two axes.

    Source: Saxe et al. 2013, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", arXiv:1312.6120; uniform among all such matrices by Mezzadri 2007, arXiv:math-ph/0609050, section 5.
    """
    def draw(xp, shape, dtype):
        _matrix("orthogonal", shape)
        rows, columns = shape[0], math.prod(shape[1:])
        x = random.normal(xp, _key(generator), (max(rows, columns), min(rows, columns)), "float64")
        q, r = xp.linalg.qr(x)
        q *= xp.sign(xp.diagonal(r)) * gain
        return xp.ascontiguousarray(q if rows >= columns else q.T).reshape(shape).astype(dtype)

    return draw


constant_, zeros_, ones_, eye_ = map(_filling, (constant, zeros, ones, eye))
uniform_, normal_, trunc_normal_ = map(_filling, (uniform, normal, trunc_normal))
xavier_uniform_, xavier_normal_ = map(_filling, (xavier_uniform, xavier_normal))
kaiming_uniform_, kaiming_normal_, orthogonal_ = map(_filling, (kaiming_uniform, kaiming_normal, orthogonal))
