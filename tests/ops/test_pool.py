"""Pooling against windows looked at one by one; edges, equals, NaN; memory order; messages."""
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError

MAX = {1: ops.max_pool1d, 2: ops.max_pool2d, 3: ops.max_pool3d}
AVG = {1: ops.avg_pool1d, 2: ops.avg_pool2d, 3: ops.avg_pool3d}


@st.composite
def slides(draw):
    """(x, [kernel, stride, padding, dilation] per axis, ceil_mode); few values, hence equals."""
    rank = draw(st.integers(1, 3))
    axes = [draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(1, 2)))
            for _ in range(rank)]
    axes = [(k, s, min(p, k // 2), d) for k, s, p, d in axes]
    size = [(k - 1) * d + 1 + draw(st.integers(0, 4)) for k, _, _, d in axes]
    x = np.random.default_rng(draw(st.integers(0, 9))).integers(-2, 3, (2, *size)).astype(float)
    return x, axes, draw(st.booleans())


def windows_of(n, k, s, p, d, ceil):
    """The elements of each window of an axis."""
    count = -(-(n + 2 * p - d * (k - 1) - 1) // s) + 1 if ceil else (n + 2 * p - d * (k - 1) - 1) // s + 1
    count -= ceil and (count - 1) * s >= n + p
    return [[i for i in range(o * s - p, o * s - p + k * d, d) if 0 <= i < n] for o in range(count)]


def looked_at(x, axes, look):
    """An array with, for each box of elements (a list of lists per axis), what `look` says of it."""
    out = np.array([look(x[(slice(None), *np.ix_(*box))], box) for box in product(*axes)])
    return np.moveaxis(out, 0, -1).reshape(x.shape[0], *[len(a) for a in axes])


@given(slides())
@settings(max_examples=60, deadline=None)
def test_max_pool_finds_the_first_of_the_largest(problem):
    x, axes, ceil = problem
    lists = [windows_of(n, *axis, ceil) for n, axis in zip(x.shape[1:], axes)]
    kernel, stride, padding, dilation = zip(*axes)
    places = np.arange(x[0].size).reshape(x.shape[1:])
    values, indices = MAX[len(axes)](x, kernel, stride, padding, dilation, ceil, return_indices=True)
    np.testing.assert_array_equal(values, looked_at(x, lists, lambda seen, _: seen.reshape(2, -1).max(1)))
    np.testing.assert_array_equal(indices, looked_at(
        x, lists, lambda seen, box: places[np.ix_(*box)].ravel()[seen.reshape(2, -1).argmax(1)]))
    leaf = ml.tensor(x, requires_grad=True)
    alone = MAX[len(axes)](leaf, kernel, stride, padding, dilation, ceil)
    np.testing.assert_array_equal(alone.numpy(), values.numpy())
    g = np.random.default_rng(0).standard_normal(alone.shape)
    back = np.zeros((2, x[0].size))
    np.add.at(back, (np.arange(2)[:, None], indices.numpy().reshape(2, -1)), g.reshape(2, -1))
    found, = ml.gradients(alone, [leaf], ml.tensor(g))
    np.testing.assert_allclose(found.numpy(), back.reshape(x.shape), atol=1e-12)


@given(slides(), st.booleans(), st.sampled_from([None, 5]))
@settings(max_examples=60, deadline=None)
def test_avg_pool_is_the_mean(problem, padded, divisor):
    x, axes, ceil = problem
    axes = [(k, s, p, 1) for k, s, p, _ in axes]
    lists = [windows_of(n, *axis, ceil) for n, axis in zip(x.shape[1:], axes)]
    kernel, stride, padding, _ = zip(*axes)
    got = AVG[len(axes)](x, kernel, stride, padding, ceil, padded, divisor).numpy()
    sums = looked_at(x, lists, lambda seen, _: seen.reshape(2, -1).sum(1))
    if padded:                                     # windows also count what lies in the padding, not beyond
        lists = [[range(max(o * s - p, -p), min(o * s - p + k, n + p)) for o in range(len(a))]
                 for a, n, (k, s, p, _) in zip(lists, x.shape[1:], axes)]
    counts = np.array([np.prod([len(a) for a in box]) for box in product(*lists)]).reshape(sums.shape[1:])
    np.testing.assert_allclose(got, sums / (divisor or counts), atol=1e-12)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.data())
@settings(max_examples=60, deadline=None)
def test_adaptive_pooling_cuts_axes_into_parts(size, data):
    x = np.random.default_rng(0).integers(-2, 3, (2, *size)).astype(float)
    wanted = data.draw(st.lists(st.integers(1, 9), min_size=len(size), max_size=len(size)))
    lists = [[range(int(np.floor(i * n / p)), int(np.ceil((i + 1) * n / p))) for i in range(p)]
             for n, p in zip(size, wanted)]
    means = looked_at(x, lists, lambda seen, _: seen.reshape(2, -1).mean(1))
    np.testing.assert_allclose(ops.adaptive_avg_pool(x, wanted, rank=len(size)), means, atol=1e-12)
    largest = looked_at(x, lists, lambda seen, _: seen.reshape(2, -1).max(1))
    np.testing.assert_array_equal(ops.adaptive_max_pool(x, wanted, rank=len(size)), largest)


def test_none_keeps_an_axis_and_one_number_is_for_all():
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 4))
    np.testing.assert_allclose(ops.adaptive_avg_pool2d(x, (None, 1)), x.mean(3, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(ops.adaptive_avg_pool2d(x, 1), x.mean((2, 3), keepdims=True), atol=1e-12)
    np.testing.assert_array_equal(ops.max_pool2d(x[0], 2), ops.max_pool2d(x, (2, 2), 2)[0])


def test_nothing_is_smaller_than_the_padding_and_nan_is_largest():
    x = np.full((1, 4, 4), -np.inf)
    x[0, 1, 1] = np.nan
    leaf = ml.tensor(x, requires_grad=True)
    y = ops.max_pool2d(leaf, 3, 1, 1)
    values, indices = ops.max_pool2d(leaf, 3, 1, 1, return_indices=True)
    assert np.isnan(y.numpy()[0, :3, :3]).all() and (y.numpy()[0, 3] == -np.inf).all()
    assert (indices.numpy()[0, :3, :3] == 5).all() and indices.numpy()[0, 3, 0] == 8
    for out in (y, values):
        g, = ml.gradients(out, [leaf], ml.tensor(np.ones(out.shape)))
        assert g.numpy()[0, 1, 1] == 9 and g.numpy().sum() == 16


def test_unpooling_undoes_pooling():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6))
    values, indices = ops.max_pool2d(x, 2, return_indices=True)
    back = ops.max_unpool2d(values, indices, 2, output_size=x.shape).numpy()
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    np.testing.assert_array_equal(np.sort(back[back != 0]), np.sort(values.numpy().ravel()))
    np.testing.assert_array_equal(ops.max_pool2d(ops.relu(back), 2).numpy(), np.maximum(values.numpy(), 0))


def test_integers_are_pooled_and_stay_integers():
    x = np.arange(16, dtype=np.int32).reshape(1, 4, 4) - 20
    assert ops.max_pool2d(x, 3, 2, 1).numpy().tolist() == [[[-15, -13], [-7, -5]]]


@pytest.mark.parametrize("pool", [
    lambda x: ops.max_pool2d(x, 3, 2, 1), lambda x: ops.max_pool2d(x, 2, return_indices=True)[0],
    lambda x: ops.avg_pool2d(x, 2), lambda x: ops.adaptive_max_pool2d(x, 2)])
def test_results_keep_the_order_of_memory(pool):
    x = np.ones((4, 5, 2, 3)).transpose(3, 1, 0, 2)              # (rows, channels, columns, batch) in memory
    assert pool(x).data.transpose(2, 1, 3, 0).flags.c_contiguous


X = np.ones((1, 2, 5, 5))


@pytest.mark.parametrize("call, error, said", [
    (lambda: ops.max_pool2d(X, 6), ShapeError, r"x: expected an element in each window \(6, 6\).*got \(1,"),
    (lambda: ops.max_pool2d(X, 2, 2, 4), ShapeError, "x: expected an element in each window"),
    (lambda: ops.max_pool2d(X, 0), ArgumentError, "kernel_size: expected an integer from 1 on"),
    (lambda: ops.max_pool2d(X, (2, 2, 2)), ArgumentError, r"kernel_size: .* got \(2, 2, 2\)"),
    (lambda: ops.avg_pool2d(X, 2, -1), ArgumentError, "stride: .* got -1"),
    (lambda: ops.avg_pool3d(X[0, 0], 2), ShapeError, r"x: expected at least 3 axes, got \(5, 5\)"),
    (lambda: ops.adaptive_avg_pool2d(X, 0), ArgumentError, "output_size: expected an integer from 1 on"),
    (lambda: ops.adaptive_max_pool2d(X[:, :, :0], 1), ShapeError, "x: expected axes that are not empty"),
    (lambda: ops.max_unpool2d(X, np.ones((1, 2, 5, 4), int), 2), ShapeError, r"indices: expected .* as x"),
])
def test_what_does_not_fit_is_said(call, error, said):
    with pytest.raises(error, match=rf"\[\w+_(un)?pool\] {said}"):
        call()


def test_an_index_out_of_range_is_refused():
    with pytest.raises(ArgumentError, match="out of bounds|out of range"):
        ops.max_unpool2d(X, np.full(X.shape, 1000), 2)
