"""BART: an encoder-decoder that learnt to mend broken text.

Source: Lewis et al. 2019, "BART: Denoising Sequence-to-Sequence Pre-training", arXiv:1910.13461.
Differs from the paper: nothing; places start at 2, as in the authors' code (fairseq).

    tokens (N,S) -> word + position embeddings, norm -> Layers;  tokens (N,T) -> likewise -> Layers that look at both
    -> scores by the word embeddings, plus a bias (N,T,V)
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from .attention import CrossAttention, SelfAttention, padding_mask
from .bert import TextModel, label_loss
from .config import TextConfig, activated, activation
from .output import Output
from .seq2seq import Seq2Seq
from .t5 import shift_right


@dataclass(frozen=True)
class BartConfig(TextConfig):
    """Sizes of a BART, under the names of Hugging Face's config.json."""

    vocab_size: int = 50265
    max_position_embeddings: int = 1024
    d_model: int = 1024
    encoder_layers: int = 12
    encoder_ffn_dim: int = 4096
    encoder_attention_heads: int = 16
    decoder_layers: int = 12
    decoder_ffn_dim: int = 4096
    decoder_attention_heads: int = 16
    activation_function: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    classifier_dropout: float = 0.0
    init_std: float = 0.02
    scale_embedding: bool = False
    pad_token_id: int = 1
    bos_token_id: int = 0
    eos_token_id: int = 2
    decoder_start_token_id: int | None = 2
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = 2
    num_labels: int = 3

    model_type = "bart"

    @property
    def initializer_range(self):
        """As BERT calls it."""
        return self.init_std

    def to_hf(self):
        """What config.json holds, without the architecture."""
        return {**super().to_hf(), "is_encoder_decoder": True}

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, max_position_embeddings=16, d_model=8, encoder_layers=2, encoder_ffn_dim=16,
                   encoder_attention_heads=2, decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2,
                   dropout=0.0)


class Layer(nn.Module):
    """Attention, perhaps to the encoder, too, and a feed-forward net, each added to its input.

    Args:
        config: BART's, or one with its fields.
        side: "encoder" or "decoder".
        first: norms in front of each part, not behind its sum.
    """

    def __init__(self, config, side, first):
        c, width = config, config.d_model
        heads, hidden = (getattr(c, f"{side}_{what}") for what in ("attention_heads", "ffn_dim"))
        self.first, self.decoder = first, side == "decoder"
        self.attention, self.norm1 = SelfAttention(width, heads, dropout=c.attention_dropout), nn.LayerNorm(width)
        if self.decoder:
            self.cross, self.norm2 = CrossAttention(width, heads, dropout=c.attention_dropout), nn.LayerNorm(width)
        self.fc1, self.fc2, self.norm3 = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.LayerNorm(width)
        self.act = activation(c.activation_function)
        self.dropout, self.inner_dropout = nn.Dropout(c.dropout), nn.Dropout(c.activation_dropout)

    def forward(self, x, mask=None, encoded=None, encoded_mask=None, cache=None, layer=0):
        """x (N, T, W), encoded (N, S, W) -> (N, T, W)."""
        x = self._added(x, self.norm1, lambda y: self.attention(y, mask, causal=self.decoder, cache=cache, layer=layer))
        if self.decoder:
            x = self._added(x, self.norm2, lambda y: self.cross(y, encoded, encoded_mask, cache=cache, layer=layer))
        return self._added(x, self.norm3, lambda y: self.fc2(self.inner_dropout(self.fc1(y, self.act))))

    def _added(self, x, norm, part):
        if self.first:
            return x + self.dropout(part(norm(x)))
        return norm(x + self.dropout(part(x)))


class Stack(nn.Module):
    """Embeddings and Layers of one side.

    Args:
        config, side: as of Layer.
        shared: the word embeddings.
        positions: gives rows for places.
        normalized: the embeddings are.
        first: norms in front of each part, and one at the end.
    """

    def __init__(self, config, side, shared, positions, normalized=True, first=False):
        c = config
        self.scale = c.d_model ** 0.5 if c.scale_embedding else 1.0
        self.word, self.padding, self.positions = shared, c.pad_token_id, positions
        self.embedding_norm = nn.LayerNorm(c.d_model) if normalized else nn.Identity()
        self.layers = nn.ModuleList(Layer(c, side, first) for _ in range(getattr(c, f"{side}_layers")))
        self.norm, self.dropout = nn.LayerNorm(c.d_model) if first else nn.Identity(), nn.Dropout(c.dropout)

    def forward(self, input_ids, mask=None, encoded=None, encoded_mask=None, cache=None, states=None):
        """input_ids (N, T), encoded (N, S, W) -> (N, T, W)."""
        start = 0 if cache is None else cache.length
        x = ops.embedding(input_ids, self.word, padding_idx=self.padding) * self.scale
        place = ops.arange(start, start + input_ids.shape[1], device=x.device)
        x = self.dropout(self.embedding_norm(x + self.positions(place)))
        for i, layer in enumerate(self.layers):
            if states is not None:
                states.append(x)
            x = layer(x, mask, encoded, encoded_mask, cache, i)
        return self.norm(x)


class LearnedPositions(nn.Module):
    """A learnt row for each place; two rows in front are not used."""

    def __init__(self, count, width, std):
        self.weight = nn.Parameter(nn.init.normal(std=std), count + 2, width)

    def forward(self, place):
        """place (T) -> (T, W)."""
        return ops.embedding(place + 2, self.weight)


def stack_rows(side):
    """Hugging Face's names of one side."""
    at, here = f"model.{side}.layers.{{i}}.", f"{side}.layers.{{i}}."
    yield from ((f"model.{side}.embed_tokens.weight", f"{side}.word"),
                (f"model.{side}.embed_positions.weight", f"{side}.positions.weight"),
                (f"model.{side}.layernorm_embedding.*", f"{side}.embedding_norm.*"),
                (f"model.{side}.layer_norm.*", f"{side}.norm.*"),
                (at + "self_attn.[q_proj|k_proj|v_proj].*", here + "attention.qkv.*"),
                (at + "self_attn.out_proj.*", here + "attention.out.*"),
                (at + "self_attn_layer_norm.*", here + "norm1.*"),
                (at + "encoder_attn.q_proj.*", here + "cross.q.*"),
                (at + "encoder_attn.[k_proj|v_proj].*", here + "cross.kv.*"),
                (at + "encoder_attn.out_proj.*", here + "cross.out.*"),
                (at + "encoder_attn_layer_norm.*", here + "norm2.*"), (at + "fc1.*", here + "fc1.*"),
                (at + "fc2.*", here + "fc2.*"), (at + "final_layer_norm.*", here + "norm3.*"))


ROWS = (("model.shared.weight", "shared"), *stack_rows("encoder"), *stack_rows("decoder"))
HEAD = (("lm_head.weight", "shared"),)


class _Bart(TextModel):
    """Both sides. A subclass may set `normalized`, `first` and `make_positions`."""

    config_class = BartConfig
    base_prefix = "model."
    normalized, first = True, False

    def _sides(self, config):
        c = self.config = config
        self.shared = nn.Parameter(nn.init.normal(std=c.init_std), c.vocab_size, c.d_model)
        self.encoder, self.decoder = (Stack(c, side, self.shared, self.make_positions(c), self.normalized, self.first)
                                      for side in ("encoder", "decoder"))

    def make_positions(self, config):
        """What places are embedded by."""
        return LearnedPositions(config.max_position_embeddings, config.d_model, config.init_std)

    def encode(self, input_ids, attention_mask=None, states=None):
        """input_ids (N, S) -> (N, S, W)."""
        return self.encoder(input_ids, padding_mask(attention_mask), states=states)

    def decode(self, input_ids, encoded, attention_mask=None, decoder_attention_mask=None, cache=None, states=None):
        """input_ids (N, T), encoded (N, S, W) -> (N, T, W)."""
        return self.decoder(input_ids, padding_mask(decoder_attention_mask), encoded, padding_mask(attention_mask),
                            cache, states)

    def shifted(self, labels):
        """labels (N, T) behind the start token; what does not count is padding."""
        return shift_right(labels, self.config.decoder_start_token_id, self.config.pad_token_id)


class BartForConditionalGeneration(_Bart, Seq2Seq):
    """The network of the module's docstring."""

    layouts = {"huggingface": (*ROWS, *HEAD)}
    architectures = ("BartForConditionalGeneration", "BartModel")

    def __init__(self, config):
        self._sides(config)
        self.final_logits_bias = nn.Buffer(nn.init.zeros(), 1, config.vocab_size)
        self.optional_state = ("final_logits_bias",)
        self.initialize()

    def scores(self, x):
        """Hidden states (N, T, W) -> logits (N, T, V)."""
        return ops.linear(x, self.shared) + self.final_logits_bias


class BartForSequenceClassification(_Bart):
    """A class for a sequence, from the decoder's state at its last end token. Paper: section 3.1."""

    layouts = {"huggingface": (*ROWS, ("lm_head.weight", None), ("final_logits_bias", None))}
    architectures = ("BartForSequenceClassification",)
    head_name = "classification_head.out_proj"

    def __init__(self, config):
        self._sides(config)
        self.classification_head = ClassificationHead(config)
        self.initialize()

    def forward(self, input_ids, attention_mask=None, labels=None):
        """input_ids, attention_mask (N, T), labels (N) -> loss, logits (N, K)."""
        encoded = self.encode(input_ids, attention_mask)
        x = self.decode(self.shifted(input_ids), encoded, attention_mask)
        ends = ops.cumsum((input_ids == self.config.eos_token_id).astype("int64"), axis=1)
        last = ops.argmax(ends, axis=1)                # (the first place at which all ends have been seen)
        logits = self.classification_head(ops.sum(x * ops.one_hot(last, x.shape[1]).astype(x.dtype)[:, :, None], 1))
        return Output(loss=label_loss(logits, labels), logits=logits, encoder_last_hidden_state=encoded)


class ClassificationHead(nn.Module):
    """Two layers with a tanh between them."""

    def __init__(self, config):
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.out_proj = nn.Linear(config.d_model, config.num_labels)
        self.dropout = nn.Dropout(config.classifier_dropout)

    def forward(self, x):
        """x (N, W) -> (N, K)."""
        return self.out_proj(self.dropout(activated(self.dense, self.dropout(x), "tanh")))


bart = family(BartForConditionalGeneration, "text", "Lewis et al. 2019, arXiv:1910.13461")


@bart("hf/facebook-bart-base", name="bart-base")
def bart_base():
    """6 + 6 layers."""
    sides = {f"{side}_{what}": n for side in ("encoder", "decoder")
             for what, n in (("layers", 6), ("ffn_dim", 3072), ("attention_heads", 12))}
    return BartConfig(d_model=768, **sides)


@bart("hf/facebook-bart-large", name="bart-large")
def bart_large():
    """12 + 12 layers."""
    return BartConfig()


@bart("hf/facebook-bart-large-cnn", name="bart-large-cnn")
def bart_large_cnn():
    """12 + 12 layers, for summaries."""
    return BartConfig(vocab_size=50264, forced_bos_token_id=0)
