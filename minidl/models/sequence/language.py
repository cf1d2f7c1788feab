"""Recurrent language models: the next token from those before it.

Source: Hochreiter, Schmidhuber 1997, "Long Short-Term Memory"; Mikolov et al. 2010, "Recurrent neural network based
language model"; layout: PyTorch's word_language_model example.

    tokens (T,N) -> embeddings -> LSTM or GRU layers -> scores (T,N,V)
"""
from dataclasses import dataclass

from ... import nn
from ...errors import ArgumentError, message
from ..config import ModelConfig
from ..model import Model
from ..registry import family
from .recurrent import CELLS, recurrent


@dataclass(frozen=True)
class RecurrentLMConfig(ModelConfig):
    """Sizes of a recurrent language model.

    Args:
        vocab_size, embedding, hidden, layers: of tokens, embeddings, states; and how many layers.
        cell: "lstm" or "gru".
        dropout: behind the embeddings and each layer.
        tied: scores by the embeddings; they are as wide as the layers' outputs.
        projection: to how many numbers an LSTM's outputs are projected; 0: they are not.
    """

    vocab_size: int = 10000
    embedding: int = 200
    hidden: int = 200
    layers: int = 2
    cell: str = "lstm"
    dropout: float = 0.2
    tied: bool = False
    projection: int = 0

    def __post_init__(self):
        if self.cell not in CELLS or self.projection and self.cell != "lstm" or self.tied and (
                self.embedding != self.width):
            expected = f"one of {', '.join(CELLS)}; projections with lstm only; tied with embedding = {self.width}"
            got = self.cell, self.projection, self.embedding
            raise ArgumentError(message("RecurrentLMConfig", "cell", expected, got))

    @property
    def width(self):
        """Numbers per step behind the layers."""
        return self.projection or self.hidden

    @property
    def bidirectional(self):
        """Nobody sees what comes."""
        return False

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(12, 12, 12, 2, dropout=0.0)


class RecurrentLM(Model):
    """The network of the module's docstring."""

    config_class = RecurrentLMConfig
    batch_axis = 1

    def __init__(self, config):
        c = self.config = config
        self.encoder, self.dropout = nn.Embedding(c.vocab_size, c.embedding), nn.Dropout(c.dropout)
        self.rnn = recurrent(c, c.embedding)
        self.decoder = nn.Linear(c.width, c.vocab_size)
        for weight in (self.encoder.weight, self.decoder.weight):
            nn.init.uniform_(weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        if c.tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, tokens, state=None):
        """tokens (T, N), state of the layers -> logits (T, N, V); `step` gives the state, too."""
        return self.step(tokens, state)[0]

    def step(self, tokens, state=None):
        """tokens (T, N), state of the layers -> logits (T, N, V), the state behind them."""
        y, state = self.rnn(self.dropout(self.encoder(tokens)), state)
        return self.decoder(self.dropout(y)), state


@family(RecurrentLM, "sequence", "Hochreiter, Schmidhuber 1997; Mikolov et al. 2010")()
def lstm_lm():
    """Two LSTM layers of 200."""
    return RecurrentLMConfig()


@family(RecurrentLM, "sequence", "Cho et al. 2014, arXiv:1406.1078")()
def gru_lm():
    """Two GRU layers of 200."""
    return RecurrentLMConfig(cell="gru")
