"""Spectra against sums written out, and there and back."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import ops
from minidl.errors import ArgumentError, DTypeError, ShapeError

rng = np.random.default_rng(0)


def complex_(x):
    return x.numpy()[..., 0] + 1j * x.numpy()[..., 1]


def dft(x):
    n = x.shape[-1]
    return x @ np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_fourier_transform_and_back(n):
    x = rng.standard_normal((2, 3, n))
    y = ops.rfft(x)
    np.testing.assert_allclose(complex_(y), dft(x)[..., :n // 2 + 1], atol=1e-12)
    np.testing.assert_allclose(ops.irfft(y, n).numpy(), x, atol=1e-12)
    assert ops.rfft(x.astype("float32")).dtype == "float32"


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_short_time_transform_is_that_of_each_piece(n_fft, hop, less, center, normalized, onesided):
    win = max(n_fft - less, 1)
    x, window = rng.standard_normal((2, 23)), rng.random(win) + 0.1
    got = complex_(ops.stft(x, window, n_fft=n_fft, hop_length=hop, win_length=win, center=center,
                            pad_mode="constant", normalized=normalized, onesided=onesided))
    padded = np.pad(x, ((0, 0), (n_fft // 2,) * 2)) if center else x
    whole, start = np.zeros(n_fft), (n_fft - win) // 2
    whole[start:start + win] = window
    pieces = [dft(padded[:, i:i + n_fft] * whole) for i in range(0, padded.shape[1] - n_fft + 1, hop)]
    want = np.stack(pieces, -1) / (math.sqrt(n_fft) if normalized else 1)
    want = want[:, :n_fft // 2 + 1] if onesided else want
    np.testing.assert_allclose(got, want, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(14, 40))
def test_short_time_transform_and_back(n_fft, hop, normalized, onesided, length):
    x, window = rng.standard_normal((2, length)), rng.random(n_fft) + 0.1
    how = {"n_fft": n_fft, "hop_length": hop, "normalized": normalized, "onesided": onesided}
    y = ops.stft(x, window, **how)
    back = ops.istft(y, window, length=length - hop, **how).numpy()
    np.testing.assert_allclose(back, x[:, :length - hop], atol=1e-10)
    back = ops.istft(y, window, length=length + 50, **how).numpy()
    assert back.shape == (2, length + 50) and (back[:, -20:] == 0).all()


def test_changed_spectra_give_the_nearest_signal():
    """Griffin and Lim: no small change of the signal brings its spectrum nearer."""
    window, how = rng.random(8) + 0.1, {"n_fft": 8, "hop_length": 2, "center": False}
    y = rng.standard_normal((5, 6, 2))
    twice = np.array([1, 2, 2, 2, 1])[:, None, None]                     # those that stand for their mirrors
    far = lambda x: (twice * (ops.stft(x, window, **how).numpy() - y) ** 2).sum()        # noqa: E731
    x = ops.istft(y, window, **how).numpy()
    best = far(x)
    assert all(far(x + 1e-3 * rng.standard_normal(x.shape)) > best for _ in range(5))


def bessel(x):
    return sum((x / 2) ** (2 * k) / math.factorial(k) ** 2 for k in range(60))


@pytest.mark.parametrize("name, formula", [
    ("hann", lambda t: 0.5 - 0.5 * math.cos(2 * math.pi * t)),
    ("hamming", lambda t: 0.54 - 0.46 * math.cos(2 * math.pi * t)),
    ("blackman", lambda t: 0.42 - 0.5 * math.cos(2 * math.pi * t) + 0.08 * math.cos(4 * math.pi * t)),
    ("bartlett", lambda t: 1 - abs(2 * t - 1)),
    ("kaiser", lambda t: bessel(12 * math.sqrt(1 - (2 * t - 1) ** 2)) / bessel(12))])
def test_windows(name, formula):
    window = getattr(ops, f"{name}_window")
    for n in (0, 2, 7):
        for periodic, length in ((True, n), (False, n - 1)):
            want = [formula(i / length) for i in range(n)]
            np.testing.assert_allclose(window(n, periodic, dtype="float64").numpy(), want, atol=1e-12)
    assert window(1).tolist() == [1] and window(3).dtype == "float32"
    with pytest.raises(ArgumentError, match=rf"\[{name}_window\] window_length"):
        window(-1)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("norm", ["slaney", None])
def test_mel_filters_are_triangles(scale, norm):
    def hertz(mel):
        if scale == "htk":
            return 700 * (10 ** (mel / 2595) - 1)
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    top = 2595 * math.log10(1 + 8000 / 700) if scale == "htk" else 15 + 27 * math.log(8) / math.log(6.4)
    edges = [hertz(top * i / 11) for i in range(12)]
    got = ops.mel_filter_bank(16000, 64, 10, norm=norm, mel_scale=scale, dtype="float64").numpy()
    want = [[max(0, min((f - a) / (b - a), (c - f) / (c - b))) * (2 / (c - a) if norm else 1)
             for f in np.arange(33) * 250] for a, b, c in zip(edges, edges[1:], edges[2:])]
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_mel_spectra_of_a_tone():
    """1000 Hz is mel 15 of Slaney's, so the band around it leads; ten times the amplitude is 20 dB."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    mel = ops.mel_spectrogram(tone, n_mels=40).numpy()
    assert mel.shape == (40, 101)
    assert set(mel[:, 5:-5].argmax(0)) == {ops.mel_filter_bank(16000, 400, 40).numpy()[:, 25].argmax()}
    soft, loud = (ops.mel_spectrogram(a * tone, n_mels=40, power=1.0).numpy()[:, 50] for a in (1, 10))
    np.testing.assert_allclose(loud, 10 * soft, atol=1e-9)
    loud, quiet = ops.log_mel_spectrogram(np.stack([tone * 0.1, tone * 0.01])).numpy()
    assert loud.shape == (80, 100) and loud.max() - loud.min() <= 2.0
    assert loud.max() - quiet.max() == pytest.approx(0.5)                # two decades of energy, over 4
    np.testing.assert_allclose(quiet, ops.log_mel_spectrogram(tone * 0.01).numpy())


@pytest.mark.parametrize("n", [1, 2, 7])
def test_cosine_transform_is_orthonormal(n):
    x = rng.standard_normal((3, n))
    basis = [[math.sqrt((2 if k else 1) / n) * math.cos(math.pi * (i + 0.5) * k / n) for k in range(n)]
             for i in range(n)]
    np.testing.assert_allclose(ops.dct(x).numpy(), x @ np.array(basis), atol=1e-12)
    np.testing.assert_allclose(ops.idct(ops.dct(x)).numpy(), x, atol=1e-12)


def test_refusals_say_what_is_wrong():
    x, hann = rng.standard_normal(50), ops.hann_window(8, dtype="float64")
    for error, match, call in (
            (ShapeError, r"stft\] window: expected \(8,\)", lambda: ops.stft(x, np.ones(5), n_fft=8)),
            (ShapeError, r"stft\] window: expected an array .*got 400", lambda: ops.stft(x, 400, n_fft=8)),
            (ShapeError, r"stft\] x: .*at least 60 .*got 50", lambda: ops.stft(x, n_fft=60, center=False)),
            (ArgumentError, r"stft\] n_fft: .*win_length=9", lambda: ops.stft(x, n_fft=8, win_length=9)),
            (ArgumentError, r"stft\] n_fft: .*hop_length=0", lambda: ops.stft(x, n_fft=8, hop_length=0)),
            (ShapeError, r"istft\] x: .* 5 frequencies", lambda: ops.istft(np.ones((4, 4, 2)), n_fft=8)),
            (ArgumentError, r"istft\] window: .*every sample, got gaps",
             lambda: ops.istft(np.ones((5, 4, 2)), hann, n_fft=8, center=False)),
            (ArgumentError, r"irfft\] n: .*5 frequencies, got 7", lambda: ops.irfft(np.ones((5, 2)), 7)),
            (DTypeError, r"rfft\] x.*astype", lambda: ops.rfft(np.ones(4, int))),
            (ArgumentError, r"bank\] mel_scale", lambda: ops.mel_filter_bank(16000, 400, 80, mel_scale="x")),
            (ArgumentError, r"bank\] f_max", lambda: ops.mel_filter_bank(16000, 400, 80, 9000.0))):
        with pytest.raises(error, match=match):
            call()
