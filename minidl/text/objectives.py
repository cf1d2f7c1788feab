"""What language models are trained to do: rows of tokens made into inputs and labels, and rows into batches.

    dataset of rows -> transform(row, key), MaskTokens or CorruptSpans -> collate_fn(items), PadBatch -> batch

They fit a DataLoader's `transform` and `collate_fn`: the same seed gives the same tokens at any number of workers.
"""
import numpy as np

from ..backend import random
from ..errors import ArgumentError, message, number

IGNORED = -100                     # a label that does not count


def _row(item):
    """A row's tokens, of the row itself or of what a tokenizer gives."""
    row = np.asarray(item["input_ids"] if isinstance(item, dict) else item, np.int64)
    if row.ndim != 1 or not row.size:
        raise ArgumentError(message("objective", "item", "a row of tokens", row.shape))
    return row


class MaskTokens:
    """Hides some tokens, which are to be told from the others: 8 of 10 behind the mask, 1 behind any token.

    Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1, task 1. Drawn anew every epoch, as in Liu et al. 2019,
    arXiv:1907.11692, section 4.1. Whole words: Cui et al. 2019, arXiv:1906.08101.

    Args:
        tokenizer: with a mask token; its special tokens are never hidden.
        probability: that a token is, or a word.
        whole_words: hide all tokens of a word, or none.

    Raises:
        ArgumentError: there is no mask token, no such probability, or the tokens do not tell where words begin.
    """

    def __init__(self, tokenizer, probability=0.15, whole_words=False):
        if tokenizer.mask_token_id is None:
            raise ArgumentError(message("MaskTokens", "tokenizer", "one with a mask token", "none"))
        self.probability = number("MaskTokens", "probability", probability, 0, 1)
        self.mask, self.special = tokenizer.mask_token_id, tokenizer.all_special_ids
        self.vocabulary = np.setdiff1d(np.arange(len(tokenizer)), self.special)
        self.begins = _word_beginnings(tokenizer) if whole_words else np.ones(len(tokenizer), bool)
        self.begins[self.special] = True

    def __call__(self, item, key):
        """A row (T), key -> the item with other input_ids, and labels: the tokens that were hidden, else -100."""
        row = _row(item)
        chosen, how = random.uniform(np, key, (2, len(row)), dtype="float64")
        word = np.maximum.accumulate(np.where(self.begins[row], np.arange(len(row)), 0))       # where each one's begins
        hidden = (chosen[word] < self.probability) & ~np.isin(row, self.special)
        other = self.vocabulary[random.integers(np, random.fold_in(key, 1), (len(row),), 0, len(self.vocabulary))]
        seen = np.where(how < 0.8, self.mask, np.where(how < 0.9, other, row))
        return {**(item if isinstance(item, dict) else {}), "input_ids": np.where(hidden, seen, row).tolist(),
                "labels": np.where(hidden, row, IGNORED).tolist()}


def _word_beginnings(tokenizer):
    """(V) bool: does a word begin with this token? By WordPiece's "##", or by the space that others keep in front."""
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    pieces = np.array([token.startswith("##") for token in tokens])
    spaces = np.array([token.startswith(("\u0120", "\u2581")) for token in tokens])
    if not (pieces.any() or spaces.any()):
        raise ArgumentError(message("MaskTokens", "tokenizer", "tokens that tell where words begin, for whole_words",
                                    "none with ##, or a space in front"))
    return ~pieces if pieces.any() else spaces


class CorruptSpans:
    """Replaces spans by one token each, <extra_id_0>, <extra_id_1>, ...; they are to be written behind these.

    Source: Raffel et al. 2019, arXiv:1910.10683, section 3.1.4 and 3.3.4.

    Args:
        tokenizer: T5's, or one with such tokens.
        density: the share of tokens in spans.
        mean_length: of spans, in tokens.

    Raises:
        ArgumentError: there are no such tokens, or numbers are out of range.
    """

    def __init__(self, tokenizer, density=0.15, mean_length=3.0):
        self.density = number("CorruptSpans", "density", density, 0, 1)
        self.mean_length = number("CorruptSpans", "mean_length", mean_length, 1)
        self.sentinels = []
        while (found := tokenizer.token_to_id(f"<extra_id_{len(self.sentinels)}>")) is not None:
            self.sentinels.append(found)
        self.end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        if not self.sentinels:
            raise ArgumentError(message("CorruptSpans", "tokenizer", "one with the token <extra_id_0>", "none"))

    def __call__(self, item, key):
        """A row (T), key -> {"input_ids", "labels"}, each with the end token behind it."""
        row = _row(item)
        row = row[:-1] if self.end and row[-1] == self.end[0] and len(row) > 1 else row
        n = len(row)
        noise = min(max(round(n * self.density), 1), max(n - 1, 1))
        spans = min(max(round(noise / self.mean_length), 1), max(n - noise, 1), len(self.sentinels))
        keys = random.split(key)
        kept, lost = _segments(n - noise, spans, keys[0]), _segments(noise, spans, keys[1])
        read, written, at = [], [], 0
        for sentinel, keep, lose in zip(self.sentinels, kept, lost):
            read += [*row[at:at + keep].tolist(), sentinel]
            written += [sentinel, *row[at + keep:at + keep + lose].tolist()]
            at += keep + lose
        return {"input_ids": read + self.end, "labels": written + self.end}


def _segments(n, parts, key):
    """n as a sum of `parts` numbers, of at least 1 where n allows it, all ways alike."""
    if n < parts:
        return [n] + [0] * (parts - 1)
    cuts = np.sort(random.permutation(np, key, n - 1)[:parts - 1]) + 1 if parts > 1 else []
    return np.diff([0, *cuts, n]).tolist()


class PadBatch:
    """Rows to a batch of arrays (N, T): a DataLoader's collate_fn.

    Args:
        tokenizer: its padding token fills input_ids; -100 fills labels.
        causal: labels are the inputs themselves, where they are not padding: each token is told from those before it.
    """

    def __init__(self, tokenizer, causal=False):
        self.tokenizer, self.causal = tokenizer, causal

    def __call__(self, items):
        """Rows, or {"input_ids", "labels", ...} each -> {name: (N, T), int64}; numbers as labels: (N)."""
        rows = [dict(item) if isinstance(item, dict) else {"input_ids": _row(item)} for item in items]
        if self.causal:
            rows = [{**row, "labels": row["input_ids"]} for row in rows]
        return dict(self.tokenizer.pad(rows, return_tensors="np"))


def pack(rows, length, separator=None):
    """Rows of tokens joined and cut into rows of equal length, so that no place is padding.

    Args:
        rows: of tokens, an iterable.
        length: of what is given.
        separator: a token behind each row, as tokenizer.eos_token_id; None: nothing.

    Returns:
        (M, length), int64; what is left at the end is left out.

    Raises:
        ArgumentError: length is below 1, or there are fewer tokens than one row needs.
    """
    number("pack", "length", length, 1, whole=True)
    end = np.array([] if separator is None else [separator], np.int64)
    parts = [part for row in rows for part in (np.asarray(row, np.int64), end)]
    joined = np.concatenate(parts) if parts else end
    if len(joined) < length:
        raise ArgumentError(message("pack", "rows", f"at least {length} tokens", len(joined)))
    return joined[:len(joined) // length * length].reshape(-1, length)
