"""Activations made of exponentials, alone or times a second array (gates): one pass over memory each way."""
import triton
import triton.language as tl

from .functions import bend, given, slope
from .variants import POINTERS, tuned


@triton.jit
def gate_forward(x, other, y, count, activation, beta, BLOCK: tl.constexpr):
    """y = activation(beta * x) / beta * other; no `other`: as if it were 1."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    values = bend(tl.load(x + at, mask, other=0.0).to(tl.float32) * beta, activation) / beta
    if given(other):
        values *= tl.load(other + at, mask, other=0.0).to(tl.float32)
    tl.store(y + at, values, mask)


@triton.jit
def gate_backward(g, x, other, gx, gother, count, activation, beta, BLOCK: tl.constexpr):
    """The gradients of x and, where there is one, of `other`."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    of_y = tl.load(g + at, mask, other=0.0).to(tl.float32)
    scaled = tl.load(x + at, mask, other=0.0).to(tl.float32) * beta
    of_x = of_y * slope(scaled, activation)
    if given(other):
        of_x *= tl.load(other + at, mask, other=0.0).to(tl.float32)
        tl.store(gother + at, of_y * bend(scaled, activation) / beta, mask)
    tl.store(gx + at, of_x, mask)


def variants():
    for dtype, pointer in POINTERS.items():
        rest = {"count": "i64", "activation": "i32", "beta": "fp32"}
        for kernel, arrays in ((gate_forward, "x other y"), (gate_backward, "g x other gx gother")):
            names = arrays.split()
            yield tuned(kernel, {"dtype": dtype}, {**dict.fromkeys(names, pointer), **rest}, divisible=names)
