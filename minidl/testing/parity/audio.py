"""Front ends of speech models: log-mel spectrograms as Whisper's, waves as wav2vec 2.0's."""
import re

from ... import Tensor, ops
from . import Run, runs

SECONDS = 30                       # what Whisper's extractor fills up with silence


@runs("audio_frontend")
def audio(case):
    """whisper.log_mel_spectrogram and the feature extractors of transformers."""
    rate, n_fft, hop = (case.config[k] for k in ("sr", "n_fft", "hop"))
    wave, found = Tensor(case.inputs["audio"]), {}
    for name, info in case.meta["outputs"].items():
        mels = re.search(r"mel(\d+)", name)
        if name.startswith("whisper_logmel"):
            found[name] = ops.log_mel_spectrogram(wave, int(mels[1]), rate, n_fft, hop)
        elif name.startswith("mel"):
            found[name] = ops.mel_filter_bank(rate, n_fft, int(mels[1]))
        elif name.startswith("hf_whisper"):
            mels, frames = info["shape"][1:]
            filled = ops.pad(wave, ((0, SECONDS * rate - wave.shape[0]),))
            found[name] = ops.expand_dims(ops.log_mel_spectrogram(filled, mels, rate, n_fft, hop)[:, :frames], 0)
        elif name.startswith("wav2vec2"):
            found[name] = ops.expand_dims((wave - wave.mean()) / (wave.var() + 1e-7).sqrt(), 0)
    return Run(found)
