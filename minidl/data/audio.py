"""Sound from files, as waves of one channel at the rate that a model wants, a block at a time.

    file (any rate, any channels) -> blocks -> mean of the channels -> Resampler -> blocks (T), float32, [-1, 1]
"""
import math
from contextlib import contextmanager
from functools import lru_cache
from os import fsdecode

import numpy as np

from ..errors import ArgumentError, DeviceError, MinidlError, ShapeError, message, number

CROSSINGS, PASSED, BETA = 32, 0.94, 10.0               # of the sinc a side; of the lower rate's band; of the window
LEAST_RATE, MOST_RATE = 100, 1_000_000
MOST_TAPS = 1 << 24                                    # of all filters: rates without a common factor want many
BLOCK = 30                                             # seconds


def _width(up, down):
    """Of a crossing, in samples that come in."""
    return max(1.0, down / up)


def _half(up, down):
    """Samples that come in on each side of one that goes out."""
    return math.ceil(CROSSINGS * _width(up, down))


@lru_cache(8)
def phases(up, down):
    """The filters of a change of rate by up / down: (up, taps), float32, one for each place between samples.

    A sinc that passes 94 % of the lower rate's band, under a Kaiser window of 32 crossings on each side.

    Source: Smith, Gossett 1984, "A flexible sampling-rate conversion method", ICASSP.
    """
    width, half = _width(up, down), _half(up, down)
    at = np.arange(-half + 1, half + 1) - np.arange(up)[:, None] / up
    inside = np.sqrt(np.maximum(0, 1 - (at / (CROSSINGS * width)) ** 2))
    window = np.i0(BETA * inside) / np.i0(BETA) * (inside > 0)
    return (PASSED / width * np.sinc(PASSED * at / width) * window).astype(np.float32)


class Resampler:
    """Changes the rate of a wave that comes in blocks; the whole is the same bits however it is cut.

    Args:
        old, new: samples a second.

    Raises:
        ArgumentError: a rate out of range, or rates whose ratio takes too many filters.
    """

    def __init__(self, old, new):
        for name, rate in (("old", old), ("new", new)):
            number("Resampler", name, rate, LEAST_RATE, MOST_RATE, whole=True)
        common = math.gcd(old, new)
        self.up, self.down = new // common, old // common
        self.half = _half(self.up, self.down)
        if 2 * self.half * self.up > MOST_TAPS:
            raise ArgumentError(message("Resampler", "old, new", "rates with a larger common factor", f"{old}, {new}",
                                        "Resample to a usual rate between them first."))
        self.filters = phases(self.up, self.down)
        self._held = np.zeros(self.half - 1, np.float32)               # samples from `self._first` on
        self._first, self._taken, self._made = 1 - self.half, 0, 0

    def __call__(self, block, last=False):
        """What can be told of the wave with the next block (T), float32; with the last one, the rest."""
        self._taken += len(block)
        end = [np.zeros(self.half, np.float32)] if last else []
        self._held = np.concatenate([self._held, block, *end])
        ready = -(-self._taken * self.up // self.down) if last else max(
            self._made, ((self._first + len(self._held) - self.half) * self.up - 1) // self.down + 1)
        made = np.empty(ready - self._made, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._held, 2 * self.half) if len(made) else None
        for i in range(min(self.up, len(made))):
            place, phase = divmod((self._made + i) * self.down, self.up)
            mine = made[i::self.up]
            rows = windows[place - self.half + 1 - self._first::self.down][:len(mine)]
            mine[:] = np.einsum("pk,k->p", rows, self.filters[phase])
        self._made = ready
        unused = max(0, self._made * self.down // self.up - self.half + 1 - self._first)
        self._held, self._first = self._held[unused:], self._first + unused
        return made


def resample(wave, old, new):
    """A wave (T) at another rate: (ceil(T * new / old)), float32; at the same rate, the same wave.

    Raises:
        ShapeError: it has not one axis.
        ArgumentError: a rate out of range.
    """
    wave, change = np.asarray(wave, np.float32), Resampler(old, new)
    if wave.ndim != 1:
        raise ShapeError(message("resample", "wave", "one axis (T)", wave.shape, "Several channels: one at a time."))
    return wave if old == new else change(wave, last=True)


@contextmanager
def _opened(path):
    """The file, open, by `soundfile`; what goes wrong in it is an error of ours that names the file."""
    try:
        import soundfile
    except (ImportError, OSError) as error:            # (OSError: its library of C is not there)
        raise DeviceError(message("read_audio", "soundfile", "the `audio` extra", "no such package",
                                  "pip install 'minidl[audio]'")) from error
    try:
        with soundfile.SoundFile(fsdecode(path)) as file:
            file.seekable = lambda: False              # (it would seek after each read, and mp3 does not survive that)
            yield file
    except MinidlError:
        raise
    except (soundfile.SoundFileError, OSError, RuntimeError, ValueError, TypeError) as error:
        expected = "a file of sound (wav, flac, ogg, mp3, ...)"
        raise ArgumentError(message("read_audio", "path", expected, f"{path}: {error}")) from error


def stream_audio(path, sample_rate=16000, seconds=BLOCK):
    """The blocks of a file of sound: (T), float32, of one channel, the mean of all that there are.

    Args:
        path: of a file that libsndfile reads: wav, flac, ogg, mp3 and others.
        sample_rate: samples a second, whatever the file has.
        seconds: what is read at once.

    Raises:
        ArgumentError: it is no such file, is damaged, or holds numbers that are not finite.
        DeviceError: `soundfile` is not installed.
    """
    with _opened(path) as file:
        change = None if file.samplerate == sample_rate else Resampler(file.samplerate, sample_rate)
        while True:
            block = file.read(int(seconds * file.samplerate), "float32", always_2d=True)
            if not np.isfinite(block).all():
                raise ArgumentError(message("read_audio", "path", "finite numbers", f"NaN or infinity in {path}"))
            wave = block.mean(1)
            wave = wave if change is None else change(wave, last=not len(block))
            if len(wave):
                yield wave
            if not len(block):
                return


def read_audio(path, sample_rate=16000):
    """All of a file of sound: (T), float32. As of `stream_audio`."""
    return np.concatenate([np.empty(0, np.float32), *stream_audio(path, sample_rate)])
