"""Embeddings: rows by number, their gradients, and bags of any size."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((6, 3))


def test_rows_and_their_gradients():
    index = np.array([[2, 0, 2], [5, 5, 5]])
    for padding, pad in ((None, None), (2, 2), (-1, 5)):
        table = Tensor(TABLE, requires_grad=True)
        y = ops.embedding(index, table, padding)
        np.testing.assert_array_equal(y.numpy(), TABLE[index])
        g = RNG.standard_normal(y.shape)
        g[index == pad] = np.nan                       # not even this may reach the row of padding
        got, = gradients(y, [table], Tensor(g))
        want = np.zeros_like(TABLE)
        for i, row in zip(index.ravel(), g.reshape(-1, 3)):
            want[i] += 0 if i == pad else row
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


def test_half_types_pass_as_they_are():
    table = Tensor(TABLE.astype("float16"), requires_grad=True)
    y = ops.embedding(np.zeros(4096, "int32"), table)
    assert y.dtype == "float16" and y.node.op.name == "embedding"
    grad, = gradients(y.sum(), [table])
    assert (grad.numpy()[0] == 4096).all()             # in float16 a running sum of ones sticks at 2048


@st.composite
def bags(draw):
    """(bags of rows, index, offsets or None): ragged, or in a matrix."""
    ragged = draw(st.booleans())
    size = st.integers(0, 4) if ragged else st.just(draw(st.integers(1, 4)))
    sizes = draw(st.lists(size, min_size=1, max_size=5))
    found = [draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)) for n in sizes]
    if not ragged:
        return found, np.array(found), None
    return found, np.array(sum(found, []), int), np.cumsum([0, *map(len, found)])


@given(bags(), st.sampled_from(["sum", "mean", "max"]), st.sampled_from([None, 2, -1]), st.booleans())
def test_bags(case, mode, padding, last):
    found, index, offsets = case
    if offsets is not None and not last:
        offsets = offsets[:-1]
    kept = [[i for i in bag if padding is None or i != padding % 6] for bag in found]
    want = [getattr(TABLE[bag], mode)(0) if bag else np.zeros(3) for bag in kept]
    table = Tensor(TABLE, requires_grad=True)
    y = ops.embedding_bag(index, table, offsets, None, mode, padding, last and offsets is not None)
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-12, atol=1e-12)
    grad, = gradients(y.sum(), [table])
    shares = [3.0 if mode == "max" else 3.0 * (len(bag) if mode == "sum" else 1) for bag in kept if bag]
    np.testing.assert_allclose(grad.numpy().sum(), sum(shares), atol=1e-12)


def test_weighted_bags():
    index, weights = RNG.integers(0, 6, (4, 5)), RNG.standard_normal((4, 5))
    y = ops.embedding_bag(index, TABLE, None, weights, "sum")
    np.testing.assert_allclose(y.numpy(), (TABLE[index] * weights[..., None]).sum(1), rtol=1e-12)
    flat = ops.embedding_bag(index.ravel(), TABLE, np.arange(0, 20, 5), weights.ravel(), "sum")
    np.testing.assert_array_equal(flat.numpy(), y.numpy())


@pytest.mark.parametrize("call, error, match", [
    (lambda: ops.embedding([1, 6], TABLE), ArgumentError, r"\[embedding\] index: .* got some from 1 to 6"),
    (lambda: ops.embedding([-1], TABLE), ArgumentError, r"\[embedding\] index"),
    (lambda: ops.embedding([1], TABLE, 6), ArgumentError, r"\[embedding\] padding_idx: .* \[-6, 6\), got 6"),
    (lambda: ops.embedding_bag([[1]], TABLE, None, None, "min"), ArgumentError, r"\[embedding_bag\] mode"),
    (lambda: ops.embedding_bag([1, 2], TABLE), ShapeError, r"\[embedding_bag\] index: .* with offsets"),
    (lambda: ops.embedding_bag([[1]], TABLE, [0]), ShapeError, r"\[embedding_bag\] index"),
    (lambda: ops.embedding_bag([1, 2], TABLE, [0, 3]), ArgumentError, r"offsets: .* from 0 to 2"),
    (lambda: ops.embedding_bag([1, 2], TABLE, [1]), ArgumentError, r"\[embedding_bag\] offsets"),
    (lambda: ops.embedding_bag([1, 2], TABLE, [0, 2, 1]), ArgumentError, r"\[embedding_bag\] offsets"),
    (lambda: ops.embedding_bag([[1]], TABLE, None, np.ones((1, 1))), ArgumentError, r"per_sample_weights"),
    (lambda: ops.embedding_bag([[1]], TABLE, None, np.ones(1), "sum"), ShapeError, r"per_sample_weights"),
])
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
