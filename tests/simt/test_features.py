"""What ordinary CUDA C++ uses (kernels/features.cu), and the libraries that come with CUDA (kernels/libraries.cu)."""
import ml_dtypes
import numpy as np
import pytest
from fixtures import KERNELS, module

from minidl import simt
from minidl.simt.compile import find_nvcc

random = np.random.default_rng(0)
T = np.arange(32)


@pytest.fixture(scope="module", params=["committed for compute_90", "nvcc for compute_80"])
def run(request):
    if request.param.startswith("nvcc") and not find_nvcc():
        pytest.skip("nvcc is not installed")
    kernels = module("features") if request.param.startswith("committed") else simt.load(KERNELS / "features.cu")

    def run(kernel, grid, block, *args, **options):
        result = simt.launch(kernels, grid, block, args, kernel, races=True, uninit=True, counters=True, **options)
        assert result.clean, [str(found) for found in (*result.races, *result.warnings)]
        return result
    return run


def floats(*shape):
    return random.standard_normal(shape).astype("float32")


def test_groups_of_threads(run):
    x, y = random.integers(0, 100, 64).astype("int32"), np.zeros((11, 64), "int32")
    run("groups", 1, 64, x, y)
    tiles, each = x.reshape(4, 16), y.reshape(11, 4, 16)
    assert (each[0] == tiles.sum(1, keepdims=True)).all() and np.array_equal(each[1], tiles.cumsum(1))
    assert np.array_equal(each[2], tiles.cumsum(1) - tiles)
    for tile, largest, alike in zip(tiles, each[3], each[6]):
        assert largest.tolist() == [max(tile[tile % 3 == v % 3]) for v in tile]
        assert alike.tolist() == [sum((tile > 50) == (v > 50)) for v in tile]
    for warp, size, first in zip(x.reshape(2, 32) & 1, y[4].reshape(2, 32), y[5].reshape(2, 32)):
        assert np.array_equal(size[warp == 1], warp.sum() * 100 + np.arange(warp.sum())) and not size[warp == 0].any()
        assert len(set(first[warp == 1])) == 1
    assert np.array_equal(y[7], x[np.arange(64) ^ 3]) and (each[8] == (tiles == 7).any(1)[:, None]).all()
    assert np.array_equal(y[9], np.arange(64) // 16) and (each[10].sum(1) == 1).all()


def test_atomics(run):
    i, u, f, d = np.zeros(16, "int32"), np.zeros(64, "uint32"), np.zeros(4, "float32"), np.zeros(2)
    unsigned, signed, short = np.zeros(16, "uint64"), np.zeros(2, "int64"), np.zeros(2, "uint16")
    half, pairs, brains = np.zeros(2, "float16"), np.zeros(2, "float16"), np.zeros(2, ml_dtypes.bfloat16)
    i[5], u[2], unsigned[1], unsigned[5] = -1, 99, 99, 2**64 - 1
    run("atomics", 2, 32, i, u, unsigned, f, d, pairs, brains, half, short, signed)
    assert i[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]].tolist() == [992, -992, -31, 31, 0, -1, 0, 32, 32, 64] and i[4] in T
    assert u[:5].tolist() == [64 % 21, (-64) % 21, 0, 31, 32] and sorted(u[8:40]) == T.tolist()
    assert unsigned[:6].tolist() == [64 << 40, 0, 31 << 33, 5, 9, 2**64 - 2**32]
    assert unsigned[6] == sum(1 << 2 * t for t in range(32)) and unsigned[7] == 0
    assert f[:3].tolist() == [32, 2, 31] and d[0] == 16 and short[0] == 7 and signed.tolist() == [-31, 31]
    assert pairs.tolist() == [64, 128] and brains.astype(float).tolist() == [64, 128] and half[0] == 64


def test_caches_and_their_hints(run):
    x, y = floats(32, 4), np.zeros((8, 32), "float32")
    run("caches", 1, 32, x, y, T.astype("int32"))
    flat = x.reshape(-1)[:32]
    np.testing.assert_allclose(y[0], x.sum(1), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(y[1], y[0] + 4 * flat, rtol=1e-6, atol=1e-5)
    assert np.array_equal(y[2], T) and (y[3:6] == [[2], [3], [4]]).all() and (y[6:] == flat).all()


def test_memory_of_all_kinds(run):
    index, y, n = random.integers(0, 16, 32).astype("int32"), np.zeros(32, "float32"), 9
    run("locals", 1, 32, index, y, n, dynamic_shared=128)
    sums = np.zeros(32)
    for t in range(32):
        a = np.array([j * (1 + (j + t) % 8) for j in range(16)], float)
        a[index[t]] += 100
        sums[t] = sum(a[(index[t] + j) % 16] for j in range(n))
    dynamic = (sums + 2.5 + np.array([1, 2, 3])[T % 3])[::-1]
    np.testing.assert_allclose(y, dynamic + sums[::-1] + 3, rtol=1e-6)


def test_calls(run):
    """Recursion, pointers to functions, virtual functions and `new`, a lambda."""
    x, y, fibonacci = floats(32), np.zeros((4, 32), "float32"), [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]
    run("calls", 1, 32, x, y)
    assert np.array_equal(y[0], [fibonacci[t % 10] for t in T]) and np.array_equal(y[3], 2 * T)
    np.testing.assert_allclose(y[1:3], [np.where(T & 1, x * 3, x + 3), x * x * np.where(T % 3, 1, 3)], rtol=1e-6)


def test_printf_and_assert(run):
    printed = ["thread 3:  1.50 text 1099511627776 z ff %\n", "plain\n"]
    assert run("prints", 1, 32, np.zeros(32, "int32")).printed == printed
    with pytest.raises(simt.Fault, match=r"assertion `x\[t\] < 50` .* failed in 1 lane"):
        run("prints", 1, 32, 2 * T.astype("int32") * (T == 30))
    later = np.zeros(32, "uint64")
    run("times", 1, 32, later)
    assert later.all()


def test_integers_and_their_bits(run):
    x, y = random.integers(0, 1 << 32, 64, dtype="uint32"), np.zeros((64, 32), "uint32")
    run("bits", 1, 32, x, y)
    for t in range(32):
        a, b = int(x[t]), int(x[32 + t])
        signed = [v - (v >> 31 << 32) for v in (a, b)]
        octets = [list(v.to_bytes(4, "little")) for v in (a, b)]
        small = [[v - (v >> 7 << 8) for v in part] for part in octets]
        wide = a * (b << 32 | a)
        wide = (wide // 1000003 + (wide >> 7)) % (1 << 128)
        divisor = signed[1] | 1
        expected = {
            0: sum(p * q for p, q in zip(*small)) + 5, 1: sum(p * q for p, q in zip(*octets)) + 5,
            4: int(f"{a:032b}"[::-1], 2), 5: 32 - a.bit_length(), 6: (a & -a).bit_length(), 7: a.bit_count(),
            9: (b << 32 | a) << t >> 32,
            12: a * b >> 32, 13: signed[0] * signed[1] >> 32, 14: abs(signed[0] - signed[1]) + 3,
            15: signed[0] + signed[1] + 1 >> 1, 16: signed[0] + signed[1] >> 1,
            18: sum((p + q & 255) << 8 * k for k, (p, q) in enumerate(zip(*octets))),
            20: sum(abs(p - q) << 8 * k for k, (p, q) in enumerate(zip(*octets))),
            23: sum(min(p, q) << 8 * k for k, (p, q) in enumerate(zip(*octets))),
            26: sum(abs(p - q) for p, q in zip(*octets)), 29: max(*signed, 7), 31: wide,
            32: wide >> 64, 33: wide % 977, 34: (a << 20) // (b | 1)}
        product = signed[0] * 12345
        expected[35] = abs(product) % abs(divisor) * (1 if product >= 0 else -1)
        wrong = [(k, v % (1 << 32), y[k, t]) for k, v in expected.items() if v % (1 << 32) != y[k, t]]
        assert not wrong, wrong


def test_pairs_of_halves(run):
    x, y, z = floats(35), np.zeros((31, 32, 2), "float16"), np.zeros((11, 32, 2), ml_dtypes.bfloat16)
    y[30] = 3
    run("halves", 1, 32, x, y, z)
    for out, dtype, rows in ((y, "float16", (0, 1, 2, 4, 5, 7, 12, 19, 22, 17)), (z, ml_dtypes.bfloat16, range(10))):
        a, b = (np.stack([x[k:k + 32], x[k + 1:k + 33]], 1).astype(dtype).astype("float32") for k in (0, 2))
        exact = [a + b, a * b, a * b + a, a / b, np.exp(a), np.tanh(a), np.sqrt(abs(a)), np.maximum(a, b),
                 np.maximum(a * b + a, 0), np.rint(a)]
        if dtype == "float16":                           # in the order of the rows
            exact = [exact[k] for k in (0, 1, 2, 3, 4, 6, 5, 7, 8, 9)]
        near = 2.0 ** (-10 if dtype == "float16" else -7)
        for row, values in zip(rows, exact):
            np.testing.assert_allclose(out[row].astype("float32"), values, rtol=near, atol=near / 64, err_msg=str(row))


def test_eight_bit_floats(run):
    x, y, raw = floats(40) * 5, np.zeros((7, 32), "float32"), np.zeros(32, "uint32")
    run("fp8", 1, 32, x, y, raw)
    e4m3, e5m2 = (x.astype(kind).astype("float32") for kind in (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2))
    assert np.array_equal(y[:4], [e4m3[:32], e5m2[:32], e4m3[:32], e4m3[1:33]]) and np.array_equal(y[5], e4m3[:32])
    assert np.array_equal(y[4], e5m2[:32] + e5m2[3:35])
    codes = np.stack([x[k:k + 32] for k in range(4)], 1).astype(ml_dtypes.float8_e5m2)
    assert np.array_equal(codes.view("uint32")[:, 0], raw)


def test_named_barriers_and_barriers_that_count(run):
    x, y = floats(128), np.zeros(68, "float32")
    run("named", 1, 128, x, y)
    count = (x > 0).sum()
    assert np.array_equal(y[:64], x[63::-1]) and y[64:].tolist() == [count, (x > 5).any(), (x < 100).all(), count]


def library(kernel, grid, block, *args):
    result = simt.launch(module("libraries"), grid, block, args, kernel, races=True, uninit=True)
    assert result.clean, [str(found) for found in (*result.races, *result.warnings)]


def test_pipelines_and_barriers_of_the_standard_library():
    x = np.arange(5 * 64 * 4, dtype="int32").reshape(5, 64, 4)
    y, z = np.zeros_like(x), np.zeros(128, "float32")
    library("pipelines", 1, 64, x, y, 5)
    assert np.array_equal(y, x[:, ::-1] + np.array([1, 0, 0, 0], "int32"))
    library("barriers", 1, 128, floats(128), z)
    assert z.any()
    counts, total = np.zeros(2, "int32"), np.zeros(1, "float32")
    library("atomics", 2, 32, counts, total)
    assert counts[1] == 128 and counts[0] >= 50 and total[0] == 96


def test_cub():
    x, y = random.integers(0, 1000, 256).astype("int32"), np.zeros(513, "int32")
    library("blocks", 1, 128, x, y)
    assert y[0] == x[:128].sum() and np.array_equal(y[1:129], x[:128].cumsum())
    assert np.array_equal(y[129:385], np.sort(x))
    assert np.array_equal(y[385::32], x[:128].reshape(4, 32).max(1))
