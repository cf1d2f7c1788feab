"""Whisper from sound to text: its rules, searches, alignments and windows, on a small model that says anything."""
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl.errors import ArgumentError
from minidl.models.audio.alignment import Word, cheapest_walk, fitted, joined, tidy
from minidl.models.audio.decoding import Decoded, Search, Times, decode
from minidl.models.audio.spectrogram import log_mel
from minidl.models.audio.subtitles import clock, written
from minidl.models.audio.transcription import Segment, Transcriber
from minidl.models.audio.whisper import WhisperConfig, WhisperForConditionalGeneration
from minidl.text.whisper import WhisperVocabulary

rng = np.random.default_rng(0)
TOKENS = WhisperVocabulary((*(bytes([b]) for b in range(256)), b" -", b" '"), languages=3)


@pytest.fixture(scope="module")
def model():
    ml.seed(1)
    config = WhisperConfig(len(TOKENS), 8, 16, 1, 2, 32, 2, 2, 32, 50, 24, init_std=0.6, pad_token_id=None)
    return WhisperForConditionalGeneration(config).eval()


# -- tokens -----------------------------------------------------------------------------------

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 5]))
def test_times_come_in_pairs_and_do_not_go_back(seed, latest):
    chance, line, rule = np.random.default_rng(seed), [TOKENS.start], Times(TOKENS, 1, latest)
    for _ in range(12):
        scores = 4 * chance.standard_normal((1, len(TOKENS)))
        scores[:, TOKENS.end:TOKENS.first_time] = -np.inf
        allowed = rule(np.array([line]), scores)
        assert np.isfinite(allowed).any()
        line.append(int(allowed.argmax()))
    times, first = [t - TOKENS.first_time for t in line[1:]], line[1] - TOKENS.first_time
    assert 0 <= first <= (1500 if latest is None else latest) and times[1] < 0
    at = [i for i, t in enumerate(times) if t >= 0]
    assert all(times[a] <= times[b] if b == a + 1 else times[a] < times[b] for a, b in zip(at, at[1:]))
    inner = [i for i in at if 0 < i < len(times) - 1]
    assert all(times[i - 1] >= 0 or times[i + 1] >= 0 for i in inner)


def test_a_time_is_written_where_all_times_are_likelier_than_any_other_token():
    scores = np.full((1, len(TOKENS)), -20.0)
    scores[0, 5] = 0.0
    line = np.array([[TOKENS.start, TOKENS.first_time, 7]])
    for each, is_time in ((-7.0, False), (-6.0, True)):                # 1500 times: e^-7.3 each are as likely as one
        scores[0, TOKENS.first_time + 1:] = each - (not is_time) * 1.0
        assert (Times(TOKENS, 1)(line, scores).argmax() >= TOKENS.first_time) == is_time


def likelihood(model, encoded, prompt, tokens):
    """The sum of log probabilities of tokens behind a prompt, all at once."""
    ids = np.array([[*prompt, *tokens]])
    with ml.no_grad():
        scores = model.scores(model.decode(ml.tensor(ids[:, :-1]), encoded)).numpy()[0, len(prompt) - 1:]
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return logs[np.arange(len(tokens)), list(tokens)].sum()


def test_searches_give_what_they_say(model):
    with ml.no_grad():
        encoded = model.encode(ml.tensor(rng.standard_normal((1, 8, 100), np.float32)))
        prompt = TOKENS.prompt("en")
        found = {search: decode(model, encoded, TOKENS, prompt, (), search) for search in (
            Search(), Search(beam_size=4), Search(0.7, best_of=3, seed=1), Search(beam_size=2, length_penalty=0.6))}
        assert found[Search(beam_size=4)].avg_logprob >= found[Search()].avg_logprob
        for search, got in found.items():
            whole = [*got.tokens, TOKENS.end][:12]
            want = likelihood(model, encoded, prompt, whole)
            assert got.avg_logprob * (len(got.tokens) + 1) == pytest.approx(want, abs=1e-3), search
            assert decode(model, encoded, TOKENS, prompt, (), search).tokens == got.tokens
        told = decode(model, encoded, TOKENS, prompt, list(range(40)), Search())
        assert len(told.tokens) <= 24 - 12 - len(prompt)


# -- words ------------------------------------------------------------------------------------

@pytest.mark.parametrize("rows, columns", [(1, 1), (1, 4), (4, 1), (3, 4), (4, 3)])
def test_the_cheapest_walk_is_the_cheapest_of_all(rows, columns):
    cost = rng.standard_normal((rows, columns))

    def walks(i, j):
        if (i, j) == (rows - 1, columns - 1):
            yield [(i, j)]
        for down, right in ((1, 0), (0, 1), (1, 1)):
            if i + down < rows and j + right < columns:
                yield from ([(i, j), *rest] for rest in walks(i + down, j + right))

    best = min(walks(0, 0), key=lambda walk: sum(cost[place] for place in walk))
    assert list(zip(*cheapest_walk(cost))) == best


def test_words_and_their_punctuation():
    texts = [" “", " Yes", ",", " no", ".", " (", "so", "-", " on"]
    words = [Word(w, i, i + 1, 1.0, (i,)) for i, w in enumerate(texts)]
    assert [w.word for w in joined(words)] == [" “ Yes,", " no.", " (so", "-", " on"]
    assert [w.tokens for w in joined(words)][:2] == [(0, 1, 2), (3, 4)]
    long = [Word(" a", 0.0, 0.2, 1.0), Word(".", 0.2, 3.0, 1.0), Word(" b", 3.0, 3.2, 1.0), Word(" c", 3.2, 3.4, 1.0)]
    tidied, median = tidy(long)
    assert median == pytest.approx(0.2) and tidied[0].word == " a." and tidied[0].end == 0.2
    pause = [Word(" a", 0.0, 5.0, 1.0), Word(" b", 5.0, 5.2, 1.0)]
    (first, last), start, end = fitted(pause, 0.0, 5.2, 0.0, 0.2)
    assert (first.start, start, last.end, end) == (pytest.approx(4.6), first.start, 5.2, 5.2)


# -- windows ----------------------------------------------------------------------------------

@pytest.mark.parametrize("samples", [0, 1, 159, 160, 399, 400, 5000, 16037])
def test_a_spectrogram_in_pieces_is_that_of_the_whole(samples):
    wave = (0.1 * rng.standard_normal(samples)).astype("f4")
    want = ml.ops.log_mel_spectrogram(np.pad(wave, (0, 4000))).numpy()[:, :samples // 160]
    for cuts in ([], [0, 1, 200, 777], list(range(0, samples, 999))):
        got = log_mel(np.split(wave, [c for c in cuts if c <= samples]), 80)
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("sound", ["noise", "silence", "clicks", "clipped", "empty", "one"])
@pytest.mark.parametrize("options", [{}, {"word_timestamps": True, "language": "de", "beam_size": 2},
                                     {"no_speech_threshold": None, "temperatures": (0.0, 1.0), "task": "translate",
                                      "max_initial_timestamp": None, "suppress_tokens": (3, 5),
                                      "condition_on_previous_text": False, "initial_prompt": "a b"}])
def test_any_sound_has_a_transcript(model, tmp_path, sound, options):
    """It ends, its times are in order, and a file gives what its wave gives; the windows have one second each."""
    wave = {"noise": 0.3 * rng.standard_normal(40000), "silence": np.zeros(30000), "one": np.ones(1),
            "empty": np.zeros(0), "clicks": np.where(rng.random(30000) < 1e-3, 1.0, 0.0),
            "clipped": np.sign(rng.standard_normal(20000))}[sound]
    told = []
    hear = Transcriber(model, tokens=TOKENS, **options)
    got = hear(wave, progress=lambda done, total: told.append((done, total)))
    assert got.duration == len(wave) // 160 / 100 and got.language in ("en", "zh", "de")
    assert [s.id for s in got.segments] == list(range(len(got.segments)))
    assert all(s.text.strip() and s.start != s.end for s in got.segments)
    assert not told or told[-1] == (got.duration, got.duration)
    soundfile.write(tmp_path / "x.wav", wave, 16000, "DOUBLE")
    assert [s.tokens for s in hear(tmp_path / "x.wav").segments] == [s.tokens for s in got.segments]
    for kind, head in (("srt", ""), ("vtt", "WEBVTT\n\n"), ("txt", "")):
        text = "".join(written(got.segments, kind))
        assert text.startswith(head) and text.count(" --> ") == (kind != "txt") * len(got.segments)


def test_a_window_without_speech_changes_nothing_of_what_the_next_is_told(model, monkeypatch):
    first, told = TOKENS.first_time, []
    hear = Transcriber(model, tokens=TOKENS, language="en", initial_prompt="a", condition_on_previous_text=False)
    windows = iter([Decoded([], "", -2.0, 0.9, 0.6), Decoded([first, 7, first + 5], "x", -0.1, 0.0, 0.0),
                    Decoded([], "", -2.0, 0.9, 0.0)])
    monkeypatch.setattr(hear, "decode", lambda encoded, prompt, previous: told.append([*previous]) or next(windows))
    hear(np.zeros(3 * 16000))
    assert told == [TOKENS.encode(" a"), TOKENS.encode(" a"), []]


def test_what_is_behind_the_last_word_is_heard_again_where_no_time_ends_the_text(model, monkeypatch):
    """As it is where a text was cut off; with words' times only."""
    first, told = TOKENS.first_time, []
    words = [Word("a", 0.1, 0.3, 1.0, (97,)), Word("b", 0.3, 0.6, 1.0, (98,))]
    monkeypatch.setattr("minidl.models.audio.transcription.align", lambda *args: words)
    for asked, times in ((False, [1.0]), (True, [0.6, 1.0])):
        hear, windows = Transcriber(model, tokens=TOKENS, language="en", word_timestamps=asked), iter([
            Decoded([first, 97, 98], "ab", 0.0, 0.0, 0.0), Decoded([first, 97, 98, first + 20], "ab", 0.0, 0.0, 0.0)])
        monkeypatch.setattr(hear, "decode", lambda *args, windows=windows: next(windows))
        told.clear()
        hear(np.zeros(16000), progress=lambda done, total: told.append(done))
        assert told == times


def test_subtitles():
    segment = Segment(0, 3661.5, 3662.0, " a --> b", (), 0.0, 0.0, 1.0, 0.0)
    assert list(written([segment], "srt"))[1] == "1\n01:01:01,500 --> 01:01:02,000\na -> b\n\n"
    assert clock(59.9996, ".") == "00:01:00.000"
    with pytest.raises(ArgumentError, match="kind: expected one of txt, srt, vtt, got 'doc'"):
        list(written([], "doc"))


def test_refusals(model):
    with pytest.raises(ArgumentError, match="vocab_size"):
        Transcriber(model)
    for options, match in (({"language": "fr"}, "language: expected one of en, zh, de"), ({"task": "sing"}, "task"),
                           ({"beam_size": 0}, "beam_size"), ({"temperatures": ()}, "temperatures"),
                           ({"temperatures": 0.5}, "temperatures"), ({"patience": 0.2, "beam_size": 2}, "patience"),
                           ({"logprob_threshold": "low"}, "logprob_threshold"),
                           ({"initial_prompt": 5}, "initial_prompt"), ({"seed": -1}, "seed"),
                           ({"max_initial_timestamp": -1}, "max_initial"), ({"suppress_tokens": -1}, "suppress_tokens"),
                           ({"suppress_tokens": (10**6,)}, "suppress_tokens: expected a tuple of numbers in")):
        with pytest.raises(ArgumentError, match=match):
            Transcriber(model, tokens=TOKENS, **options)
    for wave, match in ((np.zeros((2, 9)), "sound: expected a wave"), (np.zeros(9, "i2"), "Divide"),
                        (np.full(9, np.nan), "finite")):
        with pytest.raises(ArgumentError, match=match):
            Transcriber(model, tokens=TOKENS)(wave)
