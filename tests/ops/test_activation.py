"""Activations and softmax: against formulas for one number in plain Python, and where naive ones overflow."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.backend import random
from minidl.errors import ArgumentError, DTypeError, ShapeError


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def normal_below(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


FORMULAS = {
    "relu": lambda x: max(x, 0), "relu6": lambda x: min(max(x, 0), 6),
    "hardtanh": lambda x: min(max(x, -1), 1),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x, "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "celu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "gelu": lambda x: x * normal_below(x), "silu": lambda x: x * sigmoid(x),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x), "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "hardsigmoid": lambda x: min(max(x / 6 + 0.5, 0), 1),
    "hardswish": lambda x: x * min(max(x / 6 + 0.5, 0), 1),
    "sigmoid": sigmoid, "logsigmoid": lambda x: -math.log1p(math.exp(-x)),
    "softplus": lambda x: math.log1p(math.exp(x)), "softsign": lambda x: x / (1 + abs(x)),
    "tanhshrink": lambda x: x - math.tanh(x),
}
# (value / x, slope) far below 0, and far above
RECTIFIERS = "relu", "gelu", "silu", "quick_gelu", "mish", "hardswish", "softplus", "elu", "celu"
LIMITS = dict.fromkeys(RECTIFIERS, (0, 0, 1, 1))
LIMITS |= {"leaky_relu": (0.01, 0.01, 1, 1), "logsigmoid": (1, 1, 0, 0), "selu": (0, 0, 1.0507, 1.0507),
           "tanhshrink": (1, 1, 1, 1)}


@pytest.mark.parametrize("name", FORMULAS)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=9))
def test_formulas(name, xs):
    got = getattr(ops, name)(Tensor(np.array(xs))).numpy()
    np.testing.assert_allclose(got, [FORMULAS[name](x) for x in xs], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype, far", [("float32", 1e4), ("float32", 1e18), ("float64", 1e100)])
def test_far_out(name, dtype, far):                    # (overflow would warn, and warnings are errors here)
    x = Tensor(np.array([-far, far], dtype), requires_grad=True)
    y = getattr(ops, name)(x)
    slope, = gradients(y, [x], Tensor(np.ones(2, dtype)))
    below, slope_below, above, slope_above = LIMITS[name]
    np.testing.assert_allclose(y.numpy() / x.numpy(), [below, above], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(slope.numpy(), [slope_below, slope_above], rtol=1e-3, atol=1e-6)


def test_small_probabilities_are_precise():
    x = np.float32([-80, -30, -10])
    np.testing.assert_allclose(ops.sigmoid(x).numpy(), np.exp(x.astype("f8")), rtol=1e-4)
    np.testing.assert_allclose(ops.logsigmoid(-x).numpy(), -np.exp(x.astype("f8")), rtol=1e-4)
    np.testing.assert_allclose(ops.log_softmax(np.float32([0, 200])).numpy(), [-200, 0], atol=1e-30)


def test_parameters():
    x = np.array([-2.0, -0.5, 0.25, 3.0])
    two_channels = ops.prelu(x.reshape(1, 2, 2), np.array([0.3, -2])).reshape(-1)
    for got, want in ((ops.softplus(x, 2.0), np.log1p(np.exp(2 * x)) / 2),
                      (ops.softplus(x, 1.0, 1.0)[-1:], [3.0]),
                      (ops.celu(x, 0.5), np.where(x > 0, x, 0.5 * np.expm1(x / 0.5))),
                      (ops.hardtanh(x, -1, 2), x.clip(-1, 2)), (ops.silu(x, 3.0), x / (1 + np.exp(-3 * x))),
                      (ops.glu(x), x[:2] * [sigmoid(v) for v in x[2:]]),
                      (ops.prelu(x, np.array([0.3])), np.where(x > 0, x, 0.3 * x)),
                      (two_channels, [-0.6, -0.15, 0.25, 3.0])):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)
    near = np.linspace(-4, 4, 99)
    error = np.abs(ops.gelu(near, "tanh").numpy() - ops.gelu(near).numpy()).max()
    assert error == pytest.approx(4.7e-4, rel=0.05)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=6), st.floats(-1e3, 1e3))
def test_softmax(xs, shift):
    x = np.array(xs)
    want = [1 / sum(math.exp(b - a) if b - a < 700 else math.inf for b in xs) for a in xs]
    column = ops.softmax(x[:, None], 0)[:, 0]
    for got in (ops.softmax(x), ops.softmax(x + shift), ops.log_softmax(x).exp(), column):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-12)
        assert got.numpy().sum() == pytest.approx(1)


def test_gumbel_softmax_samples_the_categories():
    p = np.array([0.6, 0.3, 0.1])
    x = Tensor(np.broadcast_to(np.log(p), (20000, 3)).copy(), requires_grad=True)
    hard = ops.gumbel_softmax(x, random.key(3), 0.5, True)
    assert set(np.unique(hard.numpy().round(12))) == {0, 1}
    np.testing.assert_allclose(hard.numpy().mean(0), p, atol=0.01)
    soft = ops.gumbel_softmax(x, random.key(3), 0.5)
    np.testing.assert_array_equal(hard.numpy().argmax(1), soft.numpy().argmax(1))
    weight = Tensor(np.random.default_rng(0).standard_normal(x.shape))
    np.testing.assert_array_equal(*[gradients(y, [x], weight)[0].numpy() for y in (hard, soft)])


def test_relu_keeps_its_output_only():
    x = Tensor(np.ones(3), requires_grad=True)
    y = ops.relu(x * 2.0)
    assert [name for name, _ in y.node.op.saved_arrays(y.node)] == ["out"]


@pytest.mark.parametrize("call, error, match", [
    (lambda x: ops.leaky_relu(x, -0.1), ArgumentError, r"\[leaky_relu\] negative_slope: .* >= 0, got -0.1"),
    (lambda x: ops.hardtanh(x, 1, 1), ArgumentError, r"\[hardtanh\] min_val, max_val"),
    (lambda x: ops.softplus(x, 0), ArgumentError, r"\[softplus\] beta"),
    (lambda x: ops.celu(x, 0), ArgumentError, r"\[celu\] alpha"),
    (lambda x: ops.elu(x, -1.0), ArgumentError, r"\[elu\] alpha"),
    (lambda x: ops.gelu(x, "erf"), ArgumentError, r"\[gelu\] approximate"),
    (lambda x: ops.glu(x, 0), ShapeError, r"\[glu\] x: expected an even size along axis 0, got \(3, 4\)"),
    (lambda x: ops.glu(x, 2), ArgumentError, r"\[glu\]"),
    (lambda x: ops.softmax(x, 2), ArgumentError, r"\[softmax\]"),
    (lambda x: ops.prelu(x, np.ones(3)), ShapeError, r"\[prelu\] weight: expected \(1\) or \(4\)"),
    (lambda x: ops.gumbel_softmax(x, random.key(1), 0.0), ArgumentError, r"\[gumbel_softmax\] tau"),
    (lambda x: ops.silu(x.astype("int64")), DTypeError, r"\[silu\] x: .* kind float, got int64"),
])
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(Tensor(np.ones((3, 4))))
