"""mBART: BART in many languages.

Source: Liu et al. 2020, "Multilingual Denoising Pre-training for Neural Machine Translation", arXiv:2001.08210;
50 languages: Tang et al. 2020, arXiv:2008.00401.
Differs from BART: norms in front of each part and one at the end of each side; embeddings are scaled; the decoder
starts from the language's token.
"""
from dataclasses import dataclass

from ... import ops
from ..registry import family
from .bart import BartConfig, BartForConditionalGeneration


@dataclass(frozen=True)
class MBartConfig(BartConfig):
    """Sizes of an mBART, under the names of Hugging Face's config.json."""

    vocab_size: int = 250027
    scale_embedding: bool = True
    decoder_start_token_id: int | None = None

    model_type = "mbart"


class MBartForConditionalGeneration(BartForConditionalGeneration):
    """The network of the module's docstring."""

    config_class = MBartConfig
    architectures = ("MBartForConditionalGeneration", "MBartModel")
    first = True

    def shifted(self, labels):
        """labels (N, T), each row's last token, which names the language, in front of the others."""
        padding = self.config.pad_token_id
        labels = ops.where(labels == -100, padding, labels)
        last = ops.sum((labels != padding).astype("int64"), 1, keepdims=True) - 1
        return ops.concat([ops.take_along_axis(labels, last, 1), labels[:, :-1]], 1)


mbart = family(MBartForConditionalGeneration, "text", "Liu et al. 2020, arXiv:2001.08210")


@mbart("hf/facebook-mbart-large-cc25", name="mbart-large-cc25")
def mbart_large_cc25():
    """25 languages."""
    return MBartConfig()


@mbart("hf/facebook-mbart-large-50", name="mbart-large-50")
def mbart_large_50():
    """50 languages."""
    return MBartConfig(vocab_size=250054)
