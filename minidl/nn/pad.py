"""Padding layers: what they put around the last axes is in their names.

Args, of all: `padding`, how much on every side, or (left, right), (left, right, top, bottom), or
(left, right, top, bottom, front, back); negative numbers crop.
"""
from .. import ops
from ..errors import ArgumentError, message
from .module import Module


class _Pad(Module):
    axes, mode, value = 0, "constant", 0.0

    def __init__(self, padding):
        n = 2 * self.axes
        sides = (padding,) * n if isinstance(padding, int) else tuple(padding)
        if len(sides) != n or not all(isinstance(p, int) for p in sides):
            raise ArgumentError(message(type(self).__name__, "padding", f"an integer, or {n} of them", repr(padding)))
        self.padding = sides

    def forward(self, x):
        """x (N, C, *) -> (N, C, *), each axis longer by what is put before and after it."""
        widths = [self.padding[i:i + 2] for i in range(2 * self.axes - 2, -1, -2)]         # the last axis comes first
        return ops.pad(x, widths, self.mode, self.value)


class _ConstantPad(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value


class ConstantPad1d(_ConstantPad):
    """Put `value` before and after the last axis."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """Put `value` around the last two axes."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """Put `value` around the last three axes."""

    axes = 3


class ZeroPad1d(_Pad):
    """Put zeros before and after the last axis."""

    axes = 1


class ZeroPad2d(_Pad):
    """Put zeros around the last two axes."""

    axes = 2


class ZeroPad3d(_Pad):
    """Put zeros around the last three axes."""

    axes = 3


class ReflectionPad1d(_Pad):
    """Mirror the last axis at its outermost elements."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Mirror the last two axes at their outermost elements."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Mirror the last three axes at their outermost elements."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Repeat the outermost elements of the last axis."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Repeat the outermost elements of the last two axes."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Repeat the outermost elements of the last three axes."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Go on with the other end of the last axis."""

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Go on with the other ends of the last two axes."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Go on with the other ends of the last three axes."""

    axes, mode = 3, "circular"
