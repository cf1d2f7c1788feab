"""Rounding as hardware does it: one rounding for a fused multiply-add, directed modes, narrow formats, flush to zero.

A result is first made in float64, rounded to odd where it does not fit: an inexact value becomes the neighbour whose
last bit is set. Such a value rounds to any format of at most 51 bits as the exact result would, in every mode.

Source: Boldo and Melquiond 2008, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
odd"; Dekker 1971 and Knuth, TAOCP 2, for the error of a product and of a sum.
"""
from typing import NamedTuple

import numpy as np

from . import exact
from .kinds import UNSIGNED, canonical_nan

MODES = ("rn", "rna", "rz", "rm", "rp")      # nearest even, nearest away, toward zero, toward -inf, toward +inf
_ONE = np.uint64(1)


class Format(NamedTuple):
    """A binary floating-point format: its bits, those of the fraction, the exponent's bias; `low` unused bits below."""
    bits: int
    fraction: int
    bias: int
    top: int                 # the code of infinity, or in a format without one that behind the largest number's
    nan: int
    infinite: bool = True
    low: int = 0

    @property
    def largest(self):
        """The code of the largest finite number."""
        return self.top - 1


FORMATS = {
    "f16": Format(16, 10, 15, 0x7C00, canonical_nan("f16")),
    "bf16": Format(16, 7, 127, 0x7F80, canonical_nan("bf16")),
    "tf32": Format(32, 10, 127, 0xFF << 10, 0x3FFFF, low=13),
    "f32": Format(32, 23, 127, 0x7F800000, canonical_nan("f32")),
    "e4m3": Format(8, 3, 7, 0x7F, 0x7F, infinite=False),
    "e5m2": Format(8, 2, 15, 0x7C, 0x7F),
    "f64": Format(64, 52, 1023, 0x7FF << 52, canonical_nan("f64")),
}


def odd_sum(a, b):
    """a + b in float64, rounded to odd. Infinities and NaN as usual."""
    total = a + b
    part = total - a
    error = (a - (total - part)) + (b - part)
    bits = total.view(np.int64)
    move = (np.abs(error) > 0) & (bits & 1 == 0)         # inexact (no NaN), and the nearest neighbour is the even one
    if move.any():
        outward = (error > 0) == (total > 0)
        bits += np.where(move, np.where(outward, 1, -1), 0)
    return total


def two_product(a, b):
    """(p, e) with p + e == a * b exactly, for float64 whose exponents are far from the ends."""
    product = a * b
    ah, bh = a * 134217729.0, b * 134217729.0            # 2**27 + 1
    ah, bh = ah - (ah - a), bh - (bh - b)
    al, bl = a - ah, b - bh
    return product, ((ah * bh - product) + ah * bl + al * bh) + al * bl


def two_sum(a, b):
    """(s, e) with s + e == a + b exactly, for finite float64."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def fma64(a, b, c):
    """a * b + c in float64 with one rounding, to nearest."""
    a, b, c = np.broadcast_arrays(a, b, c)
    high, low = two_product(a, b)
    partial, rest = two_sum(c, low)
    total, other = two_sum(high, partial)
    result = total + odd_sum(rest, other)
    small, large, addend = np.minimum(np.abs(a), np.abs(b)), np.maximum(np.abs(a), np.abs(b)), np.abs(c)
    safe = (small > 1e-140) & (large < 1e140) & ((addend == 0) | (addend > 1e-250)) & (addend < 1e250)
    if not safe.all():
        plain = (small == 0) | ~np.isfinite(large) | ~np.isfinite(addend)
        result = np.where(plain, a * b + c, result)
        at = np.nonzero(~safe & ~plain)
        result[at] = exact.lanes(exact.fma, "rn", a[at], b[at], c[at])
    return result


def fma32(a, b, c):
    """a * b + c of float32 values, in float64, rounded to odd."""
    return odd_sum(np.multiply(a, b, dtype=np.float64), np.asarray(c, np.float64))


def narrow(x, kind, mode="rn", saturate=False):
    """Round float64 values to `kind` and give the codes.

    Args:
        x: float64 array, exact or rounded to odd.
        kind: a key of FORMATS.
        mode: one of MODES.
        saturate: values beyond the largest finite one, infinities too, become that one.

    Returns:
        unsigned integers as wide as the format.
    """
    bits = x.view(np.uint64)
    biased = (bits >> np.uint64(52) & np.uint64(0x7FF)).astype(np.int64)
    fraction = (bits & np.uint64((1 << 52) - 1)) | ((biased > 0).astype(np.uint64) << np.uint64(52))
    negative = bits >> np.uint64(63) != 0
    code = assemble(fraction << np.uint64(11), np.maximum(biased, 1) - 1023, negative, kind, mode, saturate)
    special = biased == 0x7FF
    if special.any():
        form = FORMATS[kind]
        nan = special & (bits << np.uint64(12) != 0)
        infinity = (form.largest if saturate or not form.infinite else form.top) << form.low
        sign = (bits >> np.uint64(63)) << np.uint64(form.bits - 1)
        code = np.where(special, (np.uint64(infinity) | sign).astype(code.dtype), code)
        code = np.where(nan, code.dtype.type(form.nan << form.low), code)
    return code


def assemble(significand, exponent, negative, kind, mode="rn", saturate=False):
    """The code of (-1)**negative * significand / 2**63 * 2**exponent, rounded to `kind`.

    `significand` (uint64) has its highest bit set, or stands for zero or a number too small for the format anyway.
    """
    form = FORMATS[kind]
    least = 1 - form.bias
    shift = 63 - form.fraction + np.maximum(least - exponent, 0)
    significand = np.where(shift > 64, np.minimum(significand, _ONE), significand)
    shift = np.minimum(shift, 64).astype(np.uint64)
    quotient = significand >> shift
    rest = significand - (quotient << shift)
    half = _ONE << shift - _ONE
    if mode == "rn":
        up = (rest > half) | ((rest == half) & (quotient & _ONE == _ONE))
    elif mode == "rna":
        up = rest >= half
    elif mode == "rz":
        up = np.zeros(rest.shape, bool)
    else:
        up = (rest != 0) & (negative == (mode == "rm"))
    biased = (np.maximum(exponent, least) + (form.bias - 1)).astype(np.uint64)
    code = (biased << np.uint64(form.fraction)) + quotient + up
    code = np.where(significand == 0, np.uint64(0), code)
    over = code >= np.uint64(form.top)
    if over.any():
        code = np.where(over, np.where(_to_infinity(negative, mode) & (not saturate), np.uint64(form.top),
                                       np.uint64(form.largest)), code)
    code = code << np.uint64(form.low) | negative.astype(np.uint64) << np.uint64(form.bits - 1)
    return code.astype(UNSIGNED[form.bits])


def _to_infinity(negative, mode):
    """Whether numbers beyond the largest become infinite."""
    if mode in ("rn", "rna"):
        return np.ones(negative.shape, bool)
    return negative == (mode == "rm") if mode != "rz" else np.zeros(negative.shape, bool)


def from_integer(x, kind, mode="rn"):
    """The codes of integers (any NumPy integer type) rounded to `kind`."""
    negative = x < 0
    magnitude = np.where(negative, np.uint64(0) - x.astype(np.uint64), x.astype(np.uint64))
    exponent = np.full(x.shape, 63)
    for step in (32, 16, 8, 4, 2, 1):                    # bring the highest bit to the top
        low = magnitude < (_ONE << np.uint64(64 - step))
        magnitude = np.where(low, magnitude << np.uint64(step), magnitude)
        exponent -= np.where(low, step, 0)
    return assemble(magnitude, exponent, negative, kind, mode)


def widen(codes, kind, dtype=np.float32):
    """The values of f16, bf16, tf32, e4m3, e5m2 or f32 codes as `dtype`."""
    if kind in ("f16", "e4m3", "e5m2"):
        return _TABLES[kind, np.dtype(dtype)].take(codes)
    if kind == "bf16":
        codes = codes.astype(np.uint32) << np.uint32(16)
    elif kind == "tf32":
        codes = codes & np.uint32(0xFFFFE000)
    return codes.view(np.float32).astype(dtype, copy=False)


def _table(kind, dtype):
    """All values of an 8- or 16-bit format, by code."""
    if kind in ("f16", "e5m2"):                          # e5m2 is the upper half of f16
        codes = np.arange(1 << 16, dtype=np.uint16)
        values = codes.view(np.float16).astype(dtype)
        return values if kind == "f16" else values[::256].copy()
    codes = np.arange(256)
    fraction, biased = codes & 7, codes >> 3 & 15
    values = np.where(biased > 0, (8 + fraction) * 2.0 ** (biased - 10), fraction * 2.0 ** -9)
    values[codes & 127 == 127] = np.nan
    return np.where(codes > 127, -values, values).astype(dtype)


_TABLES = {(kind, np.dtype(dtype)): _table(kind, dtype)
           for kind in ("f16", "e4m3", "e5m2") for dtype in (np.float32, np.float64)}


def rectified(values):
    """Negative values, -0 too, made +0; NaN stays."""
    return np.where(values <= 0, 0.0, values)


def flush(bits, kind="f32"):
    """Codes with subnormal numbers made zeros of their sign."""
    form, dtype = FORMATS[kind], bits.dtype.type
    small = (bits & dtype(form.top)) == 0
    return np.where(small, bits & dtype(1 << form.bits - 1), bits) if small.any() else bits
