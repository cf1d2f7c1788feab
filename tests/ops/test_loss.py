"""Losses of numbers and distributions against their formulas, number by number; what all losses refuse."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes

import minidl as ml
from minidl import backend, ops
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.testing import cupy_double

rng = np.random.default_rng(0)
normal, unit = rng.standard_normal, lambda shape: rng.uniform(0.01, 0.99, shape)
counts = lambda shape: rng.integers(0, 6, shape).astype(float)
yes_or_no = lambda shape: rng.integers(0, 2, shape).astype(float)


def huber(d, delta):
    return d * d / 2 if d < delta else delta * (d - delta / 2)


def poisson(x, t):
    return x - t * math.log(x + 1e-8) + (t * math.log(t) - t + math.log(2 * math.pi * t) / 2 if t > 1 else 0)


def focal(x, t):
    right = 1 / (1 + math.exp(-x if t else x))
    return -(0.3 if t else 0.7) * math.log(right) * (1 - right) ** 1.5


FORMULAS = {                       # (loss, parameters): predictions, targets, one loss
    "mse_loss": ({}, normal, normal, lambda x, t: (x - t) ** 2),
    "l1_loss": ({}, normal, normal, lambda x, t: abs(x - t)),
    "huber_loss": ({"delta": 0.7}, normal, normal, lambda x, t: huber(abs(x - t), 0.7)),
    "smooth_l1_loss": ({"beta": 0.7}, normal, normal, lambda x, t: huber(abs(x - t), 0.7) / 0.7),
    "smooth_l1_loss ": ({"beta": 0}, normal, normal, lambda x, t: abs(x - t)),
    "poisson_nll_loss": ({}, normal, counts, lambda x, t: math.exp(x) - t * x),
    "poisson_nll_loss ": ({"log_input": False, "full": True}, unit, counts, poisson),
    "kl_div": ({}, normal, unit, lambda x, t: t * (math.log(t) - x)),
    "kl_div ": ({"log_target": True}, normal, normal, lambda x, t: math.exp(t) * (t - x)),
    "binary_cross_entropy": ({}, unit, unit, lambda x, t: -t * math.log(x) - (1 - t) * math.log(1 - x)),
    "binary_cross_entropy_with_logits": ({}, normal, unit, lambda x, t: math.log1p(math.exp(x)) - t * x),
    "sigmoid_focal_loss": ({"alpha": 0.3, "gamma": 1.5}, normal, yes_or_no, focal),
}
PAIRS = sorted({name.strip() for name in FORMULAS} | {"dice_loss"})


@pytest.mark.parametrize("case", FORMULAS)
@settings(max_examples=8, deadline=None)
@given(shape=array_shapes(min_dims=0, max_side=4))
def test_losses_follow_their_formulas(case, shape):
    params, predictions, targets, formula = FORMULAS[case]
    loss, x, t = getattr(ops, case.strip()), np.asarray(predictions(shape)), np.asarray(targets(shape))
    want = np.vectorize(formula, otypes=[float])(x, t)
    np.testing.assert_allclose(loss(x, t, reduction="none", **params).numpy(), want, rtol=1e-10)
    np.testing.assert_allclose(loss(x, t, reduction="sum", **params).numpy(), want.sum(), rtol=1e-10)
    np.testing.assert_allclose(loss(x, t, reduction="mean", **params).numpy(), want.mean(), rtol=1e-10)


def test_gaussian_likelihood_with_variances_that_broadcast():
    x, t, var = normal((3, 4)), normal((3, 4)), np.array([[0.5], [1e-9], [2.0]])
    want = 0.5 * (np.log(np.maximum(var, 1e-6)) + (x - t) ** 2 / np.maximum(var, 1e-6))
    np.testing.assert_allclose(ops.gaussian_nll_loss(x, t, var, reduction="none").numpy(), want)
    full = ops.gaussian_nll_loss(x, t, var, full=True, reduction="sum").numpy()
    np.testing.assert_allclose(full, want.sum() + 12 * 0.5 * np.log(2 * np.pi))
    var = ml.tensor(var, requires_grad=True)
    ops.gaussian_nll_loss(x, t, var).backward()
    assert (var.grad.numpy() != 0).all()                                 # raised to eps, it can leave it
    with pytest.raises(ArgumentError, match=r"\[gaussian_nll_loss\] var: expected numbers >= 0"):
        ops.gaussian_nll_loss(x, t, -var)


def test_divergence_of_a_batch_and_of_impossible_events():
    p, q = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]), np.array([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4]])
    want = sum(a * math.log(a / b) for a, b in zip(p.ravel(), q.ravel()) if a) / 2
    target = ml.tensor(p, requires_grad=True)
    loss = ops.kl_div(np.log(q), target, "batchmean")
    loss.backward()
    assert loss.item() == pytest.approx(want) and np.isfinite(target.grad.numpy()).all()


def test_cross_entropy_of_certain_predictions_is_bounded():
    x = ml.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    losses = ops.binary_cross_entropy(x, np.array([1, 0, 0, 1], "float32"), None, "none")
    losses.sum().backward()
    np.testing.assert_allclose(losses.numpy(), [100, 100, 0, 0], atol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), [-1e12, 1e12, 1, -1], rtol=1e-6)
    far = ops.binary_cross_entropy_with_logits(np.array([1e4, -1e4]), np.array([0.0, 1.0]))
    assert far.item() == 1e4


def test_weights_repeat_over_the_batch_and_yes_may_count_more():
    x, t, w, p = normal((5, 3)), unit((5, 3)), unit(3), np.array([1.0, 2.0, 5.0])
    want = w * (-p * t * np.log(1 / (1 + np.exp(-x))) + (1 - t) * np.log1p(np.exp(x)))
    np.testing.assert_allclose(ops.binary_cross_entropy_with_logits(x, t, w, p, "none").numpy(), want)
    with pytest.raises(ShapeError, match=r"\[binary_cross_entropy\] weight: .* broadcasts to \(5, 3\)"):
        ops.binary_cross_entropy(unit((5, 3)), t, np.ones((2, 5, 3)))


def test_dice_is_one_less_twice_the_common_part():
    x, t = unit((2, 3, 4, 5)), (unit((2, 3, 4, 5)) > 0.5).astype(float)
    for axis, sum_over in ((None, (1, 2, 3)), ((2, 3), (2, 3)), ((0, 2, 3), (0, 2, 3))):
        want = 1 - (2 * (x * t).sum(sum_over) + 0.5) / (x.sum(sum_over) + t.sum(sum_over) + 0.5)
        np.testing.assert_allclose(ops.dice_loss(x, t, axis, 0.5, "none").numpy(), want)


# -- what losses refuse ---------------------------------------------------------------

@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape, hint", [((1, 4), r"target.broadcast_to\(\(3, 4\)\)"), ((4,), "broadcast_to"),
                                         ((12,), r"target.reshape\(\(3, 4\)\)"), ((3, 5), "not broadcast")])
def test_losses_do_not_broadcast(name, shape, hint):
    with pytest.raises(ShapeError, match=rf"\[{name}\] target: expected \(3, 4\) as input, got .*{hint}"):
        getattr(ops, name)(unit((3, 4)), unit(shape))


@pytest.mark.parametrize("name", PAIRS)
def test_a_target_that_is_nan_is_found_and_one_prediction_spreads(name):
    op = "binary_cross_entropy_with_logits" if name == "sigmoid_focal_loss" else name
    x, bad = unit((3, 4)), unit((3, 4))
    bad[1, 2] = np.nan
    with pytest.raises(ArgumentError, match=rf"\[{op}\] target: .*got nan at \(1, 2\), the first of 1 such"):
        getattr(ops, name)(x, bad)
    if name not in ("binary_cross_entropy", "dice_loss"):
        assert np.isnan(getattr(ops, name)(bad, x, reduction="sum").item())


@pytest.mark.parametrize("name", PAIRS)
def test_the_mean_of_nothing_and_unknown_reductions(name):
    loss, nothing = getattr(ops, name), np.zeros((0, 4))
    with pytest.raises(ArgumentError, match=r"\[\w+\] input: expected at least one loss to average"):
        loss(nothing, nothing, reduction="mean")
    assert loss(nothing, nothing, reduction="sum").item() == 0
    with pytest.raises(ArgumentError, match=rf"\[{name}\] reduction: expected \"mean\", .* got 'avg'"):
        loss(unit(3), unit(3), reduction="avg")


def test_refusals_of_single_losses():
    with pytest.raises(ArgumentError, match=r"\[binary_cross_entropy\] input: .* in \[0, 1\], got 1.5"):
        ops.binary_cross_entropy(np.array([0.5, 1.5]), np.array([0.0, 1.0]))
    with pytest.raises(ArgumentError, match=r"\[kl_div\] target: expected numbers >= 0, got -0.5 at \(0,\)"):
        ops.kl_div(np.zeros(2), np.array([-0.5, 1]))
    with pytest.raises(ArgumentError, match=r"\[huber_loss\] delta: expected a positive number, got 0"):
        ops.huber_loss(np.ones(2), np.ones(2), delta=0)
    with pytest.raises(DTypeError, match=r"\[mse_loss\] target.*astype"):
        ops.mse_loss(np.ones(2), np.ones(2, int))


def test_on_a_device_a_demand_waits_for_the_next_transfer():
    with cupy_double.installed():
        x, bad = (ml.tensor(a).to("cuda") for a in (np.ones(3), np.array([0, np.nan, 1])))
        with cupy_double.counting() as moved:
            loss = ops.mse_loss(x, bad)
        assert moved.total == 0
        with pytest.raises(ArgumentError, match=r"\[mse_loss\] target: expected numbers, got nan at \(1,\)"):
            loss.item()
    assert not backend._waiting
