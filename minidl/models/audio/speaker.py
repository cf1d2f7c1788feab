"""Speaker encoder: who speaks, as a direction in space.

Source: Wan, Wang, Papir, Lopez Moreno 2017, "Generalized End-to-End Loss for Speaker Verification", arXiv:1710.10467;
sizes, spectra and names: Resemblyzer (Jemine 2019).
Differs from the paper: embeddings have no negative numbers (Resemblyzer's do not).

    wave (N,S) at 16 kHz -> mel energies (N,T,40) -> LSTM layers -> the last state -> embedding (N,E) of length 1
"""
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...errors import ShapeError, message
from ...tape import no_grad
from ...tensor import Tensor
from ..config import ModelConfig
from ..model import Model
from ..registry import family


@dataclass(frozen=True)
class SpeakerConfig(ModelConfig):
    """Sizes of a speaker encoder.

    Args:
        n_mels, hidden, layers, embedding: bands of the spectrum, states, layers, numbers of the embedding.
        sample_rate, n_fft, hop_length: of the spectrum, in Hz and samples.
        frames: pieces of the spectrum in a part of an utterance.
        rate: parts per second.
        coverage: how much of the last part has to be there, so that it counts.
        loudness: to which quieter utterances are raised, in dB of full scale.
    """

    n_mels: int = 40
    hidden: int = 256
    layers: int = 3
    embedding: int = 256
    sample_rate: int = 16000
    n_fft: int = 400
    hop_length: int = 160
    frames: int = 160
    rate: float = 1.3
    coverage: float = 0.75
    loudness: float = -30.0

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(5, 12, 2, 4, frames=9)


class SpeakerEncoder(Model):
    """The network of the module's docstring."""

    config_class = SpeakerConfig
    layouts = {"resemblyzer": (("similarity_weight", None), ("similarity_bias", None))}     # (of its loss)

    def __init__(self, config):
        c = self.config = config
        self.lstm = nn.LSTM(c.n_mels, c.hidden, c.layers, batch_first=True)
        self.linear = nn.Linear(c.hidden, c.embedding)

    def forward(self, mel, lengths=None):
        """mel (N, T, n_mels): energies, not their logarithms, of `lengths` (N) steps -> (N, E) of length 1."""
        _, (last, _) = self.lstm(mel, None, lengths)
        return normalized(ops.relu(self.linear(last[-1])))

    def spectrum(self, wave):
        """wave (*, S) -> mel energies (*, T, n_mels)."""
        c = self.config
        return ops.mel_spectrogram(wave, c.sample_rate, c.n_fft, c.hop_length, c.n_mels).swapaxes(-1, -2)

    def embed(self, wave, block=64):
        """The embedding (E) of an utterance (S), any length: the mean over its parts, so many of them at a time.

        Raises:
            ShapeError: it has not one axis, or no sample.
        """
        c, wave = self.config, np.asarray(wave, np.float32)
        if wave.ndim != 1 or not len(wave):
            raise ShapeError(message("embed", "wave", "one axis, of at least one sample", wave.shape))
        starts, training = self._starts(len(wave)), self.training
        wave = np.pad(louder(wave, c.loudness), (0, max(0, (starts[-1] + c.frames) * c.hop_length - len(wave))))
        total = np.zeros(c.embedding, np.float64)
        self.eval()
        with no_grad():
            for i in range(0, len(starts), block):
                first, some = starts[i], starts[i:i + block]
                mel = self._frames(wave, first, some[-1] + c.frames)
                found = self(ops.stack([mel[start - first:start - first + c.frames] for start in some]))
                total += found.numpy().sum(0)
        self.train(training)
        return normalized(Tensor((total / len(starts)).astype(np.float32))).numpy()

    def _starts(self, length):
        """The first frames of the parts of a wave."""
        c = self.config
        count, hop = -(-(length + 1) // c.hop_length), round(c.sample_rate / c.rate / c.hop_length)
        starts = list(range(0, max(1, count - c.frames + hop + 1), hop))
        if len(starts) > 1 and length / c.hop_length - starts[-1] < c.coverage * c.frames:
            starts.pop()
        return starts

    def _frames(self, wave, start, stop):
        """Those frames of a wave's spectrum: of no more samples than they see."""
        c = self.config
        reach = -(-c.n_fft // (2 * c.hop_length))
        before = min(start, reach)
        piece = wave[(start - before) * c.hop_length:(stop + reach) * c.hop_length]
        return self.spectrum(Tensor(piece).to(self.linear.weight.device))[before:before + stop - start]


def normalized(x):
    """Rows (*, E) of length 1; of zeros, zeros."""
    return x / ops.maximum(ops.vector_norm(x, -1, keepdims=True), 1e-12)


def louder(wave, loudness):
    """A wave whose loudness is at least so many dB of full scale; silence stays."""
    level = 20 * np.log10(max(np.sqrt(np.mean(wave * wave, dtype=np.float64)), 1e-12))
    return wave * np.float32(10 ** (max(loudness - level, 0) / 20)) if level > -120 else wave


@family(SpeakerEncoder, "speech", "Wan et al. 2017, arXiv:1710.10467")()
def resemblyzer():
    """Resemblyzer's: three LSTM layers of 256."""
    return SpeakerConfig()
