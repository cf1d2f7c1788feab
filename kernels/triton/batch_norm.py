"""Batch norm: channels brought to mean 0 and variance 1 over samples and places.

Arrays are rows (samples and places) of channels, as convolutions leave them: channels last.

Statistics: each program finds mean and squares of what is left for a chunk of rows (the second pass finds them in the
cache), and `batch_norm_statistics` puts chunks together, without E[x^2] - E[x]^2.
Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances", eq. 1.5.
"""
import triton
import triton.language as tl

from .functions import VECTOR, given, vectors
from .variants import POINTERS, tuned


@triton.jit
def _of_channel(vector, channel, channels, missing):
    """A number of each channel as float32; `missing` where there are none."""
    return tl.load(vector + channel, (channel < channels) & given(vector), other=missing).to(tl.float32)


# -- sums over chunks of rows ------------------------------------------------------------------------------------------


@triton.jit
def _parts(x, parts, rows, channels, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    channel = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    low = tl.program_id(1) * chunk
    high = tl.minimum(rows, low + chunk)
    total, squares = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(low, high, ROWS):
        row = (first + tl.arange(0, ROWS)[:, None]).to(tl.int64)
        mask = (row < high) & (channel < channels)
        total += tl.load(x + row * channels + channel, mask, other=0.0).to(tl.float32)
    centre = tl.sum(total, 0, keep_dims=True) / (high - low)
    for first in range(low, high, ROWS):
        row = (first + tl.arange(0, ROWS)[:, None]).to(tl.int64)
        mask = (row < high) & (channel < channels)
        rest = tl.load(x + row * channels + channel, mask, other=0.0).to(tl.float32) - centre
        squares += tl.where(mask, rest * rest, 0.0)
    out = parts + tl.program_id(1).to(tl.int64) * 2 * channels + channel
    tl.store(out, centre, channel < channels)
    tl.store(out + channels, tl.sum(squares, 0, keep_dims=True), channel < channels)


@triton.jit
def batch_norm_parts(x, parts, rows, channels, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each chunk, the mean of each channel and the sum of squares of what is left: parts (P, 2, channels)."""
    if channels % VECTOR == 0:
        _parts(x, parts, rows, vectors(channels), chunk, ROWS, COLUMNS)
    else:
        _parts(x, parts, rows, channels, chunk, ROWS, COLUMNS)


@triton.jit
def batch_norm_statistics(parts, mean, variance, centre, rstd, count, rows, channels, chunk, eps, ROWS: tl.constexpr,
                          COLUMNS: tl.constexpr):
    """From `count` parts: mean and variance as they are given out; centre and rstd, float32, to go on with."""
    channel = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total, squares = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(0, count, ROWS):
        part = first + tl.arange(0, ROWS)[:, None]
        mask = (part < count) & (channel < channels)
        own = tl.minimum(chunk, rows - part * chunk).to(tl.float32)
        total += own * tl.load(parts + part.to(tl.int64) * 2 * channels + channel, mask, other=0.0)
    middle = tl.sum(total, 0, keep_dims=True) / rows
    for first in range(0, count, ROWS):
        part = first + tl.arange(0, ROWS)[:, None]
        mask = (part < count) & (channel < channels)
        own = tl.minimum(chunk, rows - part * chunk).to(tl.float32)
        at = parts + part.to(tl.int64) * 2 * channels + channel
        apart = tl.load(at, mask, other=0.0) - middle
        squares += tl.where(mask, tl.load(at + channels, mask, other=0.0) + own * apart * apart, 0.0)
    spread = tl.sum(squares, 0, keep_dims=True) / rows
    tl.store(mean + channel, middle, channel < channels)
    tl.store(variance + channel, spread, channel < channels)
    tl.store(centre + channel, middle, channel < channels)
    tl.store(rstd + channel, 1.0 / tl.sqrt_rn(spread + eps), channel < channels)


@triton.jit
def _sums(g, x, centre, rstd, parts, rows, channels, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    channel = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    low = tl.program_id(1) * chunk
    high = tl.minimum(rows, low + chunk)
    middle = _of_channel(centre, channel, channels, 0.0)
    products, sums = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for first in range(low, high, ROWS):
        row = (first + tl.arange(0, ROWS)[:, None]).to(tl.int64)
        mask = (row < high) & (channel < channels)
        of_y = tl.load(g + row * channels + channel, mask, other=0.0).to(tl.float32)
        products += of_y * (tl.load(x + row * channels + channel, mask, other=0.0).to(tl.float32) - middle)
        sums += of_y
    out = parts + tl.program_id(1).to(tl.int64) * 2 * channels + channel
    products = tl.sum(products, 0, keep_dims=True) * _of_channel(rstd, channel, channels, 0.0)
    tl.store(out, products, channel < channels)
    tl.store(out + channels, tl.sum(sums, 0, keep_dims=True), channel < channels)


@triton.jit
def batch_norm_sums(g, x, centre, rstd, parts, rows, channels, chunk, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each chunk, the sums of g * xhat and of g by channel: parts (P, 2, channels)."""
    if channels % VECTOR == 0:
        _sums(g, x, centre, rstd, parts, rows, vectors(channels), chunk, ROWS, COLUMNS)
    else:
        _sums(g, x, centre, rstd, parts, rows, channels, chunk, ROWS, COLUMNS)


# -- one pass over all elements, a tile to a program -------------------------------------------------------------------


@triton.jit
def _tile(channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """(rows, channels) of a program's tile."""
    across = tl.cdiv(channels, COLUMNS)
    row = tl.program_id(0) // across * ROWS + tl.arange(0, ROWS)[:, None]
    return row.to(tl.int64), tl.program_id(0) % across * COLUMNS + tl.arange(0, COLUMNS)[None, :]


@triton.jit
def _moved(x, centre, scale, shift, y, rows, channels, row, channel):
    """y = (x - centre) * scale + shift."""
    mask, at = (row < rows) & (channel < channels), row * channels + channel
    tl.store(y + at, (tl.load(x + at, mask, other=0.0).to(tl.float32) - centre) * scale + shift, mask)


@triton.jit
def batch_norm_forward(x, centre, rstd, weight, bias, y, rows, channels, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """y = (x - centre) * rstd * weight + bias."""
    row, channel = _tile(channels, ROWS, COLUMNS)
    middle, shift = _of_channel(centre, channel, channels, 0.0), _of_channel(bias, channel, channels, 0.0)
    scale = _of_channel(rstd, channel, channels, 0.0) * _of_channel(weight, channel, channels, 1.0)
    if channels % VECTOR == 0:
        _moved(x, middle, scale, shift, y, rows, vectors(channels), row, channel)
    else:
        _moved(x, middle, scale, shift, y, rows, channels, row, channel)


@triton.jit
def batch_norm_inference(x, mean, variance, weight, bias, y, rows, channels, eps, ROWS: tl.constexpr,
                         COLUMNS: tl.constexpr):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias; a mean or bias that is missing is 0, a weight 1."""
    row, channel = _tile(channels, ROWS, COLUMNS)
    middle, shift = _of_channel(mean, channel, channels, 0.0), _of_channel(bias, channel, channels, 0.0)
    scale = _of_channel(weight, channel, channels, 1.0)
    scale /= tl.sqrt_rn(_of_channel(variance, channel, channels, 1.0) + eps)
    if channels % VECTOR == 0:
        _moved(x, middle, scale, shift, y, rows, vectors(channels), row, channel)
    else:
        _moved(x, middle, scale, shift, y, rows, channels, row, channel)


@triton.jit
def _through(g, x, centre, scale, by_scale, by_mean, gx, rows, channels, row, channel):
    mask, at = (row < rows) & (channel < channels), row * channels + channel
    of_x = tl.load(g + at, mask, other=0.0).to(tl.float32) * scale + by_mean
    of_x += (tl.load(x + at, mask, other=0.0).to(tl.float32) - centre) * by_scale
    tl.store(gx + at, of_x, mask)


@triton.jit
def batch_norm_backward(g, of_mean, of_variance, x, centre, rstd, weight, sums, gx, rows, channels,
                        ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The gradient of x, from those of y, mean and variance, and the sums (2, channels)."""
    row, channel = _tile(channels, ROWS, COLUMNS)
    middle, inverse = _of_channel(centre, channel, channels, 0.0), _of_channel(rstd, channel, channels, 0.0)
    scale = inverse * _of_channel(weight, channel, channels, 1.0)
    by_scale = 2 * _of_channel(of_variance, channel, channels, 0.0)
    by_scale = (by_scale - scale * inverse * _of_channel(sums, channel, channels, 0.0)) / rows
    by_mean = _of_channel(of_mean, channel, channels, 0.0)
    by_mean = (by_mean - scale * _of_channel(sums + channels, channel, channels, 0.0)) / rows
    if channels % VECTOR == 0:
        _through(g, x, middle, scale, by_scale, by_mean, gx, rows, vectors(channels), row, channel)
    else:
        _through(g, x, middle, scale, by_scale, by_mean, gx, rows, channels, row, channel)


# -- variants ----------------------------------------------------------------------------------------------------------

SHAPE = {"rows": "i32", "channels": "i32"}
FLOAT32 = dict.fromkeys(("centre", "rstd", "parts", "sums"), "*fp32")


def variants():
    for dtype, pointer in POINTERS.items():
        for kernel, names, numbers in (
                (batch_norm_parts, "x parts", {**SHAPE, "chunk": "i32"}),
                (batch_norm_statistics, "parts mean variance centre rstd",
                 {"count": "i32", **SHAPE, "chunk": "i32", "eps": "fp32"}),
                (batch_norm_forward, "x centre rstd weight bias y", SHAPE),
                (batch_norm_inference, "x mean variance weight bias y", {**SHAPE, "eps": "fp32"}),
                (batch_norm_sums, "g x centre rstd parts", {**SHAPE, "chunk": "i32"}),
                (batch_norm_backward, "g of_mean of_variance x centre rstd weight sums gx", SHAPE)):
            arrays = {name: FLOAT32.get(name, pointer) for name in names.split()}
            yield tuned(kernel, {"dtype": dtype}, {**arrays, **numbers}, divisible=arrays)
