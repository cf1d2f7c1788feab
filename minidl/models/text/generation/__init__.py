"""Generating text: search strategies, what changes scores, what ends a sequence, and streams of text."""
from .generate import Generative
from .processors import LogitsProcessor
from .settings import GenerationConfig
from .stopping import MaxTime, StoppingCriteria, StopStrings
from .streamers import TextIteratorStreamer, TextStreamer

__all__ = ["GenerationConfig", "Generative", "LogitsProcessor", "MaxTime", "StopStrings", "StoppingCriteria",
           "TextIteratorStreamer", "TextStreamer"]
