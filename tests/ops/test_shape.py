"""Reshaping, joining, cutting, padding and windows against NumPy and against loops."""
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl as ml
from minidl import Tensor, ops
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4))


def arrays(min_dims=0, max_dims=4):
    return hnp.arrays(np.float64, hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=4),
                      elements=st.integers(-99, 99).map(float))


def same(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.numpy(), want)


# -- shape ------------------------------------------------------------------------------

@pytest.mark.parametrize("got, want", [
    (lambda x: x.reshape(4, -1), lambda x: x.reshape(4, 6)),
    (lambda x: x.reshape((6, 4)), lambda x: x.reshape(6, 4)),
    (lambda x: x.reshape(-1), lambda x: x.ravel()),
    (lambda x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    (lambda x: x.permute_dims((-1, 0, 1)), lambda x: x.transpose(2, 0, 1)),
    (lambda x: x.transpose(0, -1), lambda x: x.swapaxes(0, 2)),
    (lambda x: x.mT, lambda x: x.swapaxes(1, 2)),
    (lambda x: x[0].T, lambda x: x[0].T),
    (lambda x: x.movedim((0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0))),
    (lambda x: x.flatten(), lambda x: x.ravel()),
    (lambda x: x.flatten(1), lambda x: x.reshape(2, 12)),
    (lambda x: x.flatten(0, -2), lambda x: x.reshape(6, 4)),
    (lambda x: x.unsqueeze(1).squeeze(1), lambda x: x),
    (lambda x: ops.expand_dims(x, (0, -1)), lambda x: x[None, ..., None]),
    (lambda x: x.expand(5, -1, -1, 4), lambda x: np.broadcast_to(x, (5, 2, 3, 4))),
    (lambda x: x[:, :1].expand((2, 3, 4)), lambda x: np.broadcast_to(x[:, :1], (2, 3, 4))),
    (lambda x: x.tile(2, 1, 1, 3), lambda x: np.tile(x, (2, 1, 1, 3))),
    (lambda x: x.tile(2), lambda x: np.tile(x, 2)),
    (lambda x: x.repeat(3, axis=-2), lambda x: np.repeat(x, 3, -2)),
    (lambda x: ops.repeat_interleave(x, 2), lambda x: np.repeat(x, 2)),
    (lambda x: x.roll((1, -5), (0, 2)), lambda x: np.roll(x, (1, -5), (0, 2))),
    (lambda x: x.flip((0, -1)), lambda x: x[::-1, :, ::-1]),
    (lambda x: x.tril(-1), lambda x: np.tril(x, -1)),
    (lambda x: x.triu(1), lambda x: np.triu(x, 1)),
    (lambda x: x.diagonal(1, 2, 1), lambda x: np.diagonal(x, 1, 2, 1)),
    (lambda x: x[0, 0].diag(-2), lambda x: np.diag(x[0, 0], -2)),
    (lambda x: x[0].diag(1), lambda x: np.diag(x[0], 1)),
])
def test_as_numpy(got, want):
    for dtype in ("float32", "int32", "bool", ml_dtypes.bfloat16):
        same(got(Tensor(X.astype(dtype))), np.ascontiguousarray(want(X.astype(dtype))))


def test_grids_and_broadcasting():
    xs = [np.arange(2.0), np.arange(3.0), np.arange(4.0)]
    for indexing in ("xy", "ij"):
        for got, want in zip(ops.meshgrid(*xs, indexing=indexing), np.meshgrid(*xs, indexing=indexing), strict=True):
            same(got, want)
    for got, want in zip(ops.broadcast_tensors([X, X[0, :, :1]]), np.broadcast_arrays(X, X[0, :, :1]), strict=True):
        same(got, want)


def test_views_are_views():
    x = Tensor(X)
    for view in (x.reshape(6, 4), x.permute(2, 0, 1), x.mT, x[1:, ::-1], x.unsqueeze(0), x.flatten(), x.flip(0),
                 x.expand(2, 2, 3, 4), *x.split((1, 2), 1), *x.unstack(2), ops.windows(x, (2, 2)), x.diagonal()):
        assert np.shares_memory(view.data, x.data)


# -- joining and cutting ---------------------------------------------------------------------

@settings(deadline=None)
@given(arrays(1), st.data())
def test_what_is_cut_is_joined_again(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, x.shape[axis]), max_size=3)))
    pieces = Tensor(x).split(np.diff([0, *cuts, x.shape[axis]]).tolist(), axis)
    for got, want in zip(pieces, np.split(x, cuts, axis), strict=True):
        same(got, want)
    same(ops.concat(pieces, axis), x)
    same(ops.stack(Tensor(x).unstack(axis), axis), x)
    size = data.draw(st.integers(1, 5))
    pieces = Tensor(x).chunk(size, axis)
    assert len(pieces) <= size and len({p.shape[axis] for p in pieces[:-1]}) <= 1
    same(ops.concat(pieces, axis), x)
    assert [p.shape[axis] for p in Tensor(x).split(size, axis)][:-1] == [size] * ((x.shape[axis] - 1) // size)


def test_gradients_reach_the_right_piece():
    x = Tensor(np.arange(6.0), requires_grad=True)
    first, second, third = x.split((1, 2, 3))
    ((second * 10.0).sum() + ops.concat([third, first]).sum() * 2.0).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2, 10, 10, 2, 2, 2])


# -- pad --------------------------------------------------------------------------------------

@settings(deadline=None)
@given(arrays(1, 3), st.data())
def test_pad_as_numpy(x, data):
    mode, theirs = data.draw(st.sampled_from([("reflect", "reflect"), ("edge", "edge"), ("replicate", "edge"),
                                              ("circular", "wrap"), ("wrap", "wrap"), ("constant", "constant")]))
    count = data.draw(st.integers(0, x.ndim))
    widths = [data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))) for _ in range(count)]
    all_widths = [(0, 0)] * (x.ndim - count) + widths
    if mode == "reflect" and any(n == 1 and max(w) for n, w in zip(x.shape, all_widths)):
        with pytest.raises(ShapeError, match=r"\[pad\] x: expected 2 or more elements to reflect, axis"):
            ops.pad(x, widths, mode)
    else:
        value = {"constant_values": 7} if mode == "constant" else {}
        same(ops.pad(x, widths, mode, 7), np.pad(x, all_widths, theirs, **value))


def test_negative_widths_crop():
    x = np.arange(20.0).reshape(4, 5)
    same(ops.pad(x, ((-1, 2), (-2, -1))), np.pad(x[1:, 2:4], ((0, 2), (0, 0))))
    same(ops.pad(x, ((0, 0), (-1, 2)), "reflect"), np.pad(x[:, 1:], ((0, 0), (0, 2)), "reflect"))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_the_gradient_of_pad_is_its_transpose(mode):
    """Against the matrix of the linear map, column by column."""
    widths = ((2, 1), (5, 4))
    basis = np.eye(6).reshape(6, 2, 3)
    matrix = np.stack([ops.pad(e, widths, mode).numpy().ravel() for e in basis])
    x, g = Tensor(basis[0], requires_grad=True), RNG.standard_normal((5, 12))
    ops.pad(x, widths, mode).backward(g)
    np.testing.assert_allclose(x.grad.numpy().ravel(), matrix @ g.ravel())


# -- windows ------------------------------------------------------------------------------------

@settings(deadline=None)
@given(st.data())
def test_windows_as_loops(data):
    axes = data.draw(st.integers(1, 3))
    kernel, stride, dilation, extra = [
        data.draw(st.tuples(*[st.integers(low, 3)] * axes)) for low in (1, 1, 1, 0)]
    size = [(r - 1) * d + 1 + e for r, d, e in zip(kernel, dilation, extra)]
    x = RNG.standard_normal((2, *size))
    got = ops.windows(x, kernel, stride, dilation)
    counts = got.shape[1:1 + axes]
    assert counts == tuple(e // s + 1 for e, s in zip(extra, stride)) and got.shape[1 + axes:] == kernel
    for at in np.ndindex(*counts):
        place = tuple(slice(p * s, p * s + (r - 1) * d + 1, d) for p, s, r, d in zip(at, stride, kernel, dilation))
        np.testing.assert_array_equal(got.data[(slice(None), *at)], x[(slice(None), *place)])
    y = RNG.standard_normal(got.shape)                           # <y, windows(x)> = <fold_windows(y), x>
    folded = ops.fold_windows(y, size, stride, dilation)
    np.testing.assert_allclose((y * got.data).sum(), (folded.data * x).sum())


# -- refusals -----------------------------------------------------------------------------------

@pytest.mark.parametrize("call, error, words", [
    (lambda x: x.reshape(5, 5), ArgumentError, r"\[reshape\] .*shape=\(5, 5\)"),
    (lambda x: x.reshape(-5, 2), ArgumentError, r"\[reshape\] shape: expected sizes of at least 0, or one -1"),
    (lambda x: x.reshape(None), ArgumentError, r"\[reshape\]"),
    (lambda x: x.repeat(1.5), ArgumentError, r"\[repeat\] .*'float' object cannot be interpreted as an integer"),
    (lambda x: x.permute(0, 1), ArgumentError, r"\[permute_dims\] .*axes=\(0, 1\)"),
    (lambda x: x.expand(2, 5, 4), ArgumentError, r"\[broadcast_to\]"),
    (lambda x: x.squeeze(0), ArgumentError, r"\[squeeze\]"),
    (lambda x: x.flatten(2, 1), ArgumentError, r"\[flatten\] end: expected an axis from start=2 on, got 1"),
    (lambda x: x.T, ShapeError, r"\[T\] self: expected a matrix, got \(2, 3, 4\). Use x.mT"),
    (lambda x: x.split((1, 1), 1), ShapeError,
     r"\[split\] sizes: expected lengths adding up to 3, axis 1 of x, got \(1, 1\)"),
    (lambda x: x.split((4, -1), 1), ShapeError, r"\[split\] sizes"),
    (lambda x: x.split(0), ArgumentError, r"\[split\] sizes: expected positive lengths, got 0"),
    (lambda x: x.chunk(0), ArgumentError, r"\[chunk\] chunks: expected a positive number, got 0"),
    (lambda x: ops.concat([x, x[:, :2]]), ArgumentError, r"\[concat\] .*\(2, 3, 4\).*\(2, 2, 4\)"),
    (lambda x: ops.concat([]), ShapeError, r"\[concat\] xs: expected a sequence of arrays"),
    (lambda x: ops.stack([x, x[:1]]), ShapeError, r"\[stack\] xs: expected leading axes \(2, 3, 4\)"),
    (lambda x: x.pad((1, 1)), ArgumentError,
     r"\[pad\] widths: expected pairs .* Write \(\(1, 1\), \(2, 2\)\)"),
    (lambda x: x.pad(((1, 1),), "mirror"), ArgumentError,
     r"\[pad\] mode: expected one of constant, reflect.*got 'mirror'"),
    (lambda x: x[:, :, :0].pad(((1, 1),), "edge"), ShapeError,
     r"\[pad\] x: expected 1 or more elements to replicate, axis 2"),
    (lambda x: ops.windows(x, (4, 2)), ShapeError,
     r"\[windows\] kernel: expected a window that fits into \(3, 4\), got \(4, 2\)"),
    (lambda x: ops.windows(x, (2,), 0), ArgumentError, r"\[windows\] stride: expected an integer from 1 on"),
    (lambda x: ops.fold_windows(x, (4,)), ShapeError, r"\[fold_windows\]"),
    (lambda x: ops.meshgrid(x[0, 0], x[0]), ShapeError,
     r"\[meshgrid\] xs: expected tensors of one axis, got \(3, 4\)"),
    (lambda x: ops.meshgrid(x[0, 0], indexing="yx"), ArgumentError,
     r'\[meshgrid\] indexing: expected "xy" or "ij", got'),
])
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call(ml.tensor(X))
