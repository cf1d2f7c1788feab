"""The transformer's encoder and decoder.

Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, section 3.1; `norm_first`: Xiong et al.
2020, "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.
"""
from copy import deepcopy

from .. import ops
from ..errors import ArgumentError, message
from . import init
from .attention import MultiheadAttention
from .containers import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .norm import LayerNorm

ACTIVATIONS = "relu", "gelu"


class _Layer(Module):
    """What encoder and decoder layers share: the feed-forward block, and how a block joins the residual stream."""

    def _set(self, d_model, dim_feedforward, dropout, activation, norm_first, bias):
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        if not callable(activation) and activation not in ACTIVATIONS:
            expected = f"{', '.join(ACTIVATIONS)}, or a function"
            raise ArgumentError(message(type(self).__name__, "activation", expected, repr(activation)))
        self.norm_first, self.activation = norm_first, activation

    def _joined(self, x, block, norm, dropout):
        """x and what a block adds to it, with the norm before the block or after the sum."""
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))

    def _feed_forward(self, x):
        inner = self.activation(self.linear1(x)) if callable(self.activation) else self.linear1(x, self.activation)
        return self.linear2(self.dropout(inner))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a feed-forward block, each added to what goes in.

    Args:
        d_model: E, of the sequence's vectors.
        nhead: heads of attention.
        dim_feedforward: width of the feed-forward block.
        dropout: probability, within attention and blocks and after them.
        activation: "relu", "gelu", or a function.
        layer_norm_eps: of the layer norms.
        batch_first: sequences are (N, L, E) rather than (L, N, E).
        norm_first: normalise before each block rather than after the sum.
        bias: in linear layers and norms.
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self._set(d_model, dim_feedforward, dropout, activation, norm_first, bias)
        self.norm1, self.norm2 = [LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(2)]
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """src (L, N, E) -> (L, N, E); masks and layout as of MultiheadAttention."""
        def attend(x):
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        x = self._joined(src, attend, self.norm1, self.dropout1)
        return self._joined(x, self._feed_forward, self.norm2, self.dropout2)


class TransformerDecoderLayer(_Layer):
    """Self-attention, then attention to the encoder's output, then a feed-forward block, each added to what goes in.

    Args: as of TransformerEncoderLayer.
    """

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation="relu", layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True):
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self._set(d_model, dim_feedforward, dropout, activation, norm_first, bias)
        self.norm1, self.norm2, self.norm3 = [LayerNorm(d_model, layer_norm_eps, bias=bias) for _ in range(3)]
        self.dropout1, self.dropout2, self.dropout3 = [Dropout(dropout) for _ in range(3)]

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False):
        """tgt (L, N, E), memory (S, N, E) -> (L, N, E); masks and layout as of MultiheadAttention."""
        def attend(x):
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def look(x):
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                       is_causal=memory_is_causal)[0]

        x = self._joined(tgt, attend, self.norm1, self.dropout1)
        x = self._joined(x, look, self.norm2, self.dropout2)
        return self._joined(x, self._feed_forward, self.norm3, self.dropout3)


class TransformerEncoder(Module):
    """Encoder layers, one after the other.

    Args:
        encoder_layer: copied `num_layers` times; the copies start with equal weights.
        num_layers: how many.
        norm: a module for the end, such as a LayerNorm.
    """

    def __init__(self, encoder_layer, num_layers, norm=None):
        self.layers = ModuleList(deepcopy(encoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=False):
        """src (L, N, E) -> (L, N, E); masks and layout as of MultiheadAttention."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Decoder layers, one after the other.

    Args:
        decoder_layer: copied `num_layers` times; the copies start with equal weights.
        num_layers: how many.
        norm: a module for the end, such as a LayerNorm.
    """

    def __init__(self, decoder_layer, num_layers, norm=None):
        self.layers = ModuleList(deepcopy(decoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(self, tgt, memory, *masks, **named_masks):
        """tgt (L, N, E), memory (S, N, E) -> (L, N, E); further arguments as of TransformerDecoderLayer."""
        for layer in self.layers:
            tgt = layer(tgt, memory, *masks, **named_masks)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of one sequence, and a decoder of another that attends to it.

    Args:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias: of each
            layer.
        num_encoder_layers, num_decoder_layers: how many.

    Parameters: matrices are Xavier uniform.
    """

    def __init__(self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048,
                 dropout=0.1, activation="relu", layer_norm_eps=1e-5, batch_first=False, norm_first=False, bias=True):
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        self.encoder = TransformerEncoder(TransformerEncoderLayer(*settings), num_encoder_layers,
                                          LayerNorm(d_model, layer_norm_eps, bias=bias))
        self.decoder = TransformerDecoder(TransformerDecoderLayer(*settings), num_decoder_layers,
                                          LayerNorm(d_model, layer_norm_eps, bias=bias))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
                tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=False, tgt_is_causal=False,
                memory_is_causal=False):
        """src (S, N, E), tgt (L, N, E) -> (L, N, E); masks and layout as of MultiheadAttention."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                            tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(size):
        """The bool mask (size, size) of MultiheadAttention that hides from each position those after it."""
        return ops.triu(ops.ones((size, size), dtype="bool"), 1)
