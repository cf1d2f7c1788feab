"""Convolutions over two axes as products of matrices that never exist (implicit GEMM).

Images, and what comes out, are (N, H, W, G, C): channels last, by group, and padded to a multiple of VECTOR (with
zeros, where they are read). Rows of the product are windows; along K lie the taps of a window and, within a tap, its
channels: VECTOR neighbours come from one place.
Taps beyond the image are masked. As minidl/ops/conv.py shows, three functions do all convolutions and their
gradients: this file has `correlate`, whose outputs may lie apart in memory, so that it serves `spread` as well (a
correlation for each phase of the stride), and `filter_gradient`.
"""
import triton
import triton.language as tl

from .functions import padded, vectors
from .matmul import finished, tile_of
from .variants import PRODUCTS, tuned


@triton.jit
def _window(row, p, q, start_h, start_w, stride_h, stride_w):
    """(image, first line, first column) of what windows see."""
    image, line = row // (p * q), row // q % p
    return image, start_h + line * stride_h, start_w + row % q * stride_w


@triton.jit
def _tap(k, channels, taps_w, dilation_h, dilation_w):
    """(line, column, channel) of what elements along K see, from the window's first."""
    tap = k // channels
    return tap // taps_w * dilation_h, tap % taps_w * dilation_w, k % channels


@triton.jit
def correlate(x, weight, y, scale, shift, windows, p, q, height, width, channels, outputs, taps, taps_w, start_h,
              start_w, stride_h, stride_w, dilation_h, dilation_w, y_start, y_n, y_h, y_w, activation,
              BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
              PRECISION: tl.constexpr):
    """y = activation(scale * (correlation of x (N, height, width, G, channels) with weight) + shift).

    weight (G, outputs, taps, channels); windows = N p q. What group g gives at window (n, i, j) goes to y from element
    y_start + n y_n + i y_h + j y_w + g * (outputs, padded to VECTOR) on. scale, shift (G outputs) may be left out.
    """
    group = tl.program_id(1)
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(windows, BLOCK_M), tl.cdiv(outputs, BLOCK_N), GROUP)
    row, column = tile_m * BLOCK_M + tl.arange(0, BLOCK_M), tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    channels = vectors(channels)
    depth, pixel = taps * channels, tl.num_programs(1) * channels
    image, top, left = _window(tl.minimum(row, windows - 1), p, q, start_h, start_w, stride_h, stride_w)
    first_seen = (image.to(tl.int64) * height + top) * width + left        # (of a pixel: maybe before the image)
    x_at = x + (first_seen * pixel + group * channels)[:, None]
    w_at = weight + (group * outputs + tl.minimum(column, outputs - 1)).to(tl.int64)[None, :] * depth
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for first in range(0, depth, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        line, place, channel = _tap(k, channels, taps_w, dilation_h, dilation_w)
        h, w = top[:, None] + line[None, :], left[:, None] + place[None, :]
        inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (k < depth)[None, :]
        seen = tl.load(x_at + ((line * width + place) * pixel + channel)[None, :], inside, other=0.0)
        filters = tl.load(w_at + k[:, None], (k < depth)[:, None], other=0.0)
        sums = tl.dot(seen, filters, sums, input_precision=PRECISION)
    sums = finished(sums, scale, shift, group * outputs, column[None, :], outputs, activation)
    at = vectors(y_start) + (row // (p * q)).to(tl.int64) * vectors(y_n) + row // q % p * vectors(y_h) \
        + row % q * vectors(y_w)
    own = group * padded(outputs) + column
    tl.store(y + at[:, None] + own[None, :], sums, (row < windows)[:, None] & (column < padded(outputs))[None, :])


@triton.jit
def filter_gradient(x, g, parts, windows, p, q, height, width, channels, outputs, taps, taps_w, start_h, start_w,
                    stride_h, stride_w, dilation_h, dilation_w, chunk, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                    BLOCK_K: tl.constexpr, GROUP: tl.constexpr, PRECISION: tl.constexpr):
    """What each chunk of windows (a multiple of BLOCK_K) adds to the gradient of the weight.

    x (N, height, width, G, channels), g (windows, G, outputs padded to VECTOR): parts (P, G, outputs, taps, channels).
    """
    group, part = tl.program_id(1), tl.program_id(2)
    channels = vectors(channels)
    depth, pixel = taps * channels, tl.num_programs(1) * channels
    tile_m, tile_n = tile_of(tl.program_id(0), tl.cdiv(outputs, BLOCK_M), tl.cdiv(depth, BLOCK_N), GROUP)
    output, k = tile_m * BLOCK_M + tl.arange(0, BLOCK_M), tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    line, place, channel = _tap(k, channels, taps_w, dilation_h, dilation_w)
    x_at = x + ((line * width + place) * pixel + group * channels + channel)[None, :]
    wide = padded(outputs)
    g_at = g + (group * wide + output)[:, None]
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    low = part * chunk
    for first in range(low, tl.minimum(windows, low + chunk), BLOCK_K):
        row = first + tl.arange(0, BLOCK_K)
        image, top, left = _window(row, p, q, start_h, start_w, stride_h, stride_w)
        h, w = top[:, None] + line[None, :], left[:, None] + place[None, :]
        inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (k < depth)[None, :] & (row < windows)[:, None]
        first_seen = (image.to(tl.int64) * height + top) * width + left
        seen = tl.load(x_at + (first_seen * pixel)[:, None], inside, other=0.0)
        of_y = tl.load(g_at + row.to(tl.int64)[None, :] * (tl.num_programs(1) * wide),
                       (output < wide)[:, None] & (row < windows)[None, :], other=0.0)
        sums = tl.dot(of_y, seen, sums, input_precision=PRECISION)
    start = ((part.to(tl.int64) * tl.num_programs(1) + group) * outputs + tile_m * BLOCK_M) * depth
    at = parts + start + (tl.arange(0, BLOCK_M)[:, None] * depth + k[None, :])
    tl.store(at, sums, (output < outputs)[:, None] & (k < depth)[None, :])


SHAPE = dict.fromkeys("windows p q height width channels outputs taps taps_w start_h start_w stride_h stride_w "
                      "dilation_h dilation_w".split(), "i32")


def variants():
    for dtype, pointer in PRODUCTS.items():
        images, places = {"x": pointer, "weight": pointer, "y": pointer, "scale": pointer, "shift": pointer}, \
            dict.fromkeys(("y_start", "y_n", "y_h", "y_w"), "i64")
        yield tuned(correlate, {"dtype": dtype}, {**images, **SHAPE, **places, "activation": "i32"}, divisible=images)
        arrays = {"x": pointer, "g": pointer, "parts": "*fp32"}
        yield tuned(filter_gradient, {"dtype": dtype}, {**arrays, **SHAPE, "chunk": "i32"}, divisible=arrays)
