"""ELECTRA: an encoder that learns to tell which tokens were replaced.

Source: Clark, Luong, Le, Manning 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than
Generators", arXiv:2003.10555.
Differs from BERT: embeddings may be narrower than the encoder, and are then projected; no pooler.

    tokens (N,T) -> embeddings, norm, projection -> Layers -> hidden states (N,T,W) -> a head
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from . import bert, roberta
from .bert import BertConfig, BertHead, Embeddings, TextModel, cross_entropy, encode, encoder_rows, layer
from .config import activated, activation
from .output import Output


@dataclass(frozen=True)
class ElectraConfig(BertConfig):
    """Sizes of an ELECTRA, under the names of Hugging Face's config.json."""

    embedding_size: int = 128
    hidden_size: int = 256
    num_attention_heads: int = 4
    intermediate_size: int = 1024

    model_type = "electra"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return super().tiny().replace(embedding_size=4)


class ElectraModel(TextModel):
    """The encoder: what heads stand on."""

    config_class = ElectraConfig
    layouts = {"huggingface": (*encoder_rows(), ("embeddings_project.*", "project.*"))}
    architectures = ("ElectraModel",)
    base_prefix = "electra."

    def __init__(self, config, add_pooling_layer=False):
        c = self.config = config
        self.embeddings = Embeddings(c, c.embedding_size)
        self.project = nn.Linear(c.embedding_size, c.hidden_size) if c.embedding_size != c.hidden_size else None
        self.layers = nn.ModuleList(layer(c) for _ in range(c.num_hidden_layers))
        self.initialize()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None,
                output_hidden_states=False):
        """As of BertModel -> last_hidden_state (N, T, W), hidden_states."""
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        x = x if self.project is None else self.project(x)
        x, states = encode(self.layers, x, attention_mask, output_hidden_states)
        return Output(last_hidden_state=x, hidden_states=states)


ROWS = (*encoder_rows("electra.", "encoder."), ("electra.embeddings_project.*", "encoder.project.*"))


class _ElectraHead(BertHead):
    config_class = ElectraConfig
    base_prefix = "electra."
    backbone = ElectraModel


class ElectraForPreTraining(_ElectraHead):
    """The discriminator: was a token replaced? Paper: section 2, eq. 2."""

    layouts = {"huggingface": (*ROWS, ("discriminator_predictions.dense.*", "dense.*"),
                               ("discriminator_predictions.dense_prediction.*", "prediction.*"))}
    architectures = ("ElectraForPreTraining",)

    def build(self, config):
        """The head."""
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.prediction = nn.Linear(config.hidden_size, 1)

    def head(self, encoded, labels=None, attention_mask=None):
        """labels (N, T), 1 where replaced, IGNORED where it does not count -> logits (N, T)."""
        x = activated(self.dense, encoded.last_hidden_state, activation(self.config.hidden_act))
        logits, loss = self.prediction(x)[:, :, 0], None
        if labels is not None:
            counted = (labels != bert.IGNORED).astype(logits.dtype)
            each = ops.binary_cross_entropy_with_logits(logits, ops.where(labels == 1, 1.0, 0.0), reduction="none")
            loss = ops.sum(each * counted) / ops.sum(counted)
        return {"loss": loss, "logits": logits}


class ElectraForMaskedLM(_ElectraHead):
    """The generator: scores over the vocabulary, by the transposed word embeddings. Paper: section 2, eq. 1."""

    layouts = {"huggingface": (*ROWS, ("generator_predictions.dense.*", "dense.*"),
                               ("generator_predictions.LayerNorm.*", "norm.*"), ("generator_lm_head.weight", "weight"),
                               ("generator_lm_head.bias", "bias"))}
    architectures = ("ElectraForMaskedLM",)

    def build(self, config):
        """The head."""
        c = config
        self.dense = nn.Linear(c.hidden_size, c.embedding_size)
        self.norm = nn.LayerNorm(c.embedding_size, c.layer_norm_eps)
        self.weight, self.bias = self.encoder.embeddings.word, nn.Parameter(nn.init.zeros(), c.vocab_size)

    def head(self, encoded, labels=None):
        """labels (N, T) -> logits (N, T, V)."""
        x = self.norm(self.dense(encoded.last_hidden_state, "gelu"))
        scores = ops.linear(x, self.weight, self.bias)
        return {"loss": cross_entropy(scores, labels), "logits": scores}


class ClassificationHead(roberta.ClassificationHead):
    """The first token through a layer of its own, with a GELU."""

    def forward(self, x):
        """x (N, T, W) -> (N, K)."""
        return self.out_proj(self.dropout(self.dense(self.dropout(x[:, 0]), "gelu")))


class ElectraForSequenceClassification(_ElectraHead):
    """A class, or a number, for a sequence."""

    layouts = {"huggingface": ROWS}
    architectures = ("ElectraForSequenceClassification",)
    head_name = "classifier.out_proj"

    def build(self, config):
        """The head."""
        self.classifier = ClassificationHead(config)

    head = roberta.RobertaForSequenceClassification.head


class ElectraForTokenClassification(_ElectraHead):
    """A class for every token."""

    layouts = {"huggingface": ROWS}
    architectures = ("ElectraForTokenClassification",)
    head_name = "classifier"
    build = bert.BertForTokenClassification.build
    head = bert.BertForTokenClassification.head


class ElectraForQuestionAnswering(_ElectraHead):
    """Where in the text the answer starts, and where it ends."""

    layouts = {"huggingface": ROWS}
    architectures = ("ElectraForQuestionAnswering",)
    build = bert.BertForQuestionAnswering.build
    head = bert.BertForQuestionAnswering.head


PAPER = "Clark et al. 2020, arXiv:2003.10555"
discriminator, generator = family(ElectraForPreTraining, "text", PAPER), family(ElectraForMaskedLM, "text", PAPER)
BASE = {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}


@discriminator("hf/google-electra-small-discriminator", name="electra-small-discriminator")
def electra_small_discriminator():
    """12 layers of width 256."""
    return ElectraConfig()


@discriminator("hf/google-electra-base-discriminator", name="electra-base-discriminator")
def electra_base_discriminator():
    """12 layers of width 768."""
    return ElectraConfig(**BASE)


@discriminator("hf/google-electra-large-discriminator", name="electra-large-discriminator")
def electra_large_discriminator():
    """24 layers of width 1024."""
    return ElectraConfig(**bert.LARGE, embedding_size=1024)


@generator("hf/google-electra-small-generator", name="electra-small-generator")
def electra_small_generator():
    """The small one's generator."""
    return ElectraConfig()


@generator("hf/google-electra-base-generator", name="electra-base-generator")
def electra_base_generator():
    """The base one's generator: a third of its width."""
    return ElectraConfig(embedding_size=768)
