"""OPT: a decoder like GPT-3, trained in the open.

Source: Zhang et al. 2022, "OPT: Open Pre-trained Transformer Language Models", arXiv:2205.01068.
Differs from GPT-3: ReLU; places start at 2, behind two that are not used; the 350M model normalises behind its layers,
and its embeddings are narrower than they are.

    tokens (N,T) -> word (projected) + position embeddings -> Layers -> norm -> (projected) scores (N,T,V)
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from .attention import SelfAttention, padding_mask
from .causal import CausalLM, places
from .config import TextConfig, activation

OFFSET = 2                         # rows of the table of places in front of place 0


@dataclass(frozen=True)
class OPTConfig(TextConfig):
    """Sizes of an OPT, under the names of Hugging Face's config.json."""

    vocab_size: int = 50272
    hidden_size: int = 768
    num_hidden_layers: int = 12
    ffn_dim: int = 3072
    num_attention_heads: int = 12
    max_position_embeddings: int = 2048
    word_embed_proj_dim: int = 768
    do_layer_norm_before: bool = True
    activation_function: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    init_std: float = 0.02
    pad_token_id: int = 1
    bos_token_id: int = 2
    eos_token_id: int = 2

    model_type = "opt"

    @property
    def initializer_range(self):
        """As BERT calls it."""
        return self.init_std

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, hidden_size=8, num_hidden_layers=2, ffn_dim=16, num_attention_heads=2,
                   max_position_embeddings=16, word_embed_proj_dim=4, dropout=0.0)


class Layer(nn.Module):
    """Attention and a feed-forward net, each added to its input, the norms in front or behind. Paper: section 2.1."""

    def __init__(self, config):
        c = config
        self.attention = SelfAttention(c.hidden_size, c.num_attention_heads, dropout=c.attention_dropout)
        self.norm1, self.norm2 = nn.LayerNorm(c.hidden_size), nn.LayerNorm(c.hidden_size)
        self.fc1, self.fc2 = nn.Linear(c.hidden_size, c.ffn_dim), nn.Linear(c.ffn_dim, c.hidden_size)
        self.act, self.first = activation(c.activation_function), c.do_layer_norm_before
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x, mask, cache, layer):
        """x (N, T, W) -> (N, T, W)."""
        def attend(y):
            return self.dropout(self.attention(y, mask, causal=True, cache=cache, layer=layer))

        def feed(y):
            return self.dropout(self.fc2(self.fc1(y, self.act)))

        if self.first:
            x = x + attend(self.norm1(x))
            return x + feed(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + feed(x))


AT = "model.decoder.layers.{i}."


class OPTForCausalLM(CausalLM):
    """The network of the module's docstring."""

    config_class = OPTConfig
    layouts = {"huggingface": (
        ("model.decoder.embed_tokens.weight", "word"), ("lm_head.weight", "word"),
        ("model.decoder.embed_positions.weight", "position"), ("model.decoder.project_in.*", "project_in.*"),
        ("model.decoder.project_out.*", "project_out.*"), ("model.decoder.final_layer_norm.*", "norm.*"),
        (AT + "self_attn.[q_proj|k_proj|v_proj].*", "layers.{i}.attention.qkv.*"),
        (AT + "self_attn.out_proj.*", "layers.{i}.attention.out.*"),
        (AT + "self_attn_layer_norm.*", "layers.{i}.norm1.*"), (AT + "fc1.*", "layers.{i}.fc1.*"),
        (AT + "fc2.*", "layers.{i}.fc2.*"), (AT + "final_layer_norm.*", "layers.{i}.norm2.*"))}
    architectures = ("OPTForCausalLM", "OPTModel")
    base_prefix = "model."

    def __init__(self, config):
        c = self.config = config
        normal, narrow = nn.init.normal(std=c.init_std), c.word_embed_proj_dim
        self.word = nn.Parameter(normal, c.vocab_size, narrow)
        self.position = nn.Parameter(normal, c.max_position_embeddings + OFFSET, c.hidden_size)
        self.project_in, self.project_out = (None, None) if narrow == c.hidden_size else (
            nn.Linear(narrow, c.hidden_size, bias=False), nn.Linear(c.hidden_size, narrow, bias=False))
        self.dropout = nn.Dropout(c.dropout)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.LayerNorm(c.hidden_size) if c.do_layer_norm_before else nn.Identity()
        self.initialize()

    def decode(self, input_ids, attention_mask, position_ids, cache, states):
        """input_ids (N, T) -> hidden states behind the last norm and projection (N, T, W)."""
        x = ops.embedding(input_ids, self.word, padding_idx=self.config.pad_token_id)
        x = x if self.project_in is None else self.project_in(x)
        if position_ids is None and attention_mask is not None:
            real = (attention_mask != 0).astype("int64")
            position_ids = (ops.cumsum(real, axis=1) * real - 1)[:, -input_ids.shape[1]:]
        place = places(input_ids, cache) if position_ids is None else position_ids
        x, mask = self.dropout(x + ops.embedding(place + OFFSET, self.position)), padding_mask(attention_mask)
        for i, layer in enumerate(self.layers):
            if states is not None:
                states.append(x)
            x = layer(x, mask, cache, i)
        x = self.norm(x)
        return x if self.project_out is None else self.project_out(x)

    def scores(self, x):
        """Hidden states (N, T, W) -> logits (N, T, V)."""
        return ops.linear(x, self.word)


opt = family(OPTForCausalLM, "text", "Zhang et al. 2022, arXiv:2205.01068")


def _register(size, width, layers, heads, official=True, **settings):
    def config():
        return OPTConfig(hidden_size=width, num_hidden_layers=layers, ffn_dim=4 * width, num_attention_heads=heads,
                         **{"word_embed_proj_dim": width, **settings})

    opt(*[f"hf/facebook-opt-{size}"] * official, name=f"opt-{size}")(config)


_register("125m", 768, 12, 12)
_register("350m", 1024, 24, 16, word_embed_proj_dim=512, do_layer_norm_before=False)
_register("1.3b", 2048, 24, 32)
_register("2.7b", 2560, 32, 32, False)
_register("6.7b", 4096, 32, 32, False)
_register("13b", 5120, 40, 40, False)
_register("30b", 7168, 48, 56, False)
_register("66b", 9216, 64, 72, False)
