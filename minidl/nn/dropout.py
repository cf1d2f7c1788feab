"""Dropout: noise in training, nothing in evaluation. Each noisy forward takes one key from the default generator."""
from .. import ops
from ..backend import random
from ..errors import ShapeError, message, number
from .module import Module


class _Dropout(Module):
    """What all kinds share."""

    op = staticmethod(ops.dropout)
    axes = None                    # along which elements are dropped one by one
    spatial = None                 # how many axes a whole channel has

    def __init__(self, p=0.5, inplace=False):
        self.p = number(type(self).__name__, "p", p, 0, 1)

    def forward(self, x):
        """x (*) -> (*)."""
        if self.spatial is not None and x.ndim != self.spatial + 2:
            raise ShapeError(message(type(self).__name__, "x", f"{self.spatial + 2} axes", x.shape))
        if not self.training or not self.p:
            return x
        return self.op(x, self.p, random.default().next_key(), self.axes)


class Dropout(_Dropout):
    """In training, put 0 in the place of elements with probability p, and divide the others by 1 - p.

    Args:
        p: in [0, 1].
        inplace: accepted, and changes nothing: tensors are values.

    Raises:
        ArgumentError: p is outside [0, 1].
    """


class Dropout1d(_Dropout):
    """Dropout of whole channels of x (N, C, L). Arguments and errors as of Dropout."""

    axes, spatial = (0, 1), 1


class Dropout2d(_Dropout):
    """Dropout of whole channels of x (N, C, H, W). Arguments and errors as of Dropout."""

    axes, spatial = (0, 1), 2


class Dropout3d(_Dropout):
    """Dropout of whole channels of x (N, C, D, H, W). Arguments and errors as of Dropout."""

    axes, spatial = (0, 1), 3


class AlphaDropout(_Dropout):
    """Dropout for SELU, which keeps mean 0 and variance 1. Arguments and errors as of Dropout."""

    op = staticmethod(ops.alpha_dropout)


class StochasticDepth(_Dropout):
    """In training, drop whole samples of a residual branch with probability p, and divide the others by 1 - p.

    Args:
        p: in [0, 1].
        mode: "row": each sample by itself; "batch": all together.

    Raises:
        ArgumentError: p is outside [0, 1].
    """

    op = staticmethod(ops.stochastic_depth)

    def __init__(self, p, mode="row"):
        super().__init__(p)
        self.mode = self.axes = mode


DropPath = StochasticDepth
