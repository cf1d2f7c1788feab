"""From scores of letters over time to text: the likeliest letters, beams of texts, and when each letter was said.

Source: Graves, Fernández, Gomez, Schmidhuber 2006, "Connectionist Temporal Classification", section 3; beams: Hannun et
al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs",
arXiv:1408.2873, algorithm 1.
"""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import ArgumentError, CheckpointError, ShapeError, message, number

NEVER = -np.inf


def _checked(op, log_probs, blank):
    x = np.asarray(log_probs, np.float64)
    if x.ndim != 2:
        raise ShapeError(message(op, "log_probs", "(T, V)", x.shape))
    number(op, "blank", blank, 0, x.shape[1] - 1, whole=True)
    if np.isnan(x).any():
        raise ArgumentError(message(op, "log_probs", "numbers", "NaN"))
    return x


def greedy(log_probs, blank=0):
    """The labels of the likeliest path: a list.

    Args:
        log_probs (T, V): logarithms of the probabilities of labels, blank among them, at each time.
        blank: the label that stands for none.
    """
    path = _checked("greedy", log_probs, blank).argmax(1)
    first = np.diff(path, prepend=-1) != 0
    return path[first & (path != blank)].tolist()


def beam_search(log_probs, blank=0, width=16, least=NEVER):
    """The likeliest labels, all paths to them added up, among those that are followed.

    Args:
        log_probs, blank: as of `greedy`.
        width: how many are followed.
        least: labels with a lower logarithm than this, at a time, do not come there; the likeliest always may.

    Returns:
        [(labels, the logarithm of their probability)], the best first, at most `width`.
    """
    x = _checked("beam_search", log_probs, blank)
    number("beam_search", "width", width, 1, whole=True)
    beams = {(): (0.0, NEVER)}                         # labels -> of paths that end with a blank, with the last label
    for row in x:
        grown: dict = {}
        candidates = np.flatnonzero((row >= least) | (row == row.max())).tolist()
        for labels, (quiet, said) in beams.items():
            whole = np.logaddexp(quiet, said)
            for label in candidates:
                if label == blank:
                    _add(grown, labels, whole + row[label], NEVER)
                elif labels and label == labels[-1]:   # the same goes on, or comes again behind a blank
                    _add(grown, labels, NEVER, said + row[label])
                    _add(grown, (*labels, label), NEVER, quiet + row[label])
                else:
                    _add(grown, (*labels, label), NEVER, whole + row[label])
        best = sorted(grown.items(), key=lambda item: (-np.logaddexp(*item[1]), item[0]))[:width]
        beams = dict(best)
    return [(list(labels), float(np.logaddexp(*ends))) for labels, ends in beams.items()]


def _add(beams, labels, quiet, said):
    if quiet > NEVER or said > NEVER:
        before = beams.get(labels, (NEVER, NEVER))
        beams[labels] = np.logaddexp(before[0], quiet), np.logaddexp(before[1], said)


def spans(log_probs, labels, blank=0):
    """When labels are said, on the likeliest path that says them: [(first time, the one behind its last)].

    Args:
        log_probs, blank: as of `greedy`.
        labels: without blanks.

    Raises:
        ArgumentError: a label is none, or there are too few times for them.
    """
    x = _checked("spans", log_probs, blank)
    for label in labels:
        number("spans", "labels", label, 0, x.shape[1] - 1, whole=True)
    states = [blank, *[s for label in labels for s in (label, blank)]]
    skips = np.array([i > 1 and states[i] not in (blank, states[i - 2]) for i in range(len(states))])
    score, came = np.full(len(states), NEVER), np.zeros((len(x), len(states)), np.int8)
    score[:1] = 0.0
    for t, row in enumerate(x):
        ways = np.full((3, len(states)), NEVER)
        ways[0] = score
        if t:
            ways[1, 1:] = score[:-1]
            ways[2, 2:] = np.where(skips[2:], score[:-2], NEVER)
        else:
            ways[1, 1:2] = 0.0
        came[t] = ways.argmax(0)
        score = ways.max(0) + row[states]
    at = len(states) - 1 - (len(states) > 1 and score[-2] > score[-1])
    if len(x) and score[at] == NEVER or not len(x) and labels:
        raise ArgumentError(message("spans", "labels", f"labels that {len(x)} times can say", f"{len(labels)}"))
    found = {}
    for t in range(len(x) - 1, -1, -1):
        if at % 2:
            found[at // 2] = (t, found.get(at // 2, (t, t + 1))[1])
        at -= came[t, at]
    return [found[i] for i in range(len(labels))]


@dataclass(frozen=True)
class Letters:
    """The labels of a model with CTC.

    Args:
        tokens: the text of each, by number.
        blank: the label that stands for none.
        delimiter: what stands between words.
        special: labels that are no text; so are those beyond `tokens`.
    """

    tokens: tuple
    blank: int = 0
    delimiter: str = "|"
    special: frozenset = frozenset()

    @classmethod
    def load(cls, directory):
        """Of a directory in Hugging Face's layout: vocab.json, and tokenizer_config.json if it is there.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        def told(name, needed=False):
            path = Path(directory) / name
            if not path.is_file() and not needed:
                return {}
            found = json.loads(path.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}

        try:
            numbers = told("vocab.json", needed=True)
            config = {**told("special_tokens_map.json"), **told("tokenizer_config.json")}
            named = {role: config.get(f"{role}_token", text) for role, text in (
                ("pad", "<pad>"), ("bos", "<s>"), ("eos", "</s>"), ("unk", "<unk>"))}
            named = {role: token["content"] if isinstance(token, dict) else token for role, token in named.items()}
            tokens = [token for token, _ in sorted(numbers.items(), key=lambda item: item[1])]
            if sorted(numbers.values()) != [*range(len(tokens))]:
                raise ValueError("numbers with gaps")
            special = frozenset(numbers[token] for token in named.values() if token in numbers)
            return cls(tuple(tokens), numbers[named["pad"]], config.get("word_delimiter_token") or "|", special)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(message("Letters", "vocab.json", f"letters by number in {directory}",
                                          f"{type(error).__name__} {error}")) from error

    def text(self, labels):
        """The text of labels, words with a space between them."""
        return " ".join(word for word, _ in self.words(labels))

    def words(self, labels):
        """[(word, places of its labels)]."""
        words: list = [("", [])]
        for i, label in enumerate(labels):
            if label >= len(self.tokens) or label in self.special or label == self.blank:
                continue
            if self.tokens[label] == self.delimiter:
                words.append(("", []))
            else:
                words[-1] = words[-1][0] + self.tokens[label], [*words[-1][1], i]
        return [word for word in words if word[1]]
