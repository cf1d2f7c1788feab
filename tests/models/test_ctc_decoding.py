"""Letters from scores over time, against all paths one by one; and wav2vec 2.0 from sound to text."""
import json
from itertools import groupby, product

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.errors import ArgumentError, CheckpointError, ShapeError
from minidl.models.audio.ctc import Letters, beam_search, greedy, spans
from minidl.models.audio.letters import LetterTranscriber, stretches
from minidl.models.audio.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC

rng = np.random.default_rng(0)
WORDS = Letters(("<pad>", "|", "a", "b", "c"), special=frozenset([0]))


def scores(times, labels, seed=0, sharp=1.0):
    x = sharp * np.random.default_rng(seed).standard_normal((times, labels))
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def collapsed(path, blank):
    return tuple(label for label, _ in groupby(path) if label != blank)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 2))
def test_decoding_against_all_paths(seed, times, blank):
    x, totals, best = scores(times, 3, seed), {}, {}
    for path in product(range(3), repeat=times):
        labels, score = collapsed(path, blank), sum(x[t, label] for t, label in enumerate(path))
        totals[labels] = np.logaddexp(totals.get(labels, -np.inf), score)
        best[labels] = max(best.get(labels, (-np.inf, ())), (score, path))
    assert tuple(greedy(x, blank)) == collapsed(x.argmax(1), blank)
    ranked = sorted(totals.items(), key=lambda item: -item[1])
    found = beam_search(x, blank, width=999)
    np.testing.assert_allclose([score for _, score in found], [score for _, score in ranked], atol=1e-9)
    assert all(totals[tuple(labels)] == pytest.approx(score) for labels, score in found)
    assert beam_search(x, blank, 2)[0][1] <= ranked[0][1] + 1e-9
    for labels, (_, path) in best.items():
        want = [(t, len(list(run))) for t, (label, run) in _runs(path) if label != blank]
        assert spans(x, labels, blank) == [(t, t + n) for t, n in want]


def _runs(path):
    at = 0
    for label, run in groupby(path):
        run = list(run)
        yield at, (label, run)
        at += len(run)


def test_words_of_letters():
    labels = [2, 3, 1, 1, 0, 4, 1, 2]
    assert WORDS.text([2, 5, 3]) == "ab"               # (models may have more labels than are told)
    assert WORDS.text(labels) == "ab c a" and [own for _, own in WORDS.words(labels)] == [[0, 1], [5], [7]]
    for call, kind in ((lambda: greedy(np.zeros(3)), ShapeError), (lambda: greedy(np.zeros((2, 3)), 3), ArgumentError),
                       (lambda: beam_search(np.zeros((2, 3)), width=0), ArgumentError),
                       (lambda: beam_search(np.full((2, 3), np.nan)), ArgumentError),
                       (lambda: spans(scores(2, 3), [3]), ArgumentError),
                       (lambda: spans(scores(2, 3), [1, 1]), ArgumentError),
                       (lambda: spans(np.zeros((0, 3)), [1]), ArgumentError)):
        with pytest.raises(kind):
            call()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    ml.seed(3)
    where = tmp_path_factory.mktemp("wav2vec2")
    convolutions = {"conv_dim": (6,) * 3, "conv_stride": (5, 8, 8), "conv_kernel": (10, 8, 8)}
    config = Wav2Vec2Config.tiny().replace(vocab_size=5, **convolutions)
    Wav2Vec2ForCTC(config).save_pretrained(where)
    (where / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(WORDS.tokens)}))
    return where


@pytest.mark.parametrize("samples", [0, 1, 399, 3200, 40000])
def test_waves_of_any_length(directory, samples):
    pipe = ml.pipeline("automatic-speech-recognition", directory)
    wave = rng.standard_normal(samples).astype("f4")
    found = pipe(wave, return_timestamps="word")
    assert found["text"] == " ".join(chunk["text"] for chunk in found["chunks"])
    times = [t for chunk in found["chunks"] for t in chunk["timestamp"]]
    assert times == sorted(times) and (not times or times[-1] <= samples / 16000 + 1e-9)
    assert pipe(wave, beam_size=4)["text"] is not None
    for key, raw in (("raw", wave), ("array", list(wave))):
        assert pipe({key: raw, "sampling_rate": 16000}) == pipe(wave)
    for raw in (wave.astype("i2"), wave[None]):
        with pytest.raises(ArgumentError, match=r"\[transcribe\] sound"):
            pipe({"raw": raw, "sampling_rate": 8000})


def test_pieces_of_a_long_wave_are_scored_as_the_whole(directory, monkeypatch):
    """Group norm looks at all of a wave; noise is alike everywhere, so that its scores are nearly the same."""
    hear = ml.pipeline("automatic-speech-recognition", directory).transcriber(normalize=False)
    wave, told = rng.standard_normal(320 * 700).astype("f4"), []
    whole = hear.scores(wave)
    monkeypatch.setattr("minidl.models.audio.letters.PIECE", 250)
    parts = hear.scores(wave, lambda done, total: told.append(done / total))
    assert parts.shape == whole.shape and told[-1] == 1 and len(told) == 3
    assert np.abs(np.exp(parts) - np.exp(whole)).max() < 0.05
    cut = list(stretches(whole, 0))
    assert np.array_equal(np.concatenate([part for _, part in cut]), whole) and len(cut) >= 3
    assert isinstance(hear, LetterTranscriber)


def test_on_the_command_line(directory, tmp_path):
    soundfile.write(tmp_path / "x.flac", 0.1 * rng.standard_normal((44100, 2)), 44100)
    asked = ["transcribe", str(tmp_path / "x.flac"), "--model", str(directory)]
    told = CliRunner().invoke(app, [*asked, "--json", "--word-timestamps", "--set", "normalize=False"])
    found = json.loads(told.stdout)
    words = [w["word"] for s in found["segments"] for w in s["words"]]
    assert found["duration"] == 1.0 and found["text"] == " ".join(words)
    assert CliRunner().invoke(app, [*asked, "--format", "vtt", "--out", str(tmp_path)]).exit_code == 0
    text = (tmp_path / "x.vtt").read_text()
    assert text.startswith("WEBVTT\n\n")
    asked[1] = str(tmp_path / "x.vtt")                 # (what is no sound replaces no text)
    assert CliRunner().invoke(app, [*asked, "--format", "vtt", "--out", str(tmp_path)]).exit_code == 1
    assert (tmp_path / "x.vtt").read_text() == text
    for more, match in ((["--language", "en"], "option: expected one of beam_size, .*, got 'language'"),
                        (["--format", "doc"], "format: expected one of txt, srt, vtt, json"),
                        (["x/x.mp3", "--out", str(tmp_path)], "files: expected a name of its own each"),
                        (["--set", "beam_sizes=2"], "Did you mean beam_size")):
        with pytest.raises(ArgumentError, match=match):
            raise CliRunner().invoke(app, [*asked, *more]).exception


def test_files_that_do_not_belong_together(directory, tmp_path):
    for text in ("[]", "{", '{"a": 3}', '{"a": 0}'):
        (tmp_path / "vocab.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"vocab.json: expected letters by number"):
            Letters.load(tmp_path)
    Wav2Vec2ForCTC(Wav2Vec2Config.tiny().replace(vocab_size=2)).save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_bytes((directory / "vocab.json").read_bytes())
    with pytest.raises(CheckpointError, match="at most 2 letters"):
        ml.pipeline("automatic-speech-recognition", tmp_path)
