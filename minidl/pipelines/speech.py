"""A pipeline that hears: sound to text, by Whisper or by a model with CTC."""
from dataclasses import fields
from pathlib import Path

from ..data.audio import resample
from ..errors import ArgumentError, message
from ..models.audio.checkpoints import load_hearing
from ..models.audio.letters import LetterTranscriber
from ..models.audio.transcription import Options, Transcriber, checked_wave
from ..models.audio.wav2vec2 import Wav2Vec2ForCTC
from ..models.audio.whisper import WhisperForConditionalGeneration
from ..models.config import near

TIMES = False, True, "word"


class SpeechRecognition:
    """What is said in a sound: {"text"}, with times also "chunks", [{"text", "timestamp": (start, end)}], in seconds.

    Args:
        model: a WhisperForConditionalGeneration, or a Wav2Vec2ForCTC.
        tokens: its WhisperVocabulary (None: the one of its size), or its Letters.
        options: of transcription.Options, or of LetterTranscriber.

    Raises:
        ArgumentError: another model.
    """

    task = "automatic-speech-recognition"

    def __init__(self, model, tokens=None, **options):
        if not isinstance(model, (WhisperForConditionalGeneration, Wav2Vec2ForCTC)):
            raise ArgumentError(message("pipeline", "model", "one that hears", type(model).__name__))
        self.model, self.tokens, self.options = model.eval(), tokens, options

    @classmethod
    def load(cls, model, tokenizer=None, device="cpu", **options):
        """The pipeline of a directory, a file of weights, a repository on the hub, or a model."""
        if isinstance(model, (str, Path)):
            model, tokenizer, own = load_hearing(model, tokenizer)
            options = {**own, **options}
        return cls(model.to(device), tokenizer, **options)

    def __call__(self, inputs, return_timestamps=False, **options):
        """Transcribe.

        Args:
            inputs: a path; a wave (T), in [-1, 1], 16,000 numbers a second; {"raw" or "array", "sampling_rate"}; or a
                list of these.
            return_timestamps: with "chunks", a segment each; "word": a word each.
            options: as of the class: language, task, beam_size, ...
        """
        if return_timestamps not in TIMES:
            expected = " or ".join(map(repr, TIMES))
            raise ArgumentError(message("pipeline", "return_timestamps", expected, repr(return_timestamps)))
        hear = self.transcriber(**{"word_timestamps": return_timestamps == "word", **options})
        if isinstance(inputs, list):
            return [self._told(hear(_sound(one)), return_timestamps) for one in inputs]
        return self._told(hear(_sound(inputs)), return_timestamps)

    def transcriber(self, **options):
        """What transcribes, a Transcriber or a LetterTranscriber, with these options besides the pipeline's."""
        options, letters = {**self.options, **options}, isinstance(self.model, Wav2Vec2ForCTC)
        known = LetterTranscriber.options if letters else [f.name for f in fields(Options)]
        for wrong in (name for name in options if name not in known):
            raise ArgumentError(message("pipeline", "option", f"one of {', '.join(known)}", repr(wrong),
                                        near(wrong, known)))
        return (LetterTranscriber if letters else Transcriber)(self.model, tokens=self.tokens, **options)

    def _told(self, transcript, times):
        found = {"text": transcript.text}
        if times:
            pieces = transcript.segments if times is True else [w for s in transcript.segments for w in s.words]
            found["chunks"] = [{"text": piece.text, "timestamp": (piece.start, piece.end)} for piece in pieces]
        return found


def _sound(given):
    """A path, or a wave at the rate that models want."""
    if not isinstance(given, dict):
        return given
    wave, rate = given.get("raw", given.get("array")), given.get("sampling_rate")
    if wave is None or rate is None:
        raise ArgumentError(message("pipeline", "inputs", "raw and sampling_rate", ", ".join(map(str, given))))
    return resample(checked_wave(wave), rate, 16000)
