"""From letters to phonemes: one GRU reads a word, another writes how it is said.

Source: Cho et al. 2014, arXiv:1406.1078; Sutskever, Vinyals, Le 2014, arXiv:1409.3215; letters, phonemes (those of the
CMU pronouncing dictionary) and sizes: g2p_en (Park, Kim 2019).
Differs from the papers: nothing; words are read forwards.

    letters (N,T) -> embeddings -> GRU -> the last state -> GRU over the phonemes so far (N,U) -> logits (N,U,V)
"""
from dataclasses import dataclass

import numpy as np

from ... import nn
from ...errors import ArgumentError, message
from ...tape import no_grad
from ...tensor import Tensor
from ..config import ModelConfig
from ..model import Model
from ..registry import family

LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
PHONEMES = ("<pad>", "<unk>", "<s>", "</s>", *sorted([
    *(vowel + stress for vowel in VOWELS.split() for stress in "012"),
    *"B CH D DH F G HH JH K L M N NG P R S SH T TH UW V W Y Z ZH".split()]))
UNKNOWN, BEGIN, END, WORD_END = 1, 2, 3, 2


@dataclass(frozen=True)
class PhonemesConfig(ModelConfig):
    """Sizes of a network from letters to phonemes.

    Args:
        letters, phonemes: how many there are.
        hidden: of embeddings and states.
        longest: phonemes of a word, at most.
    """

    letters: int = len(LETTERS)
    phonemes: int = len(PHONEMES)
    hidden: int = 256
    longest: int = 20

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(hidden=12)


def _rows():
    """g2p_en's names: (theirs, ours)."""
    for theirs, ours in (("enc", "encoder"), ("dec", "decoder")):
        yield f"{theirs}_emb", f"{ours}_embedding.weight"
        for kind, name in (("w", "weight"), ("b", "bias")):
            for end in ("ih", "hh"):
                yield f"{theirs}_{kind}_{end}", f"{ours}.{name}_{end}_l0"
    yield from (("fc_w", "fc.weight"), ("fc_b", "fc.bias"))


class Phonemes(Model):
    """The network of the module's docstring."""

    config_class = PhonemesConfig
    layouts = {"g2p_en": tuple(_rows())}

    def __init__(self, config):
        c = self.config = config
        self.encoder_embedding = nn.Embedding(c.letters, c.hidden)
        self.encoder = nn.GRU(c.hidden, c.hidden, batch_first=True)
        self.decoder_embedding = nn.Embedding(c.phonemes, c.hidden)
        self.decoder = nn.GRU(c.hidden, c.hidden, batch_first=True)
        self.fc = nn.Linear(c.hidden, c.phonemes)

    def encode(self, letters, lengths=None):
        """letters (N, T), of which `lengths` (N) count -> the state behind them (1, N, W)."""
        return self.encoder(self.encoder_embedding(letters), None, lengths)[1]

    def step(self, phonemes, state):
        """phonemes (N, U) -> logits (N, U, V) of those behind each, the state behind them."""
        y, state = self.decoder(self.decoder_embedding(phonemes), state)
        return self.fc(y), state

    def forward(self, letters, phonemes, lengths=None):
        """letters (N, T), of which `lengths` (N) count, phonemes (N, U), the first <s> -> logits (N, U, V)."""
        return self.step(phonemes, self.encode(letters, lengths))[0]

    def pronounce(self, words):
        """The phonemes of each word, the likeliest one after the other: [["K", "AE1", "T"], ...].

        Args:
            words: texts of the letters a to z, in upper or lower case; others are unknown to the network.

        Raises:
            ArgumentError: a word without letters.
        """
        if isinstance(words, str) or not all(words):
            raise ArgumentError(message("pronounce", "words", "a list of words", repr(words)))
        if not words:
            return []
        spelt = [[LETTERS.index(c) if c in LETTERS else UNKNOWN for c in word.lower()] + [WORD_END] for word in words]
        lengths = np.array([len(s) for s in spelt])
        letters = np.array([s + [0] * (lengths.max() - len(s)) for s in spelt])
        said: list = [[] for _ in words]
        going, given = np.ones(len(words), bool), lambda numbers: Tensor(numbers).to(self.fc.weight.device)
        with no_grad():
            state, last = self.encode(given(letters), given(lengths)), np.full((len(words), 1), BEGIN)
            for _ in range(self.config.longest):
                logits, state = self.step(given(last), state)
                last = logits.numpy().argmax(-1)
                going &= last[:, 0] != END
                if not going.any():
                    break
                for n in np.flatnonzero(going):
                    said[n].append(PHONEMES[last[n, 0]])
        return said


@family(Phonemes, "sequence", "Cho et al. 2014, arXiv:1406.1078; Sutskever et al. 2014, arXiv:1409.3215")()
def g2p_en():
    """English, as g2p_en has it."""
    return PhonemesConfig()
