"""Transcription of sound of any length by Whisper: window after window, segments with times as they come.

    blocks of a wave -> log-mel spectrogram -> windows of 30 s -> encoder -> decode, again and warmer where it failed
    -> segments -> words -> the next window begins where the last whole segment ended

Source: Radford et al. 2022, arXiv:2212.04356, sections 2.3 and 4.5, and the authors' code, version 20250625.
"""
from dataclasses import asdict, dataclass, replace

import numpy as np

from ...data.audio import stream_audio
from ...errors import ArgumentError, message, number
from ...tape import no_grad
from ...tensor import Tensor
from ...text.whisper import LONGEST, STEP, vocabulary
from .alignment import align, fitted, tidy
from .decoding import Search, Suppress, Times, decode
from .spectrogram import HOP, RATE, log_mel

FRAMES = RATE // HOP                                   # a second


@dataclass(frozen=True)
class Options:
    """How sound is transcribed.

    Args:
        language: its code or name; None: what the first window sounds like.
        task: "transcribe", or "translate" into English.
        temperatures: tried in this order until a text is not too repetitive and not too unlikely.
        beam_size, patience, length_penalty: at temperature 0; best_of: above; seed: as of Search.
        compression_ratio_threshold: a text that zlib packs better than this repeats itself; None: none does.
        logprob_threshold: a text with a lower mean log probability has failed; None: none has.
        no_speech_threshold: a window more likely without speech than this, whose text is unlikely, is skipped.
        condition_on_previous_text: the text so far is told to the model, which then goes on in its style.
        initial_prompt: a text that comes before, with names and terms for example.
        word_timestamps: when each word was said.
        suppress_tokens: tokens that are not written; None: those of `WhisperVocabulary.quiet`.
        max_initial_timestamp: the latest start in a window, in seconds; None: any.

    Raises:
        ArgumentError: a value out of range.
    """

    language: str | None = None
    task: str = "transcribe"
    temperatures: tuple = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beam_size: int = 1
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float | None = None
    seed: int = 0
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None
    word_timestamps: bool = False
    suppress_tokens: tuple | None = None
    max_initial_timestamp: float | None = 1.0

    def __post_init__(self):
        for name, least in (("beam_size", 1), ("best_of", 1), ("seed", 0)):
            number("transcribe", name, getattr(self, name), least, whole=True)
        for name in ("length_penalty", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"):
            if getattr(self, name) is not None:
                number("transcribe", name, getattr(self, name))
        if self.max_initial_timestamp is not None:
            number("transcribe", "max_initial_timestamp", self.max_initial_timestamp, 0, STEP * LONGEST)
        if not isinstance(self.temperatures, (tuple, list)) or not self.temperatures:
            expected = "at least one, as in (0.0, 0.5)"
            raise ArgumentError(message("transcribe", "temperatures", expected, repr(self.temperatures)))
        for temperature in self.temperatures:
            number("transcribe", "temperatures", temperature, 0)
        if round(self.beam_size * number("transcribe", "patience", self.patience)) < 1:
            raise ArgumentError(message("transcribe", "patience", "at least one sequence that ends", self.patience))
        if not isinstance(self.initial_prompt, str | None):
            raise ArgumentError(message("transcribe", "initial_prompt", "a text", repr(self.initial_prompt)))

    def searches(self):
        """A Search for each temperature."""
        return [Search(t, self.beam_size, self.best_of, self.patience, self.length_penalty, self.seed)
                for t in self.temperatures]


@dataclass(frozen=True)
class Segment:
    """A piece of the text; times in seconds."""

    id: int
    start: float
    end: float
    text: str
    tokens: tuple = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.0
    words: tuple = ()

    def to_dict(self):
        """For JSON, under the names that OpenAI's program writes."""
        words = [{name: value for name, value in asdict(w).items() if name != "tokens"} for w in self.words]
        return {**asdict(self), "tokens": list(self.tokens), "words": words}


@dataclass(frozen=True)
class Transcript:
    """All that was said."""

    text: str
    segments: tuple
    language: str | None
    duration: float                # seconds of sound

    def to_dict(self):
        """For JSON."""
        return {"text": self.text, "segments": [s.to_dict() for s in self.segments], "language": self.language,
                "duration": self.duration}


class Transcriber:
    """Whisper, for sound of any length.

    Args:
        model: a WhisperForConditionalGeneration.
        options: Options, or its fields by name.
        tokens: a WhisperVocabulary; None: the one of the model's size.

    Raises:
        ArgumentError: options that do not fit the model.
    """

    def __init__(self, model, options=None, tokens=None, **fields):
        self.model, self.options = model.eval(), replace(options or Options(), **fields)
        self.vocabulary = vocabulary(model.config.vocab_size) if tokens is None else tokens
        self.window = 2 * model.config.max_source_positions            # frames
        self.device = next(model.parameters()).device
        if self.options.language is not None:
            self.vocabulary.language(self.options.language)
        self.vocabulary.prompt("en", self.options.task)
        hidden, known = self.options.suppress_tokens, range(len(self.vocabulary))
        if hidden is not None and not (isinstance(hidden, (tuple, list)) and all(token in known for token in hidden)):
            expected = f"a tuple of numbers in [0, {known[-1]}], or None"
            raise ArgumentError(message("transcribe", "suppress_tokens", expected, repr(hidden)))

    def __call__(self, sound, progress=None):
        """The Transcript of a sound; as of `stream`."""
        return self.stream(sound, progress).rest()

    def stream(self, sound, progress=None):
        """The Segments of a sound as they are found, an iterator: `Transcription`.

        Args:
            sound: a path; or a wave (T), in [-1, 1], 16,000 samples a second.
            progress: called with (seconds done, seconds in all) after each window.

        Raises:
            ArgumentError: it is no sound.
        """
        blocks = _blocks(checked_wave(sound)) if hasattr(sound, "shape") else stream_audio(sound, RATE)
        return Transcription(self, log_mel(blocks, self.model.config.num_mel_bins), progress)

    def encode(self, mel):
        """A spectrogram (M, at most 2S) -> the encoder's states (1, S, W)."""
        filled = np.zeros((1, len(mel), self.window), np.float32)
        filled[0, :, :mel.shape[1]] = mel
        with no_grad():
            return self.model.encode(Tensor(filled).to(self.device))

    def detect_language(self, encoded):
        """{code: probability} of what a window sounds like; English for a model for English."""
        v = self.vocabulary
        if not v.multilingual:
            return {"en": 1.0}
        with no_grad():
            x = self.model.decode(Tensor(np.array([[v.start]])).to(self.device), encoded)
            scores = self.model.scores(x).numpy()[0, 0, list(v.languages.values())].astype(np.float64)
        shares = np.exp(scores - scores.max())
        return dict(zip(v.languages, (shares / shares.sum()).tolist()))

    def decode(self, encoded, prompt, previous=()):
        """The Decoded of a window: the first temperature at which it does not fail, or the last."""
        o, v = self.options, self.vocabulary
        begin = (1 + min(len(previous), self.model.config.max_target_positions // 2 - 1) if len(previous) else 0)
        begin += len(prompt)
        hidden = v.quiet if o.suppress_tokens is None else o.suppress_tokens
        latest = None if o.max_initial_timestamp is None else round(o.max_initial_timestamp / STEP)
        rules = Suppress((*hidden, *v.marks), (*v.encode(" "), v.end), begin), Times(v, begin, latest)
        with no_grad():
            for search in o.searches():
                found = decode(self.model, encoded, v, prompt, previous, search, rules)
                unlikely = o.logprob_threshold is not None and found.avg_logprob < o.logprob_threshold
                if unlikely and self.is_silent(found):
                    break
                repeats = o.compression_ratio_threshold
                if not unlikely and (repeats is None or found.compression_ratio <= repeats):
                    break
        return found

    def is_silent(self, found):
        """Does nobody speak in the window that this was written to?"""
        o = self.options
        likely = o.logprob_threshold is not None and found.avg_logprob > o.logprob_threshold
        return o.no_speech_threshold is not None and found.no_speech_prob > o.no_speech_threshold and not likely


def checked_wave(sound):
    """A wave (T), float32, of a Tensor or an array.

    Raises:
        ArgumentError: it is of several channels, of whole numbers, or not finite.
    """
    wave = np.asarray(sound.numpy() if isinstance(sound, Tensor) else sound)
    if wave.ndim != 1 or wave.dtype.kind not in "fiu":
        raise ArgumentError(message("transcribe", "sound", "a wave (T), its numbers in [-1, 1]",
                                    f"{wave.dtype} {wave.shape}", "Several channels: take their mean."))
    if wave.dtype.kind != "f":
        raise ArgumentError(message("transcribe", "sound", "numbers in [-1, 1]", wave.dtype, "Divide them by 32768."))
    if not np.isfinite(wave).all():
        raise ArgumentError(message("transcribe", "sound", "finite numbers", "NaN or infinity"))
    return wave.astype(np.float32, copy=False)


def _blocks(wave):
    """A wave (T), half a minute at a time."""
    return (wave[start:start + 30 * RATE] for start in range(0, len(wave), 30 * RATE))


class Transcription:
    """A transcription that goes on: iterate over its Segments.

    Attributes:
        duration: seconds of sound.
        language: its code, once the first window was heard.
    """

    def __init__(self, transcriber, mel, progress=None):
        self.t, self.mel, self.progress = transcriber, mel, progress
        self.frames, self.duration = mel.shape[1], mel.shape[1] / FRAMES
        self.language, self._count, self._spoken = transcriber.options.language, 0, 0.0
        given = transcriber.options.initial_prompt
        self._told = transcriber.vocabulary.encode(f" {given.strip()}") if given else []
        self._segments = self._run()

    def __iter__(self):
        return self._segments

    def rest(self):
        """The Transcript of what has not been iterated over yet."""
        segments = tuple(self)
        text = self.t.vocabulary.decode([token for s in segments for token in s.tokens])
        return Transcript(text.strip(), segments, self.language or "en", self.duration)

    def _run(self):
        at = 0
        while at < self.frames:
            size = min(self.t.window, self.frames - at)
            encoded = self.t.encode(self.mel[:, at:at + size])
            if self.language is None:
                heard = self.t.detect_language(encoded)
                self.language = max(heard, key=heard.get)
            self.language = self.t.vocabulary.language(self.language)
            prompt = self.t.vocabulary.prompt(self.language, self.t.options.task)
            found = self.t.decode(encoded, prompt, self._told)
            silent = self.t.is_silent(found)
            segments, taken, closed = ([], size, True) if silent else self._segmented(found, at, size)
            if self.t.options.word_timestamps and segments:
                segments, last = self._timed(segments, encoded, prompt, at, size)
                if not closed and last > at / FRAMES:  # (what is behind the last word is heard again)
                    taken = max(1, round(last * FRAMES) - at)
            yield from self._kept(segments)
            if not silent and (not self.t.options.condition_on_previous_text or found.temperature > 0.5):
                self._told = []
            at += taken
            if self.progress is not None:
                self.progress(min(at, self.frames) / FRAMES, self.duration)

    def _segmented(self, found, at, size):
        """([Segment] of a window's tokens, how many of its frames are done, is its end told?)."""
        first, tokens, start = self.t.vocabulary.first_time, found.tokens, at / FRAMES
        times = [token >= first for token in tokens]
        cuts = [i for i in range(1, len(tokens)) if times[i] and times[i - 1]]
        closed = times[-2:] == [False, True]           # nobody speaks behind the last time
        if not cuts:
            told = [token for token in tokens if token > first]
            end = (told[-1] - first) * STEP if told else size / FRAMES
            return [self._segment(tokens, start, start + end, found)], size, closed
        pieces = [tokens[a:b] for a, b in zip([0, *cuts], [*cuts, *[len(tokens)] * closed])]
        segments = [self._segment(piece, *(start + (token - first) * STEP for token in (piece[0], piece[-1])), found)
                    for piece in pieces]
        return segments, size if closed else round((pieces[-1][-1] - first) * STEP * FRAMES), closed

    def _segment(self, tokens, start, end, found):
        text = self.t.vocabulary.decode(tokens)
        return Segment(0, start, end, text, tuple(tokens), found.temperature, found.avg_logprob,
                       found.compression_ratio, found.no_speech_prob)

    def _timed(self, segments, encoded, prompt, at, size):
        """Segments with their words, and when the last word ends, in seconds."""
        v, step = self.t.vocabulary, 2 / FRAMES
        text = [[token for token in s.tokens if token < v.end] for s in segments]
        with no_grad():
            words = align(self.t.model, encoded, v, prompt, [t for part in text for t in part], size // 2, step,
                          self.language)
        words, median = tidy(words)
        words, timed = iter(words), []
        for segment, own in zip(segments, text):
            left, mine = len(own), []
            while left > 0 and (word := next(words, None)) is not None:     # (one may reach into the next segment)
                left -= len(word.tokens)
                mine.append(replace(word, start=round(at / FRAMES + word.start, 2), end=round(
                    at / FRAMES + word.end, 2)))
            if mine:
                mine, start, end = fitted(mine, segment.start, segment.end, self._spoken, median)
                segment, self._spoken = replace(segment, words=mine, start=start, end=end), end
            timed.append(segment)
        return timed, next((s.words[-1].end for s in reversed(timed) if s.words), timed[-1].end)

    def _kept(self, segments):
        """Number the segments that have a text, and remember what the next window is told."""
        for segment in segments:
            if segment.start != segment.end and segment.text.strip():
                self._told += segment.tokens
                yield replace(segment, id=self._count)
                self._count += 1
