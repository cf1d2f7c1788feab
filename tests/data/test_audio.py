"""Sound from files, and at other rates."""
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data.audio import Resampler, phases, read_audio, resample, stream_audio
from minidl.errors import ArgumentError, ShapeError

rng = np.random.default_rng(0)
RATES = [(44100, 16000), (48000, 16000), (8000, 16000), (11025, 8000), (16001, 16000), (16000, 44100)]


@pytest.mark.parametrize("old, new", RATES)
def test_a_resampled_wave_is_that_of_zeros_between_and_a_filter(old, new):
    """The definition: put up - 1 zeros between samples, filter, take each down-th. (As SciPy's resample_poly.)"""
    x, change = rng.standard_normal(300).astype("f4"), Resampler(old, new)
    up, down, filters = change.up, change.down, phases(change.up, change.down).astype("f8")
    half = filters.shape[1] // 2
    taps = np.zeros(2 * half * up + 1)
    place, tap = np.arange(up)[:, None], np.arange(2 * half)
    taps[half * up + place - (tap - half + 1) * up] = filters
    count = -(-len(x) * up // down)
    apart = half * up + np.arange(count)[:, None] * down - np.arange(len(x)) * up
    want = np.where((apart >= 0) & (apart < len(taps)), taps[np.clip(apart, 0, len(taps) - 1)], 0) @ x
    got = resample(x, old, new)
    assert len(got) == count and got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=3e-6)


@pytest.mark.parametrize("old, new", RATES[:4])
def test_tones_stay_and_what_the_new_rate_cannot_hold_goes(old, new):
    """Within 90 dB: in the band as the same tone at the new rate, above half of it as silence."""
    for share, stays in ((0.05, True), (0.4, True), (0.56, False), (0.8, False)):
        hertz = share * min(old, new)
        if hertz < old / 2:
            y = resample(np.sin(2 * np.pi * hertz / old * np.arange(old)), old, new)[new // 4:-new // 4]
            want = np.sin(2 * np.pi * hertz / new * (np.arange(len(y)) + new // 4)) * stays
            assert np.sqrt(np.mean((y - want) ** 2)) < 10 ** (-90 / 20)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 700), max_size=6))
def test_pieces_give_the_bits_of_the_whole(rates, lengths):
    x, change = rng.standard_normal(sum(lengths)).astype("f4"), Resampler(*rates)
    parts = [change(part) for part in np.split(x, np.cumsum(lengths)[:-1])] if lengths else []
    whole = resample(x, *rates)
    assert np.array_equal(np.concatenate([*parts, change(x[:0], last=True)]), whole)


@pytest.mark.parametrize("kind, subtype, error", [
    ("wav", "PCM_16", 1e-4), ("wav", "FLOAT", 1e-6), ("wav", "PCM_U8", 0.01), ("flac", "PCM_24", 1e-6),
    ("ogg", "VORBIS", 0.05), ("mp3", "MPEG_LAYER_III", 0.05)])
@pytest.mark.parametrize("rate, channels", [(16000, 1), (44100, 2)])
def test_files_of_every_kind(tmp_path, kind, subtype, error, rate, channels):
    time = np.arange(2 * rate) / rate
    left, right = 0.5 * np.sin(2 * np.pi * 440 * time), 0.2 * np.sin(2 * np.pi * 1000 * time)
    soundfile.write(tmp_path / f"x.{kind}", np.stack([left, right], 1)[:, :channels], rate, subtype)
    got, time = read_audio(tmp_path / f"x.{kind}"), np.arange(32000) / 16000
    want = np.sin(2 * np.pi * 440 * time) * 0.5
    want = want if channels == 1 else (want + 0.2 * np.sin(2 * np.pi * 1000 * time)) / 2
    middle = slice(4000, 28000)
    assert abs(len(got) - 32000) < 3000 and got.dtype == np.float32
    assert np.abs(got[middle] - want[middle]).max() < error
    again = np.concatenate(list(stream_audio(tmp_path / f"x.{kind}", seconds=0.3)))
    np.testing.assert_allclose(again, got, atol=1e-6)


def test_what_is_no_sound_is_said_to_be_none(tmp_path):
    def put(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    soundfile.write(tmp_path / "good.flac", 0.1 * rng.standard_normal(40000), 16000)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), 16000, "FLOAT")
    good = (tmp_path / "good.flac").read_bytes()
    damaged = bytearray(good)
    damaged[20000:20400] = bytes(400)
    for path, match in ((put("empty.wav", b""), "file of sound"), (put("text.mp3", b"no sound " * 99), "file of sound"),
                        (tmp_path / "none.wav", "file of sound"), (tmp_path, "file of sound"),
                        (put("bad.flac", bytes(damaged)), "file of sound"), (tmp_path / "nan.wav", "finite")):
        with pytest.raises(ArgumentError, match=rf"\[read_audio\] path: .*{match}"):
            read_audio(path)
    for seconds in (0, 1 / 16000):
        soundfile.write(tmp_path / "short.wav", np.zeros(int(16000 * seconds)), 16000)
        assert len(read_audio(tmp_path / "short.wav")) == int(16000 * seconds)
    for path in (3.5, None, ["a"]):
        with pytest.raises(ArgumentError, match=r"\[read_audio\] path"):
            read_audio(path)
    with pytest.raises(ShapeError, match="one axis"):
        resample(np.zeros((2, 9)), 16000, 8000)
    wave = rng.standard_normal(50).astype("f4")
    assert np.array_equal(resample(wave, 16000, 16000), wave)
    soundfile.write(tmp_path / "odd.wav", np.zeros(9), 999_999)         # (gigabytes of filters)
    with pytest.raises(ArgumentError, match="old, new: expected rates with a larger common factor, got 999999, 16000"):
        read_audio(tmp_path / "odd.wav")
    for rate in (0, -1, 16000.0, 10**9):
        with pytest.raises(ArgumentError, match=r"\[Resampler\] old"):
            Resampler(rate, 16000)


def test_a_long_file_takes_little_memory(tmp_path):
    """Ten minutes in stereo, 38 MB as numbers: a block at a time."""
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 8000, 2) as file:
        for _ in range(60):
            file.write(np.zeros((80000, 2)))
    tracemalloc.start()
    samples = sum(len(block) for block in stream_audio(tmp_path / "long.flac", seconds=10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert samples == 600 * 16000 and peak < 8e6
