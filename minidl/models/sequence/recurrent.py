"""LSTM and GRU networks that name sequences, or each of their steps.

Source: Hochreiter, Schmidhuber 1997, "Long Short-Term Memory"; Cho et al. 2014, arXiv:1406.1078; both directions:
Graves, Schmidhuber 2005, "Framewise phoneme classification"; projections: Sak, Senior, Beaufays 2014, arXiv:1402.1128.
Differs from the papers: nothing beyond the combination.

    numbers (N,C,T), or tokens (N,T) -> embeddings -> layers, forwards and backwards -> states (N,T,W)
    -> the last of both directions -> logits (N,K); or every step -> logits (N,T,K)
"""
from dataclasses import dataclass

from ... import nn, ops
from ...errors import ArgumentError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@dataclass(frozen=True)
class RecurrentConfig(ModelConfig):
    """Sizes of a recurrent network.

    Args:
        in_channels: numbers per step; of tokens, how wide their embeddings are.
        hidden, layers: of states; and how many layers.
        cell: "lstm" or "gru".
        bidirectional: each layer also runs from the end to the start.
        projection: to how many numbers an LSTM's outputs are projected; 0: they are not.
        dropout: in front of all layers but the first, and of the logits.
        vocab_size: of tokens; 0: steps are numbers.
        num_classes: of the logits.
    """

    in_channels: int = 1
    hidden: int = 128
    layers: int = 2
    cell: str = "lstm"
    bidirectional: bool = True
    projection: int = 0
    dropout: float = 0.0
    vocab_size: int = 0
    num_classes: int = 10

    def __post_init__(self):
        if self.cell not in CELLS or self.projection and self.cell != "lstm":
            expected = f"one of {', '.join(CELLS)}; projections with lstm only"
            raise ArgumentError(message("RecurrentConfig", "cell", expected, (self.cell, self.projection)))

    @property
    def width(self):
        """Numbers per step behind the layers."""
        return (self.projection or self.hidden) * (1 + self.bidirectional)

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(4, 6, 2, projection=5, vocab_size=5, num_classes=3)


def recurrent(config, inputs, batch_first=False):
    """The layers of a config on so many numbers per step."""
    c, more = config, {"proj_size": config.projection} if config.projection else {}
    return CELLS[c.cell](inputs, c.hidden, c.layers, batch_first=batch_first, dropout=c.dropout,
                         bidirectional=c.bidirectional, **more)


class Recurrent(Model):
    """What both heads stand on."""

    config_class = RecurrentConfig
    head_name = "head"

    def __init__(self, config):
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.in_channels) if c.vocab_size else None
        self.rnn, self.dropout = recurrent(c, c.in_channels), nn.Dropout(c.dropout)
        self.head = self.make_head(c.num_classes)

    def make_head(self, num_classes):
        """A linear layer."""
        return nn.Linear(self.config.width, num_classes)

    def states(self, x, lengths=None):
        """x (N, C, T), or tokens (N, T) -> states of every step (T, N, W), and the last of both directions (N, W)."""
        x = self.embedding(x.swapaxes(0, 1)) if self.embedding else ops.permute_dims(x, (2, 0, 1))
        y, last = self.rnn(x, None, lengths)
        last = last[0] if isinstance(last, tuple) else last
        return y, ops.concat(ops.unstack(last)[-1 - self.config.bidirectional:], -1)


class RecurrentClassifier(Recurrent):
    """A class for each sequence."""

    def forward(self, x, lengths=None):
        """x (N, C, T), or tokens (N, T), of which those from `lengths` (N) on do not count -> logits (N, K)."""
        return self.head(self.dropout(self.states(x, lengths)[1]))


class RecurrentTagger(Recurrent):
    """A class for each step."""

    def forward(self, x, lengths=None):
        """x (N, C, T), or tokens (N, T), of which those from `lengths` (N) on do not count -> logits (N, T, K)."""
        return self.head(self.dropout(self.states(x, lengths)[0])).swapaxes(0, 1)


lstm = "Hochreiter, Schmidhuber 1997; Graves, Schmidhuber 2005"
gru = "Cho et al. 2014, arXiv:1406.1078"


@family(RecurrentClassifier, "sequence", lstm)()
def lstm_classifier():
    """Two LSTM layers of 128, in both directions."""
    return RecurrentConfig()


@family(RecurrentClassifier, "sequence", gru)()
def gru_classifier():
    """Two GRU layers of 128, in both directions."""
    return RecurrentConfig(cell="gru")


@family(RecurrentTagger, "sequence", lstm)()
def lstm_tagger():
    """Words to tags: two LSTM layers of 128, in both directions."""
    return RecurrentConfig(100, vocab_size=10000)


@family(RecurrentTagger, "sequence", gru)()
def gru_tagger():
    """Words to tags: two GRU layers of 128, in both directions."""
    return RecurrentConfig(100, cell="gru", vocab_size=10000)
