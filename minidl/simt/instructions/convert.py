"""Conversions: cvt between integers, floats, halves, tf32 and eight-bit floats, and cvt.pack."""
from functools import partial

import numpy as np

from ..faults import UnknownInstruction
from ..kinds import BITS, DTYPE, UNSIGNED, UNTYPED
from ..rounding import FORMATS, MODES, flush, from_integer, narrow, rectified, widen
from ..table import elementwise
from .half import store

TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
SMALL = ("f16", "bf16")
PACKED = {"f16x2": "f16", "bf16x2": "bf16", "e4m3x2": "e4m3", "e5m2x2": "e5m2"}


@elementwise("cvt")
def convert(b):
    """cvt.to.from, with rounding, .ftz, .sat and .relu."""
    into, given = b.ins.kinds()[-2:]
    if given in ("e4m3x2", "e5m2x2"):
        return _unpack(b, into, given)
    if into in PACKED:
        return _pack(b, into, given)
    if into == "tf32":
        return _to_tf32(b)
    if _is_integer(into):
        return _between_integers(b, into, given) if _is_integer(given) else _to_integer(b, into, given)
    return _from_integer(b, into, given) if _is_integer(given) else _between_floats(b, into, given)


def _is_integer(kind):
    return kind[0] in "us" or kind in UNTYPED


def _narrow_target(b, into):
    """The result's row. An integer narrower than its register is extended to all of it."""
    home = max((b.width(ins.operands[0], BITS[into]) for ins in b.group), default=BITS[into])
    return b.target(0, into[0] + str(home)) if home > BITS[into] else b.target(0, into)


def _between_integers(b, into, given):
    """Cut off, or with .sat clamped."""
    x, d, dtype = b.source(1, given), _narrow_target(b, into), DTYPE[into]
    if b.ins.has("sat"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        theirs = np.iinfo(x.dtype)
        low, high = (x.dtype.type(max(low, theirs.min)), x.dtype.type(min(high, theirs.max)))
        return lambda: np.copyto(d, np.clip(x, low, high).astype(dtype), casting="unsafe")
    if dtype.itemsize < d.itemsize:
        return lambda: np.copyto(d, x.astype(dtype), casting="unsafe")
    return partial(np.copyto, d, x, casting="unsafe")


def _float_values(b, given, dtype=np.float64):
    """A closure of operand 1 as float64 (or narrower, where that is exact), flushed if .ftz says so."""
    if given in SMALL:
        x = b.source(1, "b16")
        return lambda: widen(np.ascontiguousarray(x), given, dtype)
    x = b.source(1, given)
    if b.ins.has("ftz") and given == "f32":
        return lambda: flush(x.view(np.uint32)).view(np.float32).astype(dtype)
    return lambda: x.astype(dtype)


def _to_integer(b, into, given):
    """Rounded, clamped; NaN gives 0, or the highest bit alone where either type has 64 bits."""
    x, d, dtype = _float_values(b, given), _narrow_target(b, into), DTYPE[into]
    rounding, info = TO_INTEGER[b.ins.first(TO_INTEGER, "rzi")], np.iinfo(dtype)
    of_nan = dtype.type(0)
    if given == "f64" or BITS[into] == 64:
        of_nan = np.array([1 << BITS[into] - 1], UNSIGNED[BITS[into]]).view(dtype)[0]

    def run():
        value = rounding(x())
        low, high = value <= info.min, value >= info.max     # (float(info.max) may be one more: equal is too large)
        inside = np.where(low | high | np.isnan(value), 0.0, value).astype(dtype)
        result = np.where(high, dtype.type(info.max), np.where(low, dtype.type(info.min), inside))
        np.copyto(d, np.where(np.isnan(value), of_nan, result), casting="unsafe")
    return run


def _from_integer(b, into, given):
    """Rounded to nearest even unless another mode is given."""
    x, mode = b.source(1, given), b.ins.first(MODES, "rn")
    if into in SMALL:
        d = b.target(0, "b16")
        return lambda: np.copyto(d, from_integer(x, into, mode))
    d = b.target(0, into)
    if mode == "rn":
        return partial(np.copyto, d, x, casting="unsafe")
    codes = d.view(UNSIGNED[BITS[into]])
    if into == "f64" and x.dtype.itemsize < 8:           # exact
        return partial(np.copyto, d, x, casting="unsafe")
    return lambda: np.copyto(codes, from_integer(x, into, mode))


def _between_floats(b, into, given):
    """Widened exactly or rounded; .rni and kin to an integral value; .sat to [0, 1]."""
    ins, mode = b.ins, b.ins.first(MODES, "rn")
    integral, saturate = TO_INTEGER.get(ins.first(TO_INTEGER)), ins.has("sat")
    relu, ftz = ins.has("relu"), ins.has("ftz")
    plain = not (integral or saturate or relu or ftz)
    if into in SMALL:
        d = b.target(0, "b16")
        if plain and mode == "rn" and given == "f32" and into == "f16":
            x = b.source(1, given)
            half = d.view(np.float16)
            return partial(np.copyto, half, x, casting="unsafe")
        if plain and mode == "rn" and given == "f32":
            x = b.source(1, given)
            return lambda: np.copyto(d, nearest_bf16(x))
    else:
        d = b.target(0, into)
        if plain and given in SMALL:
            x = b.source(1, "b16")
            return lambda: np.copyto(d, widen(np.ascontiguousarray(x), given, d.dtype))
        if plain and (mode == "rn" or BITS[into] >= BITS[given]):
            return partial(np.copyto, d, b.source(1, given), casting="unsafe")
    x, codes = _float_values(b, given), d.view(UNSIGNED[d.dtype.itemsize * 8])

    def run():
        value = x()
        value = integral(value) if integral else value
        value = np.where(np.isnan(value), 0.0, np.clip(value, 0.0, 1.0) + 0.0) if saturate else value
        value = rectified(value) if relu else value
        if into == "f64":
            d[...] = value
            return
        result = narrow(np.broadcast_to(value, d.shape).copy(), into, mode, saturate=ins.has("satfinite"))
        codes[...] = flush(result) if ftz and into == "f32" else result
    return run


def nearest_bf16(x):
    """bfloat16 codes of float32 values, to nearest even."""
    u = np.ascontiguousarray(x).view(np.uint32)
    codes = ((u + np.uint32(0x7FFF) + (u >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    nan = np.isnan(x)
    return np.where(nan, np.uint16(0x7FFF), codes) if nan.any() else codes


def _to_tf32(b):
    """float32 with a fraction of 10 bits: .rna to nearest, ties away from zero, or .rn or .rz."""
    x, d, mode = b.source(1, "f32"), b.target(0, "b32"), b.ins.first(MODES, "rna")
    relu, saturate = b.ins.has("relu"), b.ins.has("satfinite")

    def run():
        value = x.astype(np.float64)
        value = rectified(value) if relu else value
        d[...] = narrow(np.broadcast_to(value, d.shape).copy(), "tf32", mode, saturate)
    return run


def _pack(b, into, given):
    """Two numbers into the halves of a register: the first operand above the second."""
    ins, base = b.ins, PACKED[into]
    mode, relu, saturate = ins.first(MODES, "rn"), ins.has("relu"), ins.has("satfinite")
    word = "b32" if BITS[into] == 32 else "b16"
    d, part = b.target(0, word), UNSIGNED[BITS[into] // 2]
    if given in ("f16x2", "bf16x2"):
        x = b.source(1, "b32")
        halves = lambda: [widen(v, PACKED[given], np.float64) for v in (x >> np.uint32(16), x & np.uint32(0xFFFF))]
    else:
        rows = [b.source(1, "f32"), b.source(2, "f32")]
        if mode == "rn" and not relu and not saturate and base in SMALL:
            codes = nearest_bf16 if base == "bf16" else lambda v: v.astype(np.float16).view(np.uint16)
            return lambda: np.copyto(d, codes(rows[1]) | codes(rows[0]).astype(np.uint32) << np.uint32(16))
        halves = lambda: [row.astype(np.float64) for row in rows]

    def run():
        high, low = (narrow(np.broadcast_to(rectified(v) if relu else v, d.shape).copy(), base, mode,
                            saturate or not FORMATS[base].infinite) for v in halves())
        d[...] = low.astype(d.dtype) | high.astype(d.dtype) << d.dtype.type(part.itemsize * 8)
    return run


def _unpack(b, into, given):
    """Two eight-bit floats of a 16-bit register to a pair of halves."""
    if into != "f16x2":
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: no such conversion, PTX line {b.ins.line}")
    x, d, base, relu = b.source(1, "b16"), b.target(0, "b32"), PACKED[given], b.ins.has("relu")

    def run():
        pairs = widen(np.ascontiguousarray(x).view(np.uint8), base, np.float64)
        store(d, pairs, "f16", relu=relu)
    return run


@elementwise("cvt.pack", fuse=False)
def pack_integers(b):
    """cvt.pack.sat.to.from d, a, b[, c]: a and b clamped and put side by side, above the low bits of c."""
    ins = b.ins
    kinds = ins.kinds()
    into, given, bits = kinds[0], kinds[1], BITS[kinds[0]]
    x, y, d = b.source(1, given), b.source(2, given), b.target(0, "b32")
    rest = b.source(3, "b32") if len(ins.operands) > 3 else None
    info, width, ones = np.iinfo(DTYPE[into]), np.uint32(bits), np.uint32((1 << bits) - 1)

    def run():
        high, low = (np.clip(v.astype(np.int64), info.min, info.max).astype(np.uint32) & ones for v in (x, y))
        value = low | high << width
        d[...] = value if rest is None else value | rest << np.uint32(2) * width
    return run
