"""What wav2vec 2.0 hides, what it compares with, and what it loses."""
import numpy as np
import pytest

import minidl as ml
from minidl.backend import random
from minidl.errors import ArgumentError
from minidl.models.audio.wav2vec2_pretraining import (
    Quantizer,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    draw_negatives,
    hidden_spans,
)

rng = np.random.default_rng(0)


def test_hidden_spans_and_what_they_are_compared_with():
    mask = hidden_spans(50, 80, random.key(0), prob=0.65, length=10)
    assert np.array_equal(mask, hidden_spans(50, 80, random.key(0))) and mask.shape == (50, 80)
    assert 0.35 < mask.mean() < 0.6                    # (1 - 0.35 for each step but the first and last ones, less luck)
    runs = [len(run) for row in mask for run in np.split(row, np.flatnonzero(np.diff(row)) + 1) if run[0]]
    assert min(runs) >= 10
    negatives = draw_negatives(mask, 7, random.key(1))
    own = np.arange(50 * 80).reshape(50, 80, 1)
    assert (negatives[~mask] == own[~mask]).all() and (negatives[mask] != own[mask]).all()
    assert (negatives // 80 == own // 80).all() and mask.ravel()[negatives[mask]].all()
    counts = np.bincount(negatives[0][mask[0]].ravel(), minlength=80)[mask[0]]
    assert counts.min() > 0 or counts.max() < 30
    with pytest.raises(ArgumentError, match="length"):
        hidden_spans(1, 5, random.key(0))
    with pytest.raises(ArgumentError, match="at least two"):
        draw_negatives(np.eye(1, 5, dtype=bool), 2, random.key(0))


def test_losses_are_their_equations():
    """Paper: equations 3 and 4, a hidden step at a time."""
    ml.seed(0)
    model = Wav2Vec2ForPreTraining(Wav2Vec2Config.tiny()).to("float64").eval()
    steps = model.encoder.lengths(170)
    mask = hidden_spans(2, steps, random.key(0), length=3)
    negatives = draw_negatives(mask, 3, random.key(1))
    out = model(ml.tensor(rng.standard_normal((2, 170))), None, ml.tensor(mask), ml.tensor(negatives))
    states, vectors = (out[name].numpy().reshape(-1, 5) for name in ("projected_states", "projected_quantized_states"))
    want = 0.0
    for at in np.flatnonzero(mask):
        others = [q for q in vectors[negatives.reshape(-1, 3)[at]] if not (q == vectors[at]).all()]
        state = states[at] / np.linalg.norm(states[at])
        alike = np.array([state @ q / np.linalg.norm(q) for q in [vectors[at], *others]])
        want -= np.log(np.exp(alike[0] / 0.1) / np.exp(alike / 0.1).sum())
    assert out.contrastive_loss.item() == pytest.approx(want)
    assert out.diversity_loss.item() == pytest.approx((8 - out.codevector_perplexity.item()) / 8 * mask.sum())
    assert out.loss.item() == pytest.approx(want + 0.1 * out.diversity_loss.item())


def test_the_quantizer_chooses_whole_vectors_and_draws_while_training():
    ml.seed(0)
    quantizer, x = Quantizer(Wav2Vec2Config.tiny()), ml.tensor(rng.standard_normal((3, 20, 6)).astype("f4"))
    books = quantizer.codevectors.numpy().reshape(2, 4, 3)
    for training in (False, True):
        y, perplexity = quantizer.train(training)(x)
        for g in range(2):
            part = y.numpy()[..., 3 * g:3 * g + 3].reshape(-1, 1, 3)
            assert (np.abs(part - books[g]).max(2).min(1) < 1e-6).all()
        assert 2 <= perplexity.item() <= 8
    again = quantizer(x)[0]
    assert (again.numpy() != y.numpy()).any()          # drawn anew


def test_it_learns_which_is_the_hidden_one():
    ml.seed(0)
    model = Wav2Vec2ForPreTraining(Wav2Vec2Config.tiny())
    tones = np.sin(np.cumsum(rng.choice([0.1, 0.5, 1.2], (4, 40)), 1).repeat(20, 1) * np.arange(800) / 20)
    waves, steps = ml.tensor(tones.astype("f4")), model.encoder.lengths(800)
    optimizer, losses = ml.optim.AdamW(model.parameters(), lr=5e-3), []
    for step in range(40):
        mask = hidden_spans(4, steps, random.key(step % 4), length=4)
        out = model(waves, None, ml.tensor(mask), ml.tensor(draw_negatives(mask, 3, random.key(step % 4))))
        optimizer.zero_grad()
        (out.loss / mask.sum()).backward()
        optimizer.step()
        losses.append(out.loss.item() / mask.sum())
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])
