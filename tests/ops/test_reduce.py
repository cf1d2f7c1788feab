"""Reductions, running sums, order: against plain Python on one row of numbers at a time."""
import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

import minidl as ml
from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
ROWS = {
    "sum": math.fsum, "prod": math.prod, "mean": statistics.fmean, "var": statistics.pvariance,
    "std": statistics.pstdev, "max": max, "min": min, "any": any, "all": all,
    "count_nonzero": lambda r: sum(v != 0 for v in r),
    "logsumexp": lambda r: math.log(math.fsum(map(math.exp, r))),
}


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def row_by_row(function, x, axis, keepdims):
    """`function` of the list of elements that each result is made of."""
    axes = range(x.ndim) if axis is None else [a % x.ndim for a in np.atleast_1d(axis)]
    rest = [n for i, n in enumerate(x.shape) if i not in axes]
    kept = [1 if i in axes else n for i, n in enumerate(x.shape)]
    rows = np.moveaxis(x, sorted(axes), range(-len(axes), 0)).reshape(*rest, -1) if axes else x[..., None]
    out = np.array([function(rows[i].tolist()) for i in np.ndindex(*rest)])
    return out.reshape(kept if keepdims else rest)


@st.composite
def reductions(draw):
    """(array, axis, keepdims)"""
    x = RNG.standard_normal(draw(array_shapes(min_dims=1, max_dims=4, max_side=4))).round(1)
    axes = draw(st.lists(st.integers(-x.ndim, x.ndim - 1), min_size=1, unique_by=lambda a: a % x.ndim))
    return x, draw(st.sampled_from([None, axes[0], tuple(axes)])), draw(st.booleans())


@given(reductions(), st.sampled_from(sorted(ROWS)))
def test_reductions(case, name):
    x, axis, keepdims = case
    got = getattr(ops, name)(Tensor(x), axis, keepdims)
    want = row_by_row(ROWS[name], x, axis, keepdims)
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-12)


@given(reductions(), st.sampled_from(["argmax", "argmin"]))
def test_positions(case, name):
    x, axis, keepdims = case
    axis = axis[0] if isinstance(axis, tuple) else axis
    got = getattr(ops, name)(Tensor(x), axis, keepdims)
    assert got.dtype == np.int64
    best = max if name == "argmax" else min
    np.testing.assert_array_equal(got.numpy(), row_by_row(lambda r: r.index(best(r)), x, axis, keepdims))


def test_integers_and_bools_are_added_in_64_bits():
    for dtype, total in (("bool", "int64"), ("int8", "int64"), ("int32", "int64"), ("uint8", "uint64")):
        x = Tensor(np.ones(300, dtype))
        assert {y.dtype for y in (x.sum(), x.prod(), x.cumsum(), x.cumprod())} == {np.dtype(total)}
        assert x.sum().item() == x.count_nonzero().item() == x.cumsum()[-1].item() == 300
        assert x.max().dtype == dtype and x.count_nonzero().dtype == "int64"
    with pytest.raises(DTypeError, match=r"\[mean\] x: expected a dtype of kind float, got int64. Convert"):
        Tensor([1, 2]).mean()


def test_precision_of_float32_and_half():
    x = (RNG.standard_normal(100_000) + 1e4).astype("float32")
    assert Tensor(x).var().item() == pytest.approx(x.astype("f8").var(), rel=1e-4)       # no E[x*x] - E[x]**2
    assert Tensor(np.full(2**20, 0.1, "float32")).sum().item() == pytest.approx(2**20 * 0.1, rel=1e-6)
    assert Tensor(np.ones(4096)).bfloat16().sum().item() == 4096        # (256 if summed in bfloat16)
    assert Tensor([1000.0, 1000.0]).logsumexp().item() == pytest.approx(1000 + math.log(2))


# -- gradients ----------------------------------------------------------------------------

def test_equals_share_the_gradient():
    for op in (ops.max, ops.min):
        x = leaf([[2.0, 2.0, 2.0], [1.0, -1.0, 1.0]])
        g, = gradients(op(x, 1).sum(), [x])
        np.testing.assert_allclose(g.numpy()[0], 1 / 3)
        assert g.numpy()[1].tolist() == ([0.5, 0, 0.5] if op is ops.max else [0, 1, 0])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_products_have_derivatives_at_zero(zeros):
    values = RNG.uniform(1, 2, 5)
    values[:zeros] = 0
    others = lambda *left_out: math.prod(np.delete(values, left_out))                    # noqa: E731
    x = leaf(values)
    first, = gradients(x.prod(), [x], create_graph=True)
    np.testing.assert_allclose(first.numpy(), [others(i) for i in range(5)])
    second, = gradients(first[1], [x])
    np.testing.assert_allclose(second.numpy(), [0 if i == 1 else others(1, i) for i in range(5)])
    np.testing.assert_allclose(gradients(x.prod(), [x])[0].numpy(), first.numpy())       # the closed form
    want = [sum(math.prod(np.delete(values[:k], i)) for k in range(i + 1, 6)) for i in range(5)]
    for create_graph in (False, True):
        g, = gradients(x.cumprod().sum(), [x], create_graph=create_graph)
        np.testing.assert_allclose(g.numpy(), want)


def test_spread_without_any():
    x = leaf(np.ones((2, 3)))
    assert x.std().item() == 0 and gradients(x.std(), [x])[0].numpy().tolist() == [[0] * 3] * 2
    np.testing.assert_allclose(Tensor([1.0, 3.0]).var(correction=1).item(), 2)
    with pytest.raises(ArgumentError, match=r"\[std\] correction: expected less than the 1 elements reduced"):
        Tensor([1.0]).std(correction=1)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_logsumexp_of_infinities():
    x = leaf([[-np.inf, -np.inf], [-np.inf, 1.0]])
    y = x.logsumexp(1)
    assert y.tolist() == [-np.inf, 1] and Tensor([np.inf, 0.0]).logsumexp().item() == np.inf
    assert gradients(y.sum(), [x])[0].tolist() == [[0, 0], [0, 1]]


def test_axes_may_be_numpy_integers():
    x = leaf(np.ones((2, 3)))
    for name in ("mean", "max", "var", "prod", "logsumexp"):
        assert gradients(getattr(ops, name)(x, np.int64(1)).sum(), [x])[0].shape == (2, 3)


def test_sum_to_is_the_transpose_of_broadcasting():
    for shape in ((), (1,), (3, 1), (4,), (1, 3, 4), (2, 3, 4)):
        x, y = RNG.standard_normal((2, 3, 4)), RNG.standard_normal(shape)
        assert (Tensor(x).sum_to(shape).numpy() * y).sum() == pytest.approx((x * y).sum())


# -- running sums, order ------------------------------------------------------------------

@pytest.mark.parametrize("axis", [0, 1, -1])
def test_running_sums_and_products(axis):
    x = RNG.standard_normal((4, 5))
    along = lambda f, a: np.apply_along_axis(lambda r: list(f(r)), axis, a)              # noqa: E731
    np.testing.assert_allclose(Tensor(x).cumsum(axis).numpy(), along(itertools.accumulate, x))
    back = along(lambda r: list(itertools.accumulate(r[::-1]))[::-1], x)
    np.testing.assert_allclose(Tensor(x).cumsum(axis, reverse=True).numpy(), back)
    products = along(lambda r: itertools.accumulate(r, lambda p, q: p * q), x)
    np.testing.assert_allclose(Tensor(x).cumprod(axis).numpy(), products)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable(dtype, descending):
    x = np.array([[3, 1, 2, 1, 3, 0], [1, 1, 0, 0, 1, 1]]).astype(ml.dtypes.as_dtype(dtype))
    sign = -1 if descending else 1
    want = np.array([sorted(range(6), key=lambda i: (sign * float(r[i]), i)) for r in x])
    order = Tensor(x).argsort(descending=descending)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(order.numpy(), want)
    got = Tensor(x).T.sort(0, descending).numpy()
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, np.take_along_axis(x, want, -1).T)


def test_order_of_what_is_not_a_number():
    x = Tensor([3.0, math.nan, 1.0])
    assert x.argsort().tolist() == [2, 0, 1] and x.argsort(descending=True).tolist() == [1, 0, 2]
    assert x.topk(1)[1].tolist() == [1] and x.topk(2, largest=False)[0].tolist() == [1, 3]
    assert math.isnan(x.max().item()) and math.isnan(x.min().item()) and x.argmax().item() == 1


@given(st.integers(0, 6), st.sampled_from([0, 1, -2]), st.booleans(), st.booleans())
def test_topk(k, axis, largest, in_order):
    x = leaf(RNG.permutation(72).reshape(6, 6, 2))
    values, index = ops.topk(x, k, axis, largest=largest, sorted=in_order)
    want = np.sort(x.numpy(), axis)
    want = np.take(np.flip(want, axis) if largest else want, range(k), axis)
    sign = -1 if largest else 1
    got = values.numpy() if in_order else sign * np.sort(sign * values.numpy(), axis)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.take_along_axis(x.numpy(), index.numpy(), axis), values.numpy())
    assert index.dtype == np.int64 and not index.requires_grad
    weights = RNG.standard_normal(values.shape)
    g, = gradients((values * weights).sum(), [x])
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, index.numpy(), weights, axis)
    np.testing.assert_array_equal(g.numpy(), expected)


def test_sort_sends_gradients_back_to_their_places():
    x = leaf([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    g, = gradients((x.sort() * Tensor([10.0, 20.0, 30.0]).double()).sum(), [x])
    assert g.tolist() == [[30, 10, 20], [20, 30, 10]]


# -- nothing, and errors -------------------------------------------------------------------

def test_reducing_nothing():
    x = Tensor(np.zeros((0, 3)))
    assert x.sum(0).tolist() == [0] * 3 and x.prod(0).tolist() == [1] * 3
    assert x.any().item() is False and x.all().item() is True and x.count_nonzero().item() == 0
    for name in ("mean", "var", "std", "max", "min", "argmax", "argmin", "logsumexp"):
        with pytest.raises(ShapeError, match=rf"\[{name}\] x: expected at least one element to reduce"):
            getattr(ops, name)(x, 0)
        assert getattr(ops, name)(x, 1).shape == (0,)


def test_axes_and_counts_that_do_not_exist():
    x = Tensor(np.zeros((2, 3)))
    for name in (*ROWS, "argmax", "cumsum", "cumprod", "sort", "argsort"):
        with pytest.raises(ArgumentError, match=r"\[\w+\] arguments: .* axis=2.*out of"):
            getattr(ops, name)(x, 2)
    for name in ROWS:
        with pytest.raises(ArgumentError, match="duplicate|axes"):
            getattr(ops, name)(x, (0, 0))
    for k in (4, -1):
        with pytest.raises(ArgumentError, match=rf"\[topk\] k: expected from 0 to .* length 3, got {k}"):
            x.topk(k)
    with pytest.raises(ShapeError, match=r"\[cumsum\] x: expected at least 1 axes"):
        Tensor(1.0).cumsum()
