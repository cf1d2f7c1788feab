"""The less common functions of a number or two: exponentials and logarithms, angles, the error function."""
from ..backend.quantile import polynomial
from ..dtypes import float32
from .elementwise import PAIRS, SHAPES, binary, exp, unary

__all__ = ["acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "erf", "erfc", "exp2",
           "expm1", "log10", "log1p", "log2", "logaddexp", "sin", "sinh", "tan"]


# -- exponentials and logarithms ------------------------------------------------------

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


# -- angles ---------------------------------------------------------------------------

@unary()
def sin(xp, x, /):
    """The sine of x radians."""
    return xp.sin(x)


@sin.vjp
def _(g, x):
    return g * cos(x)


@unary()
def cos(xp, x, /):
    """The cosine of x radians."""
    return xp.cos(x)


@cos.vjp
def _(g, x):
    return -g * sin(x)


@unary()
def tan(xp, x, /):
    """The tangent of x radians."""
    return xp.tan(x)


@tan.vjp
def _(g, out):
    return g * (out * out + 1.0)


@unary()
def asin(xp, x, /):
    """The angle in [-pi/2, pi/2] whose sine is x; NaN outside [-1, 1]."""
    return xp.arcsin(x)


@asin.vjp
def _(g, x):
    return g * (1.0 - x * x) ** -0.5


@unary()
def acos(xp, x, /):
    """The angle in [0, pi] whose cosine is x; NaN outside [-1, 1]."""
    return xp.arccos(x)


@acos.vjp
def _(g, x):
    return -g * (1.0 - x * x) ** -0.5


@unary()
def atan(xp, x, /):
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    return xp.arctan(x)


@atan.vjp
def _(g, x):
    return g / (x * x + 1.0)


@binary("a(...):float b(...):float -> (...)", methods=["atan2"])
def atan2(xp, a, b, /):
    """The angle in [-pi, pi] of the point (b, a) from the axis of b."""
    return xp.arctan2(a, b)


@atan2.vjp
def _(g, a, b):
    return (lambda: g * b / (a * a + b * b)), (lambda: -g * a / (a * a + b * b))


# -- hyperbolic functions -------------------------------------------------------------

@unary()
def sinh(xp, x, /):
    """(exp(x) - exp(-x)) / 2."""
    return xp.sinh(x)


@sinh.vjp
def _(g, x):
    return g * cosh(x)


@unary()
def cosh(xp, x, /):
    """(exp(x) + exp(-x)) / 2."""
    return xp.cosh(x)


@cosh.vjp
def _(g, x):
    return g * sinh(x)


@unary()
def asinh(xp, x, /):
    """The number whose sinh is x."""
    return xp.arcsinh(x)


@asinh.vjp
def _(g, x):
    return g * (x * x + 1.0) ** -0.5


@unary()
def acosh(xp, x, /):
    """The number from 0 on whose cosh is x; NaN below 1."""
    return xp.arccosh(x)


@acosh.vjp
def _(g, x):
    return g * (x * x - 1.0) ** -0.5


@unary()
def atanh(xp, x, /):
    """The number whose tanh is x; NaN outside [-1, 1]."""
    return xp.arctanh(x)


@atanh.vjp
def _(g, x):
    return g / (1.0 - x * x)


# -- the error function ---------------------------------------------------------------

# Minimax fits, by Remez' exchange in 60 digits. In x**2, where |x| < 4: atanh(erf(x)) / x - 1; 1e-8 of erf.
TANH = (0.12837918, 0.102772164, -0.0002066514, -0.000595311194, 6.93234868e-05, 1.32545186e-06,
        -1.2886973e-06, 1.56115559e-07, -8.46562228e-09, 1.7863502e-10)
# In x**2, where |x| < 1/2: erf(x) / x; 4e-18 of it.
NEAR = (1.1283791670955126, -0.37612638903183465, 0.11283791670924813, -0.02686617063271585,
        0.005223977370326928, -0.0008548297524423452, 0.00012053324314429229, -1.4845583749693814e-05,
        1.4723215423648242e-06)
# In (x - 3.75) / (x + 3.75), where 1/2 < x < 28: exp(x**2) * erfc(x); 2e-17 of it.
FAR = (0.14558972127503853, -0.27342193149542643, 0.22600806691662206, -0.1635718955239299,
       0.10260431203216323, -0.05480232669473179, 0.0241432239731581, -0.008220621158721665,
       0.0018029624097205936, -2.5535284826295628e-05, -0.00015246262868506887, 4.7898504164512406e-05,
       3.58362724491856e-06, -6.182394405314961e-06, 7.485525183462341e-07, 6.569897793394397e-07,
       -1.828848945968048e-07, -6.898622126112763e-08, 3.0173514332496894e-08, 6.058389526795865e-09,
       -3.4593308670768672e-09)


def erf_near(xp, x):
    """erf in float64 where |x| < 1/2."""
    x = xp.clip(x, -0.5, 0.5)
    return x * polynomial(NEAR, x * x)


def erfc_far(xp, x):
    """erfc in float64 where x > 1/2."""
    x = xp.clip(x, 0.5, 28.0)                            # (erfc(28) is 0 in float64)
    coarse = x.astype("float32").astype("float64")       # (its square is exact; exp shows that x's is not)
    square = xp.exp(-coarse * coarse) * xp.exp((coarse - x) * (coarse + x))
    return square * polynomial(FAR, (x - 3.75) / (x + 3.75))


def erf_forward(xp, x):
    """erf of an array; other closed forms use it too."""
    if x.dtype == float32:                               # one tanh, and 21 products and sums
        x = xp.clip(x, -4.2, 4.2)                        # (here the fit's tanh is 1 in float32)
        y = polynomial(TANH, xp.square(x))
        y *= x
        y += x
        return xp.tanh(y)
    size = xp.abs(x)
    return xp.where(size < 0.5, erf_near(xp, x), xp.copysign(1.0 - erfc_far(xp, size), x))


@unary()
def erf(xp, x, /):
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to x; to 1e-7, in float64 4e-16.

    Source: the variable (x - 3.75) / (x + 3.75) is that of Schonfelder 1978, "Chebyshev expansions for the
    error and related functions", Mathematics of Computation 32.
    """
    return erf_forward(xp, x)


@erf.vjp
def _(g, x):
    return g * (exp(-x * x) * 1.1283791670955126)        # 2/sqrt(pi)


@unary()
def erfc(xp, x, /):
    """1 - erf(x), precise where that is small.

    Source: as `erf`.
    """
    wide = x.astype("float64")
    size = xp.abs(wide)
    far = erfc_far(xp, size)
    far = xp.where(wide < 0, 2.0 - far, far)
    return xp.where(size < 0.5, 1.0 - erf_near(xp, wide), far).astype(x.dtype)


@erfc.vjp
def _(g, x):
    return g * (exp(-x * x) * -1.1283791670955126)


# -- samples --------------------------------------------------------------------------

@exp2.samples
@expm1.samples
@sin.samples
@cos.samples
@tan.samples
@atan.samples
@sinh.samples
@cosh.samples
@asinh.samples
@erf.samples
@erfc.samples
def _(make):
    for shape in SHAPES:
        yield make.normal(*shape),


@log1p.samples
@log2.samples
@log10.samples
def _(make):
    for shape in SHAPES:
        yield make.positive(*shape),


@asin.samples
@acos.samples
@atanh.samples
def _(make):
    for shape in SHAPES:
        yield make.unit(*shape),


@acosh.samples
def _(make):
    for shape in SHAPES:
        yield make.positive(*shape) + 1.0,


@logaddexp.samples
@atan2.samples
def _(make):
    for a, b in PAIRS:
        yield make.normal(*a), make.positive(*b)
