"""Softmax and log-softmax along any axis, and the cross entropy of labels.

An array is seen as (outer, count, inner), `count` being the axis. A program takes some rows along it and walks their
columns in blocks, so that rows may have any length. Where inner is 1 the elements of a row lie side by side, and
a warp has rows of its own; elsewhere those of neighbouring rows do, and lanes are laid along these instead.

One pass finds the largest element and the sum of exponentials: the sum is scaled down whenever a larger element
turns up. Source: Milakov, Gimelshein 2018, "Online normalizer calculation for softmax", arXiv:1805.02867.
"""
import triton
import triton.language as tl

from .functions import VECTOR, given, vectors
from .variants import POINTERS, tuned

INFINITY = tl.constexpr(float("inf"))


@triton.jit
def _adjacent(ROWS: tl.constexpr):
    """A program's rows where inner is 1: their numbers."""
    return tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]


@triton.jit
def _interleaved(count, inner, INNER: tl.constexpr):
    """A program's rows elsewhere: their numbers, those of their first elements, and which of them exist."""
    blocks = tl.cdiv(inner, INNER)
    outer = (tl.program_id(0) // blocks).to(tl.int64)
    at = tl.program_id(0) % blocks * INNER + tl.arange(0, INNER)[:, None]
    return outer * inner + at, outer * count * inner + at, at < inner


@triton.jit
def _largest_and_sum(x, inside, count, step, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The largest element of each row, and the sum of the exponentials of how far the others are below it."""
    top = tl.full([ROWS, COLUMNS], -INFINITY, tl.float32)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, count, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        values = tl.load(x + column * step, inside & (column < count), other=-INFINITY).to(tl.float32)
        new = tl.maximum(top, values)
        level = tl.where(new == -INFINITY, 0.0, new)
        total = total * tl.exp(top - level) + tl.exp(values - level)
        top = new
    largest = tl.max(top, 1, keep_dims=True)
    return largest, tl.sum(total * tl.exp(top - largest), 1, keep_dims=True)


# -- softmax, log-softmax ----------------------------------------------------------------------------------------------


@triton.jit
def _softmax(x, y, inside, count, step, log, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    largest, total = _largest_and_sum(x, inside, count, step, ROWS, COLUMNS)
    shift = tl.where(log != 0, tl.log(total), 0.0)
    scale = 1.0 / total
    for first in range(0, count, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < count)
        values = tl.load(x + column * step, mask, other=0.0).to(tl.float32) - largest
        if log != 0:
            values -= shift
        else:
            values = tl.exp(values) * scale
        tl.store(y + column * step, values, mask)


@triton.jit
def softmax_forward(x, y, outer, count, inner, log, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
                    COUNT: tl.constexpr):
    """y = softmax(x), or its logarithm."""
    if inner == 1:
        row = _adjacent(ROWS)
        if count % VECTOR == 0:
            at = row * vectors(count)
            _softmax(x + at, y + at, row < outer, vectors(count), 1, log, ROWS, COLUMNS)
        else:
            at = row * count
            _softmax(x + at, y + at, row < outer, count, 1, log, ROWS, COLUMNS)
    else:
        one, start, inside = _interleaved(count, inner, INNER)
        step = inner.to(tl.int64)
        _softmax(x + start, y + start, inside, count, step, log, INNER, COUNT)


@triton.jit
def _through(g, y, gx, inside, count, step, log, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    sums = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, count, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < count)
        of_y = tl.load(g + column * step, mask, other=0.0).to(tl.float32)
        if log == 0:
            of_y *= tl.load(y + column * step, mask, other=0.0).to(tl.float32)
        sums += of_y
    total = tl.sum(sums, 1, keep_dims=True)
    for first in range(0, count, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < count)
        of_y = tl.load(g + column * step, mask, other=0.0).to(tl.float32)
        out = tl.load(y + column * step, mask, other=0.0).to(tl.float32)
        if log != 0:
            of_y -= tl.exp(out) * total
        else:
            of_y = out * (of_y - total)
        tl.store(gx + column * step, of_y, mask)


@triton.jit
def softmax_backward(g, y, gx, outer, count, inner, log, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                     INNER: tl.constexpr, COUNT: tl.constexpr):
    """The gradient of x, from the output y and its gradient."""
    if inner == 1:
        row = _adjacent(ROWS)
        if count % VECTOR == 0:
            at = row * vectors(count)
            _through(g + at, y + at, gx + at, row < outer, vectors(count), 1, log, ROWS, COLUMNS)
        else:
            at = row * count
            _through(g + at, y + at, gx + at, row < outer, count, 1, log, ROWS, COLUMNS)
    else:
        one, start, inside = _interleaved(count, inner, INNER)
        step = inner.to(tl.int64)
        _through(g + start, y + start, gx + start, inside, count, step, log, INNER, COUNT)


# -- cross entropy of labels: x (outer, count, inner) are scores, everything else is by row ---------------------------


@triton.jit
def _label_loss(x, labels, weight, losses, weights, tops, totals, row, inside, count, step, ignore_index, smoothing,
                ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    largest, total = _largest_and_sum(x, inside, count, step, ROWS, COLUMNS)
    label = tl.load(labels + row, inside, other=0)
    counts = inside & (label != ignore_index)
    known = counts & (label >= 0) & (label < count)
    right = tl.load(x + label * step, known, other=0.0).to(tl.float32)
    factor = tl.load(weight + label, known & given(weight), other=1.0).to(tl.float32)
    factor = tl.where(counts, factor, 0.0)
    level = tl.log(total)
    loss = tl.where(counts, factor * (level - (right - largest)), 0.0)
    if smoothing > 0.0:
        below, mass = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([1, COLUMNS], tl.float32)
        for first in range(0, count, COLUMNS):
            column = first + tl.arange(0, COLUMNS)[None, :]
            mask = inside & (column < count)
            of_class = tl.load(weight + column, (column < count) & given(weight), other=1.0).to(tl.float32)
            of_class = tl.where(column < count, of_class, 0.0)
            mass += of_class
            values = tl.load(x + column * step, mask, other=0.0).to(tl.float32)
            below += tl.where(mask, largest - values, 0.0) * of_class
        spread = tl.sum(below, 1, keep_dims=True) + level * tl.sum(mass, 1, keep_dims=True)
        loss = (1.0 - smoothing) * loss + tl.where(counts, smoothing / count * spread, 0.0)
    tl.store(losses + row, loss, inside)
    tl.store(weights + row, factor, inside)
    tl.store(tops + row, largest, inside)
    tl.store(totals + row, total, inside)


@triton.jit
def label_loss_forward(x, labels, weight, losses, weights, tops, totals, outer, count, inner, ignore_index, smoothing,
                       ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, COUNT: tl.constexpr):
    """Each row's loss and weight, and what the gradient needs: the largest score, and the sum below it."""
    if inner == 1:
        row = _adjacent(ROWS)
        if count % VECTOR == 0:
            _label_loss(x + row * vectors(count), labels, weight, losses, weights, tops, totals, row, row < outer,
                        vectors(count), 1, ignore_index, smoothing, ROWS, COLUMNS)
        else:
            _label_loss(x + row * count, labels, weight, losses, weights, tops, totals, row, row < outer,
                        count, 1, ignore_index, smoothing, ROWS, COLUMNS)
    else:
        one, start, inside = _interleaved(count, inner, INNER)
        step = inner.to(tl.int64)
        _label_loss(x + start, labels, weight, losses, weights, tops, totals, one, inside, count, step, ignore_index,
                    smoothing, INNER, COUNT)


@triton.jit
def _label_gradient(x, labels, weight, gx, scale, factor, mass, tops, totals, row, inside, count, step, ignore_index,
                    smoothing, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    label = tl.load(labels + row, inside, other=ignore_index)
    own = (1.0 - smoothing) * scale * factor
    spread = tl.where(label != ignore_index, smoothing / count * scale, 0.0)
    largest, total = tl.load(tops + row, inside, other=0.0), tl.load(totals + row, inside, other=1.0)
    share = (own + spread * mass) / total
    for first in range(0, count, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < count)
        values = tl.load(x + column * step, mask, other=0.0).to(tl.float32)
        of_class = tl.load(weight + column, (column < count) & given(weight), other=1.0).to(tl.float32)
        gradient = share * tl.exp(values - largest) - spread * of_class - tl.where(column == label, own, 0.0)
        tl.store(gx + column * step, gradient, mask)


@triton.jit
def _row_scale(g, by_row, divisor, weights, row, inside):
    """What each row's loss counts in the end, and its weight."""
    scale = tl.load(g + row * by_row, inside, other=0.0).to(tl.float32)
    if given(divisor):
        scale /= tl.load(divisor)
    return scale, tl.load(weights + row, inside, other=0.0)


@triton.jit
def label_loss_backward(x, labels, weight, gx, g, divisor, mass, weights, tops, totals, outer, count, inner, by_row,
                        ignore_index, smoothing, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
                        COUNT: tl.constexpr):
    """The gradient of the scores. by_row: 1 where each loss has a gradient g of its own, 0 where they share one.

    divisor, mass: by what losses are divided, and the sum of the classes' weights; left out: 1, and their number.
    """
    of_all = count.to(tl.float32)
    if given(mass):
        of_all = tl.load(mass)
    if inner == 1:
        row = _adjacent(ROWS)
        scale, factor = _row_scale(g, by_row, divisor, weights, row, row < outer)
        if count % VECTOR == 0:
            at = row * vectors(count)
            _label_gradient(x + at, labels, weight, gx + at, scale, factor, of_all, tops, totals, row, row < outer,
                            vectors(count), 1, ignore_index, smoothing, ROWS, COLUMNS)
        else:
            at = row * count
            _label_gradient(x + at, labels, weight, gx + at, scale, factor, of_all, tops, totals, row, row < outer,
                            count, 1, ignore_index, smoothing, ROWS, COLUMNS)
    else:
        one, start, inside = _interleaved(count, inner, INNER)
        step = inner.to(tl.int64)
        part, own = _row_scale(g, by_row, divisor, weights, one, inside)
        _label_gradient(x + start, labels, weight, gx + start, part, own, of_all, tops, totals, one, inside, count,
                        step, ignore_index, smoothing, INNER, COUNT)


# -- variants --------------------------------------------------------------------------------------------------------

SHAPE = {"outer": "i32", "count": "i32", "inner": "i32"}
STATISTICS = dict.fromkeys(("weights", "tops", "totals"), "*fp32")


def variants():
    for dtype, pointer in POINTERS.items():
        scores = {"x": pointer, "labels": "*i64", "weight": pointer}
        target = {"ignore_index": "i64", "smoothing": "fp32"}
        for kernel, signature in (
                (softmax_forward, {"x": pointer, "y": pointer, **SHAPE, "log": "i32"}),
                (softmax_backward, {"g": pointer, "y": pointer, "gx": pointer, **SHAPE, "log": "i32"}),
                (label_loss_forward, {**scores, "losses": "*fp32", **STATISTICS, **SHAPE, **target}),
                (label_loss_backward, {**scores, "gx": pointer, "g": pointer, "divisor": "*fp32", "mass": "*fp32",
                                       **STATISTICS, **SHAPE, "by_row": "i32", **target})):
            yield tuned(kernel, {"dtype": dtype}, signature,
                        divisible=[name for name, kind in signature.items() if kind.startswith("*")])
