"""The logarithm of the gamma function, of positive numbers."""
import math

from ..op import fused
from .elementwise import log

__all__ = ["lgamma"]

STEPS = 8                          # from which number on the series is good to a float64's last digits, nearly
STIRLING = 1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156


@fused("x(*):float -> (*)")
def lgamma(x, /):
    """log(gamma(x)): of a whole number n, the logarithm of (n - 1)!.

    Args:
        x (*): positive numbers; of others NaN.

    Returns:
        (*).

    Source: Abramowitz, Stegun 1964, "Handbook of Mathematical Functions", eq. 6.1.15 and 6.1.40.
    """
    product, y = x, x + float(STEPS)
    for i in range(1, STEPS):
        product = product * (x + float(i))
    inverse = 1.0 / y
    square, series = inverse * inverse, STIRLING[-1]
    for term in STIRLING[-2::-1]:
        series = series * square + term
    return (y - 0.5) * log(y) - y + 0.5 * math.log(2 * math.pi) + series * inverse - log(product)


@lgamma.samples
def _(make):
    yield make.positive(3, 4)
    yield make.positive(5) * 10.0,
