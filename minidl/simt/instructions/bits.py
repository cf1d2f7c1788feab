"""Bits: logic, shifts, fields, counts and permutations."""
from functools import partial

import numpy as np

from ..kinds import BITS, DTYPE, INTEGERS, UNSIGNED, UNTYPED, is_signed
from ..syntax import Immediate
from ..table import elementwise

LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@elementwise("and", "or", "xor")
def logic(b):
    """d = a op b, bit by bit or of predicates."""
    return partial(LOGIC[b.ins.name], b.source(1), b.source(2), b.target(0))


@elementwise("not", "cnot")
def invert(b):
    """d = ~a; cnot: d = 1 where a is zero."""
    x, d = b.source(1), b.target(0)
    return partial(np.invert, x, d) if b.ins.name == "not" else lambda: np.copyto(d, x == 0, casting="unsafe")


@elementwise("shl", "shr", kinds=INTEGERS | UNTYPED)
def shift(b):
    """Shifts by any amount: beyond the width zeros, or for signed types the sign, come in."""
    x, amount, d = b.source(1), b.source(2, "u32"), b.target(0)
    function, most = np.left_shift if b.ins.name == "shl" else np.right_shift, np.uint32(BITS[b.kind])
    if isinstance(b.ins.operands[2], Immediate):
        return partial(function, x, np.minimum(amount, most).astype(d.dtype), d)
    if amount.dtype == d.dtype:                          # NumPy, too, defines shifts by the width or more
        return partial(function, x, amount, d)
    return lambda: function(x, np.minimum(amount, most).astype(d.dtype), d)


@elementwise("shf")
def funnel(b):
    """Shift the 64 bits b:a left or right and take the upper or lower word; the amount wraps at 32 or clamps to it."""
    low, high, amount, d = b.source(1, "u32"), b.source(2, "u32"), b.source(3, "u32"), b.target(0, "u32")
    left, wrap, word = b.ins.has("l"), b.ins.has("wrap"), np.uint64(32)

    def run():
        both = high.astype(np.uint64) << word | low
        by = (amount & np.uint32(31) if wrap else np.minimum(amount, np.uint32(32))).astype(np.uint64)
        d[...] = both << by >> word if left else both >> by
    return run


@elementwise("lop3")
def any_logic(b):
    """Any function of three bits, given as a table: bit 4a + 2b + c of the immediate."""
    if b.ins.has("and", "or", "xor") or len(b.ins.operands) > 5:
        return _any_logic_flag(b)
    x, y, z, d = b.source(1, "u32"), b.source(2, "u32"), b.source(3, "u32"), b.target(0, "u32")
    table = b.ins.operands[4].value
    return lambda: np.copyto(d, lookup(x, y, z, table))


def lookup(x, y, z, table):
    """The function `table` of three words, bit by bit."""
    result = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.uint32)
    for k in range(8):
        if table >> k & 1:
            result |= (x if k & 4 else ~x) & (y if k & 2 else ~y) & (z if k & 1 else ~z)
    return result


def _any_logic_flag(b):
    """lop3.op d|p, a, b, c, table, q: also whether the result is not zero, combined with q."""
    first, x, y, z, table, q = b.ins.operands
    x, y, z = (b.read(o, "u32") for o in (x, y, z))
    d, p, q = b.write(first.first, "u32"), b.write(first.second, "pred"), b.predicate(q)
    combine = LOGIC[b.ins.first(LOGIC)]

    def run():
        value = lookup(x, y, z, table.value)
        flag = combine(value != 0, q())
        d[...] = value
        p[...] = flag
    return run


@elementwise("popc")
def count_ones(b):
    """How many bits are set."""
    x, d = b.source(1), b.target(0, "u32")
    return lambda: np.copyto(d, np.bitwise_count(x), casting="unsafe")


def leading_zeros(x):
    """Zeros before the highest set bit of unsigned integers."""
    bits = x.dtype.itemsize * 8
    zeros, rest, step = np.zeros(x.shape, np.uint32), x.copy(), bits // 2
    while step:
        low = rest < x.dtype.type(1 << bits - step)
        zeros += np.where(low, np.uint32(step), np.uint32(0))
        rest = np.where(low, rest << x.dtype.type(step), rest)
        step //= 2
    return zeros + (rest == 0)


@elementwise("clz")
def count_leading(b):
    """How many zeros precede the highest set bit."""
    x, d = b.source(1), b.target(0, "u32")
    return lambda: np.copyto(d, leading_zeros(x))


@elementwise("bfind")
def find_highest(b):
    """Place of the highest bit that differs from the sign (set, for unsigned), all ones if there is none; .shiftamt:
    the shift that brings it to the top."""
    x, d, width = b.source(1), b.target(0, "u32"), BITS[b.kind]
    signed, shiftamt = is_signed(b.kind), b.ins.has("shiftamt")

    def run():
        value = np.where(x < 0, ~x, x) if signed else x
        zeros = leading_zeros(value.view(UNSIGNED[width]))
        d[...] = np.where(zeros == width, np.uint32(0xFFFFFFFF), zeros if shiftamt else np.uint32(width - 1) - zeros)
    return run


@elementwise("fns")
def find_nth(b):
    """Place of the n-th set bit from `base` on upwards, or for negative n downwards; all ones if there is none."""
    x, base, n, d = b.source(1, "u32"), b.source(2, "u32"), b.source(3, "s32"), b.target(0, "u32")

    def find(value, start, nth):
        if nth == 0:
            return start if value >> start & 1 else 0xFFFFFFFF
        places = range(start, 32) if nth > 0 else range(start, -1, -1)
        found = [k for k in places if value >> k & 1]
        return found[abs(nth) - 1] if len(found) >= abs(nth) else 0xFFFFFFFF

    def run():
        rows = [row.reshape(-1).tolist() for row in np.broadcast_arrays(x, base & np.uint32(31), n, d)[:3]]
        d[...] = np.array([find(*item) for item in zip(*rows)], np.uint32).reshape(d.shape)
    return run


@elementwise("brev")
def reverse(b):
    """Bits in reverse order."""
    x, d, width = b.source(1), b.target(0), BITS[b.kind]
    masks = [(1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)]
    dtype = UNSIGNED[width].type
    steps = [(dtype(s), dtype(mask & (1 << width) - 1)) for s, mask in masks]

    def run():
        value = x
        for by, mask in steps:
            value = (value >> by & mask) | ((value & mask) << by)
        d[...] = value.byteswap()
    return run


@elementwise("bfe")
def extract(b):
    """The field of `length` bits from `start`, with zeros or, for signed types, its sign above."""
    x, start, length, d = b.source(1), b.source(2, "u32"), b.source(3, "u32"), b.target(0)
    width, signed = BITS[b.kind], is_signed(b.kind)
    wide = np.int64 if signed else np.uint64

    def run():
        begin, count = (start & np.uint32(255)).astype(np.int64), (length & np.uint32(255)).astype(np.int64)
        value = x.astype(wide)
        shifted = value >> np.minimum(begin, 63).astype(wide)
        shifted = np.where(begin < width, shifted, value >> wide(63) if signed else wide(0))
        keep = np.minimum(count, 64)
        ones = (np.uint64(1) << keep.astype(np.uint64)) - np.uint64(1)           # 64 ones where the shift is by 64
        field = shifted.view(np.uint64) & ones
        if signed:                                       # the field's highest bit that exists, or the number's
            top = np.minimum(begin + count - 1, width - 1).clip(0)
            sign = (count > 0) & ((value >> top.astype(wide)) & 1 == 1)
            field = np.where(sign, field | ~ones, field)
        d[...] = field.astype(UNSIGNED[width]).view(d.dtype)
    return run


@elementwise("bfi")
def insert(b):
    """b with `length` bits from `start` replaced by the low bits of a."""
    x, y, start, length, d = b.source(1), b.source(2), b.source(3, "u32"), b.source(4, "u32"), b.target(0)
    width, dtype = BITS[b.kind], DTYPE[b.kind].type

    def run():
        begin = np.minimum(start & np.uint32(255), np.uint32(width)).astype(dtype)
        count = np.minimum(length & np.uint32(255), np.uint32(width)).astype(dtype)
        ones = (dtype(1) << count) - dtype(1)            # a shift by the width gives 0, minus 1 all ones
        field = ones << begin
        d[...] = (y & ~field) | (x << begin & field)
    return run


@elementwise("bmsk")
def mask(b):
    """`length` ones from `start`; both wrap at 32 or clamp to it."""
    start, length, d, wrap = b.source(1, "u32"), b.source(2, "u32"), b.target(0, "u32"), b.ins.has("wrap")

    def run():
        limited = [v & np.uint32(31) if wrap else np.minimum(v, np.uint32(32)) for v in (start, length)]
        begin, count = (v.astype(np.uint64) for v in limited)
        d[...] = (((np.uint64(1) << count) - np.uint64(1)) << begin).astype(np.uint32)
    return run


@elementwise("szext")
def extend(b):
    """The low `width` bits with zeros or, for signed types, their sign above."""
    x, count, d, wrap, signed = b.source(1), b.source(2, "u32"), b.target(0), b.ins.has("wrap"), is_signed(b.kind)

    def run():
        keep = (count & np.uint32(31) if wrap else np.minimum(count, np.uint32(32))).astype(np.uint64)
        ones = (np.uint64(1) << keep) - np.uint64(1)
        field = x.astype(np.uint64) & ones
        if signed:
            sign = (keep > 0) & (field >> np.maximum(keep, 1).astype(np.uint64) - np.uint64(1) & np.uint64(1) == 1)
            field = np.where(sign, field | ~ones, field)
        d[...] = field.astype(np.uint32).view(d.dtype)
    return run


@elementwise("prmt")
def permute(b):
    """Four bytes chosen from the eight of b:a by four selectors, each also able to spread a byte's sign."""
    x, y, selector, d = b.source(1, "u32"), b.source(2, "u32"), b.source(3, "u32"), b.target(0, "u32")
    mode, word, byte = b.ins.first(SELECTORS), np.uint64(32), np.uint64(255)

    def run():
        pool = x.astype(np.uint64) | y.astype(np.uint64) << word
        chosen = selector if mode is None else SELECTORS[mode](selector & np.uint32(3))
        result = np.uint64(0)
        for k in range(4):
            nibble = (chosen >> np.uint32(4 * k) & np.uint32(15)).astype(np.uint64)
            value = pool >> (nibble & np.uint64(7)) * np.uint64(8) & byte
            spread = (value >> np.uint64(7)) * byte
            result = result | np.where(nibble & np.uint64(8), spread, value) << np.uint64(8 * k)
        d[...] = result
    return run


def _nibbles(rows):
    """For each of four amounts, the four selectors as one word."""
    table = np.array([sum(s << 4 * k for k, s in enumerate(row)) for row in rows], np.uint32)
    return table.take


SELECTORS = {"f4e": _nibbles([[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
             "b4e": _nibbles([[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
             "rc8": _nibbles([[k] * 4 for k in range(4)]),
             "ecl": _nibbles([[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
             "ecr": _nibbles([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
             "rc16": _nibbles([[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]])}
