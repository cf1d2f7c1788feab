"""An independent reference for PTX arithmetic: one number at a time, on bits, in Python integers and fractions."""
import math
from fractions import Fraction

BITS = {"pred": 1, "u8": 8, "s8": 8, "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16, "b32": 32, "u32": 32,
        "s32": 32, "f32": 32, "tf32": 32, "b64": 64, "u64": 64, "s64": 64, "f64": 64, "e4m3": 8, "e5m2": 8,
        "f16x2": 32, "bf16x2": 32, "u16x2": 32, "s16x2": 32, "e4m3x2": 16, "e5m2x2": 16}
FRACTION_BIAS = {"f16": (10, 15), "bf16": (7, 127), "f32": (23, 127), "f64": (52, 1023), "tf32": (10, 127),
                 "e4m3": (3, 7), "e5m2": (2, 15)}
NAN, INFINITY = "nan", "infinity"


# -- integers -----------------------------------------------------------------------------------------------------
def signed(bits, width):
    """The number that `width` bits stand for in two's complement."""
    return bits - (1 << width) if bits >> width - 1 & 1 else bits


def number(bits, kind):
    """The integer that bits of an integer type stand for."""
    return signed(bits, BITS[kind]) if kind[0] == "s" else bits


def wrap(value, kind):
    """An integer as bits of `kind`, modulo 2**n."""
    return value & (1 << BITS[kind]) - 1


def clamp(value, kind):
    """An integer as bits of `kind`, saturated."""
    width = BITS[kind]
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if kind[0] == "s" else (0, (1 << width) - 1)
    return wrap(min(max(value, low), high), kind)


def truncated(a, b):
    """Quotient towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


# -- floats -------------------------------------------------------------------------------------------------------
def decode(bits, kind):
    """(sign bit, value): a Fraction, NAN or INFINITY."""
    fraction, bias = FRACTION_BIAS[kind]
    width = fraction + 1 + {"e4m3": 4, "e5m2": 5, "f16": 5, "f64": 11}.get(kind, 8)
    bits >>= 13 if kind == "tf32" else 0
    sign, exponent, rest = (
        bits >> width - 1,
        bits >> fraction & (1 << width - 1 - fraction) - 1,
        bits & (1 << fraction) - 1,
    )
    if kind == "e4m3" and bits & 0x7F == 0x7F:
        return sign, NAN
    if kind != "e4m3" and exponent == (1 << width - 1 - fraction) - 1:
        return sign, NAN if rest else INFINITY
    if exponent == 0:
        value = Fraction(rest, 1 << fraction) * Fraction(2) ** (1 - bias)
    else:
        value = (1 + Fraction(rest, 1 << fraction)) * Fraction(2) ** (exponent - bias)
    return sign, -value if sign else value


def encode(value, kind, mode="rn", sign=0, saturate=False):
    """Bits of a Fraction (or NAN, INFINITY) rounded to `kind`; `sign` is that of a zero, an infinity."""
    fraction, bias = FRACTION_BIAS[kind]
    width = fraction + 1 + {"e4m3": 4, "e5m2": 5, "f16": 5, "f64": 11}.get(kind, 8)
    low = 13 if kind == "tf32" else 0
    ones = (1 << width - 1 - fraction) - 1
    infinity, most = ones << fraction, (ones << fraction) - 1
    if kind == "e4m3":
        infinity, most = 0x7F, 0x7E
    if value is NAN:
        return (0x7F if width == 8 else (infinity | (1 << fraction - 1))) << low
    if value is INFINITY:
        return (sign << width - 1 | (most if saturate else infinity)) << low
    if value == 0:
        return sign << width - 1 << low
    sign, magnitude = int(value < 0), abs(value)
    exponent = max(math.floor(math.log2(magnitude)) if 1e-300 < magnitude < 1e300 else _log2(magnitude), 1 - bias)
    while magnitude >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exponent > 1 - bias and magnitude < Fraction(2) ** exponent:
        exponent -= 1
    scaled = magnitude / Fraction(2) ** (exponent - fraction)
    whole, rest = scaled.numerator // scaled.denominator, scaled - scaled.numerator // scaled.denominator
    up = {
        "rn": rest > Fraction(1, 2) or rest == Fraction(1, 2) and whole & 1,
        "rna": rest >= Fraction(1, 2),
        "rz": False,
        "rm": rest > 0 and sign == 1,
        "rp": rest > 0 and sign == 0,
    }[mode]
    code = (exponent + bias - 1 << fraction) + whole + up
    if code >= infinity:
        stays = mode == "rz" or mode == "rm" and not sign or mode == "rp" and sign
        code = most if stays or saturate else infinity
    return (sign << width - 1 | code) << low


def _log2(value):
    return value.numerator.bit_length() - value.denominator.bit_length()


def is_nan(bits, kind):
    """Whether bits are a NaN of `kind`."""
    return decode(bits, kind)[1] is NAN


def flushed(bits, kind, ftz):
    """Bits with a subnormal number made a zero of its sign, if `ftz`."""
    fraction, _ = FRACTION_BIAS[kind]
    exponent_bits = BITS[kind] - 1 - fraction
    subnormal = bits >> fraction & (1 << exponent_bits) - 1 == 0
    return bits & 1 << BITS[kind] - 1 if ftz and subnormal else bits


def _sum_sign(a_sign, b_sign, mode):
    """The sign of a sum that is exactly zero."""
    return a_sign if a_sign == b_sign else int(mode == "rm")


def add(a, b, kind, mode="rn"):
    """a + b"""
    (sa, x), (sb, y) = decode(a, kind), decode(b, kind)
    return _finish(_added(sa, x, sb, y, mode), kind, mode)


def _added(sa, x, sb, y, mode):
    if x is NAN or y is NAN or x is INFINITY and y is INFINITY and sa != sb:
        return NAN, 0
    if x is INFINITY or y is INFINITY:
        return INFINITY, sa if x is INFINITY else sb
    return x + y, _sum_sign(sa, sb, mode) if x + y == 0 else 0


def _multiplied(sa, x, sb, y):
    sign = sa ^ sb
    if x is NAN or y is NAN or (x is INFINITY and y == 0) or (y is INFINITY and x == 0):
        return NAN, 0
    if x is INFINITY or y is INFINITY:
        return INFINITY, sign
    return x * y, sign


def _finish(result, kind, mode):
    value, sign = result
    return encode(value, kind, mode, sign)


def subtract(a, b, kind, mode="rn"):
    """a - b"""
    return add(a, b ^ 1 << BITS[kind] - 1, kind, mode)


def multiply(a, b, kind, mode="rn"):
    """a * b"""
    return _finish(_multiplied(*decode(a, kind), *decode(b, kind)), kind, mode)


def fma(a, b, c, kind, mode="rn"):
    """a * b + c, rounded once"""
    product, sign = _multiplied(*decode(a, kind), *decode(b, kind))
    sc, z = decode(c, kind)
    if product is NAN or z is NAN:
        return encode(NAN, kind)
    sign = sign if product is INFINITY or product == 0 else int(product < 0)
    return _finish(_added(sign, product, sc, z, mode), kind, mode)


def divide(a, b, kind, mode="rn"):
    """a / b"""
    (sa, x), (sb, y) = decode(a, kind), decode(b, kind)
    sign = sa ^ sb
    if x is NAN or y is NAN or (x is INFINITY and y is INFINITY) or (x == 0 and y == 0):
        return encode(NAN, kind)
    if x is INFINITY or y == 0:
        return encode(INFINITY, kind, sign=sign)
    if y is INFINITY or x == 0:
        return encode(Fraction(0), kind, sign=sign)
    return encode(x / y, kind, mode)


def square_root(a, kind, mode="rn"):
    """The root of a"""
    sign, x = decode(a, kind)
    if x is NAN or sign and x != 0:
        return encode(NAN, kind)
    if x is INFINITY or x == 0:
        return a
    scale = 400 + (400 + x.denominator.bit_length()) // 2 * 2  # root(x) * 2**(scale / 2), and a sticky bit
    scaled = (x.numerator << scale) // x.denominator
    root = math.isqrt(scaled)
    exact = root * root * x.denominator == x.numerator << scale
    return encode(Fraction(2 * root + (not exact), 2) / Fraction(2) ** (scale // 2), kind, mode)


def order(a, b, kind):
    """-1, 0 or 1 as a < b, a == b, a > b; None if one is NaN."""
    (sa, x), (sb, y) = decode(a, kind), decode(b, kind)
    if x is NAN or y is NAN:
        return None
    rank = lambda sign, v: (-1 if sign else 1, 0) if v is INFINITY else (0, v)
    p, q = rank(sa, x), rank(sb, y)
    return (p > q) - (p < q)


def extreme(a, b, kind, smallest, nan_wins=False):
    """min or max: -0 below +0; a NaN loses or wins."""
    a_nan, b_nan = is_nan(a, kind), is_nan(b, kind)
    if a_nan or b_nan:
        return encode(NAN, kind) if nan_wins or a_nan and b_nan else b if a_nan else a
    which = order(a, b, kind)
    if which == 0:
        which = (b >> BITS[kind] - 1) - (a >> BITS[kind] - 1)                    # the negative zero is the smaller
    return a if (which <= 0) == smallest else b
