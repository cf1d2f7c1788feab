"""Resampling of images against SciPy's, axis by axis and in two dimensions."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl.errors import ArgumentError, ShapeError

signal = pytest.importorskip("scipy.signal")
RNG = np.random.default_rng(0)
pair = st.tuples(st.integers(0, 4), st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.tuples(pair, pair), st.tuples(st.integers(1, 5), st.integers(1, 5)))
def test_agrees_with_scipy(up, down, padding, taps):
    x, rows, columns = RNG.standard_normal((2, 3, 6, 5)), *(RNG.standard_normal(n) for n in taps)
    want = x
    for axis, (response, (before, after)) in enumerate(zip((rows, columns), padding), 2):
        n = want.shape[axis] * up + before + after
        if n < len(response):
            return
        full = signal.upfirdn(response, want, up, 1, axis)                     # (without the zeros at the end)
        full = np.pad(full, [(before if a == axis else 0, len(response) + up + after if a == axis else 0)
                             for a in range(4)])
        want = np.take(full, np.arange(len(response) - 1, n, down), axis)
    got = ml.upfirdn2d(x, np.outer(rows, columns), up, down, padding).numpy()
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_filters_need_not_be_products():
    x, response = RNG.standard_normal((7, 6)), RNG.standard_normal((3, 4))
    got = ml.upfirdn2d(x[None, None], response, 1, 1, ((2, 2), (3, 3))).numpy()[0, 0]
    np.testing.assert_allclose(got, signal.convolve2d(x, response), atol=1e-12)


def test_brightness_is_kept_and_shrinking_undoes_growing():
    response = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0
    flat = np.ones((1, 1, 8, 8))
    assert np.allclose(ml.upfirdn2d(flat, response * 4, 2, 1, ((2, 1), (2, 1))).numpy()[..., 2:-2, 2:-2], 1)
    assert np.allclose(ml.upfirdn2d(flat, response, 1, 2, 1).numpy()[..., 1:-1, 1:-1], 1)


def test_what_does_not_fit():
    with pytest.raises(ShapeError, match="padded image"):
        ml.upfirdn2d(np.zeros((1, 1, 2, 2)), np.zeros((4, 4)), 1, 1, 0)
    for wrong in ({"up": 0}, {"down": 1.5}, {"padding": -1}):
        with pytest.raises(ArgumentError, match=f"upfirdn2d.*{[*wrong][0]}"):
            ml.upfirdn2d(np.zeros((1, 1, 8, 8)), np.zeros((4, 4)), **wrong)
