"""What ends sequences besides their end tokens and the length limit."""
from time import monotonic

import numpy as np


class StoppingCriteria:
    """Base: a callable (tokens (N, L), scores (N, V)) -> (N), bool: which sequences end."""

    def __call__(self, tokens, scores):
        raise NotImplementedError


class MaxTime(StoppingCriteria):
    """End all after so many seconds."""

    def __init__(self, seconds):
        self.until = monotonic() + seconds

    def __call__(self, tokens, scores):
        return np.full(len(tokens), monotonic() >= self.until)


class StopStrings(StoppingCriteria):
    """End a sequence whose text, from the first token that was written, holds one of some strings.

    Args:
        tokenizer: with `decode(tokens)`.
        strings: of which one ends a sequence.
        prompt: tokens that are not looked at.
    """

    def __init__(self, tokenizer, strings, prompt=0):
        self.tokenizer, self.strings, self.prompt = tokenizer, list(strings), prompt

    def __call__(self, tokens, scores):
        texts = [self.tokenizer.decode(line[self.prompt:]) for line in tokens.tolist()]
        return np.array([any(s in text for s in self.strings) for text in texts])
