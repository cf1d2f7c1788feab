"""T5: every task as text to text.

Source: Raffel et al. 2019, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
arXiv:1910.10683; v1.1: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.
Differs from the papers: nothing; norms have no mean and no bias, attention no scale, as in the authors' code.

    tokens (N,S) -> embeddings -> Blocks -> norm;  tokens (N,T) -> embeddings -> Blocks that look at both -> norm
    -> scores (N,T,V)
"""
import math
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ...errors import ArgumentError, message
from ...tensor import Tensor
from ..registry import family
from .attention import CrossAttention, SelfAttention, padding_mask
from .bert import IGNORED, TextModel
from .config import TextConfig, activation
from .output import Output
from .seq2seq import Seq2Seq


@dataclass(frozen=True)
class T5Config(TextConfig):
    """Sizes of a T5, under the names of Hugging Face's config.json."""

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_layers: int = 6
    num_decoder_layers: int | None = None
    num_heads: int = 8
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    pad_token_id: int = 0
    eos_token_id: int = 1
    decoder_start_token_id: int = 0

    model_type = "t5"

    def __post_init__(self):
        if self.feed_forward_proj not in FEED_FORWARD:
            raise ArgumentError(message("T5Config", "feed_forward_proj", f"one of {', '.join(FEED_FORWARD)}",
                                        repr(self.feed_forward_proj)))

    def to_hf(self):
        """What config.json holds, without the architecture."""
        return {**super().to_hf(), "is_encoder_decoder": True}

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2, dropout_rate=0.0,
                   relative_attention_num_buckets=8, relative_attention_max_distance=16,
                   feed_forward_proj="gated-gelu", tie_word_embeddings=False)


FEED_FORWARD = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True), "gated-silu": ("silu", True)}


class FeedForward(nn.Module):
    """Two layers, or two gates and a layer, without biases. v1.1: eq. 6."""

    def __init__(self, config):
        c = config
        act, gated = FEED_FORWARD[c.feed_forward_proj]
        self.act = activation(act)
        self.wi, self.wo = nn.Linear(c.d_model, c.d_ff, bias=False), nn.Linear(c.d_ff, c.d_model, bias=False)
        self.gate = nn.Linear(c.d_model, c.d_ff, bias=False) if gated else None
        self.dropout = nn.Dropout(c.dropout_rate)

    def forward(self, x):
        """x (N, T, W) -> (N, T, W)."""
        y = self.wi(x, self.act)
        return self.wo(self.dropout(y if self.gate is None else y * self.gate(x)))


class Block(nn.Module):
    """Attention, perhaps to the encoder, too, and a feed-forward net, each behind a norm and added to its input."""

    def __init__(self, config, decoder):
        c, settings = config, {"bias": (False, False), "dropout": config.dropout_rate, "scale": 1.0}
        self.decoder, self.dropout = decoder, nn.Dropout(c.dropout_rate)
        self.norm1, self.norm3 = (nn.RMSNorm(c.d_model, c.layer_norm_epsilon) for _ in range(2))
        self.attention = SelfAttention(c.d_model, c.num_heads, c.d_kv, **settings)
        if decoder:
            self.norm2 = nn.RMSNorm(c.d_model, c.layer_norm_epsilon)
            self.cross = CrossAttention(c.d_model, c.num_heads, c.d_kv, **settings)
        self.feed_forward = FeedForward(c)

    def forward(self, x, bias, mask=None, encoded=None, encoded_mask=None, cache=None, layer=0):
        """x (N, T, W), bias (heads, T, S), encoded (N, S, W) -> (N, T, W)."""
        y = self.attention(self.norm1(x), mask, bias, causal=self.decoder, cache=cache, layer=layer)
        x = x + self.dropout(y)
        if self.decoder:
            x = x + self.dropout(self.cross(self.norm2(x), encoded, encoded_mask, cache=cache, layer=layer))
        return x + self.dropout(self.feed_forward(self.norm3(x)))


def buckets(queries, keys, offset, both, count, most):
    """The bucket of each distance (T, S): exact for near ones, wider and wider up to `most`, then one for all.

    Source: Raffel et al. 2019, section 2.1.

    Args:
        queries, keys: T and S; query t has the place t + offset among the keys.
        both: half of the buckets are for keys behind the query.
        count: of the buckets.
    """
    distance = np.arange(keys)[None] - (np.arange(queries)[:, None] + offset)
    found = np.zeros_like(distance)
    if both:
        count //= 2
        found += (distance > 0) * count
    distance = np.abs(distance) if both else np.maximum(-distance, 0)
    exact = count // 2
    share = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(most / exact)
    far = exact + (share * (count - exact)).astype(np.int64)
    return found + np.where(distance < exact, distance, np.minimum(far, count - 1))


class Stack(nn.Module):
    """Blocks with one table of biases by distance, and a norm."""

    def __init__(self, config, decoder):
        c = self.config = config
        self.both = not decoder
        count = c.num_layers if self.both or c.num_decoder_layers is None else c.num_decoder_layers
        self.relative_bias = nn.Parameter(nn.init.normal(std=c.initializer_factor * c.d_model ** -0.5),
                                          c.relative_attention_num_buckets, c.num_heads)
        self.blocks = nn.ModuleList(Block(c, decoder) for _ in range(count))
        self.norm, self.dropout = nn.RMSNorm(c.d_model, c.layer_norm_epsilon), nn.Dropout(c.dropout_rate)

    def forward(self, x, mask=None, encoded=None, encoded_mask=None, cache=None, states=None):
        """x (N, T, W) -> (N, T, W)."""
        c, seen = self.config, 0 if cache is None else cache.length
        places = buckets(x.shape[1], seen + x.shape[1], seen, self.both, c.relative_attention_num_buckets,
                         c.relative_attention_max_distance)
        bias = ops.embedding(Tensor(places).to(x.device), self.relative_bias)
        bias, x = ops.permute_dims(bias, (2, 0, 1)), self.dropout(x)
        for i, block in enumerate(self.blocks):
            if states is not None:
                states.append(x)
            x = block(x, bias, mask, encoded, encoded_mask, cache, i)
        return self.dropout(self.norm(x))


def stack_rows(side):
    """Hugging Face's names of an encoder or a decoder."""
    at, here, last = f"{side}.block.{{i}}.layer.", f"{side}.blocks.{{i}}.", 2 if side == "decoder" else 1
    yield f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", f"{side}.relative_bias"
    yield at + "0.SelfAttention.[q|k|v].*", here + "attention.qkv.*"
    yield at + "0.SelfAttention.o.*", here + "attention.out.*"
    yield at + "0.layer_norm.*", here + "norm1.*"
    if side == "decoder":
        yield f"{side}.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", None
        yield at + "1.EncDecAttention.q.*", here + "cross.q.*"
        yield at + "1.EncDecAttention.[k|v].*", here + "cross.kv.*"
        yield at + "1.EncDecAttention.o.*", here + "cross.out.*"
        yield at + "1.layer_norm.*", here + "norm2.*"
    yield at + f"{last}.DenseReluDense.wi_0.*", here + "feed_forward.wi.*", "old"
    yield at + f"{last}.DenseReluDense.wi_1.*", here + "feed_forward.gate.*"
    yield at + f"{last}.DenseReluDense.wi.*", here + "feed_forward.wi.*", "old"
    yield at + f"{last}.DenseReluDense.wo.*", here + "feed_forward.wo.*"
    yield at + f"{last}.layer_norm.*", here + "norm3.*"
    yield f"{side}.final_layer_norm.*", f"{side}.norm.*"


def rows(config):
    """Hugging Face's names."""
    yield from [("shared.weight", "shared"), ("encoder.embed_tokens.weight", "shared"),
                ("decoder.embed_tokens.weight", "shared")]
    yield "lm_head.weight", "shared" if config.tie_word_embeddings else "head"
    wi = "wi_0" if FEED_FORWARD[config.feed_forward_proj][1] else "wi"
    for side, last in (("encoder", 1), ("decoder", 2)):
        yield f"{side}.block.{{i}}.layer.{last}.DenseReluDense.{wi}.*", f"{side}.blocks.{{i}}.feed_forward.wi.*"
        yield from stack_rows(side)


class _T5(TextModel):
    config_class = T5Config
    layouts = {"huggingface": rows}

    def _embeddings(self, config):
        self.config = config
        self.shared = nn.Parameter(nn.init.normal(std=config.initializer_factor), config.vocab_size, config.d_model)

    def initialize(self):
        """Weights from normal distributions, narrower for wider inputs. The authors' code: `mesh_tensorflow` layers."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.config.initializer_factor * module.in_features ** -0.5)
            if isinstance(module, SelfAttention):      # (attention has no scale: queries start smaller)
                module.qkv.weight = nn.Parameter(self._draw_projections, *module.qkv.weight.shape)

    def _draw_projections(self, xp, shape, dtype):
        x = nn.init.normal(std=self.config.initializer_factor * shape[1] ** -0.5)(xp, shape, dtype)
        x[:shape[0] // 3] *= self.config.d_kv ** -0.5
        return x


class T5ForConditionalGeneration(_T5, Seq2Seq):
    """The network of the module's docstring."""

    architectures = ("T5ForConditionalGeneration", "T5Model", "T5WithLMHeadModel")

    def __init__(self, config):
        self._embeddings(config)
        self.encoder, self.decoder = Stack(config, False), Stack(config, True)
        if not config.tie_word_embeddings:
            self.head = nn.Parameter(nn.init.normal(std=config.initializer_factor), config.vocab_size, config.d_model)
        self.initialize()

    def encode(self, input_ids, attention_mask=None, states=None):
        """input_ids (N, S) -> (N, S, W)."""
        return self.encoder(ops.embedding(input_ids, self.shared), padding_mask(attention_mask), states=states)

    def decode(self, input_ids, encoded, attention_mask=None, decoder_attention_mask=None, cache=None, states=None):
        """input_ids (N, T), encoded (N, S, W) -> (N, T, W)."""
        return self.decoder(ops.embedding(input_ids, self.shared), padding_mask(decoder_attention_mask), encoded,
                            padding_mask(attention_mask), cache, states)

    def scores(self, x):
        """Hidden states (N, T, W) -> logits (N, T, V); tied embeddings want smaller states."""
        if self.config.tie_word_embeddings:
            return ops.linear(x * self.config.d_model ** -0.5, self.shared)
        return ops.linear(x, self.head)

    def shifted(self, labels):
        """labels (N, T) behind the start token; what does not count is padding."""
        return shift_right(labels, self.config.decoder_start_token_id, self.config.pad_token_id)


def shift_right(labels, start, padding):
    """labels (N, T) with `start` in front, without the last; -100 becomes padding."""
    first = ops.full_like(labels[:, :1], start)
    return ops.concat([first, ops.where(labels == IGNORED, padding, labels)[:, :-1]], 1)


class T5EncoderModel(_T5):
    """The encoder alone."""

    layouts = {"huggingface": (("shared.weight", "shared"), ("encoder.embed_tokens.weight", "shared"),
                               *stack_rows("encoder"), ("decoder.*", None), ("lm_head.weight", None))}
    architectures = ("T5EncoderModel",)

    def __init__(self, config):
        self._embeddings(config)
        self.encoder = Stack(config, False)
        self.initialize()

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        """input_ids, attention_mask (N, S) -> last_hidden_state (N, S, W), hidden_states."""
        states = [] if output_hidden_states else None
        x = self.encoder(ops.embedding(input_ids, self.shared), padding_mask(attention_mask), states=states)
        return Output(last_hidden_state=x, hidden_states=None if states is None else (*states, x))


PAPER = "Raffel et al. 2019, arXiv:1910.10683"
t5 = family(T5ForConditionalGeneration, "text", PAPER)
V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


@t5("hf/t5-small", name="t5-small")
def t5_small():
    """6 + 6 layers."""
    return T5Config()


@t5("hf/t5-base", name="t5-base")
def t5_base():
    """12 + 12 layers."""
    return T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)


@t5("hf/t5-large", name="t5-large")
def t5_large():
    """24 + 24 layers."""
    return T5Config(d_model=1024, d_ff=4096, num_layers=24, num_heads=16)


@t5("hf/t5-3b", name="t5-3b")
def t5_3b():
    """24 + 24 layers, wide inside."""
    return T5Config(d_model=1024, d_kv=128, d_ff=16384, num_layers=24, num_heads=32)


@t5("hf/google-t5-v1_1-small", name="t5-v1_1-small")
def t5_v1_1_small():
    """v1.1, 8 + 8 layers."""
    return T5Config(d_ff=1024, num_layers=8, num_heads=6, **V1_1)


@t5("hf/google-t5-v1_1-base", name="t5-v1_1-base")
def t5_v1_1_base():
    """v1.1, 12 + 12 layers."""
    return T5Config(d_model=768, num_layers=12, num_heads=12, **V1_1)
