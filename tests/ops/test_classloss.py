"""Cross-entropy and its kin against the definition, example by example."""
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError

rng = np.random.default_rng(0)


def log_softmax(row):
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


def by_definition(x, target, w, ignore, reduction, eps):
    """Rows (N, K): each target as a distribution; the mean over weights of right classes, or over rows."""
    k = x.shape[1]
    soft = target.dtype.kind == "f"
    losses, total = [], 0.0
    for row, t in zip(x, target):
        counts = soft or t != ignore
        q = (t if soft else np.eye(k)[t]) if counts else np.zeros(k)
        losses.append(-(w * ((1 - eps) * q + counts * eps / k) * log_softmax(row)).sum())
        total += 1 if soft else (w * q).sum()
    return {"none": np.array(losses), "sum": sum(losses), "mean": sum(losses) / total}[reduction]


def rows(x):
    """(N, K, *) as (N * M, K)."""
    return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(5, 3), (2, 4, 3), (2, 3, 2, 2)]), st.booleans(), st.booleans(),
       st.sampled_from([-100, 1]), st.sampled_from(["mean", "sum", "none"]), st.sampled_from([0.0, 0.3, 1.0]))
def test_cross_entropy_is_its_definition(shape, soft, weighed, ignore, reduction, eps):
    x, w = rng.standard_normal(shape) * 3, rng.random(shape[1]) + 0.1 if weighed else np.ones(shape[1])
    target = rng.dirichlet(np.ones(shape[1]), shape[:1] + shape[2:])
    target = np.moveaxis(target, -1, 1) if soft else target.argmax(-1)
    if not soft:
        target.flat[0], target.flat[1] = ignore, 0
    want = by_definition(rows(x), rows(target) if soft else target.ravel(), w, ignore, reduction, eps)
    got = ops.cross_entropy(x, target, w if weighed else None, ignore, reduction, eps).numpy()
    np.testing.assert_allclose(got.ravel(), np.ravel(want), rtol=1e-10)
    assert got.shape == (shape[:1] + shape[2:] if reduction == "none" else ())
    if not soft and eps == 0:
        log_p = np.apply_along_axis(log_softmax, 1, x)
        nll = ops.nll_loss(log_p, target, w if weighed else None, ignore, reduction).numpy()
        np.testing.assert_allclose(nll, got, rtol=1e-10)


def test_one_example_alone():
    x = rng.standard_normal(4)
    assert ops.cross_entropy(x, np.array(2)).item() == pytest.approx(-log_softmax(x)[2])
    assert ops.cross_entropy(x, np.eye(4)[2], None, -100, "none").shape == ()
    assert ops.multi_margin_loss(x, np.array(2)).item() == pytest.approx(sum(
        max(0, 1 - x[2] + x[k]) for k in (0, 1, 3)) / 4)


def test_scores_of_any_size_lose_no_digits():
    x = np.array([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4 + 2, -1e4 - 3]], "float32")
    want = [-log_softmax(row.astype(float))[k] for row, k in zip(x, (1, 0))]
    got = ops.cross_entropy(x, np.array([1, 0]), None, -100, "none")
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    masked = np.array([[0.0, -np.inf]])
    assert ops.cross_entropy(masked, np.array([1])).item() == np.inf
    assert ops.cross_entropy(masked, np.array([0])).item() == 0


def test_memory_is_one_array_of_the_scores_size():
    x = ml.tensor(rng.standard_normal((256, 4096)), dtype="float32", requires_grad=True)
    target = rng.integers(0, 4096, 256)
    for eps in (0.0, 0.1):
        tracemalloc.start()
        loss = ops.cross_entropy(x, target, None, -100, "mean", eps)
        kept, forward = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        loss.backward()
        backward = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        x.grad = None
        size = 256 * 4096 * 4
        assert forward < 1.1 * size and kept < 0.1 * size and backward < 1.1 * size


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_counts_other_classes_alone(p):
    x, y, w = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.random(4)
    want = [w[k] * sum(max(0, 0.7 - row[k] + s) ** p for j, s in enumerate(row) if j != k) / 4
            for row, k in zip(x, y)]
    np.testing.assert_allclose(ops.multi_margin_loss(x, y, w, p, 0.7, "none").numpy(), want)


@pytest.mark.parametrize("loss", [ops.cross_entropy, ops.nll_loss], ids=lambda loss: loss.__name__)
def test_refusals_of_classes(loss):
    x, y = rng.standard_normal((6, 5)), np.array([0, 1, 7, -2, 3, 4])
    for error, match, call in (
            (ArgumentError, r"in \[0, 5\), or -100 to ignore, got 7 at \(2,\), the first of 2", (x, y)),
            (ArgumentError, "expected an example to average that counts, got none", (x, np.full(6, -100))),
            (ArgumentError, "expected an example to average that counts, got none", (x[:0], y[:0])),
            (ShapeError, r"expected \(6,\) for scores \(6, 5\), got \(5,\)", (x, y[:5])),
            (ShapeError, "weight: expected one weight for each of 5 classes, got", (x, y * 0, np.ones(4)))):
        with pytest.raises(error, match=rf"\[{loss.__name__}\] .*{match}"):
            loss(*call)
    assert loss(x[:0], y[:0], None, -100, "sum").item() == 0


def test_refusals_of_other_targets():
    x, y = rng.standard_normal((6, 5)), np.zeros(6, int)
    for error, match, call in (
            (ShapeError, r"target: .*Class numbers \(integers\)", lambda: ops.cross_entropy(x, y * 1.0)),
            (ShapeError, r"target: .*probabilities \(floating\)", lambda: ops.cross_entropy(x, y[:5])),
            (ArgumentError, "target: expected numbers, got nan", lambda: ops.cross_entropy(x, x * np.nan)),
            (ArgumentError, "label_smoothing: .* got 2", lambda: ops.cross_entropy(x, y, label_smoothing=2)),
            (ArgumentError, "reduction: .* got 'avg'", lambda: ops.cross_entropy(x, y, reduction="avg")),
            (ArgumentError, r"target: .* in \[0, 5\), got 7", lambda: ops.multi_margin_loss(x, y + 7))):
        with pytest.raises(error, match=rf"\[(cross_entropy|multi_margin_loss)\] {match}"):
            call()
