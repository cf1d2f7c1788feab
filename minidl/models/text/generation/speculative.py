"""Speculative decoding: a small model guesses, a large one checks several guesses at once and has the last word.

Source: Leviathan, Kalman, Matias 2022, "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192.
"""
import numpy as np

from ....backend import random
from .processors import softmax
from .search import draw


def speculate(steps, draft, config, processors, filters, limit, stopping, streamer, key):
    """Tokens (1, L) as `one_by_one` gives them: the same where the likeliest is taken, else of the same distribution.

    Args:
        steps, draft: Steps of one sequence, of the model and of the one that guesses.
        Others as of `one_by_one`.
    """
    def processed(tokens, scores):
        for process in (*processors, *filters):
            scores = process(tokens, scores)
        return scores

    step = 0
    while steps.tokens.shape[1] < limit:
        length = steps.tokens.shape[1]
        guesses, beliefs = [], []
        for _ in range(min(config.num_assistant_tokens, limit - length - 1)):
            scores = processed(draft.tokens, draft.scores())
            guess = draw(scores, random.fold_in(key, 4 * step)) if config.do_sample else scores.argmax(1)
            guesses.append(int(guess[0]))
            beliefs.append(scores)
            draft.append(guess)
            step += 1
        for guess in guesses:
            steps.append([guess])
        every = steps.all_scores(len(guesses) + 1)
        accepted, token = 0, None
        for i in range(len(guesses) + 1):
            scores = processed(steps.tokens[:, :length + i], every[:, i])
            step += 1
            if i == len(guesses):
                token = _chosen(scores, config, random.fold_in(key, 4 * step + 1))
            elif not config.do_sample:
                token = None if int(scores.argmax(1)[0]) == guesses[i] else int(scores.argmax(1)[0])
            else:
                token = _accepted(scores, beliefs[i], guesses[i], random.fold_in(key, 4 * step + 2))
            if token is not None:
                break
            accepted += 1
        steps.crop(length + accepted)
        draft.crop(min(length + accepted, draft.tokens.shape[1]))
        steps.append([token])
        while draft.tokens.shape[1] < steps.tokens.shape[1]:
            draft.append(steps.tokens[0, draft.tokens.shape[1]:draft.tokens.shape[1] + 1])
        if _ended(steps, draft, length, config, stopping, every[:, -1], streamer):
            break
    return steps.tokens


def _chosen(scores, config, key):
    return int((draw(scores, key) if config.do_sample else scores.argmax(1))[0])


def _accepted(scores, belief, guess, key):
    """None where the guess stands; else the token that replaces it. Paper: algorithm 1."""
    p, q = softmax(scores.astype(np.float64))[0], softmax(belief.astype(np.float64))[0]
    if random.uniform(np, key, (1,), dtype="float64")[0] * q[guess] <= p[guess]:
        return None
    rest = np.maximum(p - q, 0)
    with np.errstate(divide="ignore"):
        return int(draw(np.log(rest)[None], random.fold_in(key, 1))[0])


def _ended(steps, draft, length, config, stopping, scores, streamer):
    """Cut the sequence behind its end, if it has one; tell the streamer what is new."""
    new = steps.tokens[0, length:]
    ends = np.flatnonzero(np.isin(new, config.ends))
    if len(ends):
        steps.crop(length + int(ends[0]) + 1)
    if streamer is not None:
        streamer.put(steps.tokens[0, length:])
    return bool(len(ends)) or any(stop(steps.tokens, scores).any() for stop in stopping)
