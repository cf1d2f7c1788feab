"""Users' Triton kernels with tensor descriptors, compiled for Hopper: TMA copies, wgmma, clusters."""
import numpy as np
import pytest

triton = pytest.importorskip("triton")
from minidl.simt import driver  # noqa: E402  (it needs triton)

tl = triton.language
random = np.random.default_rng(0)


@triton.jit
def product(a_ptr, b_ptr, c_ptr, m, n, k, SIZE: tl.constexpr, WARPS: tl.constexpr):
    """C = A B, with descriptors of all three made on the device."""
    a = tl.make_tensor_descriptor(a_ptr, [m, k], [k, 1], [SIZE, SIZE])
    b = tl.make_tensor_descriptor(b_ptr, [k, n], [n, 1], [SIZE, SIZE])
    c = tl.make_tensor_descriptor(c_ptr, [m, n], [n, 1], [SIZE, SIZE])
    row, column = tl.program_id(0) * SIZE, tl.program_id(1) * SIZE
    total = tl.zeros((SIZE, SIZE), tl.float32)
    for at in tl.range(0, k, SIZE, warp_specialize=WARPS):
        total += tl.dot(a.load([row, at]), b.load([at, column]))
    c.store([row, column], total.to(tl.float16))


@triton.jit
def sums(x_ptr, y_ptr, SIZE: tl.constexpr):
    """Adds all boxes of X (d, rows, columns) to Y (rows, columns), in no order."""
    x = tl.make_tensor_descriptor(x_ptr, [3, 20, 40], [800, 40, 1], [1, SIZE, SIZE])
    y = tl.make_tensor_descriptor(y_ptr, [20, 40], [40, 1], [SIZE, SIZE])
    row, column = tl.program_id(1) * SIZE, tl.program_id(2) * SIZE
    y.atomic_add([row, column], x.load([tl.program_id(0), row, column]).reshape(SIZE, SIZE))


@pytest.mark.parametrize("options", [{}, {"num_ctas": 2}, {"num_warps": 8}, {"WARPS": True}], ids=str)
def test_product(options):
    driver.install(90, races=True, uninit=True, counters=True)
    m, n, k, size = 130, 96, 200, 128 if options.get("WARPS") else 64
    a, b, c = random.standard_normal((m, k)), random.standard_normal((k, n)), np.zeros((m, n), "float16")
    a, b = a.astype("float16"), b.astype("float16")
    tiles = [-(-extent // size) for extent in (m, n, k)]
    product[tuple(tiles[:2])](*map(driver.Array, (a, b, c)), m, n, k, SIZE=size, **{"WARPS": False, **options})
    assert driver.last.clean and driver.last.counters.tensor["f16"] == 2 * np.prod(tiles) * size**3
    np.testing.assert_allclose(c, a.astype("float32") @ b.astype("float32"), rtol=1e-3, atol=1e-3)


def test_reductions():
    driver.install(90, races=True, uninit=True)
    x, y = random.integers(0, 9, (3, 20, 40)).astype("float32"), np.ones((20, 40), "float32")
    sums[3, 2, 3](driver.Array(x), driver.Array(y), SIZE=16)
    assert driver.last.clean and np.array_equal(y, 1 + x.sum(0))
