"""Text: tokenizers, from a model's files or trained on one's own text, and what language models are trained to do."""
from .load import load_tokenizer
from .objectives import CorruptSpans, MaskTokens, PadBatch, pack
from .tokenizer import Encoded, Tokenizer
from .training import train_tokenizer

__all__ = ["CorruptSpans", "Encoded", "MaskTokens", "PadBatch", "Tokenizer", "load_tokenizer", "pack",
           "train_tokenizer"]
