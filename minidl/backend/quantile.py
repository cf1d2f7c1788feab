"""Quantile functions that give the same bits on every machine: what random.py's distributions are made of.

A library's exp, log or power may differ in the last bit from one processor, or version, to the next.  These
are made of + - * / and sqrt, which IEEE 754 rounds correctly, and of the bits of floats; each is one array
operation, so that no compiler can fuse two.  All arrays are float64.
"""
from decimal import Decimal, localcontext

_BITS_OF_SQRT_HALF = 0x3FE6A09E667F3BCD
_LN2 = 0.6931471805599453
_ATANH = [2 / k for k in range(1, 20, 2)]              # |t| <= 0.1716: the rest is below 2**-54 of the sum
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


def log(x):
    """Natural logarithm of positive normal numbers, within 2 units in the last place.

    x = 2**e m by its bits, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(t), t = (m - 1) / (m + 1), by series.
    """
    bits = x.view("int64")
    e = (bits - _BITS_OF_SQRT_HALF) >> 52
    m = (bits - (e << 52)).view("float64")
    t = (m - 1.0) / (m + 1.0)
    return polynomial(_ATANH, t * t) * t + e * _LN2


def normal(xp, p, central, middle, far=None):
    """The z below which a standard normal number lies with probability p.

    Args:
        p: probabilities in (0, 1).
        central, middle, far: (numerator, denominator) for |p - 1/2| <= 0.425 and for the tails, where
            min(p, 1 - p) is above exp(-25), and below; no `far` where it never is.

    Source: Wichura 1988, "Algorithm AS 241: The percentage points of the normal distribution".
    """
    q = p - 0.5
    r = xp.sqrt(-log(xp.minimum(p, 1.0 - p)))
    tail = _ratio(middle, r - 1.6)
    if far:
        tail = xp.where(r > 5.0, _ratio(far, r - 5.0), tail)
    distance = abs(q)
    z = xp.where(distance > 0.425, tail, _ratio(central, 0.180625 - q * q) * distance)
    return xp.copysign(z, q)


def normal_cdf(x):
    """The probability that a standard normal number lies below the number x; beyond 13, x counts as 13.

    1/2 + density(x) (x + x**3 / 3 + x**5 / (3 5) + ...) in decimal arithmetic, the same digits everywhere.

    Source: Marsaglia 2004, "Evaluating the Normal Distribution".
    """
    with localcontext() as context:
        context.prec = 70                              # 38 digits cancel at -13
        x = Decimal(max(-13.0, min(x, 13.0)))
        total = term = x
        k = 1
        while abs(term) > Decimal("1e-60"):
            k += 2
            term *= x * x / k
            total += term
        density = (-x * x / 2).exp() / (2 * _PI).sqrt()
        return float(Decimal("0.5") + density * total)


def polynomial(coefficients, x):
    """coefficients[0] + coefficients[1] x + ...: Horner's rule, in one new array."""
    *rest, last = coefficients
    y = last * x
    for c in rest[:0:-1]:
        y += c
        y *= x
    y += rest[0]
    return y


def _ratio(polynomials, x):
    numerator, denominator = polynomials
    return polynomial(numerator, x) / polynomial(denominator, x)


# Wichura's coefficients, lowest power first: to 7 figures (for min(p, 1 - p) above exp(-25)), and to 16.
PPND7 = (
    ((3.3871327179, 50.434271938, 159.29113202, 59.109374720),
     (1.0, 17.895169469, 78.757757664, 67.187563600)),
    ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
     (1.0, 0.73700164250, 0.12021132975)),
)
PPND16 = (
    ((3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
      4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
     (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
      2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3)),
    ((1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
      1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2,
      7.74545014278341407640e-4),
     (1.0, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
      1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
      1.05075007164441684324e-9)),
    ((6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580, 2.96560571828504891230e-1,
      2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5,
      2.01033439929228813265e-7),
     (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
      7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
      2.04426310338993978564e-15)),
)
