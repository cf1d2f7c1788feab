"""RoBERTa: BERT's encoder, trained longer, on more, and without the second task.

Source: Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach", arXiv:1907.11692.
Differs from BERT: places are counted from behind the padding index, padding has none; one segment; the heads take the
first token through a layer of their own.

    tokens (N,T) -> embeddings, norm -> Layers -> hidden states (N,T,W) -> a head
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from . import bert
from .bert import BertConfig, BertHead, BertModel, encoder_rows
from .config import activated


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """Sizes of a RoBERTa, under the names of Hugging Face's config.json."""

    vocab_size: int = 50265
    max_position_embeddings: int = 514
    type_vocab_size: int = 1
    layer_norm_eps: float = 1e-5
    pad_token_id: int = 1

    model_type = "roberta"


class Embeddings(bert.Embeddings):
    """BERT's, whose places start behind the padding index, and stay there for padding."""

    @property
    def place_of_padding(self):
        """A place that does not learn."""
        return self.padding

    def positions(self, input_ids):
        """The place of each token (N, T): how many tokens that are no padding, itself included."""
        real = (input_ids != self.padding).astype("int64")
        return ops.cumsum(real, axis=1) * real + self.padding


class RobertaModel(BertModel):
    """The encoder: what heads stand on."""

    config_class = RobertaConfig
    architectures = ("RobertaModel",)
    base_prefix = "roberta."
    embeddings_class = Embeddings


ROWS = encoder_rows("roberta.", "encoder.")
LM_HEAD = (("lm_head.bias", "bias"), ("lm_head.decoder.bias", "bias"), ("lm_head.decoder.weight", "weight"),
           ("lm_head.dense.*", "transform.*"), ("lm_head.layer_norm.*", "norm.*"))


def fairseq_rows():
    """The names of the authors' code: below "encoder.", in old checkpoints "decoder."."""
    for side, how in (("encoder", ""), ("decoder", "old")):
        below, at = f"{side}.sentence_encoder.", f"{side}.sentence_encoder.layers.{{i}}."
        for theirs, ours, *old in (
                (below + "embed_tokens.weight", "encoder.embeddings.word"),
                (below + "embed_positions.weight", "encoder.embeddings.position"),
                (below + "layernorm_embedding.*", "encoder.embeddings.norm.*"),
                (below + "emb_layer_norm.*", "encoder.embeddings.norm.*", "old"),
                (at + "self_attn.[q_proj|k_proj|v_proj].*", "encoder.layers.{i}.attention.qkv.*"),
                (at + "self_attn.in_proj_*", "encoder.layers.{i}.attention.qkv.*", "old"),
                (at + "self_attn.out_proj.*", "encoder.layers.{i}.attention.out.*"),
                (at + "self_attn_layer_norm.*", "encoder.layers.{i}.norm1.*"),
                (at + "fc1.*", "encoder.layers.{i}.fc1.*"), (at + "fc2.*", "encoder.layers.{i}.fc2.*"),
                (at + "final_layer_norm.*", "encoder.layers.{i}.norm2.*"),
                (f"{side}.lm_head.weight", "predictions.weight"), (f"{side}.lm_head.bias", "predictions.bias"),
                (f"{side}.lm_head.dense.*", "predictions.transform.*"),
                (f"{side}.lm_head.layer_norm.*", "predictions.norm.*")):
            yield theirs, ours, *(old or [how])


class _RobertaHead(BertHead):
    config_class = RobertaConfig
    base_prefix = "roberta."
    backbone = RobertaModel
    pooling = False


class RobertaForMaskedLM(_RobertaHead):
    """Scores over the vocabulary for every token."""

    layouts = {"huggingface": (*ROWS, ("roberta.pooler.*", None),
                               *((theirs, f"predictions.{ours}") for theirs, ours in LM_HEAD)),
               "fairseq": tuple(fairseq_rows())}
    architectures = ("RobertaForMaskedLM",)

    build = bert.BertForMaskedLM.build
    head = bert.BertForMaskedLM.head


class ClassificationHead(nn.Module):
    """The first token through a layer of its own. Fairseq: `RobertaClassificationHead`."""

    def __init__(self, config):
        width = config.hidden_size
        self.dense, self.dropout, self.out_proj = nn.Linear(width, width), bert.dropout(config), nn.Linear(
            width, config.num_labels)

    def forward(self, x):
        """x (N, T, W) -> (N, K)."""
        return self.out_proj(self.dropout(activated(self.dense, self.dropout(x[:, 0]), "tanh")))


class RobertaForSequenceClassification(_RobertaHead):
    """A class, or a number, for a sequence."""

    layouts = {"huggingface": ROWS}
    architectures = ("RobertaForSequenceClassification",)
    head_name = "classifier.out_proj"

    def build(self, config):
        """The head."""
        self.classifier = ClassificationHead(config)

    def head(self, encoded, labels=None):
        """labels (N) -> logits (N, K); with one label the loss is the mean squared error."""
        logits = self.classifier(encoded.last_hidden_state)
        return {"loss": bert.label_loss(logits, labels), "logits": logits}


class RobertaForTokenClassification(_RobertaHead):
    """A class for every token."""

    layouts = {"huggingface": ROWS}
    architectures = ("RobertaForTokenClassification",)
    head_name = "classifier"
    build = bert.BertForTokenClassification.build
    head = bert.BertForTokenClassification.head


class RobertaForQuestionAnswering(_RobertaHead):
    """Where in the text the answer starts, and where it ends."""

    layouts = {"huggingface": ROWS}
    architectures = ("RobertaForQuestionAnswering",)
    build = bert.BertForQuestionAnswering.build
    head = bert.BertForQuestionAnswering.head


masked = family(RobertaForMaskedLM, "text", "Liu et al. 2019, arXiv:1907.11692")


@masked("hf/roberta-base", name="roberta-base")
def roberta_base():
    """12 layers."""
    return RobertaConfig()


@masked("hf/roberta-large", name="roberta-large")
def roberta_large():
    """24 layers."""
    return RobertaConfig(**bert.LARGE)


@masked("hf/distilroberta-base", name="distilroberta-base")
def distilroberta_base():
    """6 layers, learnt from RoBERTa as DistilBERT from BERT (Sanh et al. 2019, arXiv:1910.01108)."""
    return RobertaConfig(num_hidden_layers=6)
