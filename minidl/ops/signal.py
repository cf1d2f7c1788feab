"""Spectra of signals: Fourier transforms, their short-time form, mel spectra and cosine transforms.

There are no complex dtypes: a complex number is a last axis of 2, its real and its imaginary part.
"""
import math
from functools import lru_cache

import numpy as np

from .. import backend
from ..backend import demand
from ..dtypes import as_dtype, default_dtype
from ..errors import ArgumentError, ShapeError, message
from ..op import as_tensor, fused, primitive
from ..tensor import Tensor
from .arrange import concat, flip
from .creation import ones
from .elementwise import maximum, square
from .special import log10
from .window import fold_windows, pad, windows

__all__ = ["bartlett_window", "blackman_window", "dct", "hamming_window", "hann_window", "idct", "irfft",
           "istft", "kaiser_window", "log_mel_spectrogram", "mel_filter_bank", "mel_spectrogram", "rfft",
           "stft"]


# -- Fourier transform ----------------------------------------------------------------

def _parts(xp, x, dtype):
    """A complex array as one of its real and imaginary parts."""
    return xp.ascontiguousarray(x).view(dtype).reshape(*x.shape, 2)


def _complex(xp, x):
    """The complex array whose parts are x (*, 2)."""
    return xp.ascontiguousarray(x).view(xp.result_type(x.dtype, xp.complex64))[..., 0]


def _multiplicity(xp, n, dtype):
    """How often each of the first half of n frequencies occurs among all: as itself, and as its negative."""
    frequency = xp.arange(n // 2 + 1)
    return xp.where((frequency == 0) | (2 * frequency == n), 1, 2).astype(dtype)


@primitive("x(*,N):float -> (*,F,2)")
def rfft(xp, x, /):
    """The discrete Fourier transform of real signals.

    Args:
        x (*, N): real numbers.

    Returns:
        (*, F, 2), F = N // 2 + 1: the sum over n of x[n] exp(-2 pi i f n / N), for frequencies f up to N / 2.
        Those from there to N mirror them.

    Raises:
        ArgumentError: no samples.

    Source: Cooley, Tukey 1965, "An Algorithm for the Machine Calculation of Complex Fourier Series".
    """
    return _parts(xp, xp.fft.rfft(x), x.dtype)


@rfft.vjp
def _(g, x_shape):
    return _rfft_transposed(g, x_shape[-1])


@primitive("x(*,F,2) -> (*,N)")
def _rfft_transposed(xp, x, /, n):
    return xp.fft.irfft(_complex(xp, x) / _multiplicity(xp, n, x.dtype), n) * n


@_rfft_transposed.vjp
def _(g):
    return rfft(g)


@primitive("x(*,F,2):float -> (*,N)")
def irfft(xp, x, /, n=None):
    """The real signals that have a discrete Fourier transform: the inverse of `rfft`.

    Args:
        x (*, F, 2): complex numbers. The imaginary part at frequency 0, and at N / 2, has no effect.
        n: the signals' length N, which is 2 F - 2 or 2 F - 1; None: the even one.

    Returns:
        (*, N).

    Raises:
        ArgumentError: n does not go with F.

    Source: as `rfft`.
    """
    n = 2 * x.shape[-2] - 2 if n is None else n
    if n < 1 or n // 2 + 1 != x.shape[-2]:
        raise ArgumentError(message("irfft", "n", f"a length with {x.shape[-2]} frequencies", n))
    return xp.fft.irfft(_complex(xp, x), n)


@irfft.vjp
def _(g, n):
    return _irfft_transposed(g)


@primitive("x(*,N) -> (*,F,2)")
def _irfft_transposed(xp, x, /):
    n = x.shape[-1]
    return _parts(xp, xp.fft.rfft(x) * (_multiplicity(xp, n, x.dtype) / n), x.dtype)


@_irfft_transposed.vjp
def _(g, x_shape):
    return irfft(g, x_shape[-1])


# -- short-time Fourier transform -----------------------------------------------------

def _frame(op, window, n_fft, hop_length, win_length):
    """(step between frames, where the window starts in a frame, its length)."""
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if not 0 < length <= n_fft or hop < 1:
        raise ArgumentError(message(op, "n_fft", "positive lengths, win_length <= n_fft",
                                    f"n_fft={n_fft}, win_length={length}, hop_length={hop}"))
    if window is not None and window.shape != (length,):
        raise ShapeError(message(op, "window", f"({length},) as win_length or n_fft", window.shape))
    return hop, (n_fft - length) // 2, length


def _windowed(frames, window, start, length):
    """Frames times a window that lies somewhere within them, and 0 outside of it."""
    rest = frames.shape[-1] - start - length
    frames = frames[..., start:start + length]
    frames = frames if window is None else frames * window
    return pad(frames, ((start, rest),)) if start or rest else frames


@fused("x(*,T):float window(W):float? -> (*,F,P,2)")
def stft(x, window=None, /, *, n_fft, hop_length=None, win_length=None, center=True, pad_mode="reflect",
         normalized=False, onesided=True):
    """The Fourier transforms of pieces of signals, one after the other.

    Args:
        x (*, T): signals.
        window (W): multiplies each piece, W = win_length; None: ones.
        n_fft: samples in a piece.
        hop_length: samples from one piece to the next; None: n_fft // 4.
        win_length: samples in the window, which is put in the middle of the piece; None: n_fft.
        center: pad signals by n_fft // 2 on either side: the middle of piece p is sample p * hop_length.
        pad_mode: how, as in `pad`.
        normalized: divide by sqrt(n_fft).
        onesided: leave out the negative frequencies, which mirror the others.

    Returns:
        (*, F, P, 2): P pieces of F frequencies, real and imaginary parts. F = n_fft // 2 + 1, or n_fft.

    Raises:
        ArgumentError: lengths that are not positive, or do not fit each other.
        ShapeError: x is shorter than a piece; the window is not W long.

    Source: Allen, Rabiner 1977, "A unified approach to short-time Fourier analysis and synthesis".
    """
    hop, start, length = _frame("stft", window, n_fft, hop_length, win_length)
    if center:
        x = pad(x, ((n_fft // 2, n_fft // 2),), pad_mode)
    if x.shape[-1] < n_fft:
        raise ShapeError(message("stft", "x", f"at least {n_fft} samples, padding included", x.shape[-1]))
    y = rfft(_windowed(windows(x, (n_fft,), hop), window, start, length))
    if normalized:
        y = y * (1 / math.sqrt(n_fft))
    if not onesided:
        mirrored = flip(y[..., 1:(n_fft + 1) // 2, :], -2)
        y = concat([y, concat([mirrored[..., :1], -mirrored[..., 1:]], -1)], -2)
    return y.swapaxes(-3, -2)


@fused("x(*,F,P,2):float window(W):float? -> (*,T)")
def istft(x, window=None, /, *, n_fft, hop_length=None, win_length=None, center=True, normalized=False,
          onesided=True, length=None):
    """The signals whose short-time Fourier transforms come nearest to x, in the sense of least squares.

    Args:
        x (*, F, P, 2): as `stft` gives.
        window (W), n_fft, hop_length, win_length, center, normalized, onesided: as `stft` had them.
        length: T; None: all that the pieces cover, less the padding.

    Returns:
        (*, T): zeros behind what the pieces cover.

    Raises:
        ArgumentError: lengths that do not fit; windows that leave samples uncovered.
        ShapeError: F is not what n_fft gives; the window is not W long.

    Source: Griffin, Lim 1984, "Signal estimation from modified short-time Fourier transform", eq. 6.
    """
    hop, start, width = _frame("istft", window, n_fft, hop_length, win_length)
    frequencies = n_fft // 2 + 1 if onesided else n_fft
    if x.shape[-3] != frequencies:
        raise ShapeError(message("istft", "x", f"{frequencies} frequencies", x.shape))
    y = irfft(x[..., :n_fft // 2 + 1, :, :].swapaxes(-3, -2), n_fft)
    if normalized:
        y = y * math.sqrt(n_fft)
    pieces = y.shape[-2]
    size, first = (n_fft + hop * (pieces - 1),), n_fft // 2 if center else 0
    weights = _windowed(ones((n_fft,), y.dtype, y.device), window, start, width)
    signal = fold_windows(_windowed(y, window, start, width), size, hop)
    weight = fold_windows(square(weights).broadcast_to((pieces, n_fft)), size, hop)
    last = size[0] - first if length is None else min(first + length, size[0])
    signal = signal[..., first:last] / _covered(weight[first:last])
    return signal if length is None else pad(signal, ((0, length - (last - first)),))


@primitive("weight(T) -> (T)", exact=True)
def _covered(xp, weight, /):
    """The weight itself, once it is known that no sample has none."""
    demand((weight > 1e-11).all(), ArgumentError(message(
        "istft", "window", "windows that cover every sample", "gaps", "Use a shorter hop_length.")))
    return weight


@_covered.vjp
def _(g):
    return g


# -- windows --------------------------------------------------------------------------

def _window(op, window_length, periodic, values, dtype, device):
    """The tensor of `values` of places in [0, 1] along a window."""
    if window_length < 0:
        raise ArgumentError(message(op, "window_length", "a number of samples", window_length))
    place = np.arange(window_length) / max(window_length - (0 if periodic else 1), 1)
    found = values(place) if window_length != 1 else np.ones(1)
    return _constant(found, dtype, device)


def _constant(array, dtype, device):
    dtype = default_dtype() if dtype is None else as_dtype(dtype)
    return Tensor(backend.to_device(array.astype(dtype), device))


def hann_window(window_length, periodic=True, dtype=None, device="cpu"):
    """The window (1 - cos(2 pi place)) / 2.

    Args:
        window_length: how many samples.
        periodic: place 1 is the sample after the last, as spectra want it; else the last one, as filters do.
        dtype: of the result; None: the default dtype.
        device: where it is put.

    Returns:
        (window_length): in [0, 1].

    Raises:
        ArgumentError: a negative length.

    Source: Harris 1978, "On the Use of Windows for Harmonic Analysis with the Discrete Fourier Transform".
    """
    return _window("hann_window", window_length, periodic, lambda t: 0.5 - 0.5 * np.cos(2 * np.pi * t), dtype,
                   device)


def hamming_window(window_length, periodic=True, alpha=0.54, beta=0.46, dtype=None, device="cpu"):
    """The window alpha - beta cos(2 pi place); else as `hann_window`."""
    return _window("hamming_window", window_length, periodic, lambda t: alpha - beta * np.cos(2 * np.pi * t),
                   dtype, device)


def blackman_window(window_length, periodic=True, dtype=None, device="cpu"):
    """The window 0.42 - cos(2 pi place) / 2 + 0.08 cos(4 pi place); else as `hann_window`."""
    return _window("blackman_window", window_length, periodic,
                   lambda t: 0.42 - 0.5 * np.cos(2 * np.pi * t) + 0.08 * np.cos(4 * np.pi * t), dtype, device)


def bartlett_window(window_length, periodic=True, dtype=None, device="cpu"):
    """The triangular window 1 - |2 place - 1|; else as `hann_window`."""
    return _window("bartlett_window", window_length, periodic, lambda t: 1 - np.abs(2 * t - 1), dtype, device)


def kaiser_window(window_length, periodic=True, beta=12.0, dtype=None, device="cpu"):
    """The window I(beta sqrt(1 - (2 place - 1)^2)) / I(beta), I Bessel's; else as `hann_window`."""
    return _window("kaiser_window", window_length, periodic,
                   lambda t: np.i0(beta * np.sqrt(1 - (2 * t - 1) ** 2)) / np.i0(beta), dtype, device)


# -- mel spectra ----------------------------------------------------------------------

LINEAR = 200 / 3, 1000.0, math.log(6.4) / 27         # Slaney: Hz per mel, up to where; log(Hz) per mel beyond


def _mel_of(hertz, scale):
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    step, knee, rate = LINEAR
    return np.where(hertz < knee, hertz / step, knee / step + np.log(np.maximum(hertz, knee) / knee) / rate)


def _hertz_of(mel, scale):
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    step, knee, rate = LINEAR
    return np.where(mel < knee / step, mel * step, knee * np.exp((mel - knee / step) * rate))


def mel_filter_bank(sample_rate, n_fft, n_mels, f_min=0.0, f_max=None, norm="slaney", mel_scale="slaney",
                    dtype=None, device="cpu"):
    """Triangular filters, evenly spaced on the mel scale, as a matrix that takes spectra to mel spectra.

    Args:
        sample_rate: samples a second.
        n_fft: samples that the spectra are of.
        n_mels: how many filters.
        f_min, f_max: where the first starts and the last stops, in Hz; None: half the sample rate.
        norm: "slaney": filters have area 1 over Hz; None: height 1.
        mel_scale: "slaney": linear up to 1000 Hz, then logarithmic; "htk": 2595 log10(1 + f / 700).
        dtype: of the result; None: the default dtype.
        device: where it is put.

    Returns:
        (n_mels, n_fft // 2 + 1).

    Raises:
        ArgumentError: another norm or scale; frequencies out of order.

    Source: Slaney 1998, "Auditory Toolbox", version 2; Young et al. 2006, "The HTK Book", section 5.4.
    """
    f_max = sample_rate / 2 if f_max is None else f_max
    for name, fits, expected, got in (
            ("norm", norm in ("slaney", None), '"slaney" or None', repr(norm)),
            ("mel_scale", mel_scale in ("slaney", "htk"), '"slaney" or "htk"', repr(mel_scale)),
            ("f_max", 0 <= f_min < f_max, f"a frequency above f_min={f_min}, which is at least 0", f_max)):
        if not fits:
            raise ArgumentError(message("mel_filter_bank", name, expected, got))
    low, high = _mel_of(np.array([f_min, f_max], float), mel_scale)
    corners = _hertz_of(np.linspace(low, high, n_mels + 2), mel_scale)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequency = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    filters = np.minimum((frequency - left) / (middle - left), (right - frequency) / (right - middle))
    height = 2 / (right - left) if norm == "slaney" else 1
    return _constant(np.maximum(filters, 0) * height, dtype, device)


_filters, _hann = lru_cache(16)(mel_filter_bank), lru_cache(16)(hann_window)


def mel_spectrogram(x, sample_rate=16000, n_fft=400, hop_length=160, n_mels=80, f_min=0.0, f_max=None,
                    norm="slaney", mel_scale="slaney", power=2.0):
    """How strong each band of the mel scale is over time.

    Args:
        x (*, T): signals.
        n_fft, hop_length: samples in a piece, under a Hann window, and from one piece to the next.
        sample_rate, n_mels, f_min, f_max, norm, mel_scale: as in `mel_filter_bank`.
        power: of the magnitudes that are added up: 2 gives energies, 1 amplitudes.

    Returns:
        (*, n_mels, P), P = T // hop_length + 1.

    Raises:
        ShapeError, ArgumentError: as `stft` and `mel_filter_bank`.
    """
    x = as_tensor(x)
    y = stft(x, _hann(n_fft, True, x.dtype, x.device), n_fft=n_fft, hop_length=hop_length)
    energy = square(y).sum(-1)
    filters = _filters(sample_rate, n_fft, n_mels, f_min, f_max, norm, mel_scale, x.dtype, x.device)
    return filters @ (energy if power == 2 else energy ** (power / 2))


def log_mel_spectrogram(x, n_mels=80, sample_rate=16000, n_fft=400, hop_length=160):
    """What Whisper hears: logarithms of mel energies, the upper 80 dB of them, scaled to about [-1, 1].

    Args:
        x (*, T): signals in [-1, 1]; Whisper wants 16000 samples a second, and 30 seconds of them.
        n_mels, sample_rate, n_fft, hop_length: as in `mel_spectrogram`.

    Returns:
        (*, n_mels, T // hop_length): the last piece, which starts at the end, is left out.

    Raises:
        ShapeError, ArgumentError: as `mel_spectrogram`.

    Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision",
    arXiv:2212.04356, section 2.2.
    """
    energy = mel_spectrogram(x, sample_rate, n_fft, hop_length, n_mels)[..., :-1]
    decades = log10(maximum(energy, 1e-10))
    return (maximum(decades, decades.max((-2, -1), True) - 8.0) + 4.0) * 0.25


# -- cosine transform -----------------------------------------------------------------

def _cosines(xp, n, dtype):
    """(N, N): rows are cosines of rising frequency, orthonormal."""
    n, place, frequency = max(n, 1), 2 * xp.arange(n) + 1, xp.arange(n)[:, None]
    cosines = xp.cos(place * frequency % (4 * n) * (math.pi / (2 * n)))
    return (cosines * xp.where(frequency == 0, math.sqrt(1 / n), math.sqrt(2 / n))).astype(dtype)


@primitive("x(*,N):float -> (*,N)")
def dct(xp, x, /):
    """The discrete cosine transform, orthonormal (type II): of log-mel spectra along the mels it gives MFCCs.

    Args:
        x (*, N): numbers.

    Returns:
        (*, N): the sum over n of x[n] cos(pi (n + 1/2) k / N), times sqrt(2 / N), or sqrt(1 / N) for k = 0.

    Source: Ahmed, Natarajan, Rao 1974, "Discrete Cosine Transform".
    """
    return x @ _cosines(xp, x.shape[-1], x.dtype).T


@dct.vjp
def _(g):
    return idct(g)


@primitive("x(*,N):float -> (*,N)")
def idct(xp, x, /):
    """The inverse of `dct`, which is its transpose (type III).

    Args:
        x (*, N): numbers.

    Returns:
        (*, N).

    Source: as `dct`.
    """
    return x @ _cosines(xp, x.shape[-1], x.dtype)


@idct.vjp
def _(g):
    return dct(g)


# -- samples --------------------------------------------------------------------------

@rfft.samples
@dct.samples
@idct.samples
def _(make):
    yield make.normal(2, 6),
    yield make.normal(2, 3, 5),
    yield make.normal(1),


@irfft.samples
def _(make):
    yield make.normal(2, 4, 2),
    yield make.normal(4, 2), 7
    yield make.normal(2, 1, 2), 1


@stft.samples
def _(make):
    yield make.normal(2, 12), make.positive(4), {"n_fft": 4}
    yield make.normal(13), make.positive(3), {"n_fft": 5, "hop_length": 2, "win_length": 3,
                                              "pad_mode": "constant", "normalized": True, "onesided": False}
    yield make.normal(2, 1, 9), None, {"n_fft": 4, "hop_length": 3, "center": False, "onesided": False}


@istft.samples
def _(make):
    yield make.normal(2, 3, 4, 2), make.positive(4), {"n_fft": 4}
    yield make.normal(5, 4, 2), make.positive(3), {"n_fft": 5, "hop_length": 2, "win_length": 3,
                                                   "normalized": True, "onesided": False, "length": 7}
    yield make.normal(2, 1, 3, 3, 2), None, {"n_fft": 4, "hop_length": 3, "center": False, "length": 12}
