"""Integer arithmetic: sums, products, carries, division, minima, dot products of bytes."""
from functools import partial

import numpy as np

from ..kinds import BITS, DTYPE, INTEGERS, SIGNED, UNSIGNED, UNTYPED, is_signed
from ..table import elementwise

PAIRS = frozenset({"u16x2", "s16x2"})
UFUNC = {"add": np.add, "sub": np.subtract, "min": np.minimum, "max": np.maximum}


@elementwise("add", "sub", "min", "max", kinds=INTEGERS | UNTYPED | PAIRS)
def two_operands(b):
    """d = a op b, modulo 2**n; add and sub with .sat clamp (.s32), min and max with .relu clamp below at zero."""
    name, kind = b.ins.name, b.kind
    if kind in PAIRS:
        return _pairs(b, UFUNC[name])
    x, y, d = b.source(1), b.source(2), b.target(0)
    if b.ins.has("sat"):
        info, wide = np.iinfo(DTYPE[kind]), np.int64
        return lambda: np.copyto(d, np.clip(UFUNC[name](x, y, dtype=wide), info.min, info.max), casting="unsafe")
    if b.ins.has("relu"):
        return lambda: np.maximum(UFUNC[name](x, y), DTYPE[kind].type(0), out=d)
    return partial(UFUNC[name], x, y, out=d) if name in ("min", "max") else partial(UFUNC[name], x, y, d)


def _pairs(b, function):
    """The same on the two halves of a word."""
    half = SIGNED[16] if is_signed(b.kind) else UNSIGNED[16]
    x, y, d = b.source(1, "u32"), b.source(2, "u32"), b.target(0, "u32")

    def run():
        result = function(np.ascontiguousarray(x).view(half), np.ascontiguousarray(y).view(half))
        if b.ins.has("relu"):
            result = np.maximum(result, half.type(0))
        d[...] = result.view(np.uint32)
    return run


@elementwise("add.cc", "addc", "sub.cc", "subc", "mad.lo.cc", "mad.hi.cc", "madc", fuse=False)
def carry_chain(b):
    """Sums of many words: a carry goes from an instruction with .cc to the next addc, subc or madc of the same lane.

    A difference is the sum of a and the complement of b, so that its carry is 1 where nothing is borrowed. (The manual
    calls it a borrow; but nvcc's 128-bit division reads it by addc, as a carry.)
    """
    ins, carry, unsigned = b.ins, b.machine.carry, UNSIGNED[BITS[b.kind]]
    multiplies, subtract = ins.name.startswith("mad"), ins.name.startswith("sub")
    takes = ins.name in ("addc", "subc", "madc")
    operands, d, mask = [b.source(1 + k) for k in range(3 if multiplies else 2)], b.target(0), b.mask

    def run():
        *factors, y = (o.view(unsigned) for o in operands)
        x = product(*operands[:2])[ins.has("hi")].view(unsigned) if multiplies else factors[0]
        incoming = carry.astype(unsigned) if takes else unsigned.type(subtract)
        part = x + (~y if subtract else y)
        result = part + incoming
        out = (part < x) | (result < part)
        d[...] = np.broadcast_to(result, d.shape).view(d.dtype)
        if ins.has("cc"):
            np.copyto(carry, out, where=True if mask is None else mask.bool, casting="unsafe")
    return run


def product(x, y):
    """(low, high) halves of the full product of integers of one type, as that type."""
    bits = x.dtype.itemsize * 8
    if bits < 64:
        wide = np.multiply(x, y, dtype=f"{x.dtype.kind}{bits // 4}")
        return wide.astype(x.dtype), (wide >> wide.dtype.type(bits)).astype(x.dtype)
    low32, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a, c = x.view(np.uint64), y.view(np.uint64)
    a0, a1, c0, c1 = a & low32, a >> half, c & low32, c >> half
    middle = (a0 * c0 >> half) + (a1 * c0 & low32) + (a0 * c1 & low32)
    high = a1 * c1 + (a1 * c0 >> half) + (a0 * c1 >> half) + (middle >> half)
    if x.dtype.kind == "i":                              # a negative factor counted as itself plus 2**64
        high = high - np.where(x < 0, c, np.uint64(0)) - np.where(y < 0, a, np.uint64(0))
    return (a * c).view(x.dtype), high.view(x.dtype)


@elementwise("mul", "mad", kinds=INTEGERS | UNTYPED)
def multiply(b):
    """mul and mad: .lo and .hi halves or the .wide product, mad plus a third operand (.sat clamps .hi.s32)."""
    ins, kind = b.ins, b.kind
    x, y = b.source(1), b.source(2)
    if ins.has("wide"):
        wide = kind[0] + str(2 * BITS[kind])
        d, dtype = b.target(0, wide), DTYPE[wide]
        if ins.name == "mul":
            return partial(np.multiply, x, y, d, dtype=dtype)
        z, scratch = b.source(3, wide), b.machine.scratch(wide, 0, b.shape)

        def wide_mad():
            np.multiply(x, y, scratch, dtype=dtype)
            np.add(scratch, z, d)
        return wide_mad
    d = b.target(0)
    if ins.name == "mul":
        if ins.has("hi"):
            return lambda: np.copyto(d, product(x, y)[1])
        return partial(np.multiply, x, y, d)
    z, scratch = b.source(3), b.machine.scratch(kind, 0, b.shape)
    if ins.has("hi"):
        if ins.has("sat"):
            low, high = -1 << 31, (1 << 31) - 1
            return lambda: np.copyto(d, np.clip(product(x, y)[1].astype(np.int64) + z, low, high), casting="unsafe")
        return lambda: np.add(product(x, y)[1], z, d)

    def mad():
        np.multiply(x, y, scratch)
        np.add(scratch, z, d)
    return mad


@elementwise("mul24", "mad24", kinds=INTEGERS)
def multiply24(b):
    """Products of 24-bit integers: bits 0-31 (.lo) or 16-47 (.hi) of the 48-bit product."""
    ins, wide = b.ins, np.int64 if is_signed(b.kind) else np.uint64
    x, y, d = b.source(1), b.source(2), b.target(0)
    z = b.source(3) if ins.name == "mad24" else None
    shift = wide(40)

    def run():
        full = (x.astype(wide) << shift >> shift) * (y.astype(wide) << shift >> shift)
        full = full >> wide(16) if ins.has("hi") else full
        low = full.astype(np.uint64).astype(np.uint32).view(d.dtype)
        d[...] = low if z is None else low + z
        if z is not None and ins.has("sat"):
            d[...] = np.clip(low.astype(np.int64) + z, -1 << 31, (1 << 31) - 1)
    return run


@elementwise("div", "rem", kinds=INTEGERS)
def divide(b):
    """Quotients truncate; a division by zero gives all ones, a remainder by zero the dividend."""
    x, y, d = b.source(1), b.source(2), b.target(0)
    dtype, remainder_wanted = DTYPE[b.kind], b.ins.name == "rem"
    zero, one = dtype.type(0), dtype.type(1)

    def run():
        by_zero = y == zero
        divisor = np.where(by_zero, one, y)
        remainder = np.fmod(x, divisor)
        if remainder_wanted:
            d[...] = np.where(by_zero, x, remainder)
        else:
            d[...] = np.where(by_zero, ~zero, (x - remainder) // divisor)
    return run


@elementwise("neg", "abs", kinds=INTEGERS)
def one_operand(b):
    """d = -a or |a|; the least number stays itself."""
    return partial(np.negative if b.ins.name == "neg" else np.abs, b.source(1), b.target(0))


@elementwise("sad", kinds=INTEGERS)
def sum_of_difference(b):
    """d = |a - b| + c"""
    x, y, z, d = b.source(1), b.source(2), b.source(3), b.target(0)
    return lambda: np.copyto(d, np.maximum(x, y) - np.minimum(x, y) + z)


@elementwise("dp4a", "dp2a")
def dot_product(b):
    """d = c + the dot product of four bytes, or of two halves (a) and two bytes (b, .lo or .hi)."""
    ins, (a_kind, c_kind) = b.ins, b.ins.kinds()[-2:]
    x, y, d = b.source(1, "u32"), b.source(2, "u32"), b.target(0, "u32")
    signed = is_signed(a_kind) or is_signed(c_kind)
    z = b.source(3, "s32" if signed else "u32")

    def elements(word, kind, bits):
        dtype = (SIGNED if is_signed(kind) else UNSIGNED)[bits]
        return np.ascontiguousarray(word).view(dtype).reshape(*word.shape, -1).astype(np.int64)

    def run():
        if ins.name == "dp4a":
            total = (elements(x, a_kind, 8) * elements(y, c_kind, 8)).sum(-1)
        else:
            pair = elements(y, c_kind, 8)[..., 2:] if ins.has("hi") else elements(y, c_kind, 8)[..., :2]
            total = (elements(x, a_kind, 16) * pair).sum(-1)
        d[...] = (total + z).astype(np.uint32)
    return run
