"""What Whisper hears of a wave that comes in blocks: its log-mel spectrogram, with little of the wave in memory."""
from itertools import chain

import numpy as np

from ... import ops
from ...tape import no_grad
from ...tensor import Tensor

RATE, PIECE, HOP = 16000, 400, 160                     # samples a second, in a piece, from one to the next
FLOOR, RANGE = 1e-10, 8.0                              # the least energy; decades below the strongest that count


def log_mel(blocks, n_mels):
    """The log-mel spectrogram of a whole wave, silence behind it.

    Args:
        blocks: of the wave (T), float32, in [-1, 1], 16,000 samples a second: arrays of any lengths.
        n_mels: bands.

    Returns:
        (n_mels, T // 160), float32: what `ops.log_mel_spectrogram` gives.

    Source: Radford et al. 2022, arXiv:2212.04356, section 2.2.
    """
    window, filters = ops.hann_window(PIECE), ops.mel_filter_bank(RATE, PIECE, n_mels)
    pieces, held, samples, started = [], np.empty(0, np.float32), 0, False
    with no_grad():
        for block in chain(blocks, [None]):
            samples += 0 if block is None else len(block)
            held = np.concatenate([held, np.zeros(2 * PIECE, np.float32) if block is None else block])
            if not started and len(held) > PIECE:
                held, started = np.concatenate([held[PIECE // 2:0:-1], held]), True
            count = (len(held) - PIECE) // HOP + 1 if started else 0
            if count > 0:
                spectra = ops.stft(Tensor(held[:(count - 1) * HOP + PIECE]), window, n_fft=PIECE, hop_length=HOP,
                                   center=False)
                pieces.append(ops.log10(ops.maximum(filters @ ops.square(spectra).sum(-1), FLOOR)).numpy())
                held = held[count * HOP:]
    decades = np.concatenate(pieces, 1)
    decades = np.maximum(decades, decades.max() - np.float32(RANGE), out=decades)[:, :samples // HOP]
    return (decades + np.float32(4)) * np.float32(0.25)
