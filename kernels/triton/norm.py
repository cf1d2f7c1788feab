"""Norms of rows (layer norm, RMS norm) and of groups of channels (group norm, instance norm).

A row is walked in blocks of columns, so it may have any length; it is read from memory once and then from the cache.
A warp has a row of its own, so that sums need no shared memory. Variances are means of squares of what is left
when the mean is taken off; all statistics are float32.
"""
import triton
import triton.language as tl

from .functions import VECTOR, given, vectors
from .variants import POINTERS, tuned

# -- by row: layer norm; RMS norm, which has no mean -------------------------------------------------------------------


@triton.jit
def _normalise(x, weight, bias, y, mean, rstd, rows, columns, eps, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = (row < rows)[:, None]
    start = row[:, None] * columns
    centre = tl.zeros([ROWS, 1], tl.float32)
    if given(mean):
        total = tl.zeros([ROWS, COLUMNS], tl.float32)
        for first in range(0, columns, COLUMNS):
            column = first + tl.arange(0, COLUMNS)[None, :]
            total += tl.load(x + start + column, inside & (column < columns), other=0.0).to(tl.float32)
        centre = tl.sum(total, 1, keep_dims=True) / columns
        tl.store(mean + row[:, None], centre, inside)
    squares = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < columns)
        rest = tl.where(mask, tl.load(x + start + column, mask, other=0.0).to(tl.float32) - centre, 0.0)
        squares += rest * rest
    scale = 1.0 / tl.sqrt_rn(tl.sum(squares, 1, keep_dims=True) / columns + eps)
    tl.store(rstd + row[:, None], scale, inside)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < columns)
        values = (tl.load(x + start + column, mask, other=0.0).to(tl.float32) - centre) * scale
        values *= tl.load(weight + column, (column < columns) & given(weight), other=1.0).to(tl.float32)
        values += tl.load(bias + column, (column < columns) & given(bias), other=0.0).to(tl.float32)
        tl.store(y + start + column, values, mask)


@triton.jit
def row_norm_forward(x, weight, bias, y, mean, rstd, rows, columns, eps, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = (x - mean) * rstd * weight + bias; no `mean`, no centring."""
    if columns % VECTOR == 0:
        _normalise(x, weight, bias, y, mean, rstd, rows, vectors(columns), eps, ROWS, COLUMNS)
    else:
        _normalise(x, weight, bias, y, mean, rstd, rows, columns, eps, ROWS, COLUMNS)


@triton.jit
def _through(g, x, weight, mean, rstd, gx, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = (row < rows)[:, None]
    start = row[:, None] * columns
    centre = tl.load(mean + row[:, None], inside & given(mean), other=0.0)
    scale = tl.load(rstd + row[:, None], inside, other=0.0)
    sums, products = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < columns)
        normal = (tl.load(x + start + column, mask, other=0.0).to(tl.float32) - centre) * scale
        of_y = tl.load(g + start + column, mask, other=0.0).to(tl.float32)
        of_y *= tl.load(weight + column, (column < columns) & given(weight), other=1.0).to(tl.float32)
        sums += of_y
        products += of_y * normal                      # (where masked, of_y is 0)
    by_mean = tl.where(given(mean), tl.sum(sums, 1, keep_dims=True) / columns, 0.0)
    by_scale = tl.sum(products, 1, keep_dims=True) / columns
    for first in range(0, columns, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < columns)
        normal = (tl.load(x + start + column, mask, other=0.0).to(tl.float32) - centre) * scale
        of_y = tl.load(g + start + column, mask, other=0.0).to(tl.float32)
        of_y *= tl.load(weight + column, (column < columns) & given(weight), other=1.0).to(tl.float32)
        tl.store(gx + start + column, (of_y - by_mean - normal * by_scale) * scale, mask)


@triton.jit
def row_norm_backward(g, x, weight, mean, rstd, gx, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The gradient of x."""
    if columns % VECTOR == 0:
        _through(g, x, weight, mean, rstd, gx, rows, vectors(columns), ROWS, COLUMNS)
    else:
        _through(g, x, weight, mean, rstd, gx, rows, columns, ROWS, COLUMNS)


@triton.jit
def _parts(g, x, mean, rstd, parts, rows, columns, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    part = tl.program_id(1).to(tl.int64)
    of_weight, of_bias = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, chunk, ROWS):
        row = part * chunk + first + tl.arange(0, ROWS)[:, None]
        inside = row < rows
        mask = inside & (column < columns)
        of_y = tl.load(g + row * columns + column, mask, other=0.0).to(tl.float32)
        normal = tl.load(x + row * columns + column, mask, other=0.0).to(tl.float32)
        normal -= tl.load(mean + row, inside & given(mean), other=0.0)
        of_weight += of_y * normal * tl.load(rstd + row, inside, other=0.0)
        of_bias += of_y
    out = parts + part * 2 * columns + column
    tl.store(out, tl.sum(of_weight, 0, keep_dims=True), column < columns)
    tl.store(out + columns, tl.sum(of_bias, 0, keep_dims=True), column < columns)


@triton.jit
def row_norm_parameters(g, x, mean, rstd, parts, rows, columns, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """What each chunk of rows (a multiple of ROWS) adds to the gradients of weight and bias: parts (P, 2, columns)."""
    if columns % VECTOR == 0:
        _parts(g, x, mean, rstd, parts, rows, vectors(columns), chunk, ROWS, COLUMNS)
    else:
        _parts(g, x, mean, rstd, parts, rows, columns, chunk, ROWS, COLUMNS)


# -- by group of channels: x (N, groups, channels of a group, inner) is seen as rows of a group each ------------------


@triton.jit
def _normalise_group(x, weight, bias, y, mean, rstd, groups, channels, inner, count, eps, BLOCK: tl.constexpr):
    group = tl.program_id(0)
    start = group.to(tl.int64) * count
    first_channel = group % groups * channels
    total = tl.zeros([BLOCK], tl.float32)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        total += tl.load(x + start + at, at < count, other=0.0).to(tl.float32)
    centre = tl.sum(total) / count
    squares = tl.zeros([BLOCK], tl.float32)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        rest = tl.load(x + start + at, at < count, other=0.0).to(tl.float32) - centre
        squares += tl.where(at < count, rest * rest, 0.0)
    scale = 1.0 / tl.sqrt_rn(tl.sum(squares) / count + eps)
    tl.store(mean + group, centre)
    tl.store(rstd + group, scale)
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        channel = first_channel + at // inner
        values = (tl.load(x + start + at, at < count, other=0.0).to(tl.float32) - centre) * scale
        values *= tl.load(weight + channel, (at < count) & given(weight), other=1.0).to(tl.float32)
        values += tl.load(bias + channel, (at < count) & given(bias), other=0.0).to(tl.float32)
        tl.store(y + start + at, values, at < count)


@triton.jit
def group_norm_forward(x, weight, bias, y, mean, rstd, groups, channels, inner, eps, BLOCK: tl.constexpr):
    """A program has a group; `channels` are those of a group, `inner` the elements of each."""
    count = channels * inner
    if count % VECTOR == 0:
        _normalise_group(x, weight, bias, y, mean, rstd, groups, channels, inner, vectors(count), eps, BLOCK)
    else:
        _normalise_group(x, weight, bias, y, mean, rstd, groups, channels, inner, count, eps, BLOCK)


@triton.jit
def group_norm_sums(g, x, mean, rstd, parts, groups, channels, inner, rows, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each channel of each sample: the sums of g * xhat and of g, as parts (N, 2, groups * channels)."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    inside = row < rows
    centre = tl.load(mean + row // channels, inside, other=0.0)
    scale = tl.load(rstd + row // channels, inside, other=0.0)
    products, sums = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, inner, COLUMNS):
        column = first + tl.arange(0, COLUMNS)[None, :]
        mask = inside & (column < inner)
        at = row.to(tl.int64) * inner + column
        of_y = tl.load(g + at, mask, other=0.0).to(tl.float32)
        products += of_y * (tl.load(x + at, mask, other=0.0).to(tl.float32) - centre)
        sums += of_y
    width = groups * channels
    out = parts + (row // width).to(tl.int64) * 2 * width + row % width
    tl.store(out, tl.sum(products, 1, keep_dims=True) * scale, inside)
    tl.store(out + width, tl.sum(sums, 1, keep_dims=True), inside)


@triton.jit
def _through_group(g, x, weight, mean, rstd, parts, gx, groups, channels, inner, count, BLOCK: tl.constexpr):
    group = tl.program_id(0)
    width, first_channel = groups * channels, group % groups * channels
    parts += (group // groups).to(tl.int64) * 2 * width
    products, sums = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for first in range(0, channels, BLOCK):
        at = first + tl.arange(0, BLOCK)
        mask, channel = at < channels, first_channel + at
        factor = tl.load(weight + channel, mask & given(weight), other=1.0).to(tl.float32)
        products += factor * tl.load(parts + channel, mask, other=0.0)
        sums += factor * tl.load(parts + width + channel, mask, other=0.0)
    by_scale, by_mean = tl.sum(products) / count, tl.sum(sums) / count
    centre, scale = tl.load(mean + group), tl.load(rstd + group)
    start = group.to(tl.int64) * count
    for first in range(0, count, BLOCK):
        at = first + tl.arange(0, BLOCK)
        mask, channel = at < count, first_channel + at // inner
        normal = (tl.load(x + start + at, mask, other=0.0).to(tl.float32) - centre) * scale
        of_y = tl.load(g + start + at, mask, other=0.0).to(tl.float32)
        of_y *= tl.load(weight + channel, mask & given(weight), other=1.0).to(tl.float32)
        tl.store(gx + start + at, (of_y - by_mean - normal * by_scale) * scale, mask)


@triton.jit
def group_norm_backward(g, x, weight, mean, rstd, parts, gx, groups, channels, inner, BLOCK: tl.constexpr):
    """The gradient of x, from that of y and the parts."""
    count = channels * inner
    if count % VECTOR == 0:
        _through_group(g, x, weight, mean, rstd, parts, gx, groups, channels, inner, vectors(count), BLOCK)
    else:
        _through_group(g, x, weight, mean, rstd, parts, gx, groups, channels, inner, count, BLOCK)


# -- variants --------------------------------------------------------------------------------------------------------

ROW = {"rows": "i32", "columns": "i32"}
GROUP = {"groups": "i32", "channels": "i32", "inner": "i32"}
FLOAT32 = {"mean": "*fp32", "rstd": "*fp32", "parts": "*fp32"}


def variants():
    for dtype, pointer in POINTERS.items():
        def pointers(names, pointer=pointer):
            return {name: FLOAT32.get(name, pointer) for name in names.split()}

        for kernel, arrays, numbers in (
                (row_norm_forward, "x weight bias y mean rstd", {**ROW, "eps": "fp32"}),
                (row_norm_backward, "g x weight mean rstd gx", ROW),
                (row_norm_parameters, "g x mean rstd parts", {**ROW, "chunk": "i32"}),
                (group_norm_forward, "x weight bias y mean rstd", {**GROUP, "eps": "fp32"}),
                (group_norm_sums, "g x mean rstd parts", {**GROUP, "rows": "i32"}),
                (group_norm_backward, "g x weight mean rstd parts gx", GROUP)):
            given_arrays = pointers(arrays)
            yield tuned(kernel, {"dtype": dtype}, {**given_arrays, **numbers}, divisible=given_arrays)
