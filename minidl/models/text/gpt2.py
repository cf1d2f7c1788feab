"""GPT-2, and GPT-3, which is a larger one.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; Brown et al. 2020, "Language Models
are Few-Shot Learners", arXiv:2005.14165, table 2.1; banded attention: Child et al. 2019, arXiv:1904.10509.
Differs from the papers: GPT-3's band is not published: `band` sets it, and dense layers are the default; where table
2.1 has heads whose widths do not add up to the model's (1.3B, 13B), the width is kept.

    tokens (N,T) -> word + position embeddings -> Blocks, norms inside -> norm -> scores by the word embeddings (N,T,V)
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from .attention import SelfAttention, padding_mask
from .causal import CausalLM, places
from .config import TextConfig, activation


@dataclass(frozen=True)
class GPT2Config(TextConfig):
    """Sizes of a GPT-2, under the names of Hugging Face's config.json.

    `band`: every second layer sees so many keys before its own place; None: all see all.
    """

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    bos_token_id: int = 50256
    eos_token_id: int = 50256
    num_labels: int = 2
    band: int | None = None

    model_type = "gpt2"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, n_positions=16, n_embd=8, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
                   attn_pdrop=0.0, bos_token_id=1, eos_token_id=2, num_labels=3, band=3)


class Block(nn.Module):
    """Attention, then a feed-forward net, each behind a norm and added to its input. Paper: section 2.3."""

    def __init__(self, width, attention, hidden, act, dropout, eps, window=-1):
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attention, self.window = attention, window
        self.fc, self.proj = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.act, self.dropout = activation(act), nn.Dropout(dropout)

    def forward(self, x, mask, cache, layer):
        """x (N, T, W) -> (N, T, W)."""
        y = self.attention(self.ln_1(x), mask, causal=True, window=self.window, cache=cache, layer=layer)
        x = x + self.dropout(y)
        return x + self.dropout(self.proj(self.fc(self.ln_2(x), self.act)))


class GPT2LMHeadModel(CausalLM):
    """The network of the module's docstring."""

    config_class = GPT2Config
    layouts = {"huggingface": (
        ("transformer.wte.weight", "wte"), ("lm_head.weight", "wte"), ("transformer.wpe.weight", "wpe"),
        ("transformer.h.{i}.attn.c_attn.weight", "h.{i}.attention.qkv.weight", "T"),
        ("transformer.h.{i}.attn.c_attn.bias", "h.{i}.attention.qkv.bias"),
        ("transformer.h.{i}.attn.c_proj.weight", "h.{i}.attention.out.weight", "T"),
        ("transformer.h.{i}.attn.c_proj.bias", "h.{i}.attention.out.bias"),
        ("transformer.h.{i}.attn.bias", None), ("transformer.h.{i}.attn.masked_bias", None),
        ("transformer.h.{i}.mlp.c_fc.weight", "h.{i}.fc.weight", "T"),
        ("transformer.h.{i}.mlp.c_fc.bias", "h.{i}.fc.bias"),
        ("transformer.h.{i}.mlp.c_proj.weight", "h.{i}.proj.weight", "T"),
        ("transformer.h.{i}.mlp.c_proj.bias", "h.{i}.proj.bias"),
        ("transformer.h.{i}.ln_{j}.*", "h.{i}.ln_{j}.*"), ("transformer.ln_f.*", "ln_f.*"))}
    architectures = ("GPT2LMHeadModel", "GPT2Model")
    base_prefix = "transformer."

    def __init__(self, config):
        c = self.config = config
        normal = nn.init.normal(std=c.initializer_range)
        self.wte = nn.Parameter(normal, c.vocab_size, c.n_embd)
        self.wpe = nn.Parameter(normal, c.n_positions, c.n_embd)
        self.dropout = nn.Dropout(c.embd_pdrop)
        self.h = nn.ModuleList()
        for i in range(c.n_layer):
            attention = SelfAttention(c.n_embd, c.n_head, dropout=c.attn_pdrop)
            self.h.append(Block(c.n_embd, attention, c.n_inner or 4 * c.n_embd, c.activation_function, c.resid_pdrop,
                                c.layer_norm_epsilon, c.band - 1 if c.band and i % 2 else -1))
        self.ln_f = nn.LayerNorm(c.n_embd, c.layer_norm_epsilon)
        self.initialize()
        for block in self.h:                           # (paper: section 2.3, residual layers)
            for linear in (block.attention.out, block.proj):
                nn.init.normal_(linear.weight, std=c.initializer_range / (2 * c.n_layer) ** 0.5)

    def decode(self, input_ids, attention_mask, position_ids, cache, states):
        """input_ids (N, T) -> hidden states behind the last norm (N, T, W)."""
        place = places(input_ids, cache) if position_ids is None else position_ids
        x = self.dropout(ops.embedding(input_ids, self.wte) + ops.embedding(place, self.wpe))
        mask = padding_mask(attention_mask)
        for i, block in enumerate(self.h):
            if states is not None:
                states.append(x)
            x = block(x, mask, cache, i)
        return self.ln_f(x)

    def scores(self, x):
        """Hidden states (N, T, W) -> logits (N, T, V)."""
        return ops.linear(x, self.wte)


PAPER = "Radford et al. 2019, Language Models are Unsupervised Multitask Learners"
gpt2_family = family(GPT2LMHeadModel, "text", PAPER)
gpt3_family = family(GPT2LMHeadModel, "text", "Brown et al. 2020, arXiv:2005.14165")
SIZES = {"gpt2": (768, 12, 12), "gpt2-medium": (1024, 24, 16), "gpt2-large": (1280, 36, 20), "gpt2-xl": (1600, 48, 25),
         "distilgpt2": (768, 6, 12)}
SIZES3 = {"small-125M": (768, 12, 12), "medium-350M": (1024, 24, 16), "large-760M": (1536, 24, 16),
          "xl-1.3B": (2048, 24, 16), "2.7B": (2560, 32, 32), "6.7B": (4096, 32, 32), "13B": (5120, 40, 40),
          "175B": (12288, 96, 96)}


def _register(registrar, name, nets, positions, sizes):
    def config():
        width, layers, heads = sizes
        return GPT2Config(n_embd=width, n_layer=layers, n_head=heads, n_positions=positions)

    registrar(*nets, name=name)(config)


for _name, _sizes in SIZES.items():
    _register(gpt2_family, _name, [f"hf/{_name}"], 1024, _sizes)
for _name, _sizes in SIZES3.items():
    _nets = [] if _name in ("xl-1.3B", "13B") else [f"gpt3-style/gpt3-{_name}"]
    _register(gpt3_family, f"gpt3-{_name}", _nets, 2048, _sizes)
