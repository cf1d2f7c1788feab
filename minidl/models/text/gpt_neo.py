"""GPT-Neo: GPT-2 whose every second layer looks at a window.

Source: Black, Gao, Wang, Leahy, Biderman 2021, "GPT-Neo: Large Scale Autoregressive Language Modeling with
Mesh-Tensorflow", doi:10.5281/zenodo.5297715.
Differs from GPT-2: products of queries and keys are not scaled; their projections have no bias; local layers.

    tokens (N,T) -> word + position embeddings -> Blocks -> norm -> scores by the word embeddings (N,T,V)
"""
from dataclasses import dataclass

from ... import nn
from ..registry import family
from .attention import SelfAttention
from .config import TextConfig
from .gpt2 import Block, GPT2LMHeadModel


@dataclass(frozen=True)
class GPTNeoConfig(TextConfig):
    """Sizes of a GPT-Neo, under the names of Hugging Face's config.json."""

    vocab_size: int = 50257
    max_position_embeddings: int = 2048
    hidden_size: int = 2048
    num_layers: int = 24
    attention_types: tuple = ((("global", "local"), 12),)
    num_heads: int = 16
    intermediate_size: int | None = None
    window_size: int = 256
    activation_function: str = "gelu_new"
    resid_dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    bos_token_id: int = 50256
    eos_token_id: int = 50256

    model_type = "gpt_neo"

    @property
    def kinds(self):
        """"global" or "local", of each layer."""
        return [kind for kinds, times in self.attention_types for kind in kinds * times]

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, max_position_embeddings=16, hidden_size=8, num_layers=2, num_heads=2, window_size=3,
                   attention_types=((("global", "local"), 1),), bos_token_id=1, eos_token_id=2)


class GPTNeoForCausalLM(GPT2LMHeadModel):
    """The network of the module's docstring."""

    config_class = GPTNeoConfig
    layouts = {"huggingface": (
        ("transformer.wte.weight", "wte"), ("lm_head.weight", "wte"), ("transformer.wpe.weight", "wpe"),
        ("transformer.h.{i}.attn.attention.[q_proj|k_proj|v_proj].*", "h.{i}.attention.qkv.*"),
        ("transformer.h.{i}.attn.attention.out_proj.*", "h.{i}.attention.out.*"),
        ("transformer.h.{i}.attn.attention.bias", None), ("transformer.h.{i}.attn.attention.masked_bias", None),
        ("transformer.h.{i}.mlp.c_fc.*", "h.{i}.fc.*"), ("transformer.h.{i}.mlp.c_proj.*", "h.{i}.proj.*"),
        ("transformer.h.{i}.ln_{j}.*", "h.{i}.ln_{j}.*"), ("transformer.ln_f.*", "ln_f.*"))}
    architectures = ("GPTNeoForCausalLM", "GPTNeoModel")

    def __init__(self, config):
        c = self.config = config
        normal = nn.init.normal(std=c.initializer_range)
        self.wte = nn.Parameter(normal, c.vocab_size, c.hidden_size)
        self.wpe = nn.Parameter(normal, c.max_position_embeddings, c.hidden_size)
        self.dropout, self.h = nn.Dropout(c.embed_dropout), nn.ModuleList()
        for kind in c.kinds:
            attention = SelfAttention(c.hidden_size, c.num_heads, bias=(False, True), dropout=c.attention_dropout,
                                      scale=1.0)
            window, hidden = c.window_size - 1 if kind == "local" else -1, c.intermediate_size or 4 * c.hidden_size
            self.h.append(Block(c.hidden_size, attention, hidden, c.activation_function, c.resid_dropout,
                                c.layer_norm_epsilon, window))
        self.ln_f = nn.LayerNorm(c.hidden_size, c.layer_norm_epsilon)
        self.initialize()


gpt_neo = family(GPTNeoForCausalLM, "text", "Black et al. 2021, doi:10.5281/zenodo.5297715")


@gpt_neo("hf/EleutherAI-gpt-neo-125m", name="gpt-neo-125m")
def gpt_neo_125m():
    """12 layers."""
    return GPTNeoConfig(hidden_size=768, num_layers=12, num_heads=12, attention_types=((("global", "local"), 6),))


@gpt_neo("hf/EleutherAI-gpt-neo-1.3B", name="gpt-neo-1.3B")
def gpt_neo_1_3b():
    """24 layers."""
    return GPTNeoConfig()


@gpt_neo(name="gpt-neo-2.7B")
def gpt_neo_2_7b():
    """32 layers."""
    return GPTNeoConfig(hidden_size=2560, num_layers=32, num_heads=20, attention_types=((("global", "local"), 16),))
