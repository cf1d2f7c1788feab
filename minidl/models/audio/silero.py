"""Silero VAD: where in a recording somebody speaks, 32 ms by 32 ms.

Source: Silero Team 2021-2025, "Silero VAD: pre-trained enterprise-grade Voice Activity Detector", versions 5 and 6;
there is no paper: the network is that of its package (MIT), and gives the same numbers. The LSTM: Hochreiter,
Schmidhuber 1997.

    wave (N,S) at 16 kHz -> frames of 512 samples behind 64 of the frame before -> magnitudes of a Fourier transform
    (129,4) -> 4 convolutions -> (128) -> LSTM over the frames -> a linear layer -> logits (N,F,1)
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
class SileroConfig(ModelConfig):
    """Sizes of Silero VAD.

    Args:
        sample_rate: of the wave, in Hz.
        frame, context: samples of a frame, and of what is before it.
        n_fft: samples of a piece that is transformed; half of them is the step.
        channels: of the convolutions; the last is also the LSTM's.
    """

    sample_rate: int = 16000
    frame: int = 512
    context: int = 64
    n_fft: int = 256
    channels: tuple = (128, 64, 64, 128)

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(frame=32, context=4, n_fft=16, channels=(6, 4, 4, 6))


STRIDES = 1, 2, 2, 1


class SileroVAD(Model):
    """The network of the module's docstring."""

    config_class = SileroConfig
    layouts = {"silero": (*((f"lstm_cell.{name}", f"lstm.{name}_l0") for name in (
        "weight_ih", "weight_hh", "bias_ih", "bias_hh")),)}

    def __init__(self, config):
        c = self.config = config
        bins, inputs = c.n_fft // 2 + 1, c.n_fft // 2 + 1
        self.stft_conv = nn.Conv1d(1, 2 * bins, c.n_fft, c.n_fft // 2, bias=False)
        self.stft_conv.weight = nn.Parameter(transform(c.n_fft)[:, None])
        for i, (outputs, stride) in enumerate(zip(c.channels, STRIDES), 1):
            setattr(self, f"conv{i}", nn.Conv1d(inputs, outputs, 3, stride, 1))
            inputs = outputs
        self.lstm = nn.LSTM(inputs, inputs)
        self.final_conv = nn.Conv1d(inputs, 1, 1)

    def encode(self, frames):
        """frames (N, context + frame) -> (N, W)."""
        half = self.config.n_fft // 4
        x = self.stft_conv(ops.expand_dims(ops.pad(frames, ((0, half),), "reflect"), 1))
        x = ops.vector_norm(ops.stack(ops.chunk(x, 2, 1)), 0)
        for i in range(len(STRIDES)):
            x = ops.relu(getattr(self, f"conv{i + 1}")(x))
        return ops.mean(x, -1)

    def start(self, batch):
        """The state of a recording that begins, for `step`."""
        c, device = self.config, next(self.parameters()).device
        zeros = ops.zeros((1, batch, c.channels[-1]), device=device)
        return ops.zeros((batch, c.context), device=device), (zeros, zeros)

    def step(self, wave, state):
        """wave (N, S), the next of a recording, S full frames -> logits (N, F, 1), the state behind them."""
        c, (before, hidden) = self.config, state
        whole = ops.concat([before, wave], 1)
        frames = ops.stack([whole[:, at:at + c.context + c.frame] for at in range(0, wave.shape[1], c.frame)])
        count, batch, _ = frames.shape
        x = self.encode(frames.reshape((count * batch, -1))).reshape((count, batch, -1))
        y, hidden = self.lstm(x, hidden)
        logits = self.final_conv(ops.permute_dims(ops.relu(y), (1, 2, 0))).swapaxes(1, 2)
        return logits, (whole[:, whole.shape[1] - c.context:], hidden)

    def forward(self, wave):
        """wave (N, S) -> logits (N, F, 1), a frame each; what the last one lacks is silence."""
        lacking = -wave.shape[1] % self.config.frame
        wave = ops.pad(wave, ((0, lacking),)) if lacking else wave
        return self.step(wave, self.start(len(wave)))[0]

    def probabilities(self, wave, block=512):
        """How likely somebody speaks in each frame (F) of a recording (S), so many frames at a time.

        Raises:
            ShapeError: the recording has not one axis.
        """
        c, wave = self.config, np.asarray(wave, np.float32)
        if wave.ndim != 1:
            raise ShapeError(message("SileroVAD", "wave", "one axis (S)", wave.shape, "Several channels: take one."))
        wave = np.pad(wave, (0, -len(wave) % c.frame))
        state, found, device = self.start(1), [np.zeros(0, np.float32)], next(self.parameters()).device
        with no_grad():
            for start in range(0, len(wave), block * c.frame):
                logits, state = self.step(Tensor(wave[None, start:start + block * c.frame]).to(device), state)
                found.append(ops.sigmoid(logits).numpy()[0, :, 0])
        return np.concatenate(found)

    def segments(self, wave, threshold=0.5, speech=0.25, silence=0.1):
        """Where somebody speaks: [(start, end)] in seconds.

        Args:
            wave (S): a recording.
            threshold: of the probability; speech ends 0.15 below it, at 0.01 at the least.
            speech, silence: seconds; what is shorter does not count.
        """
        seconds, found, start, quiet = self.config.frame / self.config.sample_rate, [], None, 0
        least = max(threshold - 0.15, 0.01)
        behind = [0.0] * (1 + int(silence / seconds))  # (so that what is said to the end ends)
        for i, p in enumerate([*self.probabilities(wave), *behind]):
            start = i if start is None and p >= threshold else start
            quiet = quiet + 1 if p < least else 0
            if start is not None and quiet and quiet * seconds >= silence:
                end = i + 1 - quiet
                if (end - start) * seconds >= speech:
                    found.append((start * seconds, min(end * seconds, len(wave) / self.config.sample_rate)))
                start = None
        return found


def transform(n):
    """A Fourier transform under a Hann window as filters (2 F, n): cosines, then sines."""
    angle = 2 * np.pi * np.arange(n // 2 + 1)[:, None] * np.arange(n) / n
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    return np.concatenate([np.cos(angle) * window, -np.sin(angle) * window]).astype(np.float32)


@family(SileroVAD, "speech", "Silero Team 2021-2024; Hochreiter, Schmidhuber 1997")()
def silero_vad():
    """For 16 kHz."""
    return SileroConfig()
