"""Reading and writing at positions, against NumPy and against loops."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as ml
from minidl import Tensor, ops
from minidl.errors import ArgumentError, DeviceError, DTypeError
from minidl.testing.cupy_double import installed

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3, 5))


def leaf(values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


def positions(x, index):
    """Which elements x[index] takes, as numbers in row-major order."""
    return np.arange(x.size).reshape(x.shape)[index]


# -- x[index] -------------------------------------------------------------------------------

@st.composite
def indexed(draw):
    """(array, an index that NumPy takes): basic, integer arrays, masks, and mixtures of them."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
    x = np.arange(float(np.prod(shape))).reshape(shape)
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed"]))
    if kind == "basic":
        return x, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "integers":
        return x, draw(hnp.integer_array_indices(shape, dtype=np.int64))
    if kind == "mask":
        return x, draw(hnp.arrays(bool, shape[:draw(st.integers(1, len(shape)))]))
    parts = [draw(st.one_of(st.integers(-n, n - 1), st.slices(n), st.just([n - 1, 0, -1]),
                            hnp.arrays(np.int32, (1,), elements=st.integers(-n, n - 1)),
                            hnp.arrays(np.uint8, (2, 1), elements=st.integers(0, n - 1)))) for n in shape]
    at = draw(st.integers(0, len(parts)))
    if draw(st.booleans()):
        return x, (*parts[:at], None, *parts[at:len(parts) - 1])
    return x, (*parts[:at], ..., *parts[at:])


@settings(max_examples=300, deadline=None)
@given(indexed(), st.booleans())
def test_getitem_and_its_gradient(case, as_tensors):
    x, index = case
    want = x[index]
    if as_tensors:
        wrap = lambda i: Tensor(i) if isinstance(i, np.ndarray) else i
        index = tuple(map(wrap, index)) if isinstance(index, tuple) else wrap(index)
    t = leaf(x)
    got = t[index]
    np.testing.assert_array_equal(got.numpy(), want)
    g = RNG.standard_normal(got.shape)
    got.backward(g)
    taken = np.bincount(positions(x, case[1]).ravel(), g.ravel(), x.size).reshape(x.shape)
    np.testing.assert_allclose(t.grad.numpy(), taken, atol=1e-12)


@settings(deadline=None)
@given(indexed(), st.booleans())
def test_index_put(case, accumulate):
    x, index = case
    where = positions(x, index)
    values = np.arange(1.0, where.size + 1).reshape(where.shape)
    if np.unique(where).size < where.size and not accumulate:
        values = np.ones(where.shape)                            # (which of several is there, nobody says)
    want = x.copy()
    for at, value in zip(where.ravel(), values.ravel()):
        want.ravel()[at] = want.ravel()[at] + value if accumulate else value
    a, b, before = leaf(x), leaf(values), x.copy()
    got = ops.index_put(a, index, b, accumulate)
    np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(a.numpy(), before)
    got.backward(np.ones(x.shape))
    np.testing.assert_array_equal(a.grad.numpy(), np.where(np.isin(positions(x, ...), where) & (not accumulate), 0, 1))
    np.testing.assert_array_equal(b.grad.numpy(), np.ones(where.shape))


# -- along an axis --------------------------------------------------------------------------

@pytest.mark.parametrize("indices", [1, -1, [2, 0, 2], np.array([[0, -1], [1, 1]]), np.array([], int)])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_take(indices, axis):
    got = Tensor(X).take(indices, axis)
    np.testing.assert_array_equal(got.numpy(), np.take(X, indices, axis))


@settings(deadline=None)
@given(st.data())
def test_gather_and_its_inverse_as_loops(data):
    """With an index that is shorter than x along the other axes, and of any length along its own."""
    shape = data.draw(hnp.array_shapes(max_dims=3, max_side=4))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = [data.draw(st.integers(0, n)) for n in shape]
    size[axis] = data.draw(st.integers(0, 6))
    index = data.draw(hnp.arrays(np.int64, size, elements=st.integers(-shape[axis], shape[axis] - 1)))
    x, src = RNG.standard_normal(shape), RNG.standard_normal(size)
    gathered, added, put = np.zeros(size), x.copy(), x.copy()
    for at in np.ndindex(*size):
        place = list(at)
        place[axis] = index[at]
        gathered[at] = x[tuple(place)]
        added[tuple(place)] += src[at]
        put[tuple(place)] = 7
    np.testing.assert_array_equal(Tensor(x).gather(axis, index).numpy(), gathered)
    np.testing.assert_allclose(Tensor(x).scatter_add(axis, index, src).numpy(), added)
    np.testing.assert_array_equal(Tensor(x).scatter(axis, index, 7).numpy(), put)
    if np.all(np.delete(size, axis) == np.delete(shape, axis)):
        np.testing.assert_array_equal(Tensor(x).take_along_axis(index, axis).numpy(), gathered)


def test_take_along_axis_broadcasts():
    index = RNG.integers(0, 3, (4, 2, 1))
    got = ops.take_along_axis(X, index, 1)
    np.testing.assert_array_equal(got.numpy(), np.take_along_axis(X, index, 1))


# -- masks, classes, counts --------------------------------------------------------------------

def test_masks():
    mask = X > 0
    x = leaf(X)
    np.testing.assert_array_equal(x.masked_select(mask).numpy(), X[mask])
    np.testing.assert_array_equal(ops.masked_select(X, mask[:1, :, :1]).numpy(), X[:, mask[0, :, 0]].ravel())
    y = x.masked_fill(mask, float("-inf"))
    np.testing.assert_array_equal(y.numpy(), np.where(mask, -np.inf, X))
    y.backward(np.ones(X.shape))
    np.testing.assert_array_equal(x.grad.numpy(), ~mask)
    assert [t.tolist() for t in ops.nonzero(mask[0])] == [i.tolist() for i in np.nonzero(mask[0])]


def test_classes_and_counts():
    labels = np.array([[2, 0], [1, 2]], np.uint8)
    got = ops.one_hot(labels, 3)
    assert got.dtype == np.float32 and ops.one_hot(labels, 3, "int64").dtype == np.int64
    assert got.tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1]]]
    assert ops.bincount([2, 0, 2], 5).tolist() == [1, 0, 2, 0, 0]
    edges, values = np.array([0.0, 1, 1, 2]), np.array([[-1.0, 1], [1.5, 9]])
    assert ops.searchsorted(edges, values).tolist() == [[0, 1], [3, 4]]
    assert ops.searchsorted(edges, values, "right").tolist() == [[0, 3], [3, 4]]


# -- refusals ----------------------------------------------------------------------------------

@pytest.mark.parametrize("call, error, words", [
    (lambda x: x[4], ArgumentError, r"\[getitem\] .*index 4 is out of bounds for axis 0 with size 4"),
    (lambda x: x[0, 0, 0, 0], ArgumentError, r"\[getitem\] .*too many indices"),
    (lambda x: x[:, [0, 3]], ArgumentError, r"\[getitem\] .*index 3 is out of bounds for axis 1 with size 3"),
    (lambda x: x[np.ones((4, 2), bool)], ArgumentError, r"(?s)\[getitem\] .*boolean index"),
    (lambda x: x[[0.5]], DTypeError, r"\[getitem\] index: expected integers or bools, got float64"),
    (lambda x: x["a"], ArgumentError, r"\[getitem\]"),
    (lambda x: x.__setitem__(0, 1), ArgumentError,
     r"\[setitem\] self: .* by `where`, `scatter` or `index_put"),
    (lambda x: x.take([5], 2), ArgumentError, r"\[take\] .*index 5 is out of bounds"),
    (lambda x: x.take([0], 3), ArgumentError, r"\[take\] .*axis 3"),
    (lambda x: x.take([0.0], 0), DTypeError, r"\[take\] indices: expected a dtype of kind int, got float32"),
    (lambda x: x.gather(1, np.full((4, 1, 5), 3)), ArgumentError,
     r"\[gather\] .*index 3 is out of bounds for axis 1 with size 3"),
    (lambda x: x.gather(1, np.zeros((5, 1, 5), int)), ArgumentError,
     r"\[gather\] .*not within \(4, 3, 5\) but for axis 1"),
    (lambda x: x.scatter(1, np.zeros((4, 1), int), 0.0), ArgumentError, r"\[scatter\] .*not within"),
    (lambda x: x.scatter_add(2, np.full((1, 1, 1), 5), 1.0), ArgumentError,
     r"\[scatter_add\] index: expected integers in \[-5, 5\): axis 2 of \(4, 3, 5\), got 5 to 5"),
    (lambda x: x.index_put(0, np.zeros(4), False), ArgumentError, r"\[index_put\]"),
    (lambda x: ops.one_hot([0, 3], 3), ArgumentError,
     r"\[one_hot\] labels: expected integers from 0 to 2, got 0 to 3"),
    (lambda x: ops.one_hot([-1], 3), ArgumentError, r"\[one_hot\] labels"),
])
def test_refusals(call, error, words):
    x = ml.tensor(X, dtype="float64")
    with pytest.raises(error, match=words):
        call(x)
    np.testing.assert_array_equal(x.numpy(), X)


@pytest.mark.parametrize("call", [
    lambda x, i: x[:, i], lambda x, i: x[..., i, 0], lambda x, i: x.index_put((0, i), 1.0),
    lambda x, i: x.take(i, 1), lambda x, i: ops.take_along_axis(x, i.reshape(1, 2, 1), 1),
    lambda x, i: x.gather(1, i.reshape(1, 2, 1)), lambda x, i: x.scatter(1, i.reshape(1, 2, 1), 0.0),
    lambda x, i: x.scatter_add(1, i.reshape(1, 2, 1), 0.0)])
def test_on_a_device_indices_are_judged_at_the_next_transfer(call):
    with installed():
        x = ml.tensor(X, device="cuda")
        with pytest.raises(DeviceError, match=r"Move (it|one of them)"):
            call(x, ml.tensor([0, 1]))
        call(x, ml.tensor([0, -3], device="cuda")).numpy()
        said, outside = [], ml.tensor([0, 3], device="cuda")
        for step in (lambda: call(x, outside), x.numpy):         # (the double, unlike CuPy, may look at once)
            try:
                step()
            except ArgumentError as error:
                said.append(str(error))
        assert "index: expected integers in [-3, 3): axis 1 of (4, 3, 5), got 0 to 3." in said[-1]
