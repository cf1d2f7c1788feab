"""Loads, stores, copies and atomics of every width in every space; accesses that must not be are caught."""
import numpy as np
import pytest
from fixtures import MAKERS, module

from minidl import simt

random = np.random.default_rng(5)
T = np.arange(32)


@pytest.fixture(params=MAKERS)
def kernels(request):
    return module("memory", request.param)


def bfloat16(values):
    return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_widths(kernels):
    a, b = random.standard_normal((32, 4)).astype(np.float32), random.integers(-9, 9, (32, 2)).astype(np.int32)
    c, s = random.integers(-128, 128, 32).astype(np.int8), random.integers(0, 1 << 16, 32).astype(np.uint16)
    v, w = random.integers(-9, 9, 32).astype(np.int32), random.integers(-1 << 40, 1 << 40, 32)
    d, y = random.standard_normal((32, 2)), np.zeros(32)
    simt.launch(kernels, 1, 32, [a, b, c, s, v, w, d, y], "widths")
    floats = (a * np.float32([1, 2, 3, 4])).astype(float).sum(1)
    assert np.allclose(y, floats + b[:, 0] - b[:, 1] + c + s + v + w + b[:, 0] + d[:, 0] - d[:, 1], rtol=1e-6)
    c, s, u, f = (
        np.zeros(32, np.uint8),
        np.zeros(32, np.int16),
        np.zeros((32, 4), np.uint8),
        np.zeros((32, 2), np.float32),
    )
    simt.launch(kernels, 1, 32, [c, s, u, f], "narrow_stores")
    assert np.array_equal(c, 3 * T) and np.array_equal(s, -T) and np.array_equal(f, np.stack([T, -T], 1))
    assert np.array_equal(u, np.stack([T, 2 + 0 * T, 3 + 0 * T, 255 - T], 1))


def test_structs_and_arrays(kernels):
    packed = np.dtype([("tag", "i1"), ("half", "i2"), ("value", "f4"), ("wide", "f8")], align=True)
    p = np.zeros(32, packed)
    p["tag"], p["half"], p["value"], p["wide"] = T % 5, -T, T / 2, 2.0 + T
    before = p.copy()
    result = simt.launch(kernels, 1, 32, [p], "structs", races=True)
    assert result.races and result.races[0].kind == "write after read"          # a neighbour may not have read yet
    q = before[T ^ 1]
    assert np.array_equal(p["value"], q["value"] + q["half"]) and np.array_equal(p["wide"], q["wide"] * q["tag"])
    x, y = random.integers(0, 100, 32).astype(np.int32), np.zeros(32, np.int32)
    simt.launch(kernels, 1, 32, [x, y, 20], "local_array")
    assert y.tolist() == [sum(int(x[(i + (k := (x[j] + i) & 15)) & 31]) * int(k) for j in range(20)) for i in range(32)]


def test_variables_live_as_long_as_the_memory(kernels):
    expected = lambda table, k: [table[(31 - i) & 7] * (1 + ((31 - i) & 3)) + table[2 + (i & 3)] for i in range(32)]
    y = np.zeros(32, np.float32)
    for _ in range(2):                                   # each launch with a memory of its own starts anew
        simt.launch(kernels, 1, 32, [y], "variables", dynamic_shared=128)
        assert y.tolist() == expected(list(range(8)), 0)
    memory = simt.GlobalMemory()
    address = memory.put(y)
    tables = [list(range(8)), [1 + k for k in range(8)], [2 + k for k in range(8)]]
    for table in tables:
        simt.launch(kernels, 1, 32, [address], "variables", dynamic_shared=128, memory=memory, races=True)
        assert memory.view(address, 128).view(np.float32).tolist() == expected(table, 0)


def test_generic_pointers(kernels):
    x, y = random.standard_normal(32).astype(np.float32), np.zeros(32, np.float32)
    simt.launch(kernels, 1, 32, [x, y], "generic")
    sums = [x[:4].sum() + 3000, 2 * x[:4].sum() + 1000, 9 + 2000, 10]
    expected = [sums[i % 4] + (i if i % 4 == 2 else 0) for i in range(32)]
    assert np.allclose(y, np.where(T % 4 == 3, y, expected), rtol=1e-5)
    assert set(y[3::4]) <= {10, 3010}                    # (whether constants are global is for the hardware to say)


def test_asynchronous_copies(kernels):
    for n in (1, 2, 5):
        x, y = random.integers(0, 99, (n, 64, 4)).astype(np.int32), np.zeros((n, 64, 4), np.int32)
        assert simt.launch(kernels, 1, 64, [x, y, n], "copies", races=True, uninit=True).clean
        expected = x.copy()
        expected[-1, 1::2, 2:] = 0                       # 8 of 16 bytes are zeros
        assert np.array_equal(y, expected[:, ::-1])


def test_integer_atomics(kernels):
    a, u, l, olds = np.zeros(7, np.int32), np.zeros(9, np.uint32), np.zeros(4, np.uint64), np.zeros(64, np.int32)
    u[0], u[6], u[7], l[2] = 0xFFFFFFFF, 100, 1, 2**64 - 1
    assert simt.launch(kernels, 1, 64, [a, u, l, olds], "integer_atomics", races=True).clean
    total = 63 * 32
    assert a.tolist() == [total, -total, 63, -63, 64, 64, -total] and sorted(olds) == list(range(64))
    xors, inc, dec = 0, 0, 0
    for t in range(64):
        xors, inc, dec = xors ^ t * 77, 0 if inc >= 9 else inc + 1, 9 if dec == 0 or dec > 9 else dec - 1
    assert u.tolist() == [0, 0xFFFFFFFF, xors, inc, dec, 0xFFFFFF3F, 5, pow(3, 64, 1 << 32), 64]
    assert l.tolist() == [64 << 33, 0, 0, 7]


def test_float_atomics(kernels):
    f, d, h, h2 = np.zeros(35, np.float32), np.zeros(1), np.zeros(2, np.float16), np.zeros(2, np.float16)
    b, b2 = np.zeros(2, np.uint16), np.zeros(2, np.uint16)
    assert simt.launch(kernels, 1, 32, [f, d, h, h2, b, b2, None], "float_atomics", races=True).clean
    assert f[0] == 8 and d[0] == 48 and h.tolist() == [32, 0] and h2.tolist() == [32, 64] and f[34] == 16
    assert b.tolist() == [*bfloat16([32, 0])] and b2.tolist() == [*bfloat16([32, 64])]
    assert sorted([*f[2:34].tolist(), float(f[1])]) == sorted([0.0, *T.astype(float)])       # each saw another's value


def test_scoped_atomics(kernels):
    a = np.zeros(12, np.int32)
    assert simt.launch(kernels, 3, 32, [a], "scoped_atomics", races=True).clean
    assert a.tolist() == [32, 32, 32, 0, 0, 0, 0, 0, 96, 31, 31, 31]


# kernel -> (arguments, what the message says)
MISTAKES = {
    "beyond": (lambda: [np.zeros(32, np.float32), 8], "out of bounds"),
    "before": (lambda: [np.zeros(32, np.float32), np.zeros(32, np.float32)], "out of bounds"),
    "beyond_shared": (lambda: [np.zeros(32, np.float32), 1], "out of bounds"),
    "beyond_local": (lambda: [np.zeros(32, np.float32), 0], "out of bounds"),
    "misaligned": (lambda: [np.zeros(128, np.int8), np.zeros(32, np.float32)], "misaligned"),
    "misaligned_vector": (lambda: [np.zeros(400, np.float32), np.zeros(32, np.float32)], "misaligned"),
    "null_pointer": (lambda: [None], "null pointer"),
}


@pytest.mark.parametrize("kernel", MISTAKES)
def test_wrong_addresses(kernels, kernel):
    args, what = MISTAKES[kernel]
    with pytest.raises(simt.Fault, match=what) as caught:
        simt.launch(kernels, 1, 32, args(), kernel)
    found = caught.value
    assert found.instruction in str(found) and "memory.cu:" in found.source and found.source in str(found)
    assert found.lanes and "thread (" in found.lanes[0] and found.addresses


def test_unwritten_memory(kernels):
    warning, = simt.launch(kernels, 1, 128, [np.zeros(128, np.float32)], "unwritten", uninit=True).warnings
    assert warning.kind == "uninitialised read" and "64 lanes" in warning.text and "thread (64,0,0)" in warning.lanes[0]
    args = [np.zeros(32, np.float32), np.zeros(32, np.float32)]
    assert not simt.launch(kernels, 1, 32, args, "unwritten_global", uninit=True).warnings
    warning, = simt.launch(kernels, 1, 32, args, "unwritten_global", empty=(0,)).warnings
    assert "global memory that nobody wrote" in warning.text and np.isnan(args[1]).all()
