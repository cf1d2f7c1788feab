"""What Whisper writes to one window of sound: the rules of its tokens, and the search for the likeliest.

Source: Radford et al. 2022, arXiv:2212.04356, sections 2.3 and 4.5, and the authors' code.
"""
import zlib
from dataclasses import dataclass, field

import numpy as np

from ...backend import random
from ..text.cache import Cache
from ..text.generation.processors import LogitsProcessor, Temperature, log_softmax, softmax
from ..text.generation.search import draw
from ..text.generation.steps import Steps


@dataclass(frozen=True)
class Search:
    """How tokens are chosen.

    Args:
        temperature: 0: the likeliest; above: drawn.
        beam_size: sequences that are followed at once, at temperature 0.
        best_of: sequences that are drawn, of which the likeliest is taken.
        patience: beams end once beam_size times as many sequences have. Source: Kasai et al. 2022, arXiv:2204.05424.
        length_penalty: None: scores are means over tokens; else sums over ((5 + length) / 6) to this power.
        seed: of drawing.
    """

    temperature: float = 0.0
    beam_size: int = 1
    best_of: int = 1
    patience: float = 1.0
    length_penalty: float | None = None
    seed: int = 0

    def score(self, total, length):
        """Of a sequence, by which the best is chosen."""
        return total / (max(length, 1) if self.length_penalty is None else ((5 + length) / 6) ** self.length_penalty)


@dataclass(frozen=True)
class Decoded:
    """What was written to a window.

    Attributes:
        tokens: without the end.
        text: of them.
        avg_logprob: the mean over the tokens and the end.
        no_speech_prob: how likely nobody speaks.
        temperature: as of Search.
    """

    tokens: list
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float = field(init=False)       # of the text by zlib: high where it repeats itself

    def __post_init__(self):
        data = self.text.encode()
        object.__setattr__(self, "compression_ratio", len(data) / len(zlib.compress(data)))


class Suppress(LogitsProcessor):
    """Hide tokens; some only where the text begins.

    Args:
        always, first: numbers of tokens.
        begin: tokens in front of the text.
    """

    def __init__(self, always, first, begin):
        self.always, self.first, self.begin = list(always), list(first), begin

    def __call__(self, tokens, scores):
        scores = scores.copy()
        scores[:, self.always] = -np.inf
        if tokens.shape[1] == self.begin:
            scores[:, self.first] = -np.inf
        return scores


class Times(LogitsProcessor):
    """Times come in pairs, end and start, but the first and the last; they do not go back; and a time is written where
    all together are likelier than any other token.

    Args:
        vocabulary: a WhisperVocabulary.
        begin: tokens in front of the text.
        latest: the latest first time, in steps; None: any.
    """

    def __init__(self, vocabulary, begin, latest=None):
        self.v, self.begin, self.latest = vocabulary, begin, latest

    def __call__(self, tokens, scores):
        first, scores = self.v.first_time, scores.copy()
        scores[:, self.v.no_timestamps] = -np.inf
        for row, line in zip(scores, tokens[:, self.begin:].tolist()):
            *_, before, last = True, True, *(token >= first for token in line)
            if line and last and before:
                row[first:] = -np.inf
            elif line and last:
                row[:self.v.end] = -np.inf
            times = [token for token in line if token >= first]
            if times:                                  # (a piece has some length, or it would never end)
                row[first:times[-1] + (not (last and not before))] = -np.inf
            elif not line:
                row[:first] = -np.inf
                if self.latest is not None:
                    row[first + self.latest + 1:] = -np.inf
        logs = log_softmax(scores)
        times, text = np.exp(logs[:, first:]).sum(1), np.exp(logs[:, :first].max(1))
        scores[times > text, :first] = -np.inf
        return scores


def decode(model, encoded, vocabulary, prompt, previous=(), search=None, rules=()):
    """Write to a window.

    Args:
        model: a WhisperForConditionalGeneration.
        encoded (1, S, W): what its encoder gives.
        vocabulary: a WhisperVocabulary.
        prompt: tokens that ask for the text; previous: tokens of the text before.
        search: a Search; None: the likeliest tokens.
        rules: LogitsProcessors.

    Returns:
        Decoded.
    """
    search, places = search or Search(), model.config.max_target_positions
    before = [vocabulary.previous, *previous[-(places // 2 - 1):]] if len(previous) else []
    count = search.best_of if search.temperature else search.beam_size
    first = np.tile(np.array([*before, *prompt], np.int64), (count, 1))
    steps, begin = Steps(model, first, None, encoded, Cache()), first.shape[1]
    limit = min(begin + places // 2, places)
    scores = steps.all_scores(len(prompt))
    no_speech = float(softmax(scores[:1, 0])[0, vocabulary.no_speech])
    choose = _drawn if search.temperature or count == 1 else _beams
    tokens, total = choose(steps, scores[:, -1], vocabulary.end, rules, search, limit)
    tokens = tokens[begin:]
    return Decoded(tokens, vocabulary.decode(tokens).strip(), float(total) / (len(tokens) + 1), no_speech,
                   float(search.temperature))


def _ruled(rules, tokens, scores):
    for rule in rules:
        scores = rule(tokens, scores)
    return scores


def _drawn(steps, scores, end, rules, search, limit):
    """One token at a time, drawn or the likeliest, of one or several sequences: (tokens of the best, its log prob)."""
    begin, totals, step = steps.tokens.shape[1], np.zeros(len(scores)), 0
    ended, key = np.zeros(len(scores), bool), random.key(search.seed)
    while True:
        scores = _ruled(rules, steps.tokens, scores)
        if search.temperature:
            warmed = Temperature(search.temperature)(steps.tokens, scores)
            chosen = draw(warmed, random.fold_in(key, step))
        else:
            chosen = scores.argmax(1)
        chosen = np.where(ended, end, chosen)
        totals += np.where(ended, 0, log_softmax(scores)[np.arange(len(scores)), chosen])
        ended |= chosen == end
        steps.append(chosen)
        step += 1
        if ended.all() or steps.tokens.shape[1] >= limit:
            break
        scores = steps.scores()
    lines = [_cut(line, end, begin) for line in steps.tokens.tolist()]
    best = max(range(len(lines)), key=lambda i: search.score(totals[i], len(lines[i]) - begin))
    return lines[best], totals[best]


def _beams(steps, scores, end, rules, search, limit):
    """The best sequences are followed until enough have ended: (tokens of the best, its log prob)."""
    width, begin = search.beam_size, steps.tokens.shape[1]
    totals, finished = np.full(width, -np.inf), []
    totals[0] = 0.0                                    # (all are alike at first)
    while True:
        sums = (log_softmax(_ruled(rules, steps.tokens, scores)) + totals[:, None]).ravel()
        best = np.argpartition(-sums, 2 * width)[:2 * width + 1]
        chosen, rows, size = [], [], scores.shape[1]
        for i in best[np.lexsort((best, -sums[best]))]:
            row, token = divmod(int(i), size)
            if token != end:
                totals[len(chosen)] = sums[i]
                chosen.append(token)
                rows.append(row)
            elif np.isfinite(sums[i]):
                finished.append((steps.tokens[row].tolist(), sums[i]))
            if len(chosen) == width:
                break
        steps.reorder(np.array(rows))
        steps.append(chosen)
        if len(finished) >= round(width * search.patience) or steps.tokens.shape[1] >= limit:
            break
        scores = steps.scores()
    finished = finished[:round(width * search.patience)]
    if len(finished) < width:
        finished += list(zip(steps.tokens.tolist(), totals))[:width - len(finished)]
    return max(finished, key=lambda pair: search.score(pair[1], len(pair[0]) - begin))


def _cut(line, end, begin):
    """Tokens up to the first end behind the prompt."""
    return line[:line.index(end, begin)] if end in line[begin:] else line
