"""Float64 arithmetic in exact fractions, lane by lane: slow, for rare modes and the ends of the range."""
import math
from fractions import Fraction

import numpy as np


def rounded(value, mode):
    """A Fraction rounded to float64."""
    if not value:
        return 0.0
    negative, numerator, denominator = value < 0, abs(value.numerator), value.denominator
    exponent = max(numerator.bit_length() - denominator.bit_length() - 53, -1074)
    if exponent >= 0:
        denominator <<= exponent
    else:
        numerator <<= -exponent
    quotient, rest = divmod(numerator, denominator)
    while quotient >= 1 << 53:                           # one bit too many
        denominator, exponent = denominator * 2, exponent + 1
        quotient, rest = divmod(numerator, denominator)
    if mode == "rn":
        quotient += 2 * rest > denominator or (2 * rest == denominator and quotient & 1)
    elif mode in ("rm", "rp"):
        quotient += bool(rest) and negative == (mode == "rm")
    try:
        result = math.ldexp(quotient, exponent)
    except OverflowError:
        result = math.inf
    if result == math.inf and (mode == "rz" or mode in ("rm", "rp") and negative != (mode == "rm")):
        result = float(np.finfo(np.float64).max)
    return -result if negative else result


def add(a, b):
    """a + b"""
    return a + b


def multiply(a, b):
    """a * b"""
    return a * b


def divide(a, b):
    """a / b"""
    return a / b


def fma(a, b, c):
    """a * b + c"""
    return a * b + c


def square_root(a):
    """The root of a, rounded to odd at 64 bits or more."""
    shift = max(0, 160 - a.numerator.bit_length() + a.denominator.bit_length())
    shift += shift & 1
    scaled = (a.numerator << shift) // a.denominator
    inexact = scaled * a.denominator != a.numerator << shift
    root = math.isqrt(scaled)
    sticky = inexact or root * root != scaled
    return Fraction(2 * root + sticky, 1 << shift // 2 + 1)


_PLAIN = {add: np.add, multiply: np.multiply, divide: np.divide, square_root: np.sqrt,
          fma: lambda a, b, c: a * b + c}


def lanes(function, mode, *arrays):
    """`function` of this module on float64 arrays, each element rounded once in `mode`.

    Where an operand or the result is infinite, NaN or zero, NumPy decides (and `mode` the sign of a zero sum).
    """
    plain = np.asarray(_PLAIN[function](*arrays))
    if mode == "rm" and function in (add, fma):          # a sum that cancels is -0 when rounding down
        plain = -np.asarray(_PLAIN[function](-arrays[0], *arrays[1:-1], -arrays[-1]))
    result = plain.copy()
    for at in np.ndindex(plain.shape):
        given = [float(a[at]) for a in arrays]
        if not all(map(math.isfinite, given)) or function is divide and not given[1]:
            continue
        if function is square_root and given[0] <= 0:
            continue
        value = function(*(Fraction(x) for x in given))
        if value:
            result[at] = rounded(value, mode)
    return result
