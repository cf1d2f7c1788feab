"""Normalisations: against NumPy on one row, group or channel at a time; means far from 0; norms of 1."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.errors import ShapeError

RNG = np.random.default_rng(0)


def standard(rows, eps, *statistics):
    mean, variance = statistics or (rows.mean(), rows.var())
    return (rows - mean) / np.sqrt(variance + eps)


def by_channel(x, *vectors):
    return [v.reshape(-1, *[1] * (x.ndim - 2)) for v in vectors]


spatial = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@given(st.integers(1, 3), st.sampled_from([1, 2, 3, 6]), spatial)
def test_groups_and_channels(n, groups, shape):
    x = RNG.standard_normal((n, 6, *shape)) * 3 + 5
    w, b = RNG.standard_normal((2, 6))
    wide_w, wide_b = by_channel(x, w, b)

    rows = [[standard(part, 0.1) for part in np.split(sample, groups)] for sample in x]
    want = np.array([np.concatenate(r) for r in rows]) * wide_w + wide_b
    np.testing.assert_allclose(ops.group_norm(x, w, b, groups, 0.1).numpy(), want, rtol=1e-10, atol=1e-12)
    apart = ops.group_norm(x, w, b, 6, 0.1)
    np.testing.assert_array_equal(ops.instance_norm(x, w, b, 0.1).numpy(), apart.numpy())
    np.testing.assert_allclose(ops.group_norm(x, None, None, 1).numpy(),
                               ops.layer_norm(x, None, None, 1e-5, x.shape[1:]).numpy(), atol=1e-12)

    y, mean, variance = ops.batch_norm(x, w, b, 0.1)
    channels = np.moveaxis(x, 1, 0)
    want = np.moveaxis(np.array([standard(c, 0.1) for c in channels]), 0, 1) * wide_w + wide_b
    np.testing.assert_allclose(y.numpy(), want, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(mean.numpy(), [c.mean() for c in channels], rtol=1e-12)
    np.testing.assert_allclose(variance.numpy(), [c.var() for c in channels], rtol=1e-9, atol=1e-12)
    again = ops.batch_norm_inference(x, mean, variance, w, b, 0.1)
    np.testing.assert_allclose(again.numpy(), y.numpy(), atol=1e-10)


@given(st.integers(1, 3), st.integers(0, 2))
def test_rows(axes, lead):
    x = RNG.standard_normal((2, 3, 2, 4, 3)[-axes - lead:]) * 3 + 5
    shape = x.shape[-axes:]
    w, b = RNG.standard_normal((2, *shape))
    rows = x.reshape(-1, *shape)
    want = np.array([standard(row, 0.1) * w + b for row in rows]).reshape(x.shape)
    np.testing.assert_allclose(ops.layer_norm(x, w, b, 0.1).numpy(), want, rtol=1e-12, atol=1e-12)
    want = np.array([row / np.sqrt((row ** 2).mean() + 0.1) * w for row in rows]).reshape(x.shape)
    np.testing.assert_allclose(ops.rms_norm(x, w, 0.1).numpy(), want, rtol=1e-12, atol=1e-12)
    plain = ops.rms_norm(x, None, None, shape).numpy().reshape(-1, *shape)
    np.testing.assert_allclose(plain, [standard(r, 2.0 ** -52, 0, (r ** 2).mean()) for r in rows], rtol=1e-12)


@pytest.mark.parametrize("norm", [ops.layer_norm, lambda x: ops.group_norm(x, None, None, 2),
                                  ops.instance_norm, lambda x: ops.batch_norm(x)[0]])
def test_a_mean_far_from_0_does_not_cancel(norm):
    """E[x**2] - E[x]**2 would leave nothing of a variance of 1 beside a mean of 10000 in float32."""
    x = (RNG.standard_normal((8, 4, 256)) + 1e4).astype("float32")
    g = RNG.standard_normal(x.shape).astype("float32")
    results = []
    for dtype in ("float32", "float64"):
        leaf = Tensor(x.astype(dtype), requires_grad=True)
        y = norm(leaf)
        results.append([y.numpy(), gradients(y, [leaf], Tensor(g.astype(dtype)))[0].numpy()])
    for rough, exact in zip(*results):
        assert np.abs(rough - exact).max() < 2e-3 * np.abs(exact).max()


@given(st.integers(1, 7), st.integers(1, 6), spatial)
def test_local_response_norm(size, channels, shape):
    x = RNG.standard_normal((2, channels, *shape))
    want = np.empty_like(x)
    for c in range(channels):
        near = x[:, max(0, c - size // 2):c + (size - 1) // 2 + 1]
        want[:, c] = x[:, c] / (2.0 + 0.5 / size * (near ** 2).sum(1)) ** 0.6
    np.testing.assert_allclose(ops.local_response_norm(x, size, 0.5, 0.6, 2.0).numpy(), want, rtol=1e-12)


def test_normalize():
    x = np.array([[3.0, -4.0], [0.0, 0.0], [1e-20, 0.0]])
    for p, want in ((2, [0.6, -0.8]), (1, [3 / 7, -4 / 7]), (np.inf, [0.75, -1])):
        np.testing.assert_allclose(ops.normalize(x, p).numpy(), [want, [0, 0], [1e-8, 0]], rtol=1e-12)
    leaf = Tensor(x, requires_grad=True)
    assert np.isfinite(gradients(ops.normalize(leaf).sum(), [leaf])[0].numpy()).all()


def test_weights():
    v, g = RNG.standard_normal((3, 4, 5)), RNG.standard_normal((1, 4, 1))
    w = ops.weight_norm(v, g, 1).numpy()
    np.testing.assert_allclose(np.linalg.norm(w, axis=(0, 2)), np.abs(g[0, :, 0]), rtol=1e-12)

    matrix = np.moveaxis(v, 1, 0).reshape(4, 15)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    found = ops.power_iteration(v, np.ones(4) / 2, np.ones(15), 200, 1)
    for got, want in zip(found, (u[:, 0], vt[0])):
        assert abs(got.numpy() @ want) == pytest.approx(1, abs=1e-9)
    leaf = Tensor(v, requires_grad=True)
    normal = ops.spectral_norm(leaf, *found, 1)
    np.testing.assert_allclose(normal.numpy(), v / s[0], rtol=1e-9)
    grad, = gradients(normal, [leaf], Tensor(v / s[0]))          # along itself nothing changes
    assert abs((grad.numpy() * v).sum()) < 1e-9


@pytest.mark.parametrize("call, match", [
    (lambda x: ops.layer_norm(x, np.ones(5)), r"\[layer_norm\] weight: .* D=4 \(from .*\), got \(5,\)"),
    (lambda x: ops.layer_norm(x, np.ones((2, 4))), r"\[layer_norm\] weight, bias: .*\(2, 4\) as x"),
    (lambda x: ops.layer_norm(x, np.ones(4), None, 1e-5, (3, 4)), r"\[layer_norm\] weight, bias"),
    (lambda x: ops.layer_norm(np.ones((2, 0))), r"\[layer_norm\] x: expected at least one element in a row"),
    (lambda x: ops.rms_norm(x, None, None, (5,)), r"\[rms_norm\]"),
    (lambda x: ops.group_norm(x, None, None, 2), r"\[group_norm\] x: .* num_groups=2 divides"),
    (lambda x: ops.group_norm(x, np.ones(2)), r"\[group_norm\] weight: .* C=3"),
    (lambda x: ops.batch_norm(x, None, np.ones(2)), r"\[batch_norm\] bias: .* C=3"),
    (lambda x: ops.batch_norm(np.ones(3)), r"\[batch_norm\] x: expected at least 2 axes"),
    (lambda x: ops.batch_norm(np.ones((0, 3))), r"\[batch_norm\] x: expected at least one element"),
    (lambda x: ops.batch_norm_inference(x, np.ones(3), np.ones(4)), r"inference\] variance: .* C=3"),
    (lambda x: ops.weight_norm(x, np.ones((1, 3, 1))), r"\[weight_norm\] g: expected \(2, 1, 1\)"),
])
def test_errors(call, match):
    with pytest.raises(ShapeError, match=match):
        call(np.ones((2, 3, 4)))
