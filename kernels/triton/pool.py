"""Pooling over windows on two axes: the largest of each, or the mean; one pass each way, and nothing is added twice.

Arrays are (outer, height, width, inner), `inner` being the channels of images whose channels lie last, or 1. A lane has
an element of what comes out: forward it looks at a window, backward at all windows that see its element. So sums are in
the order of the taps, whatever runs when.
"""
import triton
import triton.language as tl

from .functions import VECTOR, given, vectors
from .variants import POINTERS, tuned


@triton.jit
def _place(element, height, width, inner):
    """(line, column) of flat elements of an array (outer, height, width, inner)."""
    return element // inner // width % height, element // inner % width


@triton.jit
def _flat(element, height, width, inner, line, column, to_height, to_width):
    """The flat place, in an array (outer, to_height, to_width, inner), of (line, column) beside what is given."""
    outer = element // inner // width // height
    return ((outer * to_height + line) * to_width + column) * inner + element % inner


@triton.jit
def _window(coordinate, tap, stride, dilation, before, count):
    """(the window that sees an element by a tap, is there one?)."""
    start = coordinate + before - tap * dilation
    window = start // stride
    return window, (start >= 0) & (start == window * stride) & (window < count)


@triton.jit
def _largest(x, y, positions, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w, dilation_h,
             dilation_w, before_h, before_w, BLOCK: tl.constexpr):
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, j = _place(element, p, q, inner)
    best = tl.full([BLOCK], float("-inf"), tl.float32)
    position = tl.full([BLOCK], -1, tl.int32)
    for r in range(taps_h):
        line = i * stride_h - before_h + r * dilation_h
        for s in range(taps_w):
            column = j * stride_w - before_w + s * dilation_w
            inside = (line >= 0) & (line < height) & (column >= 0) & (column < width) & (element < count)
            seen = tl.load(x + _flat(element, p, q, inner, line, column, height, width), inside, other=0.0)
            seen = seen.to(tl.float32)
            better = inside & ((position < 0) | (seen > best) | (seen != seen) & (best == best))
            best = tl.where(better, seen, best)
            position = tl.where(better, r * taps_w + s, position)
    tl.store(y + element, best, element < count)
    tl.store(positions + element, position.to(tl.int16), (element < count) & given(positions))


@triton.jit
def max_pool_forward(x, y, positions, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w,
                     dilation_h, dilation_w, before_h, before_w, BLOCK: tl.constexpr):
    """y = the largest of each window, and which tap it is, the first one of equals; NaN is the largest."""
    if inner % VECTOR == 0:
        _largest(x, y, positions, count, vectors(inner), height, width, p, q, taps_h, taps_w, stride_h, stride_w,
                 dilation_h, dilation_w, before_h, before_w, BLOCK)
    else:
        _largest(x, y, positions, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w, dilation_h,
                 dilation_w, before_h, before_w, BLOCK)


@triton.jit
def max_pool_backward(g, positions, gx, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w,
                      dilation_h, dilation_w, before_h, before_w, BLOCK: tl.constexpr):
    """gx (outer, height, width, inner): of each element, the gradients of the windows whose largest it is."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    line, column = _place(element, height, width, inner)
    total = tl.zeros([BLOCK], tl.float32)
    for r in range(taps_h):
        i, one = _window(line, r, stride_h, dilation_h, before_h, p)
        for s in range(taps_w):
            j, other = _window(column, s, stride_w, dilation_w, before_w, q)
            at, sees = _flat(element, height, width, inner, i, j, p, q), one & other & (element < count)
            hit = sees & (tl.load(positions + at, sees, other=-1).to(tl.int32) == r * taps_w + s)
            total += tl.load(g + at, hit, other=0.0).to(tl.float32)
    tl.store(gx + element, total, element < count)


@triton.jit
def _length(window, taps, stride, before, after, size, padded):
    """By how many elements the windows on an axis divide, with or without those of the padding."""
    start = window * stride - before
    low, high = tl.where(padded, -before, 0), tl.where(padded, size + after, size)
    return tl.minimum(start + taps, high) - tl.maximum(start, low)


@triton.jit
def _divisor(i, j, height, width, taps_h, taps_w, stride_h, stride_w, before_h, before_w, after_h, after_w, padded,
             divisor):
    """Of windows (i, j): `divisor`, unless that is 0."""
    lines = _length(i, taps_h, stride_h, before_h, after_h, height, padded != 0)
    own = (lines * _length(j, taps_w, stride_w, before_w, after_w, width, padded != 0)).to(tl.float32)
    return tl.where(divisor == 0.0, own, divisor)


@triton.jit
def mean_pool_forward(x, y, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w, before_h, before_w,
                      after_h, after_w, padded, divisor, BLOCK: tl.constexpr):
    """y = the mean of each window."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    i, j = _place(element, p, q, inner)
    total = tl.zeros([BLOCK], tl.float32)
    for r in range(taps_h):
        line = i * stride_h - before_h + r
        for s in range(taps_w):
            column = j * stride_w - before_w + s
            inside = (line >= 0) & (line < height) & (column >= 0) & (column < width) & (element < count)
            seen = tl.load(x + _flat(element, p, q, inner, line, column, height, width), inside, other=0.0)
            total += seen.to(tl.float32)
    total /= _divisor(i, j, height, width, taps_h, taps_w, stride_h, stride_w, before_h, before_w, after_h, after_w,
                      padded, divisor)
    tl.store(y + element, total, element < count)


@triton.jit
def mean_pool_backward(g, gx, count, inner, height, width, p, q, taps_h, taps_w, stride_h, stride_w, before_h,
                       before_w, after_h, after_w, padded, divisor, BLOCK: tl.constexpr):
    """gx (outer, height, width, inner): of each element, its shares of the gradients of the windows that see it."""
    element = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    line, column = _place(element, height, width, inner)
    total = tl.zeros([BLOCK], tl.float32)
    for r in range(taps_h):
        i, one = _window(line, r, stride_h, 1, before_h, p)
        for s in range(taps_w):
            j, other = _window(column, s, stride_w, 1, before_w, q)
            at, sees = _flat(element, height, width, inner, i, j, p, q), one & other & (element < count)
            by = _divisor(i, j, height, width, taps_h, taps_w, stride_h, stride_w, before_h, before_w, after_h, after_w,
                          padded, divisor)
            total += tl.where(sees, tl.load(g + at, sees, other=0.0).to(tl.float32) / by, 0.0)
    tl.store(gx + element, total, element < count)


SHAPE = dict.fromkeys("count inner height width p q taps_h taps_w stride_h stride_w".split(), "i32")
STEPS = dict.fromkeys("dilation_h dilation_w before_h before_w".split(), "i32")
EDGES = {**dict.fromkeys("before_h before_w after_h after_w padded".split(), "i32"), "divisor": "fp32"}


def variants():
    for dtype, pointer in POINTERS.items():
        for kernel, names, numbers in ((max_pool_forward, "x y positions", STEPS),
                                       (max_pool_backward, "g positions gx", STEPS),
                                       (mean_pool_forward, "x y", EDGES), (mean_pool_backward, "g gx", EDGES)):
            arrays = {name: "*i16" if name == "positions" else pointer for name in names.split()}
            yield tuned(kernel, {"dtype": dtype}, {**arrays, **SHAPE, **numbers}, divisible=arrays)
