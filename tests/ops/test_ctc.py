"""Connectionist temporal classification against the sum over all alignments, one by one."""
from itertools import groupby, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError

rng = np.random.default_rng(0)


def likelihood(p, target, blank):
    """The probability (T, C) of all paths that collapse to the target."""
    def collapsed(path):
        return [label for label, _ in groupby(path) if label != blank]
    return sum(np.prod([p[t, label] for t, label in enumerate(path)])
               for path in product(range(p.shape[1]), repeat=len(p)) if collapsed(path) == list(target))


def batch(n, times=5, classes=3, longest=3, blank=0):
    p = rng.dirichlet(np.ones(classes), (times, n))
    labels = rng.integers(0, classes - 1, (n, longest))
    return p, labels + (labels >= blank), rng.integers(1, times + 1, n), rng.integers(0, longest + 1, n)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2))
def test_ctc_sums_over_all_alignments(blank):
    p, targets, times, lengths = batch(4, blank=blank)
    each = [likelihood(p[:t, i], targets[i, :n], blank) for i, (t, n) in enumerate(zip(times, lengths))]
    want = np.array([-np.log(one) if one else np.inf for one in each])
    got = ops.ctc_loss(np.log(p), targets, times, lengths, blank, "none").numpy()
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    finite = np.where(np.isinf(want), 0, want)
    for reduction, total in (("sum", finite.sum()), ("mean", (finite / np.maximum(lengths, 1)).mean())):
        got = ops.ctc_loss(np.log(p), targets, times, lengths, blank, reduction, True)
        assert got.item() == pytest.approx(total)


def run(scores, targets, times, lengths):
    x = ml.tensor(scores, requires_grad=True)
    loss = ops.ctc_loss(ops.log_softmax(x, -1), targets, times, lengths, 0, "none")
    loss.sum().backward()
    return loss.numpy(), x.grad.numpy()


def test_an_example_does_not_depend_on_its_batch_or_on_padding():
    p, targets, times, lengths = batch(6, times=20, classes=5, longest=6)
    lengths = np.minimum(lengths, times // 2)
    losses, gradients = run(p, targets, times, lengths)
    for i in range(6):
        one = slice(i, i + 1)
        loss, gradient = run(p[:times[i], one], targets[one, :lengths[i]], times[one], lengths[one])
        np.testing.assert_allclose(loss[0], losses[i], rtol=1e-12)
        np.testing.assert_allclose(gradient[:, 0], gradients[:times[i], i], rtol=1e-9, atol=1e-12)
    assert (gradients[np.arange(20)[:, None] >= times] == 0).all()
    joined = np.concatenate([row[:n] for row, n in zip(targets, lengths)])
    np.testing.assert_array_equal(run(p, joined, times, lengths)[1], gradients)


def test_long_sequences_and_impossible_labels_stay_finite():
    """The least likely of alignments, at probabilities far below what numbers hold."""
    scores = np.full((400, 1, 4), -60.0)
    scores[:, :, 0] = 0
    losses, gradients = run(scores.astype("float32"), np.tile([[1, 2, 3]], 40), [400], [120])
    assert losses[0] == pytest.approx(120 * 60, rel=0.2) and np.isfinite(gradients).all()
    never = np.where(np.eye(3)[[0, 1, 0]][:, None], 0.0, -np.inf)        # one path alone has any probability
    x = ml.tensor(never, requires_grad=True)
    loss = ops.ctc_loss(x, [[1]], [3], [1])
    loss.backward()
    assert loss.item() == pytest.approx(0) and np.isfinite(x.grad.numpy()).all()


def test_a_target_too_long_has_an_infinite_loss_and_no_gradient():
    p = rng.dirichlet(np.ones(3), (2, 1))
    losses, gradients = run(p, [[1, 1]], [2], [2])                       # 1, blank, 1 takes three times
    assert losses[0] == np.inf and (gradients == 0).all()


def test_refusals_say_what_is_wrong():
    p, targets, times, lengths = batch(2, times=12)
    x, targets, lengths = np.log(p), np.array([[1, 2, 1], [2, 2, 0]]), np.array([3, 2])
    ops.ctc_loss(x, targets, times, lengths)                             # the 0 is padding
    for changed, match in (
            ({"targets": targets - 1}, r"targets: .* in \[0, 3\) but blank=0, got 0 at \(0, 0\)"),
            ({"targets": targets + 2}, "targets: expected labels .* got 3"),
            ({"targets": targets.ravel()}, "targets: expected 5 labels, as target_lengths add up to, got 6"),
            ({"times": times * 0}, r"input_lengths: expected lengths in \[1, 12\], got 0 at \(0,\)"),
            ({"times": times + 12}, "input_lengths: "),
            ({"lengths": lengths + 1}, "target_lengths: .* got 4"),
            ({"blank": 3}, r"blank: expected a label in \[0, 3\), got 3")):
        call = {"targets": targets, "times": times, "lengths": lengths, "blank": 0} | changed
        with pytest.raises(ArgumentError, match=rf"\[ctc_loss\] {match}"):
            ops.ctc_loss(x, *call.values())
    with pytest.raises(ShapeError, match=r"\[ctc_loss\] target_lengths: .* with N=2"):
        ops.ctc_loss(x, targets, times, lengths[:1])
