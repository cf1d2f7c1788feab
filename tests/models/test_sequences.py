"""Sequences that come in pieces, and of several lengths: the same numbers as whole, and alone."""
import numpy as np
import pytest

from minidl import Tensor, no_grad, ops
from minidl.errors import ArgumentError, ShapeError
from minidl.models.audio.silero import SileroConfig, SileroVAD
from minidl.models.audio.speaker import SpeakerConfig, SpeakerEncoder
from minidl.models.sequence.language import RecurrentLM, RecurrentLMConfig
from minidl.models.sequence.phonemes import BEGIN, PHONEMES, Phonemes, PhonemesConfig
from minidl.models.sequence.recurrent import RecurrentClassifier, RecurrentConfig, RecurrentTagger
from minidl.models.sequence.tcn import TCN, TCNConfig

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def close(x, y):
    np.testing.assert_allclose(x, y, rtol=0, atol=2e-6)


def pieces(model, x, cuts, state, axis, step):
    """What a model gives for x, cut along an axis."""
    found = []
    for start, stop in zip([0, *cuts], [*cuts, x.shape[axis]]):
        y, state = step(Tensor(x.take(range(start, stop), axis)), state)
        found.append(y.numpy())
    return found


CUTS = [1], [2, 9], [1, 2, 3, 8], list(range(1, 40))


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("skips", [False, True])
def test_a_tcn_that_hears_a_signal_in_pieces_gives_what_the_whole_gives(cuts, skips):
    model, x = TCN(TCNConfig(2, (4, 6, 6), 3, 3, skips=skips)).eval(), numbers(3, 2, 40)
    with no_grad():
        whole = model.features(Tensor(x)).numpy()
        close(np.concatenate(pieces(model, x, cuts, model.start(3), 2, lambda x, s: (model.features(x, s), s)), 2),
              whole)
        state = model.start(3)
        steps = [model.step(Tensor(x[:, :, t:t + 1]), state).numpy() for t in range(40)]
        close(steps[-1], model(Tensor(x)).numpy())
        close(steps[20], model(Tensor(x[:, :, :21])).numpy())


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("cell, projection", [("lstm", 0), ("lstm", 6), ("gru", 0)])
def test_a_language_model_that_reads_in_pieces_gives_what_the_whole_gives(cell, projection, cuts):
    config = RecurrentLMConfig(12, projection or 8, 8, 2, cell, tied=True, projection=projection)
    model, tokens = RecurrentLM(config).eval(), RNG.integers(0, 12, (40, 3))
    close(np.concatenate(pieces(model, tokens, cuts, None, 0, model.step)), model(Tensor(tokens)).numpy())


def test_a_recording_in_pieces_gives_what_the_whole_gives():
    model = SileroVAD(SileroConfig.tiny()).eval()
    for length in (1, 31, 32, 33, 320, 333):
        wave = numbers(length)
        whole = ops.sigmoid(model(Tensor(wave[None]))).numpy()[0, :, 0]
        assert whole.shape == (-(-length // 32),)
        for block in (1, 3, 512):
            close(model.probabilities(wave, block), whole)
    assert model.probabilities(np.zeros(0)).shape == (0,)


def test_speech_has_ends_whatever_the_threshold(monkeypatch):
    model, second = SileroVAD(SileroConfig()).eval(), 16000 / 512
    likely = np.array([0.0] * 10 + [0.9] * 20 + [0.02] * 10 + [0.005] * 10 + [0.9] * 30)
    monkeypatch.setattr(model, "probabilities", lambda wave: likely)
    for threshold, ends in ((0.5, [(10, 30), (50, 80)]), (0.1, [(10, 40), (50, 80)])):
        for silence in (0.1, 0.0):
            found = model.segments(np.zeros(80 * 512), threshold, silence=silence)
            close(np.array(found) * second, np.array(ends))
    monkeypatch.undo()
    with pytest.raises(ShapeError, match="wave: expected one axis"):
        model.probabilities(np.zeros((1, 512)))


@pytest.mark.parametrize("cell, projection", [("lstm", 0), ("lstm", 5), ("gru", 0)])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_padded_batches_agree_with_sequences_alone(cell, projection, bidirectional, tokens):
    """Whatever stands in the padding."""
    config = RecurrentConfig(3, 6, 2, cell, bidirectional, projection, vocab_size=11 * tokens, num_classes=4)
    x, lengths = RNG.integers(0, 11, (4, 9)) if tokens else numbers(4, 3, 9), np.array([9, 1, 5, 8])
    models = RecurrentClassifier(config).eval(), RecurrentTagger(config).eval()
    together = [model(Tensor(x), Tensor(lengths)).numpy() for model in models]
    for n, length in enumerate(lengths):
        named, tagged = (model(Tensor(x[n:n + 1, ..., :length])).numpy()[0] for model in models)
        close(together[0][n], named)
        close(together[1][n, :length], tagged)


def test_a_tcn_names_each_sequence_by_its_own_last_step():
    model, x, lengths = TCN(TCNConfig.tiny()).eval(), numbers(3, 2, 20), [20, 1, 13]
    together = model(Tensor(x), Tensor(np.array(lengths))).numpy()
    for n, length in enumerate(lengths):
        close(together[n], model(Tensor(x[n:n + 1, :, :length])).numpy()[0])


def test_recurrent_networks_refuse_what_cannot_be():
    for fields in ({"cell": "rnn"}, {"cell": "gru", "projection": 2}):
        with pytest.raises(ArgumentError, match="RecurrentConfig. cell: expected one of lstm, gru"):
            RecurrentConfig(**fields)


def test_words_are_pronounced_alike_alone_and_together():
    model = Phonemes(PhonemesConfig(hidden=16)).eval()
    model.fc.bias.assign(numbers(len(PHONEMES)))       # (so that words differ in length)
    words = ["a", "Word", "naïve", "unbelievably"]
    assert model.pronounce(words) == [model.pronounce([word])[0] for word in words] and model.pronounce([]) == []
    letters, said = Tensor(RNG.integers(3, 29, (2, 5))), np.full((2, 4), BEGIN)
    state, steps = model.encode(letters), []
    for u in range(4):
        y, state = model.step(Tensor(said[:, u:u + 1]), state)
        steps.append(y.numpy())
    close(np.concatenate(steps, 1), model(letters, Tensor(said)).numpy())
    for bad in ("word", ["word", ""]):
        with pytest.raises(ArgumentError, match="pronounce. words: expected a list of words"):
            model.pronounce(bad)


def test_voices_of_any_length_have_embeddings_of_length_one():
    model = SpeakerEncoder(SpeakerConfig.tiny()).eval()
    model.linear.bias.assign(np.abs(numbers(4)))
    for length in (1, 100, 1600, 16000, 50001):
        for wave in (numbers(length) * 0.01, np.zeros(length)):
            assert abs(np.linalg.norm(model.embed(wave)) - 1) < 1e-5
    quiet = numbers(16000) * 1e-3                      # quieter than what is heard: both are raised to that
    close(model.embed(quiet), model.embed(quiet * 0.5))
    long = numbers(60000) * np.linspace(0.1, 1, 60000, dtype=np.float32)
    for block in (1, 3):                               # (an hour needs no more memory than a minute)
        close(model.embed(long, block), model.embed(long))
    for bad in (np.zeros(0), numbers(2, 8)):
        with pytest.raises(ShapeError, match="embed. wave: expected one axis"):
            model.embed(bad)
