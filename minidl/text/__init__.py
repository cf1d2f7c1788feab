"""Text: tokenizers of models, from their files or trained on one's own text."""
from .load import load_tokenizer
from .tokenizer import Encoded, Tokenizer
from .training import train_tokenizer

__all__ = ["Encoded", "Tokenizer", "load_tokenizer", "train_tokenizer"]
