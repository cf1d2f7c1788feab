"""Multi-head attention of language models: over the own sequence, with or without a cache, or over another one.

Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2.2.
"""
from ... import nn, ops
from ...backend import random


def split(x, heads):
    """x (N, T, heads * D) -> (N, heads, T, D)."""
    n, t, width = x.shape
    return ops.permute_dims(x.reshape((n, t, heads, width // heads)), (0, 2, 1, 3))


def merge(x):
    """x (N, heads, T, D) -> (N, T, heads * D)."""
    n, heads, t, width = x.shape
    return ops.permute_dims(x, (0, 2, 1, 3)).reshape((n, t, heads * width))


class _Attention(nn.Module):
    """Settings that both kinds share.

    Args:
        width: of the sequence.
        heads, head_width: number and width of the heads; width / heads unless given.
        bias: of the projections to queries, keys and values, and of the one back: a pair.
        dropout: of the weights.
        scale: of the products; None: 1 / sqrt(head_width).
    """

    def __init__(self, width, heads, head_width=None, bias=(True, True), dropout=0.0, scale=None):
        self.heads, self.dropout, self.scale = heads, dropout, scale
        self._inner = heads * (head_width or width // heads)
        self.out = nn.Linear(self._inner, width, bias[1])

    def _mean(self, q, k, v, bias, mask, **options):
        p = self.dropout if self.training else 0.0
        key = random.default().next_key() if p else None
        return self.out(merge(ops.attention(q, k, v, bias, mask, scale=self.scale, dropout_p=p, dropout_key=key,
                                            **options)))


class SelfAttention(_Attention):
    """Every token looks at the tokens of its own sequence, or at those before it.

    Parameters: qkv, one projection for all three; out.
    """

    def __init__(self, width, heads, head_width=None, bias=(True, True), dropout=0.0, scale=None):
        super().__init__(width, heads, head_width, bias, dropout, scale)
        self.qkv = nn.Linear(width, 3 * self._inner, bias[0])

    def forward(self, x, mask=None, bias=None, causal=False, window=-1, cache=None, layer=0):
        """x (N, T, width) -> (N, T, width).

        Args:
            mask: bool, True where a key counts; broadcasts to (N, heads, T, S), S the keys of cache and x.
            bias: added to the scores; likewise.
            causal: hide what comes behind a token.
            window: keys before its own place that a token sees; -1: all.
            cache: a Cache: earlier keys and values; x's are added.
            layer: this layer's number in it.
        """
        q, k, v = (split(part, self.heads) for part in ops.chunk(self.qkv(x), 3, axis=-1))
        if cache is not None:
            k, v = cache.update(layer, k, v)
        return self._mean(q, k, v, bias, mask, is_causal=causal, offset=k.shape[2] - q.shape[2],
                          window_size=(window, -1))


class CrossAttention(_Attention):
    """Every token looks at the tokens of another sequence, of width `other_width` if it is not that of the own.

    Parameters: q; kv, one projection for keys and values; out.
    """

    def __init__(self, width, heads, head_width=None, bias=(True, True), dropout=0.0, scale=None, other_width=None):
        super().__init__(width, heads, head_width, bias, dropout, scale)
        self.q = nn.Linear(width, self._inner, bias[0])
        self.kv = nn.Linear(other_width or width, 2 * self._inner, bias[0])

    def forward(self, x, other, mask=None, bias=None, cache=None, layer=0):
        """x (N, T, width), other (N, S, width) -> (N, T, width); a cache keeps what `other` was projected to."""
        pair = cache.cross.get(layer) if cache is not None else None
        if pair is None:
            pair = tuple(split(part, self.heads) for part in ops.chunk(self.kv(other), 2, axis=-1))
            if cache is not None:
                cache.cross[layer] = pair
        return self._mean(split(self.q(x), self.heads), *pair, bias, mask)


def padding_mask(attention_mask):
    """(N, S), 1 or True where a token counts, as a mask (N, 1, 1, S) of attention; None stays."""
    if attention_mask is None:
        return None
    return ops.reshape(attention_mask.astype("bool"), (attention_mask.shape[0], 1, 1, -1))
