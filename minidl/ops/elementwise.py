"""Ops that act on each element alone, with NumPy's broadcasting: arithmetic, exp and log, rounding, choices,
dtypes.

At a kink the gradient is one of the possible ones, that of PyTorch: `abs` has 0 at 0, `maximum` and `minimum`
halve it between equals, `clip` passes it at its bounds.
"""
import math

import numpy as np

from ..dtypes import NUMBERS, as_dtype, default_dtype, is_float
from ..op import fused, primitive
from ..tensor import Tensor

__all__ = ["abs", "add", "astype", "ceil", "clip", "divide", "exp", "floor", "floor_divide", "log",
           "maximum", "minimum", "multiply", "nan_to_num", "negative", "pow", "reciprocal", "remainder",
           "round", "rsqrt", "sign", "sqrt", "square", "subtract", "tanh", "trunc", "where"]

UNARY = """

    Args:
        x (*): {}.

    Returns:
        (*): one result per element.
"""
BINARY = """

    Args:
        a, b (...): arrays of one dtype, or one of them a number.

    Returns:
        (...): the shape that they broadcast to.
"""


def unary(contract="x(*):float -> (*)", methods=(), **declared):
    """Declare an op of one array, a method of its own name; its docstring gets sections they all share."""
    sections = UNARY.format("any floating dtype" if ":float" in contract else "any dtype")

    def declare(fn):
        fn.__doc__ = _spliced(fn.__doc__, sections)
        return primitive(contract, methods=[fn.__name__, *methods], **declared)(fn)
    return declare


def binary(contract="a(...) b(...) -> (...)", methods=(), **declared):
    """Declare an op of two operands that broadcast, likewise."""
    def declare(fn):
        fn.__doc__ = _spliced(fn.__doc__, BINARY)
        return primitive(contract, methods=(*methods, fn.__name__), **declared)(fn)
    return declare


def _spliced(doc, sections):
    first, _, rest = doc.partition("\n\n")
    return first + sections + (rest and "\n" + rest)


# -- arithmetic -----------------------------------------------------------------------

@binary(methods=["__add__", "__radd__"])
def add(xp, a, b, /):
    """a + b."""
    return xp.add(a, b)


@add.vjp
def _(g):
    return g, g


@binary(methods=["__sub__"], reflected="__rsub__")
def subtract(xp, a, b, /):
    """a - b."""
    return xp.subtract(a, b)


@subtract.vjp
def _(g):
    return g, (lambda: -g)


@binary(methods=["__mul__", "__rmul__"])
def multiply(xp, a, b, /):
    """a * b."""
    return xp.multiply(a, b)


@multiply.vjp
def _(g, a, b):
    return (lambda: g * b), (lambda: g * a)


@binary("a(...):float b(...):float -> (...)", methods=["__truediv__"], reflected="__rtruediv__")
def divide(xp, a, b, /):
    """a / b, of floating numbers."""
    return xp.divide(a, b)


@divide.vjp
def _(g, out, b):
    return (lambda: g / b), (lambda: -g * out / b)


@binary(methods=["__floordiv__"], reflected="__rfloordiv__", differentiable=False)
def floor_divide(xp, a, b, /):
    """The largest whole number that is at most a / b."""
    return xp.floor_divide(a, b)


@binary(methods=["__mod__"], reflected="__rmod__")
def remainder(xp, a, b, /):
    """a - floor(a / b) * b: it has the sign of b."""
    return xp.remainder(a, b)


@remainder.vjp
def _(g, a, b):
    return g, (lambda: -g * (a // b))


@binary(methods=["__pow__"], reflected="__rpow__")
def pow(xp, a, b, /):
    """a to the power b."""
    if type(b) in NUMBERS and 2 < b <= 16 and b == int(b):
        return _whole_power(a, int(b))
    return a ** b


def _whole_power(a, n):
    """By multiplications: a library's power takes logarithms, and fifty times as long where a is negative."""
    y = a
    for bit in bin(n)[3:]:
        y = y * y * a if bit == "1" else y * y
    return y


@pow.vjp
def _(g, a, b, out):
    if type(b) in NUMBERS:                                                # x**0 is flat, at 0 too
        return (lambda: g * (a ** (b - 1.0 if b else 0.0) * float(b))), None
    if type(a) in NUMBERS:
        return None, (lambda: g * out * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan))
    return (lambda: g * (b * a ** (b - 1.0).where(b != 0.0, 0.0))), \
        (lambda: g * out * a.where((a != 0.0) | (b < 0.0), 1.0).log())    # 0**b is flat in b > 0


@unary("x(*) -> (*)", methods=["__neg__"])
def negative(xp, x, /):
    """-x."""
    return xp.negative(x)


@negative.vjp
def _(g):
    return -g


@unary("x(*) -> (*)", methods=["__abs__"], exact=True)
def abs(xp, x, /):
    """x without its sign."""
    return xp.abs(x)


@abs.vjp
def _(g, x):
    return g * sign(x)


@unary("x(*) -> (*)", exact=True, differentiable=False)
def sign(xp, x, /):
    """-1, 0 or 1, as x is negative, zero or positive."""
    return xp.sign(x)


@unary("x(*) -> (*)")
def square(xp, x, /):
    """x * x."""
    return xp.square(x)


@square.vjp
def _(g, x):
    return g * (x * 2.0)


@unary()
def reciprocal(xp, x, /):
    """1 / x."""
    return xp.reciprocal(x)


@reciprocal.vjp
def _(g, out):
    return -g * out * out


@unary()
def sqrt(xp, x, /):
    """The square root; NaN below 0."""
    return xp.sqrt(x)


@sqrt.vjp
def _(g, out):
    return g / (out * 2.0)


@unary()
def rsqrt(xp, x, /):
    """1 / sqrt(x)."""
    return xp.reciprocal(xp.sqrt(x))


@rsqrt.vjp
def _(g, out):
    return g * (out * out * out) * -0.5


# -- exponentials ------------------------------------------------------

@unary()
def exp(xp, x, /):
    """e to the power x."""
    return xp.exp(x)


@exp.vjp
def _(g, out):
    return g * out


@unary()
def log(xp, x, /):
    """The natural logarithm; -inf at 0, NaN below."""
    return xp.log(x)


@log.vjp
def _(g, x):
    return g / x


@unary()
def tanh(xp, x, /):
    """The hyperbolic tangent."""
    return xp.tanh(x)


@tanh.vjp
def _(g, out):
    return g * (1.0 - out * out)


@unary(differentiable=False)
def floor(xp, x, /):
    """The largest whole number that is at most x."""
    return xp.floor(x)


@unary(differentiable=False)
def ceil(xp, x, /):
    """The smallest whole number that is at least x."""
    return xp.ceil(x)


@unary(differentiable=False)
def trunc(xp, x, /):
    """x without its fraction."""
    return xp.trunc(x)


@primitive("x(*):float -> (*)", methods=["round"], differentiable=False)
def round(xp, x, /, decimals=0):
    """The nearest multiple of 10**-decimals; of two as near, the even one.

    Args:
        x (*): any floating dtype.
        decimals: an integer.

    Returns:
        (*): one result per element.
    """
    return xp.round(x, decimals)


# -- choices --------------------------------------------------------------------------

@primitive("condition(...):bool a(...) b(...) -> (...)")
def where(xp, condition, a, b, /):
    """a where the condition holds, else b.

    Args:
        condition (...): bool.
        a, b (...): arrays of one dtype, or numbers.

    Returns:
        (...): the shape that all three broadcast to.
    """
    if type(a) in NUMBERS and type(b) in NUMBERS:        # nothing beside them to take a dtype from
        a = xp.asarray(a, default_dtype() if float in (type(a), type(b)) else None)
    return xp.where(condition, a, b)


@where.vjp
def _(g, condition):
    return None, (lambda: where(condition, g, 0.0)), (lambda: where(condition, 0.0, g))


@binary()
def maximum(xp, a, b, /):
    """The larger of two; NaN if either is."""
    return xp.maximum(a, b)


@maximum.vjp
def _(g, a, b):
    return (lambda: _share(g, a < b, a == b)), (lambda: _share(g, b < a, a == b))


@binary()
def minimum(xp, a, b, /):
    """The smaller of two; NaN if either is."""
    return xp.minimum(a, b)


@minimum.vjp
def _(g, a, b):
    return (lambda: _share(g, a > b, a == b)), (lambda: _share(g, b > a, a == b))


def _share(g, lost, tied):
    return where(lost, 0.0, where(tied, g * 0.5, g))


@primitive("x(...) min(...)? max(...)? -> (...)")
def clip(xp, x, min=None, max=None, /):
    """Move x to the nearest point of [min, max]; the gradient goes to what the result is, at a tie to x.

    Args:
        x (...): any dtype.
        min, max (...): bounds, min <= max: arrays, numbers, or None.

    Returns:
        (...): the shape that they broadcast to.
    """
    return xp.clip(x, min, max)


@clip.vjp
def _(g, x, out):
    return (lambda: where(x == out, g, 0.0)), \
        (lambda: where(x < out, g, 0.0)), (lambda: where(x > out, g, 0.0))


def _where(self, condition, other):
    """Itself where the condition holds, else `other`."""
    return where(condition, self, other)


def _clip(self, min=None, max=None):
    """`minidl.ops.clip`, whose bounds may here be named."""
    return clip(self, min, max)


Tensor.where, Tensor.clip, Tensor.clamp = _where, _clip, _clip


@primitive("x(*):float -> (*)", methods=["nan_to_num"])
def nan_to_num(xp, x, /, nan=0.0, posinf=None, neginf=None):
    """Put numbers in the place of NaN and of infinities.

    Args:
        x (*): any floating dtype.
        nan, posinf, neginf: numbers; None stands for the largest and the least that the dtype has.

    Returns:
        (*): finite elements as they are.
    """
    return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


@nan_to_num.vjp
def _(g, x):
    return where(x.isfinite(), g, 0.0)


# -- dtypes ---------------------------------------------------------------------------

@fused("x(*):any -> (*)", methods=["astype"])
def astype(x, /, dtype):
    """The elements in another dtype; gradients pass between floating ones.

    Args:
        x (*): any dtype.
        dtype: its name ("float32", "bfloat16", ...), a NumPy dtype, or float, int, bool.

    Returns:
        (*): x itself if that is its dtype.

    Raises:
        DTypeError: minidl has no such dtype.
    """
    dtype = as_dtype(dtype, "astype")
    return x if x.dtype == dtype else _cast(x if is_float(dtype) else x.detach(), dtype, x.dtype)


@primitive("x(*):any -> (*)")
def _cast(xp, x, /, dtype, source):
    return x.astype(dtype)


@_cast.vjp
def _(g, source):                                        # (no x here: the tape need not keep it)
    return astype(g, source)


def _converter(dtype):
    def convert(self):
        return astype(self, dtype)

    convert.__doc__ = f"The elements in {dtype}."
    return convert


for _name, _dtype in (("half", "float16"), ("float", "float32"), ("double", "float64"), ("bool", "bool"),
                      ("bfloat16", "bfloat16"), ("int", "int32"), ("long", "int64")):
    setattr(Tensor, _name, _converter(_dtype))


# -- samples --------------------------------------------------------------------------

SHAPES = (), (3,), (2, 1, 4), (0, 3)
PAIRS = ((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((0, 3), (3,))


@negative.samples
@abs.samples
@sign.samples
@square.samples
@exp.samples
@tanh.samples
@floor.samples
@ceil.samples
@trunc.samples
def _(make):
    for shape in SHAPES:
        yield make.distinct(*shape),


@reciprocal.samples
@sqrt.samples
@rsqrt.samples
@log.samples
def _(make):
    for shape in SHAPES:
        yield make.positive(*shape),


@add.samples
@subtract.samples
@multiply.samples
@divide.samples
@pow.samples
def _(make):
    for a, b in PAIRS:
        yield make.positive(*a), make.positive(*b)


@remainder.samples
@floor_divide.samples
@maximum.samples
@minimum.samples
def _(make):
    for a, b in PAIRS:
        yield make.distinct(*a), make.positive(*b) * 1.1


@round.samples
def _(make):
    yield make.normal(3, 4),
    yield make.normal(3), 1


@where.samples
def _(make):
    yield make.bools(3, 4), make.normal(3, 4), make.normal(3, 4)
    yield make.bools(3, 1), make.normal(4), make.normal()
    yield make.bools(), make.normal(0, 2), make.normal(2)


@clip.samples
def _(make):
    yield make.distinct(3, 4), np.asarray(-0.5), np.asarray(1.0)
    yield make.distinct(3, 4), None, make.positive(4) * 0.7
    yield make.distinct(), np.asarray(0.3)


@nan_to_num.samples
def _(make):
    yield make.normal(3, 4),
    yield np.array([np.inf, -np.inf, np.nan, 1.0]), 0.5, 2.0, -2.0


@astype.samples
def _(make):
    yield make.normal(2, 3), "float64"
