"""Pipelines: a model and its tokenizer, for a task on text, or on speech; networks that draw together.

    from minidl import pipeline
    pipeline("text-classification", "directory")("I like it.")        # [{"label": "POSITIVE", "score": 0.99}]
    from minidl.pipelines import image_pipeline
    image_pipeline("directory")("a photo of a cat", seed=0)           # (1, 512, 512, 3), uint8
"""
import json
from dataclasses import fields
from pathlib import Path

from ..errors import ArgumentError, CheckpointError, message
from ..io import hub
from ..models import from_pretrained
from ..models.config import near
from ..models.text.generation import GenerationConfig
from ..text import load_tokenizer
from . import parts
from .base import Pipeline
from .classification import FillMask, TextClassification, TokenClassification
from .ddpm import DDPM
from .features import FeatureExtraction, Search
from .generation import Generation, Summarization, TextGeneration, Translation
from .image import ImagePipeline
from .question_answering import QuestionAnswering
from .speech import SpeechRecognition
from .stable_diffusion import StableDiffusion
from .unclip import UnCLIP, UnCLIPVariations

TASKS = {kind.task: kind for kind in (TextClassification, TokenClassification, QuestionAnswering, FillMask,
                                      TextGeneration, Summarization, Translation, FeatureExtraction,
                                      SpeechRecognition)}
OTHER_NAMES = {"sentiment-analysis": "text-classification", "ner": "token-classification"}

DRAWING = {kind: draws for draws in (StableDiffusion, UnCLIP, UnCLIPVariations, DDPM) for kind in draws.kinds}

__all__ = ["DDPM", "FeatureExtraction", "FillMask", "ImagePipeline", "Pipeline", "QuestionAnswering", "Search",
           "SpeechRecognition", "StableDiffusion", "Summarization", "TASKS", "TextClassification", "TextGeneration",
           "TokenClassification", "Translation", "UnCLIP", "UnCLIPVariations", "image_pipeline", "pipeline"]


def image_pipeline(model, device="cpu"):
    """What draws images, from a folder in diffusers' layout: StableDiffusion, UnCLIP, UnCLIPVariations or DDPM.

    Args:
        model: the folder, or the name of a repository on the hub.
        device: where it runs.

    Raises:
        CheckpointError: it is no such folder, or of a pipeline that is not here; a part is missing, damaged, or more
            than data.
    """
    path = parts.folder(model, lambda kind: DRAWING[kind].names if kind in DRAWING else ())
    kind, _ = parts.index(path)
    if kind not in DRAWING:
        raise CheckpointError(message("image_pipeline", "model", f"a folder of a {' or '.join(DRAWING)}", kind))
    return DRAWING[kind].from_pretrained(path).to(device)


def pipeline(task, model, tokenizer=None, device="cpu", batch_size=8, **options):
    """A model for a task on text, called with strings; or on speech, called with paths of files.

    Args:
        task: one of TASKS; "ner", "sentiment-analysis", and "translation_en_to_de", which takes the settings that the
            model's config.json has for it.
        model: a directory in Hugging Face's layout, the name of a repository on the hub, or a model; to hear, also
            a file that `load_whisper` reads.
        tokenizer: a Tokenizer, or where it is; None: where the model is.
        device: where it runs.
        batch_size: sequences that go through the model at once.
        options: of the tokenizer's files, as src_lang="en_XX"; of a transcription, as language="de".

    Returns:
        a Pipeline.

    Raises:
        ArgumentError: no such task; a tokenizer that is not the model's.
        CheckpointError: files that are not there, or weights that have no head for the task.
    """
    asked = str(task)
    name = OTHER_NAMES.get(asked, "translation" if asked.startswith("translation_") else asked)
    if name not in TASKS:
        names = [*TASKS, *OTHER_NAMES]
        raise ArgumentError(message("pipeline", "task", f"one of {', '.join(names)}", repr(task), near(asked, names)))
    kind, own = TASKS[name], {}
    if kind is SpeechRecognition:
        return kind.load(model, tokenizer, device, **options)
    if isinstance(model, (str, Path)):
        directory = Path(model) if Path(model).is_dir() else hub.download(str(model))
        tokenizer = directory if tokenizer is None else tokenizer
        model = from_pretrained(directory, head=kind.head)
        if issubclass(kind, Generation):
            told = json.loads((directory / "config.json").read_text(encoding="utf-8"))
            own = (told.get("task_specific_params") or {}).get(asked, {})
            known = {"prefix", *(f.name for f in fields(GenerationConfig))}
            own = {name: value for name, value in own.items() if name in known}
    elif tokenizer is None:
        raise ArgumentError(message("pipeline", "tokenizer", "one, with a model that is already built", "none"))
    if isinstance(tokenizer, (str, Path)):
        tokenizer = load_tokenizer(tokenizer, **options)
    return kind(model.to(device), tokenizer, batch_size, **own)
