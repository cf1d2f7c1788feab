"""float16 and bfloat16, alone and in pairs. Each operation is exact in float64, or rounded to odd there, and rounds
once."""
import numpy as np

from ..kinds import HALVES, UNSIGNED
from ..rounding import FORMATS, flush, fma32, narrow, odd_sum, rectified, widen
from ..table import elementwise
from .floating import extreme

PAIRED = {"f16x2": "f16", "bf16x2": "bf16"}


def store(row, values, kind, saturate=False, relu=False):
    """Round float64 values to `kind` and put their codes, or pairs of them, into a row."""
    if relu or saturate:
        values = rectified(values)
    if saturate:
        values = np.where(np.isnan(values), 0.0, np.minimum(values, 1.0))
    if kind == "f16":
        codes = values.astype(np.float16).view(np.uint16)
        codes = np.where(np.isnan(values), np.uint16(0x7FFF), codes)
    else:
        codes = narrow(values, kind)
    row[...] = np.broadcast_to(np.ascontiguousarray(codes).view(row.dtype), row.shape)


class Operands:
    """The operands of a half instruction as float64, twice as many columns for pairs."""

    def __init__(self, b, *positions):
        self.kind = PAIRED.get(b.kind, b.kind)
        self.rows = [b.source(p, UNTYPED_OF[b.kind]) for p in positions]
        self.ftz = b.ins.has("ftz") and self.kind == "f16"

    def codes(self):
        """The codes, flushed where the instruction says so."""
        codes = [np.ascontiguousarray(row).view(np.uint16) for row in self.rows]
        return [flush(c, "f16") for c in codes] if self.ftz else codes

    def values(self):
        """The values."""
        return [widen(c, self.kind, np.float64) for c in self.codes()]


UNTYPED_OF = {"f16": "b16", "bf16": "b16", "f16x2": "b32", "bf16x2": "b32"}


def _finished(b, d, kind):
    """store, with the instruction's .sat, .relu and .ftz."""
    saturate, relu, ftz = b.ins.has("sat"), b.ins.has("relu"), b.ins.has("ftz") and kind == "f16"
    codes = d.view(UNSIGNED[d.dtype.itemsize * 8])

    def finish(values):
        store(codes, values, kind, saturate, relu)
        if ftz:
            codes[...] = flush(np.ascontiguousarray(codes).view(np.uint16), "f16").view(codes.dtype)
    return finish


@elementwise("add", "sub", "mul", kinds=HALVES)
def arithmetic(b):
    """d = a op b."""
    given, d, name = Operands(b, 1, 2), b.target(0, UNTYPED_OF[b.kind]), b.ins.name
    finish = _finished(b, d, given.kind)

    def run():
        x, y = given.values()
        if name == "mul":
            finish(x * y)
        else:
            finish(odd_sum(*np.broadcast_arrays(x, y if name == "add" else -y)))
    return run


@elementwise("fma", kinds=HALVES)
def fused(b):
    """d = a * b + c, rounded once. (.oob: a result of an operand that marks a place out of bounds is zero.)"""
    given, d = Operands(b, 1, 2, 3), b.target(0, UNTYPED_OF[b.kind])
    finish = _finished(b, d, given.kind)

    def run():
        x, y, z = np.broadcast_arrays(*given.values())
        finish(fma32(x, y, z))
    return run


@elementwise("neg", "abs", kinds=HALVES)
def sign(b):
    """d = -a or |a|: the sign bits change."""
    given, d = Operands(b, 1), b.target(0, UNTYPED_OF[b.kind])
    negate, top = b.ins.name == "neg", np.uint16(0x8000)

    def run():
        codes, = given.codes()
        d[...] = np.broadcast_to((codes ^ top if negate else codes & ~top).view(d.dtype), d.shape)
    return run


@elementwise("min", "max", kinds=HALVES)
def extremum(b):
    """The smaller or larger; see floating.extremum."""
    given, d = Operands(b, *range(1, len(b.ins.operands))), b.target(0, UNTYPED_OF[b.kind])
    finish = _finished(b, d, given.kind)
    return lambda: finish(extreme(b.ins, UNSIGNED[64], *given.values()))


__all__ = ["FORMATS", "Operands", "PAIRED", "UNTYPED_OF", "store"]
