"""Compiled calls of CUDA's mathematical library agree with Python's."""
import math
from fractions import Fraction

import numpy as np
import ptx_scalar as scalar
import pytest
from fixtures import MAKERS, module

from minidl import simt

random = np.random.default_rng(3)
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-3, 3.0, -2.0]


@pytest.fixture(params=MAKERS)
def run(request):
    """run(kernel, grid, block, *args)"""
    kernels = module("functions", request.param)
    return lambda kernel, grid, block, *args: simt.launch(kernels, grid, block, args, kernel)


def expected(v, kind=float):
    """The rows that float32 and float64 have in common, of one number; `kind` rounds what the kernel rounds before."""
    p = float(kind(abs(v)) + kind(0.001))
    return [
        math.exp(v),
        math.log(p),
        math.tanh(v),
        math.erf(v),
        math.sin(float(kind(v) * kind(10))),
        p**1.7,
        math.cos(v),
        math.tan(v),
        math.atan(v),
        math.log1p(p),
        math.expm1(v),
        2.0**v,
        math.cbrt(v),
        math.hypot(v, 1.5),
        math.lgamma(p + 0.5),
        math.fmod(v, float(kind(0.3))),
        math.atan2(v, 2.0),
        math.sinh(v),
        math.erfc(v),
        math.acos(v / 10),
        1 / math.sqrt(p),
    ]


def close(y, reference, relative, absolute):
    reference = np.array(reference)
    wrong = np.abs(y - reference) > relative * np.abs(reference) + absolute
    assert not wrong.any(), f"row {np.nonzero(wrong)[0][:3]}: {y[wrong][:3]} is not {reference[wrong][:3]}"


def test_float32(run):
    x = np.concatenate([np.array(EDGES), random.standard_normal(92) * 2]).astype(np.float32)
    y = np.zeros((34, 100), np.float32)
    run("float32", 4, 32, x, y, 100)
    v = x.astype(float)
    close(y[:21], np.array([expected(t, np.float32) for t in v]).T, 1e-6, 5e-7)
    p = np.abs(x) + np.float32(0.001)
    whole = np.floor(x) + np.ceil(x) * 10 + np.trunc(x) * 100 + np.rint(x) * 1000
    close(y[21], whole, 1e-6, 0)
    close(y[22], np.trunc(v + np.copysign(0.5, v)), 0, 0)
    close(y[23], v * 8, 0, 0)
    close(y[24], np.sin((x * np.float32(1e6)).astype(float)), 1e-6, 1e-6)       # a large argument, reduced exactly
    close(y[25:27], [np.log2(p.astype(float)), np.log10(p.astype(float))], 1e-6, 1e-6)
    close(y[27], [math.remainder(t, float(np.float32(0.7))) for t in v], 1e-6, 1e-6)
    close(y[28], [math.gamma(t) for t in p.astype(float)], 2e-6, 0)
    close(y[29], [math.erfc(-t / math.sqrt(2)) / 2 for t in v], 1e-6, 1e-7)
    close(y[30:32], [np.maximum(v - 0.5, 0), np.copysign(2.5, v)], 1e-6, 0)
    assert np.array_equal(y[32], x / p) and np.array_equal(y[33], np.sqrt(p))   # rounded correctly


def test_fast_intrinsics(run):
    x = (random.standard_normal(64)).astype(np.float32)
    y = np.zeros((14, 64), np.float32)
    run("fast32", 2, 32, x, y, 64)
    v, p = x.astype(float), np.abs(x).astype(float) + 0.001
    rows = [
        np.exp(v),
        np.log(p),
        np.sin(v),
        np.cos(v),
        p**1.7,
        v / p,
        np.tan(v),
        10**v,
        np.log2(p),
        np.clip(v, 0, 1),
        1 / p,
        np.sqrt(p),
        1 / np.sqrt(p),
        np.log10(p),
    ]
    close(y, rows, 3e-6, 2e-6)


def test_float64(run):
    x = np.concatenate([np.array(EDGES), random.standard_normal(56) * 2])
    y = np.zeros((25, 64))
    run("float64", 2, 32, x, y, 64)
    close(y[:21], np.array([expected(t) for t in x]).T, 4e-15, 1e-15)
    p = np.abs(x) + 0.001
    assert np.array_equal(y[21], x / p) and np.array_equal(y[22], np.sqrt(p))
    rest = [float(Fraction(a) * Fraction(b) - Fraction(a * b)) for a, b in zip(x, p)]
    assert np.array_equal(y[23], rest)                                          # what only a fused product sees
    close(y[24], np.sin(x * 1e8), 1e-14, 1e-15)


@pytest.mark.parametrize("kind, digits", [("float16", 11), ("bfloat16", 8)])
def test_halves(run, kind, digits):
    x, y = (random.standard_normal(32) * 2).astype(np.float32), np.zeros((23, 32), np.float32)
    run(kind, 1, 32, x, y, 32)
    short = {"float16": "f16", "bfloat16": "bf16"}[kind]

    def nearest(values):
        bits = [scalar.encode(Fraction(float(v)), short) for v in values]
        return np.array([float(scalar.decode(b, short)[1]) for b in bits])
    a, b, p = nearest(x), nearest(x * np.float32(0.75) + np.float32(0.25)), nearest(np.abs(x) + np.float32(0.5))
    exact = {
        0: a + b,
        1: a - b,
        2: a * b,
        4: a * b + a,
        10: np.maximum(a, b),
        11: np.minimum(a, b),
        12: np.maximum(a * b + a, 0),
        13: -a,
        14: np.abs(a),
        16: (a < b) * 1.0,
        18: a * b + a,
        19: a * b + a,
    }
    for row, values in exact.items():
        assert np.array_equal(y[row], nearest(values)), row
    larger = [np.maximum(nearest(a + a), nearest(a * p)), np.maximum(nearest(b + p), nearest(b * p))]
    assert np.array_equal(y[20:22], larger) and np.array_equal(y[22], (a > p) & (b > a))
    assert np.array_equal(y[15], np.floor(a) + np.rint(a) * 16)
    close(y[[3, 5, 6, 7, 8, 9, 17]], [a / p, np.exp(a), np.log(p), np.sqrt(p), 1 / p, np.tanh(a), np.cos(a)],
          2.0 ** (1 - digits), 2.0 ** -digits)


def test_rounding_modes(run):
    n = 32
    x, d = random.standard_normal(3 * n).astype(np.float32), random.standard_normal(3 * n)
    y, e, k = np.zeros((10, n), np.float32), np.zeros((6, n)), np.zeros((6, n), np.int64)
    run("rounding", 1, n, x, d, y, e, k)
    for i in range(n):
        a, b, c = (int(v) for v in x.view(np.uint32)[[i, i + n, i + 2 * n]])
        u, v, w = (int(t) for t in d.view(np.uint64)[[i, i + n, i + 2 * n]])
        fa, fb, fc = (float(x[j]) for j in (i, i + n, i + 2 * n))
        du, dv = d[i], d[i + n]
        as_float = lambda value, kind, mode: scalar.encode(Fraction(value), kind, mode)
        singles = [
            scalar.add(a, b, "f32", "rz"),
            scalar.multiply(a, b, "f32", "rp"),
            scalar.fma(a, b, c, "f32", "rm"),
            scalar.divide(a, b, "f32", "rz"),
            scalar.divide(0x3F800000, a, "f32", "rp"),
            scalar.square_root(b & 0x7FFFFFFF, "f32", "rm"),
            scalar.subtract(a, b, "f32", "rm"),
            as_float(du, "f32", "rp"),
            as_float(int(du), "f32", "rz"),
            as_float(int(du * 1e12), "f32", "rm"),
        ]
        assert y.view(np.uint32)[:, i].tolist() == singles
        doubles = [scalar.add(u, v, "f64", "rz"), scalar.multiply(u, v, "f64", "rp"), scalar.fma(u, v, w, "f64", "rm"),
                   scalar.divide(u, v, "f64", "rz"), scalar.square_root(u & (1 << 63) - 1, "f64", "rp"),
                   as_float(int(du * 1e16), "f64", "rm")]
        assert e.view(np.uint64)[:, i].tolist() == doubles
        whole = [
            math.floor(fa),
            math.ceil(abs(fb)),
            round(du),
            int(np.float32(fc) * np.float32(1e10)),
            math.ceil(dv * 1e10),
            scalar.signed(w >> 32, 32),
        ]
        assert k[:, i].tolist() == whole


def test_integers(run):
    x = random.integers(-1 << 31, 1 << 31, 33).astype(np.int32)
    y, z = np.zeros((31, 32), np.uint32), np.zeros((7, 32), np.uint64)
    run("integers", 1, 32, x, y, z, 32)
    for i in range(32):
        rows, long_rows = integer_rows(i, int(x[i]), int(x[i + 1]))
        assert y[:, i].tolist() == [r & 0xFFFFFFFF for r in rows]
        assert z[:, i].tolist() == [r & (1 << 64) - 1 for r in long_rows]


def integer_rows(i, a, b):
    u, v = a & 0xFFFFFFFF, b & 0xFFFFFFFF
    w, quotient = u << 32 | v, scalar.truncated
    parts = lambda word, bits, signed=False: [scalar.signed(p, bits) if signed else p for p in
                                              ((word >> s) & (1 << bits) - 1 for s in range(0, 32, bits))]
    join = lambda values, bits: sum((x & (1 << bits) - 1) << bits * k for k, x in enumerate(values))
    bytes_, each = list(zip(parts(u, 8), parts(v, 8))), list(zip(parts(u, 8, True), parts(v, 8, True)))
    shorts = list(zip(parts(u, 16, True), parts(v, 16, True)))
    low24 = lambda n: scalar.signed(n & 0xFFFFFF, 24)
    wrapped = scalar.signed(a + b & 0xFFFFFFFF, 32)
    rows = [
        quotient(a, b | 1),
        a - (b | 1) * quotient(a, b | 1),
        u // 7,
        u.bit_count(),
        32 - u.bit_length(),
        (u & -u).bit_length(),
        int(f"{u:032b}"[::-1], 2),
        (v << 32 | u) << (i & 31) >> 32,
        (v << 32 | u) >> min(i, 32),
        join([(v << 32 | u) >> 8 * k & 255 for k in (1, 3, 5, 7)], 8),
        a * b >> 32,
        u * v >> 32,
        sum(p * q for p, q in each) + 3,
        sum(p * q for p, q in zip(parts(u, 16), parts(v, 8))) + 1,
        join([p + q for p, q in bytes_], 8),
        join([abs(p - q) for p, q in bytes_], 8),
        join([max(p, q) for p, q in shorts], 16),
        join([255 * (p > q) for p, q in bytes_], 8),
        sum(abs(p - q) for p, q in bytes_),
        join([max(-128, min(127, p + q)) for p, q in each], 8),
        join([p + q + 1 >> 1 for p, q in bytes_], 8),
        abs(a - b) + 3,
        a + b + 1 >> 1,
        u + v >> 1,
        low24(a) * low24(b),
        (u & 0xFFFFFF) * (v & 0xFFFFFF),
        64 - w.bit_length(),
        (w & -w).bit_length(),
        w.bit_count(),
        max(wrapped, 3),
        abs(a),
    ]
    signed = scalar.signed(w, 64)
    turned = (w << (i & 63) | w >> (64 - i & 63)) & (1 << 64) - 1
    return rows, [
        w // (v | 1),
        w % 1000003,
        w * w >> 64,
        int(f"{w:064b}"[::-1], 2),
        quotient(signed, a | 1),
        turned,
        w * w,
    ]
