"""MarianMT: the Transformer that translates.

Source: Vaswani et al. 2017, arXiv:1706.03762; Junczys-Dowmunt et al. 2018, "Marian: Fast Neural Machine Translation in
C++", arXiv:1804.00344; models: Tiedemann, Thottingal 2020, "OPUS-MT".
Differs from BART: fixed places, sines and then cosines; embeddings are scaled, not normalised; swish; the decoder
starts from padding.
"""
from dataclasses import dataclass

import numpy as np

from ... import nn, ops
from ..registry import family
from .bart import BartConfig, BartForConditionalGeneration


@dataclass(frozen=True)
class MarianConfig(BartConfig):
    """Sizes of a MarianMT, under the names of Hugging Face's config.json."""

    vocab_size: int = 58101
    max_position_embeddings: int = 512
    d_model: int = 512
    encoder_layers: int = 6
    encoder_ffn_dim: int = 2048
    encoder_attention_heads: int = 8
    decoder_layers: int = 6
    decoder_ffn_dim: int = 2048
    decoder_attention_heads: int = 8
    activation_function: str = "swish"
    scale_embedding: bool = True
    pad_token_id: int = 58100
    eos_token_id: int = 0
    decoder_start_token_id: int | None = 58100
    forced_eos_token_id: int | None = 0

    model_type = "marian"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return super().tiny().replace(pad_token_id=31, decoder_start_token_id=31)


class SinusoidPositions(nn.Module):
    """Sines of all frequencies, then their cosines. Vaswani et al.: section 3.5."""

    optional_state = ("weight",)

    def __init__(self, count, width):
        angle = np.arange(count)[:, None] / 10000 ** (2 * np.arange(width // 2) / width)
        table = np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)
        self.weight = nn.Parameter(table, requires_grad=False)

    def forward(self, place):
        """place (T) -> (T, W)."""
        return ops.embedding(place, self.weight)


class MarianMTModel(BartForConditionalGeneration):
    """The network of the module's docstring."""

    config_class = MarianConfig
    architectures = ("MarianMTModel", "MarianModel")
    normalized = False

    def make_positions(self, config):
        """What places are embedded by."""
        return SinusoidPositions(config.max_position_embeddings, config.d_model)


marian = family(MarianMTModel, "text", "Junczys-Dowmunt et al. 2018, arXiv:1804.00344")


@marian("hf/Helsinki-NLP-opus-mt-en-de", name="opus-mt-en-de")
def opus_mt_en_de():
    """English to German."""
    return MarianConfig()
