"""BERT: a deep encoder that reads in both directions.

Source: Devlin, Chang, Lee, Toutanova 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding", arXiv:1810.04805.
Differs from the paper: nothing; heads as in the authors' code.

    tokens (N,T) -> word + position + segment embeddings, norm -> Layers -> hidden states (N,T,W) -> a head
"""
from dataclasses import dataclass

from ... import nn, ops
from ..model import Model
from ..registry import family
from .attention import SelfAttention, padding_mask
from .config import TextConfig, activated, activation
from .output import Output


@dataclass(frozen=True)
class BertConfig(TextConfig):
    """Sizes of a BERT, under the names of Hugging Face's config.json."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    classifier_dropout: float | None = None
    num_labels: int = 2

    model_type = "bert"

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(vocab_size=32, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
                   max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3)


class Embeddings(nn.Module):
    """Word, place and segment, added and normalised. Paper: figure 2."""

    def __init__(self, config, width):
        c = config
        normal = nn.init.normal(std=c.initializer_range)
        self.word = nn.Parameter(normal, c.vocab_size, width)
        self.position = nn.Parameter(normal, c.max_position_embeddings, width)
        self.token_type = nn.Parameter(normal, c.type_vocab_size, width) if c.type_vocab_size else None
        self.norm, self.dropout = nn.LayerNorm(width, c.layer_norm_eps), nn.Dropout(c.hidden_dropout_prob)
        self.padding = c.pad_token_id

    place_of_padding = None        # a place that does not learn

    def positions(self, input_ids):
        """The place of each token."""
        return ops.expand_dims(ops.arange(input_ids.shape[1], device=input_ids.device), 0)

    def forward(self, input_ids, token_type_ids=None, position_ids=None):
        """input_ids (N, T), token_type_ids (N, T), position_ids (N, T) -> (N, T, width)."""
        place = self.positions(input_ids) if position_ids is None else position_ids
        x = ops.embedding(input_ids, self.word, padding_idx=self.padding)
        x = x + ops.embedding(place, self.position, padding_idx=self.place_of_padding)
        if self.token_type is not None:
            types = ops.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            x = x + ops.embedding(types, self.token_type)
        return self.dropout(self.norm(x))


class Layer(nn.Module):
    """Attention and a feed-forward net, each added to its input and then normalised.

    Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.1, with a GELU (Hendrycks, Gimpel, arXiv:1606.08415).
    """

    def __init__(self, width, heads, hidden, act, dropout, attention_dropout, eps):
        self.attention = SelfAttention(width, heads, dropout=attention_dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.act, self.dropout = activation(act), nn.Dropout(dropout)

    def forward(self, x, mask=None):
        """x (N, T, W) -> (N, T, W)."""
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        return self.norm2(x + self.dropout(self.fc2(activated(self.fc1, x, self.act))))


def layer(config):
    """A Layer of a config with BERT's fields."""
    c = config
    return Layer(c.hidden_size, c.num_attention_heads, c.intermediate_size, c.hidden_act, c.hidden_dropout_prob,
                 c.attention_probs_dropout_prob, c.layer_norm_eps)


def encode(layers, x, attention_mask, output_hidden_states):
    """(last hidden states (N, T, W), those in front of the first layer and behind each, or None)."""
    mask, states = padding_mask(attention_mask), [x]
    for each in layers:
        states.append(each(states[-1], mask))
    return states[-1], tuple(states) if output_hidden_states else None


def encoder_rows(official="", ours=""):
    """Hugging Face's names of an encoder of BERT's kind, below these prefixes."""
    at, here = f"{official}encoder.layer.{{i}}.", f"{ours}layers.{{i}}."
    return ((f"{official}embeddings.word_embeddings.weight", f"{ours}embeddings.word"),
            (f"{official}embeddings.position_embeddings.weight", f"{ours}embeddings.position"),
            (f"{official}embeddings.token_type_embeddings.weight", f"{ours}embeddings.token_type"),
            (f"{official}embeddings.LayerNorm.*", f"{ours}embeddings.norm.*"),
            (f"{official}embeddings.position_ids", None),
            (at + "attention.self.[query|key|value].*", here + "attention.qkv.*"),
            (at + "attention.output.dense.*", here + "attention.out.*"),
            (at + "attention.output.LayerNorm.*", here + "norm1.*"),
            (at + "intermediate.dense.*", here + "fc1.*"), (at + "output.dense.*", here + "fc2.*"),
            (at + "output.LayerNorm.*", here + "norm2.*"),
            (f"{official}pooler.dense.*", f"{ours}pooler.*"))


class TextModel(Model):
    """A language model: it is saved with its Hugging Face twin's config.json, and starts as BERT does."""

    def describe_config(self):
        """What config.json holds."""
        told = {"architectures": [self.architectures[0]], **self.config.to_hf()}
        if self.labels:
            told |= {"id2label": dict(enumerate(self.labels)), "label2id": {n: i for i, n in enumerate(self.labels)}}
        return told

    def initialize(self):
        """Linear weights from a normal distribution, biases 0. Paper: appendix A.2, the authors' code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class BertModel(TextModel):
    """The encoder, and the pooled first token: what heads stand on."""

    config_class = BertConfig
    layouts = {"huggingface": encoder_rows()}
    architectures = ("BertModel",)
    base_prefix = "bert."
    embeddings_class = Embeddings

    def __init__(self, config, add_pooling_layer=True):
        c = self.config = config
        self.embeddings = self.embeddings_class(c, c.hidden_size)
        self.layers = nn.ModuleList(layer(c) for _ in range(c.num_hidden_layers))
        self.pooler = nn.Linear(c.hidden_size, c.hidden_size) if add_pooling_layer else None
        self.initialize()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None,
                output_hidden_states=False):
        """Encode sequences.

        Args:
            input_ids (N, T): tokens.
            attention_mask (N, T): 1 where a token counts, 0 where it is padding.
            token_type_ids (N, T): segment 0 or 1 of each token.
            position_ids (N, T): places; 0, 1, ... unless given.
            output_hidden_states: give the embeddings and each layer's output, too.

        Returns:
            last_hidden_state (N, T, W), pooler_output (N, W), hidden_states.
        """
        x = self.embeddings(input_ids, token_type_ids, position_ids)
        x, states = encode(self.layers, x, attention_mask, output_hidden_states)
        pooled = None if self.pooler is None else ops.tanh(self.pooler(x[:, 0]))
        return Output(last_hidden_state=x, pooler_output=pooled, hidden_states=states)


class Predictions(nn.Module):
    """Scores over the vocabulary, by the transposed word embeddings. Paper: section 3.1, task 1."""

    def __init__(self, config, embeddings):
        c = config
        self.transform = nn.Linear(c.hidden_size, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.act = activation(c.hidden_act)
        self.weight, self.bias = embeddings.word, nn.Parameter(nn.init.zeros(), c.vocab_size)

    def forward(self, x):
        """x (N, T, W) -> (N, T, V)."""
        return ops.linear(self.norm(activated(self.transform, x, self.act)), self.weight, self.bias)


PREDICTIONS = (("cls.predictions.bias", "predictions.bias"), ("cls.predictions.decoder.bias", "predictions.bias"),
               ("cls.predictions.decoder.weight", "predictions.weight"),
               ("cls.predictions.transform.dense.*", "predictions.transform.*"),
               ("cls.predictions.transform.LayerNorm.*", "predictions.norm.*"))
RELATION = (("cls.seq_relationship.*", "relationship.*"),)
IGNORED = -100                     # a label that does not count


def cross_entropy(logits, labels):
    """The mean over labels that count, of logits (*, K) and labels (*); None without labels."""
    if labels is None:
        return None
    return ops.cross_entropy(logits.reshape((-1, logits.shape[-1])), labels.reshape((-1,)), ignore_index=IGNORED)


ROWS = encoder_rows("bert.", "encoder.")


def label_loss(logits, labels):
    """The loss of logits (N, K) against labels (N): of one output, its mean squared error. None without labels."""
    if labels is not None and logits.shape[-1] == 1:
        return ops.mse_loss(logits[:, 0], labels)
    return cross_entropy(logits, labels)


class BertHead(TextModel):
    """An encoder with something on top: a subclass has `build(config)`, and `head(encoded, **labels)`.

    `backbone` is the encoder's class, `pooling` whether it pools the first token.
    """

    config_class = BertConfig
    base_prefix = "bert."
    backbone = BertModel
    pooling = True

    def __init__(self, config):
        self.config, self.encoder = config, self.backbone(config, self.pooling)
        self.build(config)
        self.initialize()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, position_ids=None,
                output_hidden_states=False, **labels):
        """As of BertModel, and labels: with them there is a `loss`.

        Returns:
            what the head gives, and hidden_states.
        """
        encoded = self.encoder(input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states)
        return Output(**self.head(encoded, **labels), hidden_states=encoded.hidden_states)


class BertForPreTraining(BertHead):
    """Masked tokens, and whether the second segment follows the first. Paper: section 3.1."""

    layouts = {"huggingface": ROWS + PREDICTIONS + RELATION}
    architectures = ("BertForPreTraining",)

    def build(self, config):
        """Both heads."""
        self.predictions = Predictions(config, self.encoder.embeddings)
        self.relationship = nn.Linear(config.hidden_size, 2)

    def head(self, encoded, labels=None, next_sentence_label=None):
        """labels (N, T), next_sentence_label (N) -> prediction_logits (N, T, V), seq_relationship_logits (N, 2)."""
        scores, related = self.predictions(encoded.last_hidden_state), self.relationship(encoded.pooler_output)
        losses = cross_entropy(scores, labels), cross_entropy(related, next_sentence_label)
        loss = None if None in losses else losses[0] + losses[1]
        return {"loss": loss, "prediction_logits": scores, "seq_relationship_logits": related}


class BertForMaskedLM(BertHead):
    """Scores over the vocabulary for every token."""

    layouts = {"huggingface": (*ROWS, *PREDICTIONS, ("cls.seq_relationship.*", None),
                               ("bert.pooler.*", None))}
    architectures = ("BertForMaskedLM",)
    pooling = False

    def build(self, config):
        """The head."""
        self.predictions = Predictions(config, self.encoder.embeddings)

    def head(self, encoded, labels=None):
        """labels (N, T) -> logits (N, T, V)."""
        scores = self.predictions(encoded.last_hidden_state)
        return {"loss": cross_entropy(scores, labels), "logits": scores}


class BertForNextSentencePrediction(BertHead):
    """Does the second segment follow the first?"""

    layouts = {"huggingface": (*ROWS, *RELATION, ("cls.predictions.*", None))}
    architectures = ("BertForNextSentencePrediction",)

    def build(self, config):
        """The head."""
        self.relationship = nn.Linear(config.hidden_size, 2)

    def head(self, encoded, labels=None):
        """labels (N) -> logits (N, 2): it follows, it does not."""
        related = self.relationship(encoded.pooler_output)
        return {"loss": cross_entropy(related, labels), "logits": related}


class BertForSequenceClassification(BertHead):
    """A class, or a number, for a sequence. Paper: section 4.1."""

    layouts = {"huggingface": ROWS}
    architectures = ("BertForSequenceClassification",)
    head_name = "classifier"

    def build(self, config):
        """The head."""
        self.dropout, self.classifier = dropout(config), nn.Linear(config.hidden_size, config.num_labels)

    def head(self, encoded, labels=None):
        """labels (N) -> logits (N, K); with one label the loss is the mean squared error."""
        logits = self.classifier(self.dropout(encoded.pooler_output))
        return {"loss": label_loss(logits, labels), "logits": logits}


class BertForTokenClassification(BertHead):
    """A class for every token. Paper: section 5.3."""

    layouts = {"huggingface": ROWS}
    architectures = ("BertForTokenClassification",)
    pooling, head_name = False, "classifier"

    def build(self, config):
        """The head."""
        self.dropout, self.classifier = dropout(config), nn.Linear(config.hidden_size, config.num_labels)

    def head(self, encoded, labels=None):
        """labels (N, T) -> logits (N, T, K)."""
        logits = self.classifier(self.dropout(encoded.last_hidden_state))
        return {"loss": cross_entropy(logits, labels), "logits": logits}


class BertForQuestionAnswering(BertHead):
    """Where in the text the answer starts, and where it ends. Paper: section 4.2."""

    layouts = {"huggingface": ROWS}
    architectures = ("BertForQuestionAnswering",)
    pooling = False

    def build(self, config):
        """The head."""
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def head(self, encoded, start_positions=None, end_positions=None):
        """start_positions (N), end_positions (N) -> start_logits (N, T), end_logits (N, T)."""
        start, end = (x[:, :, 0] for x in ops.chunk(self.qa_outputs(encoded.last_hidden_state), 2, axis=-1))
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (cross_entropy(start, start_positions) + cross_entropy(end, end_positions)) / 2
        return {"loss": loss, "start_logits": start, "end_logits": end}


class BertForMultipleChoice(BertHead):
    """Which of several continuations is the right one. Paper: section 4.4."""

    layouts = {"huggingface": ROWS}
    architectures = ("BertForMultipleChoice",)

    def build(self, config):
        """The head."""
        self.dropout, self.classifier = dropout(config), nn.Linear(config.hidden_size, 1)

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **options):
        """input_ids, attention_mask, token_type_ids (N, choices, T), labels (N) -> logits (N, choices)."""
        self._choices = input_ids.shape[1]
        given = input_ids, attention_mask, token_type_ids
        flat = [None if x is None else x.reshape((-1, x.shape[-1])) for x in given]
        return super().forward(*flat, **options)

    def head(self, encoded, labels=None):
        """labels (N) -> logits (N, choices)."""
        logits = self.classifier(self.dropout(encoded.pooler_output)).reshape((-1, self._choices))
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def dropout(config):
    """The dropout in front of a classifier: its own, or that of hidden states."""
    own = config.classifier_dropout
    return nn.Dropout(config.hidden_dropout_prob if own is None else own)


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
pretraining = family(BertForPreTraining, "text", "Devlin et al. 2018, arXiv:1810.04805")


@pretraining("hf/bert-base-uncased", name="bert-base-uncased")
def bert_base_uncased():
    """12 layers; English in lower case."""
    return BertConfig()


@family(BertModel, "text", "Devlin et al. 2018, arXiv:1810.04805")("hf/bert-base-uncased.BertModel", name="bert-base")
def bert_base():
    """12 layers, no head."""
    return BertConfig()


@pretraining("hf/bert-large-uncased", name="bert-large-uncased")
def bert_large_uncased():
    """24 layers."""
    return BertConfig(**LARGE)


@pretraining("hf/bert-base-cased", name="bert-base-cased")
def bert_base_cased():
    """12 layers; English."""
    return BertConfig(vocab_size=28996)


@pretraining("hf/bert-base-multilingual-cased", name="bert-base-multilingual-cased")
def bert_base_multilingual_cased():
    """12 layers; 104 languages."""
    return BertConfig(vocab_size=119547)
