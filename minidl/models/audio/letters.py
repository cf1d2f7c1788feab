"""Transcription of sound of any length by a model with CTC, as wav2vec 2.0: pieces that overlap, words with times.

    blocks of a wave -> pieces of 20 s, of which the middle counts -> scores of letters (T, V) -> letters -> words
"""
import numpy as np

from ... import ops
from ...data.audio import stream_audio
from ...errors import number
from ...tape import no_grad
from ...tensor import Tensor
from .alignment import Word
from .ctc import beam_search, greedy, spans
from .spectrogram import RATE
from .transcription import Segment, Transcript, checked_wave

PIECE, BESIDE = 1000, 100                              # steps: of a piece, and of what is only heard on each side of it
PAUSE = 0.6                                            # seconds between words that begin a new segment
LEAST = -8.0                                           # beams: letters less likely than this do not come


class LetterTranscriber:
    """A Wav2Vec2ForCTC, for sound of any length.

    Args:
        model: it.
        tokens: its Letters.
        beam_size: texts that are followed at once; 1: the likeliest letters.
        word_timestamps: when each word was said.
        normalize: to mean 0 and variance 1, as most were trained.

    Raises:
        ArgumentError: a value out of range.
    """

    options = "beam_size", "word_timestamps", "normalize"

    def __init__(self, model, tokens, beam_size=1, word_timestamps=False, normalize=True):
        self.model, self.letters, self.normalize = model.eval(), tokens, normalize
        self.beam_size = number("transcribe", "beam_size", beam_size, 1, whole=True)
        self.word_timestamps, self.step = word_timestamps, int(np.prod(model.config.conv_stride))
        self.device = next(model.parameters()).device

    def __call__(self, sound, progress=None):
        """The Transcript of a sound; as of `stream`."""
        return self.stream(sound, progress).rest()

    def stream(self, sound, progress=None):
        """A Spelling, which iterates over Segments; arguments as of Transcriber.stream."""
        blocks = [checked_wave(sound)] if hasattr(sound, "shape") else stream_audio(sound, RATE)
        wave = np.concatenate([np.empty(0, np.float32), *blocks])
        return Spelling(self, wave, progress)

    def scores(self, wave, progress=None):
        """Log probabilities (T, V) of letters in a wave."""
        steps, found = max(0, int(self.model.encoder.lengths(len(wave)))), []
        for start in range(0, steps, PIECE):
            before = min(start, BESIDE)
            piece = wave[(start - before) * self.step:(start + PIECE + BESIDE + 1) * self.step]
            if self.normalize:
                piece = (piece - piece.mean()) / np.sqrt(piece.var() + 1e-7)
            with no_grad():
                logits = self.model(Tensor(piece[None]).to(self.device)).logits
                found.append(ops.log_softmax(logits[0, before:before + PIECE], -1).numpy())
            if progress is not None:
                progress(min(start + PIECE, steps) * self.step / RATE, steps * self.step / RATE)
        return np.concatenate([np.empty((0, self.model.config.vocab_size), np.float32), *found])


def stretches(scores, blank):
    """[(first step, its scores)] of scores (T, V), cut about every PIECE steps, where a letter is least likely."""
    at = 0
    while len(scores) - at > PIECE:
        half = at + PIECE // 2
        cut = half + int(scores[half:at + PIECE, blank].argmax())
        yield at, scores[at:cut]
        at = cut
    yield at, scores[at:]


class Spelling:
    """A transcription: iterate over its Segments.

    Attributes:
        duration: seconds of sound.
    """

    language = None

    def __init__(self, transcriber, wave, progress=None):
        self.t, self.duration = transcriber, len(wave) / RATE
        self._wave, self._progress, self._segments = wave, progress, self._run()

    def __iter__(self):
        return self._segments

    def rest(self):
        """The Transcript of what has not been iterated over yet."""
        segments = tuple(self)
        return Transcript(" ".join(s.text for s in segments), segments, self.language, self.duration)

    def _run(self):
        t, scores = self.t, self.t.scores(self._wave, self._progress)
        labels, times, words = [], [], []
        for start, stretch in stretches(scores, t.letters.blank):
            found = greedy(stretch, t.letters.blank) if t.beam_size == 1 else beam_search(
                stretch, t.letters.blank, t.beam_size, LEAST)[0][0]
            labels += found
            times += [(start + a, start + b) for a, b in spans(stretch, found, t.letters.blank)]
        for text, own in t.letters.words(labels):
            likely = [scores[slice(*times[i]), labels[i]].max() for i in own]
            words.append(Word(text, times[own[0]][0] * t.step / RATE, times[own[-1]][1] * t.step / RATE,
                              float(np.exp(np.mean(likely)))))
        starts = [i for i, word in enumerate(words) if not i or word.start - words[i - 1].end > PAUSE]
        for number_, (a, b) in enumerate(zip(starts, [*starts[1:], len(words)])):
            own = words[a:b]
            yield Segment(number_, own[0].start, own[-1].end, " ".join(w.word for w in own),
                          avg_logprob=float(np.mean(np.log([w.probability for w in own]))),
                          words=tuple(own) if t.word_timestamps else ())
