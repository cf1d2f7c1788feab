"""Questions about each element, with NumPy's broadcasting: comparisons, logic, bits; without gradient."""
from .elementwise import PAIRS, SHAPES, binary, unary

__all__ = ["bitwise_and", "bitwise_invert", "bitwise_or", "bitwise_xor", "equal", "greater", "greater_equal",
           "isfinite", "isinf", "isnan", "less", "less_equal", "logical_and", "logical_not", "logical_or",
           "logical_xor", "not_equal"]


# -- comparisons ----------------------------------------------------------------------

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


# -- logic and bits -------------------------------------------------------------------

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


# -- what kind of number --------------------------------------------------------------

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


# -- samples --------------------------------------------------------------------------

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
        yield make.integers(3, *a) / 2, make.integers(3, *b) / 2


@isnan.samples
@isinf.samples
@isfinite.samples
@logical_not.samples
def _(make):
    for shape in SHAPES:
        yield make.normal(*shape),


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
