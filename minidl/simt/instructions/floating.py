"""Floating point in 32 and 64 bits: sums, products, fused multiply-add, quotients, roots, minima; rounding modes,
.ftz, .sat."""
from functools import partial

import numpy as np

from .. import exact
from ..kinds import DTYPE, FLOATS, UNSIGNED
from ..rounding import flush, fma32, fma64, narrow, odd_sum
from ..table import elementwise

DIRECTED = ("rz", "rm", "rp")
TAIL = np.array([0x0FFFFFFF], np.uint64)       # float64 bits, all zero where a second rounding could go wrong
HALFWAY = np.uint64(0x10000000)                # the bit above them is set halfway between two normal float32 numbers
LEAST_NORMAL = 2.0 ** -126


def operands(b, *positions):
    """Closures of the operands: read as they are, or with .ftz subnormal float32 made zero."""
    rows = [b.source(p) for p in positions]
    if b.ins.has("ftz") and b.kind == "f32":
        return [partial(_flushed, row) for row in rows]
    return [lambda row=row: row for row in rows]


def _flushed(row):
    return flush(row.view(np.uint32)).view(np.float32)


def finished(b, d, compute):
    """`compute` fills d; then .sat clamps to [0, 1] (NaN gives 0) and .ftz makes subnormal results zero."""
    saturate, ftz = b.ins.has("sat"), b.ins.has("ftz") and b.kind == "f32"
    if not saturate and not ftz:
        return compute
    bits = d.view(UNSIGNED[d.dtype.itemsize * 8])

    def run():
        compute()
        if ftz:
            bits[...] = flush(bits)
        if saturate:
            np.fmin(np.fmax(d, d.dtype.type(0)), d.dtype.type(1), out=d)
            np.add(d, d.dtype.type(0), d)                # -0 becomes +0
    return run


PLAIN = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}


@elementwise("add", "sub", "mul", "div", kinds=FLOATS)
def arithmetic(b):
    """d = a op b. Division's .approx and .full give the nearest result, better than they promise."""
    name, mode, d = b.ins.name, b.ins.first(DIRECTED), b.target(0)
    if mode is None and not b.ins.has("ftz"):
        return finished(b, d, partial(PLAIN[name], b.source(1), b.source(2), d))
    x, y = operands(b, 1, 2)
    if mode is None:
        return finished(b, d, lambda: PLAIN[name](x(), y(), d))
    if b.kind == "f64":
        function = {"add": exact.add, "sub": exact.add, "mul": exact.multiply, "div": exact.divide}[name]
        sign = -1.0 if name == "sub" else 1.0

        def lane_by_lane():
            d[...] = exact.lanes(function, mode, *np.broadcast_arrays(x(), sign * y(), d)[:2])
        return finished(b, d, lane_by_lane)
    return finished(b, d, lambda: _directed(d, name, mode, x(), y()))


def _directed(d, name, mode, x, y):
    """float32 in a directed mode: float64 is exact or, for quotients, precise enough to tell which side they lie on."""
    x, y = np.broadcast_arrays(x.astype(np.float64), y.astype(np.float64), d)[:2]
    if name in ("add", "sub"):
        y = -y if name == "sub" else y
        wide = -odd_sum(-x, -y) if mode == "rm" else odd_sum(x, y)       # sums that cancel are -0 when rounding down
    else:
        wide = PLAIN[name](x, y)
    d[...] = narrow(wide, "f32", mode).view(np.float32)


@elementwise("fma", "mad", kinds=FLOATS)
def fused(b):
    """d = a * b + c, rounded once."""
    mode, d = b.ins.first(DIRECTED), b.target(0)
    if b.kind == "f64":
        x, y, z = (b.source(k) for k in (1, 2, 3))
        if mode:
            return lambda: np.copyto(d, exact.lanes(exact.fma, mode, *np.broadcast_arrays(x, y, z, d)[:3]))
        return lambda: np.copyto(d, fma64(x, y, z))
    if mode is None and not b.ins.has("ftz"):
        return finished(b, d, _fma32(b, d, b.source(1), b.source(2), b.source(3)))
    x, y, z = operands(b, 1, 2, 3)

    def run():
        factor = x()
        if mode == "rm":
            wide = -fma32(-factor, y(), -z())
        else:
            wide = fma32(factor, y(), z())
        d[...] = narrow(wide, "f32", mode).view(np.float32) if mode else wide
    return finished(b, d, run)


def _fma32(b, d, x, y, z):
    """The quick way: product exact and sum rounded in float64, then to float32. The second rounding can only go wrong
    where the sum ends in zeros (a tie of two float32 numbers); such sums are made anew, rounded to odd."""
    wide, low = b.machine.scratch("f64", 0, b.shape), b.machine.scratch("u64", 1, b.shape)
    bits, suspect = wide.view(np.uint64), np.empty(b.shape, bool)
    multiply, add, both, equal, zero = np.multiply, np.add, np.bitwise_and, np.equal, np.uint64(0)

    def run():
        multiply(x, y, wide, dtype=np.float64)
        add(wide, z, wide)
        both(bits, TAIL, low)
        equal(low, zero, suspect)
        if suspect.tobytes().find(1) >= 0:
            tiny = (np.abs(wide) < LEAST_NORMAL) & (wide != 0)
            at = np.nonzero(suspect & (tiny | (bits & HALFWAY != zero)))
            if len(at[0]):
                wide[at] = fma32(*(np.broadcast_to(v, b.shape)[at] for v in (x, y, z)))
        d[...] = wide
    return run


@elementwise("rcp", "sqrt", kinds=FLOATS)
def root(b):
    """d = 1 / a or the root of a. The .approx forms give the nearest result (rcp.approx.ftz.f64: see `approximate`)."""
    name, mode, d = b.ins.name, b.ins.first(DIRECTED), b.target(0)
    x, = operands(b, 1)
    if mode is None:
        return finished(b, d, lambda: np.sqrt(x(), d) if name == "sqrt" else np.divide(d.dtype.type(1), x(), d))
    if b.kind == "f64":
        if name == "sqrt":
            return lambda: np.copyto(d, exact.lanes(exact.square_root, mode, np.broadcast_to(x(), d.shape)))
        return lambda: np.copyto(d, exact.lanes(exact.divide, mode, np.ones(d.shape), np.broadcast_to(x(), d.shape)))

    def run():
        wide = np.broadcast_to(x(), d.shape).astype(np.float64)
        d[...] = narrow(np.sqrt(wide) if name == "sqrt" else 1.0 / wide, "f32", mode).view(np.float32)
    return finished(b, d, run)


@elementwise("neg", "abs", kinds=FLOATS)
def sign(b):
    """d = -a or |a|, of NaN too."""
    d, (x,) = b.target(0), operands(b, 1)
    function = np.negative if b.ins.name == "neg" else np.abs
    return lambda: function(x(), d)


@elementwise("min", "max", kinds=FLOATS)
def extremum(b):
    """The smaller or larger of two (or three) numbers, -0 below +0; NaN loses, with .NaN it wins. .xorsign.abs: by
    magnitude, with the product of the signs."""
    ins, d, unsigned = b.ins, b.target(0), UNSIGNED[DTYPE[b.kind].itemsize * 8]
    rows = operands(b, *range(1, len(ins.operands)))
    return lambda: np.copyto(d, extreme(ins, unsigned, *(row() for row in rows)))


def extreme(ins, unsigned, *values):
    """min or max of two or three arrays as the instruction's modifiers say."""
    smallest = ins.name == "min"
    choose = {(True, False): np.fmin, (False, False): np.fmax, (True, True): np.minimum, (False, True): np.maximum}[
        smallest, ins.has("NaN")]
    result = values[0]
    for other in values[1:]:
        x, y = (np.abs(result), np.abs(other)) if ins.has("abs") else (result, other)
        chosen = choose(x, y)
        equal = x == y                                   # also -0 and +0: the bits decide
        if equal.any():
            xb, yb = (np.ascontiguousarray(v).view(unsigned) for v in (x, y))
            chosen = np.where(equal, (xb | yb if smallest else xb & yb).view(chosen.dtype), chosen)
        if ins.has("xorsign"):
            sign = np.where(np.signbit(result) != np.signbit(other), -1.0, 1.0)
            chosen = np.copysign(chosen, sign.astype(chosen.dtype))
        result = chosen
    return result


@elementwise("copysign", kinds=FLOATS)
def copy_sign(b):
    """|b| with the sign of a."""
    x, y, d = b.source(1), b.source(2), b.target(0)
    return lambda: np.copysign(y, x, d)


CLASSES = {"finite": np.isfinite, "infinite": np.isinf, "number": lambda x: ~np.isnan(x), "notanumber": np.isnan}


@elementwise("testp", kinds=FLOATS)
def test(b):
    """p = whether a is finite, infinite, a number, notanumber, normal or subnormal."""
    x, d, name = b.source(1), b.target(0, "pred"), b.ins.opcode[1]
    tiny = np.finfo(DTYPE[b.kind]).smallest_normal
    if name in CLASSES:
        return lambda: np.copyto(d, CLASSES[name](x))
    if name == "normal":
        return lambda: np.copyto(d, np.isfinite(x) & (np.abs(x) >= tiny))
    return lambda: np.copyto(d, (x != 0) & (np.abs(x) < tiny))
