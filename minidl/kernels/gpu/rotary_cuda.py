"""Rotary positions in CUDA C++: one pass, arrays read in place. Backward is the op's own rule, which calls it again."""
from math import prod

from ...dispatch import Kernel, register
from ..rotary import four, odd
from .heads import FAR, like, rows, steps
from .launch import cdiv, lacks, launch


def _odd(arrays, params):
    x, cos, sin = arrays
    if any(a.dtype != x.dtype for a in (cos, sin)):
        return "several dtypes"
    if x.shape[-2] >= FAR:
        return "long sequences"
    return odd(*arrays) or lacks("rotary_cuda", dtype=x.dtype.name)


def _forward(xp, x, cos, sin, interleaved):
    arrays = x4, *_ = [rows(xp, four(xp, a, x.shape[:-2])) for a in (x, cos, sin)]
    y, (b, h, t, d), half = like(xp, x4, x4.shape[-1]), x4.shape, cos.shape[-1]
    items = prod((b, h, t)) * (d - half)
    launch("rotary_cuda", lambda c: (cdiv(items, c["ITEMS"]),), (
        *arrays, y, *[n for a in (*arrays, y) for n in steps(a, 3)], items, h, t, d, half, int(interleaved)),
        dtype=x.dtype.name)
    return y.reshape(x.shape)


register(Kernel("rotary.cuda", "rotary", "cuda", _forward, None, _odd))
