"""Linear maps, and layers that change nothing but the shape."""
import math

from .. import ops
from . import init
from .module import Module
from .parameter import Parameter


def bias_or_none(bias, length, inputs):
    """A bias, uniform in +-1/sqrt(inputs), if there is to be one."""
    bound = 1 / math.sqrt(max(inputs, 1))
    return Parameter(init.uniform(-bound, bound), length) if bias else None


class Linear(Module):
    """y = x weight' + bias.

    Args:
        in_features, out_features: I and O.
        bias: add one.

    Parameters: weight (O, I), bias (O): uniform in +-1/sqrt(I).
    """

    def __init__(self, in_features, out_features, bias=True):
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(init.kaiming_uniform(math.sqrt(5)), out_features, in_features)
        self.bias = bias_or_none(bias, out_features, in_features)

    def forward(self, x, activation="none", residual=None):
        """x (*, I) -> (*, O); what follows the map, if anything, as in `ops.linear_activation`: in one pass."""
        if activation == "none" and residual is None:
            return ops.linear(x, self.weight, self.bias)
        return ops.linear_activation(x, self.weight, self.bias, None, residual, activation)


class Bilinear(Module):
    """y[o] = x1 weight[o] x2' + bias[o].

    Args:
        in1_features, in2_features, out_features: I, J and O.
        bias: add one.

    Parameters: weight (O, I, J), bias (O): uniform in +-1/sqrt(I).
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True):
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        bound = 1 / math.sqrt(max(in1_features, 1))
        self.weight = Parameter(init.uniform(-bound, bound), out_features, in1_features, in2_features)
        self.bias = bias_or_none(bias, out_features, in1_features)

    def forward(self, x1, x2):
        """x1 (*, I), x2 (*, J) -> (*, O)."""
        return ops.bilinear(x1, x2, self.weight, self.bias)


class Identity(Module):
    """Gives its input back. Accepts any arguments, so that it can stand in for any layer."""

    def __init__(self, *args, **keywords):
        pass

    def forward(self, x):
        """x -> x."""
        return x


class Flatten(Module):
    """Make one axis of the axes from `start_dim` to `end_dim`, both included."""

    def __init__(self, start_dim=1, end_dim=-1):
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x):
        """x (N, *) -> (N, product of *), unless told otherwise."""
        return ops.flatten(x, self.start_dim, self.end_dim)


class Unflatten(Module):
    """Make several axes of the axis `dim`, of lengths `unflattened_size`; one of them may be -1."""

    def __init__(self, dim, unflattened_size):
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x):
        """x (*, L, *) -> (*, *unflattened_size, *)."""
        dim = self.dim % x.ndim
        return ops.reshape(x, (*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1:]))
