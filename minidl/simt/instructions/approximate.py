"""Elementary functions. Hardware approximates them; here they are the nearest result in float32, which is within its
bounds.

Source: the error bounds of the PTX ISA: ex2, lg2, sin, cos, tanh, rsqrt, rcp and sqrt .approx, 2**-10 to 2**-23.
"""
import numpy as np

from ..kinds import HALVES, UNSIGNED
from ..rounding import flush, widen
from ..table import elementwise
from .half import store

FUNCTIONS = {"ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
             "rsqrt": lambda x: 1 / np.sqrt(x)}


@elementwise(*FUNCTIONS)
def elementary(b):
    """d = f(a), computed in float64. With .ftz subnormal operands and results are zero."""
    function, kind = FUNCTIONS[b.ins.name], b.kind
    if kind in HALVES:
        base, x, d = kind.removesuffix("x2"), b.source(1), b.target(0)
        return lambda: store(d, function(widen(_codes(x), base, np.float64)), base)
    x, d, ftz = b.source(1), b.target(0), b.ins.has("ftz") and kind == "f32"
    if not ftz:
        return lambda: np.copyto(d, function(x.astype(np.float64)), casting="unsafe")
    bits = d.view(np.uint32)

    def flushed():
        np.copyto(d, function(flush(x.view(np.uint32)).view(np.float32).astype(np.float64)), casting="unsafe")
        bits[...] = flush(bits)
    return flushed


@elementwise("rcp.approx.ftz.f64", "rsqrt.approx.ftz.f64")
def upper_half(b):
    """The reciprocal (of the root) of a float64, of which only the upper 32 bits are read and written."""
    x, d = b.source(1).view(np.uint64), b.target(0).view(np.uint64)
    root, upper = b.ins.name == "rsqrt", UNSIGNED[64].type(0xFFFFFFFF00000000)

    def run():
        value = flush(x & upper, "f64").view(np.float64)
        value = 1 / (np.sqrt(value) if root else value)
        d[...] = flush(value.view(np.uint64) & upper, "f64")
    return run


def _codes(row):
    return np.ascontiguousarray(row).view(np.uint16)
