"""Resizing and sampling against formulas written out, and against each other; what moves pixels, and back."""
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
sizes = st.integers(1, 9)


def keys(u, a):
    """The cubic kernel of Keys 1981."""
    u = abs(u)
    if u <= 1:
        return (a + 2) * u**3 - (a + 3) * u**2 + 1
    return a * (u**3 - 5 * u**2 + 8 * u - 4) if u < 2 else 0.0


def triangle(u, a):
    return max(0.0, 1 - abs(u))


def by_kernel(x, places, kernel, reach):
    """sum of x[j] * kernel(place - j) at each place, with the ends of x repeated."""
    near = [range(int(np.floor(p)) - reach + 1, int(np.floor(p)) + reach + 1) for p in places]
    return np.array([sum(x[min(max(j, 0), len(x) - 1)] * kernel(p - j, -0.75) for j in js)
                     for p, js in zip(places, near)])


def places(n, count, align_corners):
    """Where the outputs lie among n elements."""
    if align_corners:
        return np.linspace(0, n - 1, count) if count > 1 else np.zeros(1)
    return (np.arange(count) + 0.5) * n / count - 0.5


@given(sizes, sizes, sizes, sizes, st.booleans())
@settings(max_examples=60, deadline=None)
def test_linear_and_cubic_are_the_kernels_sums_on_each_axis(h, w, p, q, align_corners):
    x = RNG.standard_normal((h, w))
    for mode, kernel, reach in (("bilinear", triangle, 1), ("bicubic", keys, 2)):
        got = ops.interpolate(x[None, None], (p, q), None, mode, align_corners).numpy()[0, 0]
        rows = np.array([by_kernel(column, places(h, p, align_corners), kernel, reach) for column in x.T]).T
        want = np.array([by_kernel(row, places(w, q, align_corners), kernel, reach) for row in rows])
        np.testing.assert_allclose(got, want, atol=1e-12)


@given(st.integers(1, 40), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_nearest_takes_the_element_below(n, count):
    x = np.arange(n, dtype=np.float32)[None, None]
    for mode, shift in (("nearest", 0), ("nearest-exact", 1)):
        places = [Fraction((2 * i + shift) * n, 2 * count) for i in range(count)]
        got = ops.interpolate(x, count, None, mode).tolist()[0][0]
        assert all(int(p) == e or p == e + 1 for p, e in zip(places, got))     # either at a tie (float32, as PyTorch)


@given(sizes, sizes)
@settings(max_examples=60, deadline=None)
def test_antialias_stretches_the_kernel_over_what_goes(n, count):
    x, stretch = RNG.standard_normal((n, 3)), max(n / count, 1.0)
    for mode, kernel in (("bilinear", triangle), ("bicubic", keys)):
        centres = (np.arange(count) + 0.5) * n / count
        weights = np.array([[kernel((j + 0.5 - c) / stretch, -0.5) for j in range(n)] for c in centres])
        got = ops.interpolate(x[None, None], (count, 3), None, mode, antialias=True).numpy()[0, 0]
        np.testing.assert_allclose(got, weights / weights.sum(1, keepdims=True) @ x, atol=1e-12)


def test_scale_factors_give_size_and_step():
    x = RNG.standard_normal((1, 1, 5))
    by_factor = ops.interpolate(x, None, 1.7, "linear").numpy()[0, 0]
    np.testing.assert_allclose(by_factor, by_kernel(x[0, 0], (np.arange(8) + 0.5) / 1.7 - 0.5, triangle, 1))
    by_size = ops.interpolate(x, None, 1.7, "linear", recompute_scale_factor=True)
    np.testing.assert_array_equal(by_size, ops.interpolate(x, 8, None, "linear"))
    assert ops.interpolate(np.ones((1, 1, 4, 6)), None, (0.5, 2.0)).shape == (1, 1, 2, 12)


def test_area_is_the_mean_of_what_a_pixel_covers():
    x = RNG.standard_normal((2, 3, 6, 4))
    want = x.reshape(2, 3, 3, 2, 2, 2).mean((3, 5))
    np.testing.assert_allclose(ops.interpolate(x, (3, 2), None, "area"), want, atol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_sampling_a_regular_grid_is_resizing(mode, align_corners):
    x = RNG.standard_normal((2, 3, 5, 4))
    same = np.broadcast_to(np.eye(2, 3), (2, 2, 3))
    grid = ops.affine_grid(same, (2, 3, 7, 6), align_corners)
    got = ops.grid_sample(x, grid, mode, "border", align_corners)
    np.testing.assert_allclose(got, ops.interpolate(x, (7, 6), None, mode, align_corners), atol=1e-12)


def test_affine_grids_move_points():
    theta, size = RNG.standard_normal((2, 3, 4)), (2, 1, 2, 3, 4)
    grid = ops.affine_grid(theta, size, True).numpy()
    point = np.array([np.linspace(-1, 1, 4)[1], np.linspace(-1, 1, 3)[2], np.linspace(-1, 1, 2)[0], 1.0])
    np.testing.assert_allclose(grid[:, 0, 2, 1], theta @ point, atol=1e-12)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_sampling_outside_is_sampling_a_padded_image(mode, padding_mode, align_corners):
    x, grid, wide = RNG.standard_normal((4, 5)), RNG.uniform(-2.5, 2.5, (3, 20, 2)), 14
    how = {"zeros": "constant", "border": "edge", "reflection": "reflect" if align_corners else "symmetric"}
    padded = np.pad(x, wide, how[padding_mode])
    kernel, reach = (keys, 2) if mode == "bicubic" else (triangle, 1)

    def read(column, row):
        if align_corners:
            r, c = (row + 1) / 2 * 3, (column + 1) / 2 * 4
        else:
            r, c = ((row + 1) * 4 - 1) / 2, ((column + 1) * 5 - 1) / 2
        if mode == "nearest":
            return padded[round(r) + wide, round(c) + wide]
        rows = [by_kernel(line, [c + wide], kernel, reach)[0] for line in padded]
        return by_kernel(rows, [r + wide], kernel, reach)[0]

    images = np.broadcast_to(x, (3, 1, 4, 5))
    got = ops.grid_sample(images, grid[:, None], mode, padding_mode, align_corners)
    want = np.array([[read(*place) for place in line] for line in grid])
    np.testing.assert_allclose(got[:, 0, 0], want, atol=1e-12)


def test_what_is_not_read_does_no_harm_and_nan_is_not_hidden():
    x = np.array([[[[np.inf, 1.0, 2.0]]]])
    grid = ml.tensor(np.array([[[[-1.9, 0.0], [1.0 / 3, 0.0], [np.nan, 0.0]]]]), requires_grad=True)
    y = ops.grid_sample(x, grid, "bilinear", "zeros")
    np.testing.assert_array_equal(y.numpy()[0, 0, 0], [0.0, 1.5, np.nan])
    g, = ml.gradients(y[..., :2], [grid], ml.tensor(np.ones((1, 1, 1, 2))))
    np.testing.assert_allclose(g.numpy()[0, 0, :2], [[0.0, 0.0], [1.5, -0.75]], atol=1e-12)


def test_pixels_move_into_channels_and_back():
    x = RNG.standard_normal((2, 12, 3, 4))
    y = ops.pixel_shuffle(x, 2).numpy()
    for c, i, j in ((0, 0, 1), (2, 1, 0)):
        np.testing.assert_array_equal(y[:, c, i::2, j::2], x[:, 4 * c + 2 * i + j])
    np.testing.assert_array_equal(ops.pixel_unshuffle(y, 2), x)
    dealt = ops.channel_shuffle(x, 3)
    np.testing.assert_array_equal(dealt[:, 5], x[:, 9])  # 9 = 2 * 4 + 1, 5 = 1 * 3 + 2
    np.testing.assert_array_equal(ops.channel_shuffle(dealt, 4), x)


@given(st.tuples(*[st.integers(1, 3)] * 2), st.integers(1, 2), st.integers(0, 2), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_unfold_is_what_convolution_multiplies_and_fold_its_transpose(kernel, dilation, padding, stride):
    x, weight = RNG.standard_normal((2, 3, 6, 5)), RNG.standard_normal((4, 3, *kernel))
    columns = ops.unfold(x, kernel, dilation, padding, stride).numpy()
    y = ops.conv2d(x, weight, None, stride, padding, dilation).numpy()
    np.testing.assert_allclose(weight.reshape(4, -1) @ columns, y.reshape(2, 4, -1), atol=1e-12)
    g = RNG.standard_normal(columns.shape)
    back = ops.fold(g, (6, 5), kernel, dilation, padding, stride).numpy()
    np.testing.assert_allclose((back * x).sum(), (g * columns).sum(), rtol=1e-9)


X, G = np.ones((2, 6, 4, 4)), np.zeros((2, 3, 3, 2))


@pytest.mark.parametrize("call, error, said", [
    (lambda: ops.interpolate(X, 8, None, "cubic"), ArgumentError, "mode: expected one of .* got 'cubic'"),
    (lambda: ops.interpolate(X, 8, None, "linear"), ShapeError, "x: expected 3 axes for mode 'linear'"),
    (lambda: ops.interpolate(X[:, :, :0], 8), ShapeError, "x: .*none empty"),
    (lambda: ops.interpolate(X), ArgumentError, "size: expected either size or scale_factor"),
    (lambda: ops.interpolate(X, 8, 2.0), ArgumentError, "size: expected either size or scale_factor"),
    (lambda: ops.interpolate(X, None, 0.1), ArgumentError, r"size: expected an integer from 1 on.*\[0, 0\]"),
    (lambda: ops.interpolate(X, 8, None, "nearest", True), ArgumentError, "align_corners: expected None"),
    (lambda: ops.interpolate(X, 8, antialias=True), ArgumentError, "antialias: expected bilinear or bicubic"),
    (lambda: ops.grid_sample(X, G[:1]), ShapeError, r"grid: expected 4 axes .* N=2 as x"),
    (lambda: ops.grid_sample(X, G[..., :1]), ShapeError, r"grid: expected 4 axes \(N, ..., 2\)"),
    (lambda: ops.grid_sample(X, G, "cubic"), ArgumentError, "mode: expected bilinear, nearest"),
    (lambda: ops.grid_sample(X, G, "nearest", "wrap"), ArgumentError, "padding_mode: expected zeros"),
    (lambda: ops.affine_grid(np.ones((2, 2, 3)), (3, 1, 4, 4)), ShapeError, r"theta: .*size=\(3, 1, 4, 4\)"),
    (lambda: ops.pixel_shuffle(X, 2), ShapeError, "x: expected axis -3 divisible by 4"),
    (lambda: ops.pixel_unshuffle(X, 3), ShapeError, "x: expected axis -2 divisible by 3"),
    (lambda: ops.channel_shuffle(X, 4), ShapeError, "x: expected axis 1 divisible by 4"),
    (lambda: ops.unfold(X, 3, padding=(1, 2, 3)), ArgumentError, "padding: .*2 pairs"),
    (lambda: ops.fold(np.ones((2, 18, 5)), 4, 3), ShapeError, "x: expected windows in 2 by 2 places"),
])
def test_what_does_not_fit_is_said(call, error, said):
    with pytest.raises(error, match=rf"\[\w+\] {said}"):
        call()
