"""What pipelines that draw share: networks, tokenizers and schedulers that belong together, from a folder."""
from collections.abc import Iterable

import numpy as np

from .. import nn
from ..errors import ArgumentError, message
from . import parts


class ImagePipeline:
    """Base. A subclass has `names`, of its parts, in the order of its arguments; and `kinds`, of diffusers' folders.

    Args:
        parts: models, schedulers and tokenizers, by name.

    Raises:
        ArgumentError: parts are missing, or there are others.
    """

    names: tuple
    kinds: tuple

    def __init__(self, **parts):
        if parts.keys() != {*self.names}:
            raise ArgumentError(message(type(self).__name__, "parts", ", ".join(self.names),
                                        ", ".join(parts) or "none"))
        for name, part in parts.items():
            setattr(self, name, part.eval() if isinstance(part, nn.Module) else part)

    @classmethod
    def from_pretrained(cls, path):
        """From a folder in diffusers' layout, or the name of a repository on the hub.

        Raises:
            CheckpointError: it is no such folder, or of another pipeline; a part is missing, damaged, or more than
                data.
            ArgumentError: its parts do not fit each other, or have settings that are not here.
        """
        return cls(**parts.load(path, cls.kinds, cls.names))

    def save_pretrained(self, path):
        """Write a folder in diffusers' layout."""
        parts.save(path, self.kinds[0], {name: getattr(self, name) for name in self.names})

    @property
    def networks(self):
        """The parts with weights."""
        return [part for part in (getattr(self, name) for name in self.names) if isinstance(part, nn.Module)]

    def to(self, *targets):
        """Move the networks to a device, or to a floating dtype, or both; itself."""
        for network in self.networks:
            network.to(*targets)
        return self

    @property
    def dtype(self):
        """Of the networks, and of what they draw."""
        return next(iter(self.networks[0].parameters())).dtype

    @property
    def device(self):
        """Where the networks are."""
        return next(iter(self.networks[0].parameters())).device

    def check_tokenizer(self):
        """Demand that the text encoder has a row for every token."""
        most, rows = max(self.tokenizer.get_vocab().values()), self.text_encoder.config.vocab_size
        if most >= rows:
            expected = f"tokens below {rows}, the text encoder's vocabulary"
            raise ArgumentError(message(type(self).__name__, "tokenizer", expected, most,
                                        "Do these files belong together?"))

    def tokens(self, texts, truncation):
        """{input_ids, attention_mask} (N, T) of texts, int64, T as many as the text encoder reads.

        Raises:
            ArgumentError: a text is longer.
        """
        length = self.text_encoder.config.max_position_embeddings
        rows = self.tokenizer(texts, truncation=truncation, max_length=length if truncation else None)
        longest = max(map(len, rows["input_ids"]))
        if longest > length:
            expected = f"at most {length} tokens, start and end included"
            raise ArgumentError(message(type(self).__name__, "prompt", expected, longest, "truncation=True cuts it."))
        return self.tokenizer.pad(rows, "max_length", length, return_tensors="np")


def repeated(prompt, count):
    """A list of prompts, each as often as it is drawn."""
    return [p for p in texts("prompt", prompt) for _ in range(count)]


def texts(name, given):
    """A list of strings, of one or of several.

    Raises:
        ArgumentError: it is neither; `name` is what it is called.
    """
    found = [given] if isinstance(given, str) else [*given] if isinstance(given, Iterable) else []
    if not found or any(not isinstance(text, str) for text in found):
        raise ArgumentError(message("pipeline", name, "a string, or a list of them", repr(given)))
    return found


def to_uint8(x):
    """Images (N, H, W, C), uint8, of (N, C, H, W) in [-1, 1].

    Raises:
        ArgumentError: some are not finite.
    """
    x = x.numpy().astype(np.float32)
    if not np.isfinite(x).all():
        raise ArgumentError(message("pipeline", "images", "finite numbers", "NaN or infinity",
                                    "The weights may be damaged, or too large for a half type."))
    return np.round(np.clip(x / 2 + 0.5, 0, 1).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
