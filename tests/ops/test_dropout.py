"""Dropout: what is dropped and how often, the same again in backward, and nothing kept."""
import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.backend import random
from minidl.errors import ArgumentError

KEY = random.key(7)


@pytest.mark.parametrize("axes", [None, (0, 1), (0,), (-1,), ()])
def test_what_falls_together(axes):
    x = Tensor(np.full((50, 40, 2, 3), 2.0), requires_grad=True)
    y = ops.dropout(x, 0.25, KEY, axes)
    kept = y.numpy() != 0
    np.testing.assert_allclose(y.numpy()[kept], 2 / 0.75)
    np.testing.assert_array_equal(gradients(y.sum(), [x])[0].numpy(), y.numpy() / 2)
    together = tuple(set(range(4)) - {a % 4 for a in (range(4) if axes is None else axes)})
    assert (kept.all(together) | ~kept.any(together)).all()
    if axes is None or len(axes) > 1:                  # enough draws to count
        assert kept.mean() == pytest.approx(0.75, abs=0.04)


def test_draws():
    x = np.ones(1000, "float32")
    first, again, other = (ops.dropout(x, 0.5, key).numpy() for key in (KEY, KEY, random.key(8)))
    np.testing.assert_array_equal(first, again)
    assert 0.4 < (first == other).mean() < 0.6
    np.testing.assert_array_equal(first, ops.dropout(x.astype("float64"), 0.5, KEY).numpy())
    np.testing.assert_array_equal(ops.dropout(x, 0.0, KEY).numpy(), x)
    np.testing.assert_array_equal(ops.dropout(x, 1.0, KEY).numpy(), 0 * x)


def test_no_array_is_kept():
    y = ops.dropout(Tensor(np.ones(9), requires_grad=True), 0.5, KEY)
    assert y.node.op.saved_arrays(y.node) == []


def test_stochastic_depth():
    x = np.ones((2000, 3))
    rows = ops.stochastic_depth(x, 0.2, KEY).numpy()
    assert set(rows.ravel()) == {0.0, 1.25} and (rows == rows[:, :1]).all()
    assert rows.mean() == pytest.approx(1, abs=0.04)
    whole = {ops.stochastic_depth(x, 0.5, random.key(i), "batch").numpy().mean() for i in range(9)}
    assert whole == {0.0, 2.0}


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal((1000, 200))
    y = ops.alpha_dropout(x, 0.3, KEY).numpy()
    assert y.mean() == pytest.approx(0, abs=0.01) and y.var() == pytest.approx(1, abs=0.02)
    rows = ops.alpha_dropout(x, 0.3, KEY, (0,)).numpy()
    dropped = np.ptp(rows, 1) < 1e-9
    assert dropped.mean() == pytest.approx(0.3, abs=0.05)
    scale = rows[~dropped].std()                       # the others are scaled, and moved, alike
    assert rows[dropped].mean() == pytest.approx(scale * (-1.7580993 * 0.7), abs=0.02)


@pytest.mark.parametrize("call, match", [
    (lambda x: ops.dropout(x, 1.5, KEY), r"\[dropout\] p: expected a number in \[0, 1\], got 1.5"),
    (lambda x: ops.dropout(x, float("nan"), KEY), r"\[dropout\] p"),
    (lambda x: ops.dropout(x, 0.5, 3), r"key: expected a Key, got 3"),
    (lambda x: ops.dropout(x, 0.5, KEY, (2,)), r"\[dropout\]"),
    (lambda x: ops.alpha_dropout(x, 1.0, KEY), r"\[alpha_dropout\] p: expected .* \[0, 1\), got 1.0"),
    (lambda x: ops.stochastic_depth(x, 0.5, KEY, "rows"), r"\[stochastic_depth\] mode"),
])
def test_errors(call, match):
    with pytest.raises(ArgumentError, match=match):
        call(np.ones((2, 3)))
