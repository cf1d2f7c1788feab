"""Activations. The maths, with sources, stands at the ops of the same names.

All map x (*) to (*) unless they say otherwise.  `inplace`, where PyTorch has it, is accepted and changes nothing:
tensors are values.
"""
from .. import ops
from .init import constant
from .module import Module
from .parameter import Parameter


class ReLU(Module):
    """max(x, 0)."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.relu(x)


class ReLU6(Module):
    """x between 0 and 6."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.relu6(x)


class LeakyReLU(Module):
    """x, times `negative_slope` below 0."""

    def __init__(self, negative_slope=0.01, inplace=False):
        self.negative_slope = negative_slope

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.leaky_relu(x, self.negative_slope)


class PReLU(Module):
    """x, times a learnt slope below 0.

    Args:
        num_parameters: how many slopes: one, or one per channel.
        init: the slopes before training.

    Parameters: weight (num_parameters).
    """

    def __init__(self, num_parameters=1, init=0.25):
        self.weight = Parameter(constant(init), num_parameters)

    def forward(self, x):
        """x (N, C, *) -> (N, C, *)."""
        return ops.prelu(x, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.weight.size}"    # (an attribute of this name would hide the method)


class ELU(Module):
    """x, but alpha (exp(x) - 1) below 0."""

    def __init__(self, alpha=1.0, inplace=False):
        self.alpha = alpha

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.elu(x, self.alpha)


class CELU(Module):
    """x, but alpha (exp(x / alpha) - 1) below 0."""

    def __init__(self, alpha=1.0, inplace=False):
        self.alpha = alpha

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.celu(x, self.alpha)


class SELU(Module):
    """An ELU, scaled so that activations keep mean 0 and variance 1."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.selu(x)


class GELU(Module):
    """x times the normal distribution function at x; `approximate` is "none" or "tanh"."""

    def __init__(self, approximate="none"):
        self.approximate = approximate

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.gelu(x, self.approximate)


class SiLU(Module):
    """x sigmoid(x), also called swish."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.silu(x)


class Mish(Module):
    """x tanh(softplus(x))."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.mish(x)


class Hardswish(Module):
    """x hardsigmoid(x)."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.hardswish(x)


class Hardsigmoid(Module):
    """x / 6 + 1 / 2, between 0 and 1."""

    def __init__(self, inplace=False):
        pass

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.hardsigmoid(x)


class Hardtanh(Module):
    """x between `min_val` and `max_val`."""

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.hardtanh(x, self.min_val, self.max_val)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.sigmoid(x)


class LogSigmoid(Module):
    """The logarithm of the sigmoid."""

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.logsigmoid(x)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta; x itself where beta x is over `threshold`."""

    def __init__(self, beta=1.0, threshold=20.0):
        self.beta, self.threshold = beta, threshold

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.softplus(x, self.beta, self.threshold)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.softsign(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.tanh(x)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.tanhshrink(x)


class GLU(Module):
    """The first half of axis `dim` times the sigmoid of the second."""

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, x):
        """x (*, 2D, *) -> (*, D, *)."""
        return ops.glu(x, self.dim)


class Softmax(Module):
    """exp(x) scaled to sum 1 over axis `dim`."""

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.softmax(x, self.dim)


class LogSoftmax(Module):
    """The logarithm of the softmax over axis `dim`."""

    def __init__(self, dim=-1):
        self.dim = dim

    def forward(self, x):
        """x (*) -> (*)."""
        return ops.log_softmax(x, self.dim)
