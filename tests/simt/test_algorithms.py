"""Programs as people write them give NumPy's results, without a race, in any order of threads and groups of blocks."""

import numpy as np
import pytest
from fixtures import MAKERS, module

from minidl import simt

random = np.random.default_rng(7)
ORDERS = [{}, {"seed": 1}, {"chunk_lanes": 64}]


@pytest.fixture(params=MAKERS)
def run(request):
    """run(kernel, grid, block, *args): a launch in which nothing may be wrong."""
    def launch(kernel, grid, block, *args, **options):
        result = simt.launch(
            module("algorithms", request.param), grid, block, args, kernel, races=True, uninit=True, **options
        )
        assert result.clean, [str(found) for found in (*result.races, *result.warnings)][:3]
        return result
    return launch


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def integers(*shape, most=100):
    return random.integers(0, most, shape).astype(np.int32)


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_reduce_and_scan(run, options):
    for n, block in ((1000, 128), (33, 64), (5, 96)):
        x, y = floats(n), np.zeros(1, np.float32)
        run("reduce", 3, block, x, y, n, **options)
        assert np.isclose(y[0], x.sum(dtype=float), atol=1e-4)
    for n in (128, 100):
        x, y = integers(n), np.zeros(n, np.int32)
        run("scan", 1, 64, x, y, n, dynamic_shared=512, **options)
        assert np.array_equal(y, np.cumsum(x) - x)
    x, y, blocks = integers(700), np.zeros(700, np.int32), 11
    more = [np.zeros(blocks, np.int32) for _ in range(3)]
    run("scan_grid", blocks, 64, x, y, 700, np.zeros(1, np.int32), *more, **options)
    assert np.array_equal(y, np.cumsum(x))


@pytest.mark.parametrize("options", ORDERS, ids=str)
def test_histogram_and_sorts(run, options):
    x, bins = random.integers(0, 256, 3000).astype(np.uint8), np.zeros(256, np.int32)
    run("histogram", 2, 96, x, bins, 3000, **options)
    assert np.array_equal(bins, np.bincount(x, minlength=256))
    x = floats(256)
    expected = np.sort(x)
    run("bitonic_sort", 1, 256, x, **options)
    assert np.array_equal(x, expected)
    x = random.integers(0, 1 << 32, 200, np.uint32)
    expected = np.sort(x)
    run("radix_sort", 1, 256, x, 200, **options)
    assert np.array_equal(x, expected)


def test_stencil_and_matmul(run):
    x, y = floats(21, 37), np.zeros((21, 37), np.float32)
    run("stencil", (3, 2), (16, 16), x, y, 37, 21)
    p = np.pad(x, 1, mode="edge")
    assert np.allclose(y, 0.5 * x + 0.125 * (p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]), atol=1e-6)
    a, b, c = floats(45, 37), floats(37, 50), np.zeros((45, 50), np.float32)
    run("matmul", (2, 2), (8, 8), a, b, c, 45, 50, 37)
    assert np.allclose(c, a @ b, atol=1e-5)


def test_mandelbrot(run):
    y = np.zeros(1024, np.int32)
    run("mandelbrot", 8, 128, y, 32, 60)
    at = np.arange(1024)
    c, z, k = (at % 32) * 3.0 / 32 - 2.25 + 1j * (at // 32 * 2.0 / 32 - 1.0), 0, 0
    k = np.zeros(1024, int)
    z = np.zeros(1024, complex)
    for _ in range(60):
        inside = z.real * z.real + z.imag * z.imag < 4
        k += inside
        z = np.where(inside, z * z + c, z)
    assert (y != k).mean() < 0.01                        # the kernel's products are fused, Python's are not


def test_cooperative_groups(run):
    x, y = integers(64), np.zeros((4, 64), np.int32)
    run("tiles", 1, 64, x, y)
    t, eight, warp = np.arange(64), x.reshape(8, 8), x.reshape(2, 32)
    assert np.array_equal(y[0], np.repeat(eight.sum(1), 8) + eight.cumsum(1).reshape(-1) * 1000)
    assert np.array_equal(y[1], np.repeat(warp.max(1), 32) + x[t ^ 5] * 1000)
    third = np.zeros(64, int)
    for start in (0, 32):
        members = [k for k in range(start, start + 32) if k % 3 == 0]
        third[members] = [rank + len(members) * 100 + x[members[0]] * 10000 for rank, _ in enumerate(members)]
        same = [[j for j in range(start, start + 32) if x[j] % 4 == x[k] % 4] for k in range(start, start + 32)]
        assert y[3, start:start + 32].tolist() == [x[members].sum() + len(members) * 100000 for members in same]
    assert np.array_equal(y[2], third)
    tiles = y[:2].copy()
    run("tiles", 1, 64, x, y, seed=1)  # which threads coalesce is anybody's guess, what tiles do is not
    assert np.array_equal(y[:2], tiles)


def test_grid_barriers(run):
    a, b = floats(200), np.zeros(200, np.float32)
    expected = a.copy()
    for _ in range(4):
        expected = np.float32(0.5) * (np.roll(expected, -1) + np.roll(expected, 1))
    run("grid_steps", 5, 64, a, b, 200, 4)
    assert np.allclose(a, expected, atol=1e-6)
    x, y, blocks = np.zeros(6 * 32, np.int32), np.zeros(6 * 32, np.int32), 6
    run("own_barrier", blocks, 32, x, y, np.zeros(1, np.uint32), blocks, cooperative=True)
    assert np.array_equal(y.reshape(6, 32), np.arange(6)[::-1, None] + np.arange(32))


def test_what_grid_barriers_do_not_order():
    kernels = module("algorithms")
    races = simt.launch(
        kernels, 5, 64, [floats(200), np.zeros(200, np.float32), 200, 3], "grid_steps_racy", races=True
    ).races
    assert {race.kind for race in races} & {"between blocks, read after write", "between blocks, write after read"}
    found = {0: set(), 1: set()}                         # 1: a barrier that does not wait for the last block
    for early in found:
        for seed in range(8):
            args = [np.zeros(6 * 32, np.int32), np.zeros(6 * 32, np.int32), np.full(1, early, np.uint32), 6]
            result = simt.launch(kernels, 6, 32, args, "own_barrier", races=True, cooperative=True, seed=seed)
            found[early] |= {race.kind for race in result.races}
    assert found == {0: set(), 1: {"between blocks, read after write"}}
    args = [np.zeros(200, np.int32), np.zeros(200, np.int32), np.zeros(1, np.uint32), 100]
    with pytest.raises(simt.Fault, match="cooperative=True"):  # a block waits for one that has not started
        simt.launch(kernels, 100, 2, args, "own_barrier", chunk_lanes=64)
