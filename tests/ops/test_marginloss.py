"""Margin, angle and adversarial losses against their formulas."""
import math

import numpy as np
import pytest

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError

rng = np.random.default_rng(0)
A, B, C = rng.standard_normal((3, 7, 5))
SIGNS, GRID = rng.integers(0, 2, 7) * 2 - 1, rng.integers(0, 2, (7, 5)) * 2 - 1


def cosine(a, b):
    return a @ b / math.sqrt(a @ a * (b @ b))


def distance(a, b, p=2.0):
    d = np.abs(a - b + 1e-6)
    return d.max() if p == math.inf else (d ** p).sum() ** (1 / p)


def hinge(x):
    return np.maximum(x, 0)


CASES = [
    (ops.cosine_embedding_loss, (A, B, SIGNS), {"margin": 0.1},
     [1 - cosine(a, b) if s == 1 else max(0, cosine(a, b) - 0.1) for a, b, s in zip(A, B, SIGNS)]),
    (ops.triplet_margin_loss, (A, B, C), {"margin": 0.5, "p": 3.0},
     [max(0, 0.5 + distance(a, b, 3) - distance(a, c, 3)) for a, b, c in zip(A, B, C)]),
    (ops.triplet_margin_loss, (A, B, C), {"swap": True},
     [max(0, 1 + distance(a, b) - min(distance(a, c), distance(b, c))) for a, b, c in zip(A, B, C)]),
    (ops.margin_ranking_loss, (A, B, GRID), {"margin": 0.2}, hinge(0.2 - GRID * (A - B))),
    (ops.hinge_embedding_loss, (A, GRID), {"margin": 0.7}, np.where(GRID == 1, A, hinge(0.7 - A))),
    (ops.soft_margin_loss, (A * 50, GRID), {}, np.logaddexp(0, -GRID * A * 50)),
]


@pytest.mark.parametrize("loss, inputs, params, want", CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_losses_follow_their_formulas(loss, inputs, params, want):
    np.testing.assert_allclose(loss(*inputs, **params, reduction="none").numpy(), want, atol=1e-12)
    assert loss(*inputs, **params).item() == pytest.approx(np.mean(want))
    assert loss(*inputs, **params, reduction="sum").item() == pytest.approx(np.sum(want))
    *floats, target = inputs
    if target.dtype.kind == "i":                                         # targets may be of any dtype
        assert loss(*floats, target.astype("float32"), **params).item() == pytest.approx(np.mean(want))


def test_distances_and_cosines():
    for p in (1.0, 2.0, 3.0, math.inf):
        want = [[distance(a, b, p) for b in B] for a in A]
        np.testing.assert_allclose(ops.pairwise_distance(A[:, None], B, p).numpy(), want)
    rows, columns = ([cosine(a, b) for a, b in zip(*pair)] for pair in ((A, B), (A.T, B.T)))
    np.testing.assert_allclose(ops.cosine_similarity(A, B).numpy(), rows)
    np.testing.assert_allclose(ops.cosine_similarity(A, B, axis=0).numpy(), columns)


def test_vectors_of_zeros_and_equal_ones_have_finite_gradients():
    for loss in (lambda x: ops.cosine_embedding_loss(x, B, SIGNS),
                 lambda x: ops.triplet_margin_loss(x, x.detach(), B),
                 lambda x: ops.cosine_similarity(x, B).sum(),
                 lambda x: ops.pairwise_distance(x, x.detach(), 2.0, 0.0).sum()):
        x = ml.tensor(np.zeros((7, 5)), requires_grad=True)
        loss(x).backward()
        assert np.isfinite(x.grad.numpy()).all()


def test_adversaries():
    real, fake = rng.standard_normal((4, 1)), rng.standard_normal((6, 1))
    games = {"logistic": (np.logaddexp(0, -real), np.logaddexp(0, fake), np.logaddexp(0, -fake)),
             "hinge": (hinge(1 - real), hinge(1 + fake), -fake),
             "least_squares": ((real - 1) ** 2 / 2, fake ** 2 / 2, (fake - 1) ** 2 / 2),
             "wasserstein": (-real, fake, -fake)}
    for kind, (of_real, of_fake, of_generator) in games.items():
        both = of_real.mean() + of_fake.mean()
        assert ops.gan_discriminator_loss(real, fake, kind).item() == pytest.approx(both)
        assert ops.gan_generator_loss(fake, kind).item() == pytest.approx(of_generator.mean())
    with pytest.raises(ArgumentError, match=r"\[gan_generator_loss\] kind: expected one of .*got 'x'"):
        ops.gan_generator_loss(fake, "x")


def test_refusals_say_what_is_wrong():
    for loss, inputs in ((ops.cosine_embedding_loss, (A, B)), (ops.margin_ranking_loss, (A[:, 0], B[:, 0])),
                         (ops.hinge_embedding_loss, (A[:, 0],)), (ops.soft_margin_loss, (A[:, 0],))):
        with pytest.raises(ArgumentError, match=rf"\[{loss.__name__}\] target: expected 1 or -1, got 0 at"):
            loss(*inputs, SIGNS * 0)
        with pytest.raises(ShapeError, match=rf"\[{loss.__name__}\] target"):
            loss(*inputs, SIGNS[:3])
    with pytest.raises(ShapeError, match=r"\[triplet_margin_loss\] negative: expected \(7, 5\) as anchor"):
        ops.triplet_margin_loss(A, B, C[:1])
