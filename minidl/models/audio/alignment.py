"""When each word was said: by what Whisper's decoder looked at when it wrote it.

    tokens, the encoder's states -> scores of some heads (h, T, S) -> normalised, smoothed, mean -> the cheapest walk
    through them -> a time for each token -> words

Source: the authors' code, version 20250625; the walk: Sakoe, Chiba 1978, "Dynamic programming algorithm optimization
for spoken word recognition".
"""
import itertools
from dataclasses import dataclass, replace

import numpy as np

from ... import ops
from ...tensor import Tensor
from ..text.cache import Cache
from ..text.generation.processors import softmax

BEFORE, AFTER = "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、"      # punctuation that belongs to the next word, to the last
ENDS = ".。!！?？"
SMOOTHED = 7                       # steps of the median
LONGEST = 0.7                      # seconds: of the median word, at most


@dataclass(frozen=True)
class Word:
    """A word with its space in front, where it starts and ends in seconds, and how likely it was."""

    word: str
    start: float
    end: float
    probability: float
    tokens: tuple = ()

    @property
    def text(self):
        """As a segment has it."""
        return self.word


def cheapest_walk(cost):
    """The walk through a matrix (T, S), from corner to corner, one step down, right or both at a time, of least cost.

    Returns:
        rows, columns: of each step.
    """
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    came = np.zeros(total.shape, np.int8)              # 0: from both, 1: from above, 2: from the left
    came[:, 0], came[0] = 1, 2
    for d in range(2, rows + columns + 1):             # (a diagonal at a time)
        i = np.arange(max(1, d - columns), min(rows, d - 1) + 1)
        j = d - i
        ways = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        best = np.where((ways[0] < ways[1]) & (ways[0] < ways[2]), 0, np.where(
            (ways[1] < ways[0]) & (ways[1] < ways[2]), 1, 2))
        total[i, j] = cost[i - 1, j - 1] + np.take_along_axis(ways, best[None], 0)[0]
        came[i, j] = best
    i, j, walk = rows, columns, []
    while i or j:
        walk.append((i - 1, j - 1))
        step = came[i, j]
        i, j = i - (step != 2), j - (step != 1)
    return tuple(np.array(walk[::-1]).T)


def looks(model, encoded, tokens, heads):
    """Scores (h, T, S) of some heads of the decoder, and its logits (T, V), for tokens (T)."""
    cache, queries, handles = Cache(), {}, []
    for layer in {layer for layer, _ in heads}:
        handles.append(model.decoder[layer].cross.q.register_forward_hook(
            lambda module, args, out, layer=layer: queries.__setitem__(layer, out.numpy()[0])))
    try:
        x = model.decode(Tensor(np.array([tokens], np.int64)).to(encoded.device), encoded, cache=cache)
    finally:
        for handle in handles:
            handle.remove()
    found = []
    for layer, head in heads:
        keys = cache.cross[layer][0].numpy()[0, head]                  # (S, D)
        width = keys.shape[1]
        found.append(queries[layer][:, head * width:(head + 1) * width] @ keys.T / np.float32(width ** 0.5))
    return np.stack(found), model.scores(x).numpy()[0]


def _median(x, width):
    """The median of each `width` neighbours along the last axis, whose ends are mirrored."""
    reach = width // 2
    if x.shape[-1] <= reach:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(reach, reach)], mode="reflect")
    return np.sort(np.lib.stride_tricks.sliding_window_view(padded, width, -1), -1)[..., reach]


def align(model, encoded, vocabulary, prompt, text, steps, step_seconds, language="en"):
    """[Word] of tokens of text, times in seconds from the start of the window.

    Args:
        model: a WhisperForConditionalGeneration.
        encoded (1, S, W): what its encoder gives.
        vocabulary: a WhisperVocabulary.
        prompt: tokens that ask for the text.
        text: tokens of it.
        steps: of S, those with sound.
        step_seconds: between two of them.
        language: of the text.
    """
    c = model.config
    heads = c.alignment_heads or list(itertools.product(range(c.decoder_layers // 2, c.decoder_layers),
                                                        range(c.decoder_attention_heads)))
    tokens = [*prompt, vocabulary.no_timestamps, *text, vocabulary.end]
    scores, logits = looks(model, encoded, tokens, heads)
    weights = ops.softmax(Tensor(scores[:, :, :max(1, steps)]), -1).numpy()
    spread = weights.std(1, keepdims=True)
    weights = _median((weights - weights.mean(1, keepdims=True)) / np.maximum(spread, 1e-12), SMOOTHED).mean(0)
    rows, columns = cheapest_walk(-weights[len(prompt):-1].astype(np.float64))
    starts = columns[np.diff(rows, prepend=-1) > 0] * step_seconds     # of each token, and of the end
    likely = softmax(logits[len(prompt):-1, :vocabulary.end])[np.arange(len(text)), list(text)] if text else []
    words, at = [], 0
    for word, own in vocabulary.words(text, language):
        until = at + len(own)
        words.append(Word(word, float(starts[at]), float(starts[until]), float(np.mean(likely[at:until])), tuple(own)))
        at = until
    return words



def joined(words):
    """Words with the punctuation that belongs to them."""
    backwards: list = []
    for word in reversed(words):
        if backwards and word.word.startswith(" ") and word.word.strip() in BEFORE:
            after = backwards[-1]
            backwards[-1] = replace(after, word=word.word + after.word, tokens=word.tokens + after.tokens)
        else:
            backwards.append(word)
    found: list = []
    for word in reversed(backwards):
        if found and not found[-1].word.endswith(" ") and word.word in AFTER:
            before = found[-1]
            found[-1] = replace(before, word=before.word + word.word, tokens=before.tokens + word.tokens)
        else:
            found.append(word)
    return found


def tidy(words):
    """(words, the median length of one in seconds): those beside the end of a sentence are not overlong, which a pause
    would make them."""
    lengths = [w.end - w.start for w in words if w.end != w.start]
    median = min(LONGEST, float(np.median(lengths))) if lengths else 0.0
    words = list(words)
    for i in range(1, len(words) if lengths else 0):
        if words[i].end - words[i].start > 2 * median:
            if words[i].word in ENDS:
                words[i] = replace(words[i], end=words[i].start + 2 * median)
            elif words[i - 1].word in ENDS:
                words[i] = replace(words[i], start=words[i].end - 2 * median)
    return joined(words), median


def fitted(words, start, end, spoken, median):
    """(words, start, end) of a segment that agree with each other.

    Args:
        words: of the segment, at least one.
        start, end: as its times say.
        spoken: when the last word before it ended.
        median: length of a word; all in seconds.
    """
    words = list(words)
    first, most = words[0], 2 * median
    long = first.end - first.start > most or len(words) > 1 and words[1].end - first.start > 2 * most
    if first.end - spoken > 4 * median and long:       # (the first word behind a pause has taken some of it)
        if len(words) > 1 and words[1].end - words[1].start > most:
            between = max(words[1].end / 2, words[1].end - most)
            first, words[1] = replace(first, end=between), replace(words[1], start=between)
        first = replace(first, start=max(0.0, first.end - most))
    if start < first.end and start - 0.5 > first.start:
        first = replace(first, start=max(0.0, min(first.end - median, start)))
    else:
        start = first.start
    words[0], last = first, words[-1] if len(words) > 1 else first
    if end > last.start and end + 0.5 < last.end:
        last = replace(last, end=max(last.start + median, end))
    else:
        end = last.end
    words[-1] = last
    return tuple(words), start, end
