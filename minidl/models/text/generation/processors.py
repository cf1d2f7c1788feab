"""What changes the scores of the next token: penalties, bans, and the filters of sampling.

Each takes tokens (N, L), those of the prompt included, and scores (N, V), on the host, and gives new scores.
"""
import numpy as np


class LogitsProcessor:
    """Base: a callable (tokens (N, L), scores (N, V)) -> scores (N, V); -inf hides a token."""

    def __call__(self, tokens, scores):
        raise NotImplementedError


class RepetitionPenalty(LogitsProcessor):
    """Source: Keskar et al. 2019, "CTRL", arXiv:1909.05858, section 4.1."""

    def __init__(self, penalty):
        self.penalty = penalty

    def __call__(self, tokens, scores):
        rows = np.arange(len(tokens))[:, None]
        seen = scores[rows, tokens]
        scores = scores.copy()
        scores[rows, tokens] = np.where(seen < 0, seen * self.penalty, seen / self.penalty)
        return scores


class NoRepeatNGram(LogitsProcessor):
    """Source: Paulus, Xiong, Socher 2017, arXiv:1705.04304, section 2.5."""

    def __init__(self, size):
        self.size = size

    def __call__(self, tokens, scores):
        n, scores = self.size, scores.copy()
        for row, line in enumerate(tokens.tolist()):
            last = line[len(line) - n + 1:]
            banned = [line[i + n - 1] for i in range(len(line) - n + 1) if line[i:i + n - 1] == last]
            scores[row, banned] = -np.inf
        return scores


class BadWords(LogitsProcessor):
    """Hide the last token of a sequence whose others have just been written."""

    def __init__(self, words):
        self.words = [list(word) for word in words if len(word)]

    def __call__(self, tokens, scores):
        scores = scores.copy()
        for word in self.words:
            *start, last = word
            ready = np.ones(len(tokens), bool)
            if start:
                tail = tokens[:, -len(start):] if tokens.shape[1] >= len(start) else None
                ready = (tail == start).all(1) if tail is not None else np.zeros(len(tokens), bool)
            scores[ready, last] = -np.inf
        return scores


class MinNewTokens(LogitsProcessor):
    """No end before so many tokens."""

    def __init__(self, prompt, count, ends):
        self.least, self.ends = prompt + count, list(ends)

    def __call__(self, tokens, scores):
        if tokens.shape[1] >= self.least:
            return scores
        scores = scores.copy()
        scores[:, self.ends] = -np.inf
        return scores


class Forced(LogitsProcessor):
    """A certain token, or one of several, at a certain place."""

    def __init__(self, place, choices):
        self.place, self.choices = place, [choices] if isinstance(choices, int) else list(choices)

    def __call__(self, tokens, scores):
        if tokens.shape[1] != self.place:
            return scores
        forced = np.full_like(scores, -np.inf)
        forced[:, self.choices] = 0.0
        return forced


class Temperature(LogitsProcessor):
    """Divide scores: below 1 the likely become likelier."""

    def __init__(self, temperature):
        self.temperature = temperature

    def __call__(self, tokens, scores):
        return scores / np.float32(self.temperature)


class TopK(LogitsProcessor):
    """Only the k likeliest. Source: Fan, Lewis, Dauphin 2018, arXiv:1805.04833, section 5.4."""

    def __init__(self, k):
        self.k = k

    def __call__(self, tokens, scores):
        k = min(self.k, scores.shape[1])
        least = np.partition(scores, -k, 1)[:, -k:].min(1, keepdims=True)
        return np.where(scores < least, -np.inf, scores)


class TopP(LogitsProcessor):
    """Only the likeliest that have this probability together. Source: Holtzman et al. 2019, arXiv:1904.09751, eq. 2."""

    def __init__(self, p):
        self.p = p

    def __call__(self, tokens, scores):
        order = np.argsort(scores, 1, kind="stable")           # (the least likely first)
        sums = np.cumsum(softmax(np.take_along_axis(scores, order, 1)), 1)
        hidden = sums <= 1 - self.p
        hidden[:, -1] = False
        return _hide(scores, order, hidden)


class MinP(LogitsProcessor):
    """Only those at least p times as likely as the likeliest. Source: Nguyen et al. 2024, arXiv:2407.01082."""

    def __init__(self, p):
        self.p = p

    def __call__(self, tokens, scores):
        shares = softmax(scores)
        return np.where(shares < self.p * shares.max(1, keepdims=True), -np.inf, scores)


class Typical(LogitsProcessor):
    """Only those whose surprise is nearest to the mean, p of them. Source: Meister et al. 2022, arXiv:2202.00666."""

    def __init__(self, p):
        self.p = p

    def __call__(self, tokens, scores):
        logs = log_softmax(scores)
        shares = np.exp(logs)
        entropy = -np.where(shares > 0, shares * logs, 0).sum(1, keepdims=True)
        order = np.argsort(np.abs(-logs - entropy), 1, kind="stable")
        sums = np.cumsum(np.take_along_axis(shares, order, 1), 1)
        hidden = np.roll(sums >= self.p, 1, 1)
        hidden[:, 0] = False
        return _hide(scores, order, hidden)


def _hide(scores, order, hidden):
    mask = np.zeros_like(hidden)
    np.put_along_axis(mask, order, hidden, 1)
    return np.where(mask, -np.inf, scores)


def log_softmax(scores):
    """Log probabilities (N, V) of scores."""
    shifted = scores - scores.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def softmax(scores):
    """Probabilities (N, V) of scores."""
    return np.exp(log_softmax(scores))


def chain(config, prompt, limit, custom=()):
    """The processors that a GenerationConfig asks for, in the order in which they apply.

    Args:
        config: a GenerationConfig.
        prompt: tokens in front of the first one that is written.
        limit: tokens at the end, at most.
        custom: more, which come before the filters of sampling.
    """
    c, found = config, []
    if c.repetition_penalty != 1:
        found.append(RepetitionPenalty(c.repetition_penalty))
    if c.no_repeat_ngram_size:
        found.append(NoRepeatNGram(c.no_repeat_ngram_size))
    if c.bad_words_ids:
        found.append(BadWords(c.bad_words_ids))
    if c.min_new_tokens and c.ends:
        found.append(MinNewTokens(prompt, c.min_new_tokens, c.ends))
    if c.forced_bos_token_id is not None:
        found.append(Forced(prompt, c.forced_bos_token_id))
    if c.forced_eos_token_id is not None:
        found.append(Forced(limit - 1, c.forced_eos_token_id))
    return [*found, *custom]


def filters(config):
    """The filters of sampling that a GenerationConfig asks for."""
    c, found = config, []
    if not c.do_sample:
        return found
    for wanted, kind, value in ((c.temperature != 1, Temperature, c.temperature), (c.top_k > 0, TopK, c.top_k),
                                (c.top_p < 1, TopP, c.top_p), (c.min_p > 0, MinP, c.min_p),
                                (c.typical_p < 1, Typical, c.typical_p)):
        if wanted:
            found.append(kind(value))
    return found
