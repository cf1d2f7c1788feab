"""Multi-head attention."""
import math

from .. import ops
from ..backend import random
from ..errors import ArgumentError, ShapeError, message
from ..op import as_tensor
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter

LOWEST = -6e4              # near the least float16: takes no part in a softmax, yet rows of it alone are no NaN


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces side by side.

    Args:
        embed_dim: E, of queries and of the output.
        num_heads: h, a divisor of E.
        dropout: probability with which attention weights are dropped in training.
        bias: add one to each projection.
        kdim, vdim: lengths of keys and values; E unless given.
        batch_first: sequences are (N, L, E) rather than (L, N, E).

    Parameters: in_proj_weight (3E, E), the query, key and value projections one above the other; or, where kdim or vdim
    differ from E, q_proj_weight (E, E), k_proj_weight (E, kdim), v_proj_weight (E, vdim): Xavier uniform.
    in_proj_bias (3E), zeros.  out_proj, a Linear; its bias is zeros.

    Raises:
        ArgumentError: E is no multiple of the number of heads.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.2.2.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, kdim=None, vdim=None, batch_first=False):
        if num_heads < 1 or embed_dim % num_heads:
            expected = f"a divisor of embed_dim={embed_dim}"
            raise ArgumentError(message(type(self).__name__, "num_heads", expected, num_heads))
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = kdim, vdim
        if {kdim, vdim} <= {None, embed_dim}:
            self.in_proj_weight = Parameter(init.xavier_uniform(), 3 * embed_dim, embed_dim)
        else:
            self.in_proj_weight = None
            self.q_proj_weight = Parameter(init.xavier_uniform(), embed_dim, embed_dim)
            self.k_proj_weight = Parameter(init.xavier_uniform(), embed_dim, kdim or embed_dim)
            self.v_proj_weight = Parameter(init.xavier_uniform(), embed_dim, vdim or embed_dim)
        self.in_proj_bias = Parameter(init.zeros(), 3 * embed_dim) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False, lengths=None):
        """Attend from each of L queries to S keys.

        Args:
            query (L, N, E), key (S, N, kdim), value (S, N, vdim); or with N first, if `batch_first`.
            key_padding_mask (N, S): bool, True where a key is padding, NOT to be attended to; or floating: added.
            need_weights: give the attention weights too; without it is quicker.
            attn_mask (L, S) or (N h, L, S): bool, True where a query may NOT attend to a key; or floating: added.
            average_attn_weights: give the mean of the heads' weights.
            is_causal: query i attends to keys up to i only.
            lengths (N): of the sequences of keys, if what is behind them is padding: says with less what
                key_padding_mask says, and spares the work.

        Returns:
            the output, as `query`; and the weights (N, L, S), or (N, h, L, S) if not averaged, or None.

        Raises:
            ShapeError: an argument has another number of axes, or sizes that do not fit.
        """
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim != 3:
                raise ShapeError(message("MultiheadAttention", name, "3 axes", x.shape))
        q, k, v = map(self._heads, self._projected(query, key, value))             # (N, h, L or S, E / h)
        bias, mask = self._masks(q, key_padding_mask, attn_mask)
        dropout = self.dropout if self.training else 0.0
        drawn = random.default().next_key() if dropout else None
        weights = None
        if need_weights:
            if lengths is not None:
                within = ops.arange(k.shape[2], device=k.device) < as_tensor(lengths).reshape((-1, 1, 1, 1))
                mask = within if mask is None else mask & within
            weights = self._weights(q, k, bias, mask, is_causal)
            y = (ops.dropout(weights, dropout, drawn) if dropout else weights) @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            y = ops.attention(q, k, v, bias, mask, lengths, is_causal=is_causal, dropout_p=dropout, dropout_key=drawn)
        y = y.permute_dims((0, 2, 1, 3) if self.batch_first else (2, 0, 1, 3))
        return self.out_proj(y.reshape((*y.shape[:2], self.embed_dim))), weights

    def _projected(self, query, key, value):
        if query is key is value and self.in_proj_weight is not None:              # one product instead of three
            return ops.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, axis=-1)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return [ops.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def _heads(self, x):
        x = x.reshape((*x.shape[:2], self.num_heads, self.embed_dim // self.num_heads))
        return x.permute_dims((0, 2, 1, 3) if self.batch_first else (1, 2, 0, 3))

    def _masks(self, q, key_padding_mask, attn_mask):
        """Both masks as the bias (added) and the mask (True: visible) of `ops.attention`, or None."""
        n, h, length, _ = q.shape
        bias = mask = None
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.reshape((n, 1, 1, -1))
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.reshape((n, h, length, -1))
        for given in (key_padding_mask, attn_mask):
            if given is not None and given.dtype == "bool":
                seen = ops.logical_not(given)
                mask = seen if mask is None else mask & seen
            elif given is not None:
                bias = given if bias is None else bias + given
        return bias, mask

    def _weights(self, q, k, bias, mask, is_causal):
        """The weights (N, h, L, S) that `ops.attention` multiplies values by; zeros for queries that see no key."""
        scores = q @ k.mT * q.shape[-1] ** -0.5
        if is_causal:
            before = ops.tril(ops.ones(scores.shape[-2:], dtype="bool", device=q.device))
            mask = before if mask is None else mask & before
        if bias is not None:
            scores, seen = scores + bias, bias > -math.inf
            mask = seen if mask is None else mask & seen
        if mask is None:
            return ops.softmax(scores)
        return ops.where(mask, ops.softmax(ops.where(mask, scores, LOWEST)), 0.0)
