"""Strategies: the likeliest token, a drawn one, or beams."""
from dataclasses import dataclass

import numpy as np

from ....backend import random
from .processors import log_softmax, softmax


def one_by_one(steps, config, processors, filters, limit, stopping, streamer, key):
    """Take, or draw, a token at a time until all sequences have ended: tokens (N, L), padded behind their ends.

    Args:
        steps: Steps of the sequences.
        config: a GenerationConfig.
        processors, filters: of scores.
        limit: tokens at the end, at most.
        stopping: StoppingCriteria.
        streamer: gets each token; None.
        key: a random Key.
    """
    ended, step = np.zeros(len(steps.tokens), bool), 0
    while steps.tokens.shape[1] < limit and not ended.all():
        scores = steps.scores()
        for process in (*processors, *filters):
            scores = process(steps.tokens, scores)
        chosen = draw(scores, random.fold_in(key, step)) if config.do_sample else scores.argmax(1)
        chosen = np.where(ended, padding(config), chosen)
        steps.append(chosen)
        if streamer is not None:
            streamer.put(chosen)
        ended |= np.isin(chosen, config.ends)
        for stop in stopping:
            ended |= stop(steps.tokens, scores)
        step += 1
    return steps.tokens


def padding(config):
    """What follows an end."""
    return config.pad_token_id if config.pad_token_id is not None else (*config.ends, 0)[0]


def draw(scores, key):
    """A token (N) each, by the probabilities that scores (N, V) have."""
    sums = np.cumsum(softmax(scores.astype(np.float64)), 1)
    points = random.uniform(np, key, (len(scores),), dtype="float64")[:, None] * sums[:, -1:]
    return np.minimum((sums <= points).sum(1), (sums < sums[:, -1:]).sum(1))


@dataclass
class Ended:
    """A beam that is complete."""

    score: float
    tokens: list


def beams(steps, config, processors, filters, limit, stopping, key):
    """Follow the best beams of each prompt: (tokens (N * returned, L), scores).

    Source: Graves 2012, arXiv:1211.3711, algorithm 1; scores by length: Wu et al. 2016, arXiv:1609.08144, section 7;
    groups: Vijayakumar et al. 2016, "Diverse Beam Search", arXiv:1610.02424, eq. 2.
    """
    width, prompt = config.num_beams, steps.tokens.shape[1]
    prompts, per_group = len(steps.tokens) // width, width // config.num_beam_groups
    totals = np.full((prompts, config.num_beam_groups, per_group), -np.inf)
    totals[:, :, 0] = 0.0                              # (all beams of a prompt are alike at first)
    finished = [[[] for _ in range(config.num_beam_groups)] for _ in range(prompts)]
    open_ = np.ones((prompts, config.num_beam_groups), bool)
    step = 0
    while steps.tokens.shape[1] < limit and open_.any():
        scores = log_softmax(steps.scores())
        for process in (*processors, *filters):
            scores = process(steps.tokens, scores)
        chosen, rows, before = np.zeros(len(scores), np.int64), np.arange(len(scores)), steps.tokens
        for p in range(prompts):
            taken: list = []
            for g in range(config.num_beam_groups):
                at = p * width + g * per_group
                if not open_[p, g]:
                    chosen[at:at + per_group] = padding(config)
                    continue
                own = scores[at:at + per_group]
                if taken and config.diversity_penalty:
                    own = own - config.diversity_penalty * np.bincount(taken, minlength=own.shape[1])
                candidates = _candidates(own + totals[p, g][:, None], config, per_group,
                                         random.fold_in(key, (step * prompts + p) * width + g))
                _advance(candidates, before[at:at + per_group], totals[p, g], finished[p][g], config, prompt, per_group,
                         chosen[at:at + per_group], rows[at:at + per_group], at)
                taken.extend(chosen[at:at + per_group].tolist())
        steps.reorder(rows)
        steps.append(chosen)
        length = steps.tokens.shape[1] - prompt
        stopped = np.zeros(len(scores), bool)
        for stop in stopping:
            stopped |= stop(steps.tokens, scores)
        for p in range(prompts):
            for g in range(config.num_beam_groups):
                at = p * width + g * per_group
                if stopped[at:at + per_group].all() or _settled(finished[p][g], totals[p, g], config, length,
                                                                limit - prompt, per_group):
                    open_[p, g] = False
        step += 1
    return _best(steps, config, totals, finished, open_, prompt)


def _candidates(totals, config, count, key):
    """[(total, beam, token)], the best first: twice as many as beams, more with several ends; drawn or likeliest."""
    wanted = min(max(2, 1 + len(config.ends)) * count, totals.size)
    flat = totals.ravel()
    if config.do_sample:
        noise = random.gumbel(np, key, flat.shape)     # (without replacement: Kool et al. 2019, arXiv:1903.06059)
        order = np.argsort(-(flat + noise), kind="stable")[:wanted]
        order = order[np.argsort(-flat[order], kind="stable")]
    else:
        order = np.argpartition(-flat, wanted - 1)[:wanted]
        order = order[np.lexsort((order, -flat[order]))]
    return [(flat[i], *divmod(int(i), totals.shape[1])) for i in order]


def _advance(candidates, tokens, totals, finished, config, prompt, count, chosen, rows, at):
    """Sort candidates into beams that ended and those that go on; writes totals, chosen and rows."""
    length, kept, new = tokens.shape[1] + 1 - prompt, 0, totals.copy()
    for rank, (total, beam, token) in enumerate(candidates):
        if token in config.ends:
            if rank < count and np.isfinite(total):    # (an end that is not among the best does not count)
                finished.append(Ended(total / length ** config.length_penalty, [*tokens[beam].tolist(), token]))
        elif kept < count:
            new[kept], chosen[kept], rows[kept] = total, token, at + beam
            kept += 1
    totals[:] = new
    finished.sort(key=lambda e: -e.score)
    del finished[count:]


def _settled(finished, totals, config, length, most, count):
    """Can no beam that goes on beat those that ended?"""
    if len(finished) < count:
        return False
    if config.early_stopping is True:
        return True
    reach = most if config.early_stopping == "never" and config.length_penalty > 0 else length
    return finished[-1].score >= totals.max() / reach ** config.length_penalty


def _best(steps, config, totals, finished, open_, prompt):
    """The best of each prompt, padded: (tokens, scores)."""
    width, groups = config.num_beams, config.num_beam_groups
    per_group, lines = width // groups, []
    length = max(steps.tokens.shape[1] - prompt, 1)
    for p in range(len(totals)):
        every = []
        for g in range(groups):
            ended = list(finished[p][g])
            if open_[p, g] or len(ended) < per_group:
                rows = steps.tokens[p * width + g * per_group:][:per_group]
                ended += [Ended(total / length ** config.length_penalty, row.tolist())
                          for total, row in zip(totals[p, g], rows) if np.isfinite(total)] if open_[p, g] else []
            every += ended
        lines += sorted(every, key=lambda e: -e.score)[:config.num_return_sequences]
    longest = max(len(line.tokens) for line in lines)
    tokens = np.full((len(lines), longest), padding(config), np.int64)
    for row, line in zip(tokens, lines):
        row[:len(line.tokens)] = line.tokens
    return tokens, np.array([line.score for line in lines])
