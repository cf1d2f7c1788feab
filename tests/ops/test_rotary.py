"""Rotary positions: complex numbers that turn; products that see distances alone; both ways to pair elements."""
import numpy as np
import pytest

from minidl import ops
from minidl.errors import ShapeError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [8, 6])
def test_pairs_are_complex_numbers_that_turn(width, dtype):
    x = RNG.standard_normal((2, 3, 5, 8)).astype(dtype)
    places = np.array([[0, 1, 2, 3, 9], [4, 4, 0, 7, 1]])
    turn = np.exp(1j * places[:, None, :, None] * 10000.0 ** (-np.arange(0, width, 2) / width))
    cos, sin = [part.numpy() for part in ops.rotary_angles(places[:, None], width, dtype=dtype)]
    np.testing.assert_allclose(cos + 1j * sin, turn, atol=1e-6)
    turned = (x[..., 0:width:2] + 1j * x[..., 1:width:2]) * turn
    want = np.concatenate([np.stack([turned.real, turned.imag], -1).reshape(2, 3, 5, width), x[..., width:]], -1)
    np.testing.assert_allclose(ops.rotary(x, cos, sin, interleaved=True).numpy(), want, atol=1e-5)
    order = [*range(0, width, 2), *range(1, width, 2), *range(width, 8)]
    np.testing.assert_allclose(ops.rotary(x[..., order], cos, sin).numpy(), want[..., order], atol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_products_see_distances_alone(interleaved):
    q, k = RNG.standard_normal((2, 1, 16))

    def product(t, s):
        (a, b), (c, d) = [ops.rotary_angles(np.array([n]), 16, dtype="float64") for n in (t, s)]
        return (ops.rotary(q[None], a, b, interleaved) * ops.rotary(k[None], c, d, interleaved)).sum().item()

    assert product(3, 1) == pytest.approx(product(12, 10), rel=1e-5) != pytest.approx(product(3, 2), rel=1e-3)


@pytest.mark.parametrize("cos, sin, match", [((5, 5), (5, 5), "cos: .* R <= 8"), ((4, 2), (4, 2), r"cos: .*\(3, 5, 'R"),
                                             ((5, 2), (1, 2), r"sin: expected \(5, 2\)")])
def test_errors(cos, sin, match):
    with pytest.raises(ShapeError, match=rf"\[rotary\] {match}"):
        ops.rotary(np.ones((3, 5, 8)), np.ones(cos), np.ones(sin))
