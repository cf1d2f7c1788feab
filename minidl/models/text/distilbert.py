"""DistilBERT: a BERT of half as many layers that learnt from the whole one.

Source: Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT, a distilled version of BERT", arXiv:1910.01108.
Differs from BERT: no segments, no pooler.

    tokens (N,T) -> word + position embeddings, norm -> Layers -> hidden states (N,T,W) -> a head
"""
from dataclasses import dataclass

from ... import nn, ops
from ..registry import family
from . import bert
from .bert import Embeddings, Layer, TextModel, cross_entropy, encode
from .config import TextConfig, activated, activation
from .output import Output


@dataclass(frozen=True)
class DistilBertConfig(TextConfig):
    """Sizes of a DistilBERT, under the names of Hugging Face's config.json."""

    vocab_size: int = 30522
    dim: int = 768
    n_layers: int = 6
    n_heads: int = 12
    hidden_dim: int = 3072
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    max_position_embeddings: int = 512
    initializer_range: float = 0.02
    pad_token_id: int = 0
    qa_dropout: float = 0.1
    seq_classif_dropout: float = 0.2
    num_labels: int = 2

    model_type = "distilbert"
    layer_norm_eps = 1e-12
    type_vocab_size = 0

    @property
    def hidden_dropout_prob(self):
        """As BERT calls it."""
        return self.dropout

    @property
    def hidden_size(self):
        """As BERT calls it."""
        return self.dim

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, dim=8, n_layers=2, n_heads=2, hidden_dim=16, max_position_embeddings=16, dropout=0.0,
                   attention_dropout=0.0, qa_dropout=0.0, seq_classif_dropout=0.0, num_labels=3)


def rows(official, ours):
    """Hugging Face's names of the encoder, below these prefixes."""
    at, here = f"{official}transformer.layer.{{i}}.", f"{ours}layers.{{i}}."
    return ((f"{official}embeddings.word_embeddings.weight", f"{ours}embeddings.word"),
            (f"{official}embeddings.position_embeddings.weight", f"{ours}embeddings.position"),
            (f"{official}embeddings.LayerNorm.*", f"{ours}embeddings.norm.*"),
            (at + "attention.[q_lin|k_lin|v_lin].*", here + "attention.qkv.*"),
            (at + "attention.out_lin.*", here + "attention.out.*"), (at + "sa_layer_norm.*", here + "norm1.*"),
            (at + "ffn.lin1.*", here + "fc1.*"), (at + "ffn.lin2.*", here + "fc2.*"),
            (at + "output_layer_norm.*", here + "norm2.*"))


class DistilBertModel(TextModel):
    """The encoder: what heads stand on."""

    config_class = DistilBertConfig
    layouts = {"huggingface": rows("", "")}
    architectures = ("DistilBertModel",)
    base_prefix = "distilbert."

    def __init__(self, config):
        c = self.config = config
        self.embeddings = Embeddings(c, c.dim)
        self.layers = nn.ModuleList(Layer(c.dim, c.n_heads, c.hidden_dim, c.activation, c.dropout, c.attention_dropout,
                                          c.layer_norm_eps) for _ in range(c.n_layers))
        self.initialize()

    def forward(self, input_ids, attention_mask=None, position_ids=None, output_hidden_states=False):
        """input_ids, attention_mask (1 where a token counts), position_ids (N, T) -> last_hidden_state (N, T, W)."""
        x = self.embeddings(input_ids, None, position_ids)
        x, states = encode(self.layers, x, attention_mask, output_hidden_states)
        return Output(last_hidden_state=x, hidden_states=states)


ROWS = rows("distilbert.", "encoder.")


class _DistilBertHead(TextModel):
    config_class = DistilBertConfig
    base_prefix = "distilbert."

    def __init__(self, config):
        self.config, self.encoder = config, DistilBertModel(config)
        self.build(config)
        self.initialize()

    def forward(self, input_ids, attention_mask=None, position_ids=None, output_hidden_states=False, **labels):
        """As of DistilBertModel, and labels: with them there is a `loss`."""
        encoded = self.encoder(input_ids, attention_mask, position_ids, output_hidden_states)
        return Output(**self.head(encoded, **labels), hidden_states=encoded.hidden_states)


class DistilBertForMaskedLM(_DistilBertHead):
    """Scores over the vocabulary for every token."""

    layouts = {"huggingface": (*ROWS, ("vocab_transform.*", "transform.*"), ("vocab_layer_norm.*", "norm.*"),
                               ("vocab_projector.weight", "weight"), ("vocab_projector.bias", "bias"))}
    architectures = ("DistilBertForMaskedLM",)

    def build(self, config):
        """The head."""
        c = config
        self.transform, self.norm = nn.Linear(c.dim, c.dim), nn.LayerNorm(c.dim, c.layer_norm_eps)
        self.weight, self.bias = self.encoder.embeddings.word, nn.Parameter(nn.init.zeros(), c.vocab_size)

    def head(self, encoded, labels=None):
        """labels (N, T) -> logits (N, T, V)."""
        x = activated(self.transform, encoded.last_hidden_state, activation(self.config.activation))
        scores = ops.linear(self.norm(x), self.weight, self.bias)
        return {"loss": cross_entropy(scores, labels), "logits": scores}


class DistilBertForSequenceClassification(_DistilBertHead):
    """A class, or a number, for a sequence, from the first token through a layer."""

    layouts = {"huggingface": ROWS}
    architectures = ("DistilBertForSequenceClassification",)
    head_name = "classifier"

    def build(self, config):
        """The head."""
        c = config
        self.pre_classifier, self.dropout = nn.Linear(c.dim, c.dim), nn.Dropout(c.seq_classif_dropout)
        self.classifier = nn.Linear(c.dim, c.num_labels)

    def head(self, encoded, labels=None):
        """labels (N) -> logits (N, K)."""
        logits = self.classifier(self.dropout(self.pre_classifier(encoded.last_hidden_state[:, 0], "relu")))
        return {"loss": bert.label_loss(logits, labels), "logits": logits}


class DistilBertForTokenClassification(_DistilBertHead):
    """A class for every token."""

    layouts = {"huggingface": ROWS}
    architectures = ("DistilBertForTokenClassification",)
    head_name = "classifier"

    def build(self, config):
        """The head."""
        self.dropout, self.classifier = nn.Dropout(config.dropout), nn.Linear(config.dim, config.num_labels)

    head = bert.BertForTokenClassification.head


class DistilBertForQuestionAnswering(_DistilBertHead):
    """Where in the text the answer starts, and where it ends."""

    layouts = {"huggingface": ROWS}
    architectures = ("DistilBertForQuestionAnswering",)
    build = bert.BertForQuestionAnswering.build
    head = bert.BertForQuestionAnswering.head


@family(DistilBertForMaskedLM, "text", "Sanh et al. 2019, arXiv:1910.01108")("hf/distilbert-base-uncased",
                                                                            name="distilbert-base-uncased")
def distilbert_base_uncased():
    """6 layers; English in lower case."""
    return DistilBertConfig()
