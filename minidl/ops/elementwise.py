"""Ops that act on each element alone, with NumPy's broadcasting: arithmetic, comparisons, choices, dtypes.

At a kink the gradient is one of the possible ones, that of PyTorch: `abs` has 0 at 0, `maximum` and `minimum` halve
it between equals, `clip` passes it at its bounds.
"""
import math

import numpy as np

from ..dtypes import NUMBERS, as_dtype, is_float
from ..op import fused, primitive
from ..tensor import Tensor

__all__ = ["abs", "add", "astype", "bitwise_and", "bitwise_invert", "bitwise_or", "bitwise_xor", "ceil", "clip", "divide",
           "equal", "exp", "exp2", "expm1", "floor", "floor_divide", "greater", "greater_equal", "isfinite", "isinf", "isnan",
           "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not", "logical_or",
           "logical_xor", "maximum", "minimum", "multiply", "nan_to_num", "negative", "not_equal", "pow", "reciprocal", "relu",
           "remainder", "round", "rsqrt", "sign", "sqrt", "square", "subtract", "tanh", "trunc", "where"]


def unary(contract="x(*):float -> (*)", methods=(), **declared):
    """Declare an op of one array: a method of its own name; its docstring gets the sections that all of them share."""
    dtypes = "any floating dtype" if ":float" in contract else "any dtype"

    def declare(fn):
        fn.__doc__ += f"\n\n    Args:\n        x (*): {dtypes}.\n\n    Returns:\n        (*): one result per element.\n    "
        return primitive(contract, methods=[fn.__name__, *methods], **declared)(fn)
    return declare


def binary(contract="a(...) b(...) -> (...)", methods=(), **declared):
    """Declare an op of two operands that broadcast."""
    def declare(fn):
        fn.__doc__ += ("\n\n    Args:\n        a, b (...): arrays of one dtype, or one of them a number."
                       "\n\n    Returns:\n        (...): the shape that they broadcast to.\n    ")
        return primitive(contract, methods=methods, **declared)(fn)
    return declare


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


@binary(methods=["__pow__", "pow"], reflected="__rpow__")
def pow(xp, a, b, /):
    """a to the power b."""
    return a ** b


@pow.vjp
def _(g, a, b, out):
    def by_exponent():
        if type(a) in NUMBERS:
            return g * out * (math.log(a) if a > 0 else -math.inf if a == 0 else math.nan)
        return g * out * log(where(logical_and(a == 0, b >= 0), 1.0, a))     # 0**b is flat in b
    if type(b) in NUMBERS:
        return g * (b * a ** (b - 1 if b else 0)), None                      # x**0 is 1 at 0 too
    return (lambda: g * where(b == 0, 0.0, b * a ** (b - 1))), by_exponent


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


# -- exponentials and logarithms ------------------------------------------------------

@unary()
def exp(xp, x, /):
    """e to the power x."""
    return xp.exp(x)


@exp.vjp
def _(g, out):
    return g * out


@unary()
def exp2(xp, x, /):
    """2 to the power x."""
    return xp.exp2(x)


@exp2.vjp
def _(g, out):
    return g * out * 0.6931471805599453                  # log(2)


@unary()
def expm1(xp, x, /):
    """exp(x) - 1, precise near 0."""
    return xp.expm1(x)


@expm1.vjp
def _(g, out):
    return g * (out + 1.0)


@unary()
def log(xp, x, /):
    """The natural logarithm; -inf at 0, NaN below."""
    return xp.log(x)


@log.vjp
def _(g, x):
    return g / x


@unary()
def log2(xp, x, /):
    """The logarithm to base 2."""
    return xp.log2(x)


@log2.vjp
def _(g, x):
    return g / (x * 0.6931471805599453)                  # log(2)


@unary()
def log10(xp, x, /):
    """The logarithm to base 10."""
    return xp.log10(x)


@log10.vjp
def _(g, x):
    return g / (x * 2.302585092994046)                   # log(10)


@unary()
def log1p(xp, x, /):
    """log(1 + x), precise near 0."""
    return xp.log1p(x)


@log1p.vjp
def _(g, x):
    return g / (x + 1.0)


@binary("a(...):float b(...):float -> (...)", methods=["logaddexp"])
def logaddexp(xp, a, b, /):
    """log(exp(a) + exp(b)), without overflow."""
    return xp.logaddexp(a, b)


@logaddexp.vjp
def _(g, a, b, out):
    return (lambda: g * exp(a - out)), (lambda: g * exp(b - out))


@unary()
def tanh(xp, x, /):
    """The hyperbolic tangent."""
    return xp.tanh(x)


@tanh.vjp
def _(g, out):
    return g * (1.0 - out * out)


@unary()
def relu(xp, x, /):
    """x, or 0 where it is negative."""
    return xp.maximum(x, 0.0)


@relu.vjp
def _(g, out):
    return where(out > 0, g, 0.0)


# -- rounding -------------------------------------------------------------------------

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


# -- comparisons and logic: bool, without gradient ------------------------------------

@binary(methods=["__eq__"], differentiable=False)
def equal(xp, a, b, /):
    """a == b."""
    return xp.equal(a, b)


@binary(methods=["__ne__"], differentiable=False)
def not_equal(xp, a, b, /):
    """a != b."""
    return xp.not_equal(a, b)


@binary(methods=["__lt__"], differentiable=False)
def less(xp, a, b, /):
    """a < b."""
    return xp.less(a, b)


@binary(methods=["__le__"], differentiable=False)
def less_equal(xp, a, b, /):
    """a <= b."""
    return xp.less_equal(a, b)


@binary(methods=["__gt__"], differentiable=False)
def greater(xp, a, b, /):
    """a > b."""
    return xp.greater(a, b)


@binary(methods=["__ge__"], differentiable=False)
def greater_equal(xp, a, b, /):
    """a >= b."""
    return xp.greater_equal(a, b)


@binary("a(...):any b(...):any -> (...)", methods=["logical_and"], differentiable=False)
def logical_and(xp, a, b, /):
    """Are both other than 0?"""
    return xp.logical_and(a, b)


@binary("a(...):any b(...):any -> (...)", methods=["logical_or"], differentiable=False)
def logical_or(xp, a, b, /):
    """Is either other than 0?"""
    return xp.logical_or(a, b)


@binary("a(...):any b(...):any -> (...)", methods=["logical_xor"], differentiable=False)
def logical_xor(xp, a, b, /):
    """Is just one of them other than 0?"""
    return xp.logical_xor(a, b)


@unary("x(*):any -> (*)", differentiable=False)
def logical_not(xp, x, /):
    """Is it 0?"""
    return xp.logical_not(x)


@binary(methods=["__and__", "__rand__"], differentiable=False)
def bitwise_and(xp, a, b, /):
    """a & b, of integers or bools."""
    return xp.bitwise_and(a, b)


@binary(methods=["__or__", "__ror__"], differentiable=False)
def bitwise_or(xp, a, b, /):
    """a | b, of integers or bools."""
    return xp.bitwise_or(a, b)


@binary(methods=["__xor__", "__rxor__"], differentiable=False)
def bitwise_xor(xp, a, b, /):
    """a ^ b, of integers or bools."""
    return xp.bitwise_xor(a, b)


@unary("x(*) -> (*)", methods=["__invert__"], differentiable=False)
def bitwise_invert(xp, x, /):
    """~x, of integers or bools."""
    return xp.invert(x)


@unary("x(*):any -> (*)", differentiable=False)
def isnan(xp, x, /):
    """Is it not a number?"""
    return xp.isnan(x)


@unary("x(*):any -> (*)", differentiable=False)
def isinf(xp, x, /):
    """Is it infinite?"""
    return xp.isinf(x)


@unary("x(*):any -> (*)", differentiable=False)
def isfinite(xp, x, /):
    """Is it a number, and finite?"""
    return xp.isfinite(x)


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
    return xp.where(condition, a, b)


@where.vjp
def _(g, condition):
    return None, (lambda: where(condition, g, 0.0)), (lambda: where(condition, 0.0, g))


Tensor.where = lambda x, condition, other: where(condition, x, other)


@binary(methods=["maximum"])
def maximum(xp, a, b, /):
    """The larger of two; NaN if either is."""
    return xp.maximum(a, b)


@maximum.vjp
def _(g, a, b):
    return (lambda: _share(g, a < b, a == b)), (lambda: _share(g, b < a, a == b))


@binary(methods=["minimum"])
def minimum(xp, a, b, /):
    """The smaller of two; NaN if either is."""
    return xp.minimum(a, b)


@minimum.vjp
def _(g, a, b):
    return (lambda: _share(g, a > b, a == b)), (lambda: _share(g, b > a, a == b))


def _share(g, lost, tied):
    return where(lost, 0.0, where(tied, g * 0.5, g))


@primitive("x(...) min(...)? max(...)? -> (...)", methods=["clip", "clamp"])
def clip(xp, x, min=None, max=None, /):
    """Move x to the nearest point of [min, max]. The gradient goes to what the result was taken from, x at a tie.

    Args:
        x (...): any dtype.
        min, max (...): bounds, min <= max: arrays, numbers, or None.

    Returns:
        (...): the shape that they broadcast to.
    """
    return xp.clip(x, min, max)


@clip.vjp
def _(g, x, out):
    return (lambda: where(x == out, g, 0.0)), (lambda: where(x < out, g, 0.0)), (lambda: where(x > out, g, 0.0))


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
    return where(isfinite(x), g, 0.0)


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
def _cast(xp, x, /, dtype, source):                      # (the rule names `source`, so that the tape need not keep x)
    return x.astype(dtype)


@_cast.vjp
def _(g, source):
    return astype(g, source)


for _name, _dtype in (("half", "float16"), ("float", "float32"), ("double", "float64"), ("bfloat16", "bfloat16"),
                      ("int", "int32"), ("long", "int64"), ("bool", "bool")):
    setattr(Tensor, _name, lambda x, dtype=_dtype: astype(x, dtype))


# -- samples --------------------------------------------------------------------------

SHAPES = (), (3,), (2, 1, 4), (0, 3)
PAIRS = ((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((0, 3), (3,))


@negative.samples
@relu.samples
@abs.samples
@sign.samples
@square.samples
@exp.samples
@exp2.samples
@expm1.samples
@tanh.samples
@floor.samples
@ceil.samples
@trunc.samples
@isnan.samples
@isinf.samples
@isfinite.samples
@logical_not.samples
def _(make):
    for shape in SHAPES:
        yield make.distinct(*shape),


@reciprocal.samples
@sqrt.samples
@rsqrt.samples
@log.samples
@log2.samples
@log10.samples
@log1p.samples
def _(make):
    for shape in SHAPES:
        yield make.positive(*shape),


@add.samples
@subtract.samples
@multiply.samples
@divide.samples
@pow.samples
@logaddexp.samples
def _(make):
    for a, b in PAIRS:
        yield make.positive(*a), make.positive(*b)


@remainder.samples
@floor_divide.samples
@maximum.samples
@minimum.samples
@equal.samples
@not_equal.samples
@less.samples
@less_equal.samples
@greater.samples
@greater_equal.samples
@logical_and.samples
@logical_or.samples
@logical_xor.samples
def _(make):
    for a, b in PAIRS:
        yield make.distinct(*a), make.positive(*b) * 1.1


@bitwise_and.samples
@bitwise_or.samples
@bitwise_xor.samples
def _(make):
    for a, b in PAIRS:
        yield make.integers(9, *a), make.integers(9, *b)
        yield make.bools(*a), make.bools(*b)


@bitwise_invert.samples
def _(make):
    yield make.integers(9, 3),
    yield make.bools(2, 2),


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
