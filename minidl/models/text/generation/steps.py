"""One step of a decoder at a time: tokens in, scores of the next ones out, on the host.

The same for decoders alone and for those that look at an encoder; with and without a cache; with left padding.
"""
import numpy as np

from .... import backend
from ....tensor import Tensor
from ..cache import Cache


class Steps:
    """A decoder that goes on from where it is.

    Args:
        model: a CausalLM or Seq2Seq.
        tokens (N, L): what the decoder starts from, on the host.
        mask (N, L): 1 where they count; or, with an encoder, of what it read.
        encoded (N, S, W): the encoder's states; None: there is no encoder.
        cache: a Cache, or None.
    """

    def __init__(self, model, tokens, mask, encoded=None, cache=None):
        self.model, self.encoded, self.cache, self.device = model, encoded, cache, next(model.parameters()).device
        self.tokens, self.mask = tokens, mask

    def _tensor(self, array):
        return Tensor(array).to(self.device)

    def scores(self):
        """Of the token behind all that are there: (N, V), float32."""
        return self.all_scores(1)[:, -1]

    def all_scores(self, count):
        """Of the tokens behind each of the last `count`: (N, count, V), float32."""
        seen = 0 if self.cache is None else self.cache.length
        new = self._tensor(self.tokens[:, seen:])
        if self.encoded is None:
            positions = np.maximum(np.cumsum(self.mask, 1) - 1, 0)[:, seen:]
            mask = None if self.mask.all() else self._tensor(self.mask)
            x = self.model.decode(new, mask, self._tensor(positions), self.cache, None)
        else:
            x = self.model.decode(new, self.encoded, None if self.mask is None else self._tensor(self.mask),
                                  cache=self.cache)
        logits = self.model.scores(x[:, x.shape[1] - count:])
        return np.asarray(backend.to_host(logits.data), np.float32)

    def append(self, tokens):
        """Put a token (N) behind each sequence."""
        self.tokens = np.concatenate([self.tokens, np.asarray(tokens, np.int64)[:, None]], 1)
        if self.encoded is None:
            self.mask = np.concatenate([self.mask, np.ones_like(self.mask[:, :1])], 1)

    def reorder(self, rows):
        """Let sequence i go on from what sequence rows[i] was."""
        self.tokens = self.tokens[rows]
        if self.encoded is None:
            self.mask = self.mask[rows]
        if self.cache is not None:
            self.cache.reorder(rows)

    def crop(self, length):
        """Go back to the first `length` tokens."""
        self.tokens = self.tokens[:, :length]
        if self.encoded is None:
            self.mask = self.mask[:, :length]
        if self.cache is not None:
            self.cache.crop(length)


def start(model, tokens, mask, config, limit, copies):
    """Steps of a model, every sequence `copies` times; and its prompt's length.

    Args:
        model: a CausalLM, or a Seq2Seq, whose encoder reads the tokens.
        tokens, mask (N, L): the prompt.
        config: a GenerationConfig.
        limit: tokens at the end, at most.
    """
    cache = Cache(limit if config.cache_implementation == "static" else None) if config.use_cache else None
    if not hasattr(model, "encode"):
        return Steps(model, tokens.repeat(copies, 0), mask.repeat(copies, 0), cache=cache)
    device = next(model.parameters()).device
    read = Tensor(tokens).to(device)
    encoded = model.encode(read, None if mask.all() else Tensor(mask).to(device))
    if copies > 1:
        encoded = Tensor(encoded.data.repeat(copies, 0))
    first = np.full((len(tokens) * copies, 1), config.decoder_start_token_id, np.int64)
    return Steps(model, first, None if mask.all() else mask.repeat(copies, 0), encoded, cache)
