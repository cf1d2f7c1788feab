"""The loss of sequences whose alignment is not known: speech to letters, lines of handwriting to text.

An alignment gives each time a label or a blank; less its repetitions, and then less its blanks, it is the
target. It walks through the states blank, target[0], blank, target[1], ..., blank: from one time to the next
it stays, goes one state on, or two where that leaves out a blank between different labels. The sum over all
alignments is a recursion over time, here in logarithms and for a whole batch at once.

Source: Graves, Fernández, Gomez, Schmidhuber 2006, "Connectionist Temporal Classification", section 4.
"""
import numpy as np

from ..backend import demand
from ..errors import ArgumentError, message
from ..op import fused, primitive
from .arrange import stack
from .elementwise import maximum, where
from .index import take_along_axis
from .loss import demand_each, reduced
from .reduce import logsumexp
from .window import pad

__all__ = ["ctc_loss"]

NEVER = -1e30                      # the logarithm of a probability of 0: finite, so differences are numbers


@fused("log_probs(T,N,C):float targets(N,S):int input_lengths(N):int target_lengths(N):int -> (_)")
def ctc_loss(log_probs, targets, input_lengths, target_lengths, /, blank=0, reduction="mean",
             zero_infinity=False):
    """How unlikely predictions over time make label sequences, whatever their alignment.

    Args:
        log_probs (T, N, C): logarithms of the probabilities of C labels, blank among them, at each time.
        targets (N, S): label sequences, int, padded on the right with anything; or all of them joined,
            without padding, in one axis.
        input_lengths (N): how many times count of each example, 1 to T.
        target_lengths (N): how many labels are its target, 0 to S.
        blank: the label that stands for none.
        reduction: "mean": of losses over target lengths (over 1 if that is 0); "sum" or "none".
        zero_infinity: a target that is too long for its times counts 0; else its loss is infinite. Either way
            it has no gradient.

    Returns:
        (), or (N) for "none".

    Raises:
        ArgumentError: a label or length out of range; a label that is blank; the mean of no losses.

    Source: Graves, Fernández, Gomez, Schmidhuber 2006, "Connectionist Temporal Classification", eqs. 5-8.
    """
    times, n, classes = log_probs.shape
    states, skips, starts, ends, last = _walks(targets, input_lengths, target_lengths, times, classes, blank)
    emitted = take_along_axis(log_probs, states.expand_dims(0).broadcast_to((times, *states.shape)), 2)
    alpha, *later = maximum(emitted, NEVER).unstack()
    alphas = [where(starts, alpha, NEVER)]
    for emission in later:
        before = pad(alphas[-1], ((2, 0),), value=NEVER)
        ways = [before[:, 2:], before[:, 1:-1], where(skips, before[:, :-2], NEVER)]
        alphas.append(emission + logsumexp(stack(ways), 0))
    alpha = take_along_axis(stack(alphas), last.reshape((1, n, 1)).broadcast_to((1, *states.shape)), 0)[0]
    losses = -logsumexp(where(ends, alpha, NEVER), 1)
    losses = where(losses > -NEVER / 2, 0.0 if zero_infinity else float("inf"), losses)
    if reduction == "mean":
        losses = losses / maximum(target_lengths, 1).astype(losses.dtype)
    return reduced("ctc_loss", losses, reduction)


@ctc_loss.otherwise
def _(log_probs, targets, input_lengths, target_lengths, **params):
    if targets.ndim != 1:
        return NotImplemented
    return ctc_loss(log_probs, _padded(targets, target_lengths), input_lengths, target_lengths, **params)


@primitive("targets(L):int lengths(N):int -> (N,S)", differentiable=False, synchronises=True)
def _padded(xp, targets, lengths, /):
    """Targets that were joined, one per row; how long the longest is, the host has to ask."""
    lengths = lengths.astype("int64")
    total = lengths.sum()
    demand(total == len(targets), lambda: ArgumentError(message(
        "ctc_loss", "targets", f"{int(total)} labels, as target_lengths add up to", len(targets))))
    column = xp.nonzero((xp.arange(len(targets))[:, None] < lengths).any(1))[0]
    place = (xp.cumsum(lengths) - lengths)[:, None] + column
    return targets[xp.minimum(place, len(targets) - 1)]


@primitive("targets(N,S):int input_lengths(N):int target_lengths(N):int -> (N,L) (N,L) (N,L) (N,L) (N)",
           differentiable=False)
def _walks(xp, targets, input_lengths, target_lengths, /, times, classes, blank):
    """The label of each state; may a walk come from two states before, start, or end there? Its last time.

    Demands that labels and lengths are in range.
    """
    if not 0 <= blank < classes:
        raise ArgumentError(message("ctc_loss", "blank", f"a label in [0, {classes})", blank))
    targets, lengths, last = (a.astype("int64") for a in (targets, target_lengths, input_lengths))
    (n, s), last = targets.shape, last - 1
    within = xp.arange(s) < lengths[:, None]
    for name, expected, values, holds in (
            ("input_lengths", f"lengths in [1, {times}]", last + 1, (last >= 0) & (last < times)),
            ("target_lengths", f"lengths in [0, {s}]", lengths, (lengths >= 0) & (lengths <= s)),
            ("targets", f"labels in [0, {classes}) but blank={blank}", targets,
             ~within | (targets >= 0) & (targets < classes) & (targets != blank))):
        demand_each(xp, "ctc_loss", name, expected, values, holds)
    states = xp.full((n, 2 * s + 1), blank)
    states[:, 1::2] = xp.where(within, targets, blank)
    skips = xp.zeros(states.shape, bool)
    skips[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    number, end = xp.arange(2 * s + 1), 2 * lengths[:, None]
    starts, ends = xp.broadcast_to(number < 2, states.shape), (number == end) | (number == end - 1)
    return states, skips, starts, ends, last


# -- closed form ----------------------------------------------------------------------

def _logsum(xp, a, b, c):
    """log(exp(a) + exp(b) + exp(c))."""
    top = xp.maximum(xp.maximum(a, b), c)
    return top + xp.log(xp.exp(a - top) + xp.exp(b - top) + xp.exp(c - top))


def _emitted(xp, log_probs, states):
    """(T, N, L): the logarithm of the probability of each state's label."""
    return xp.maximum(log_probs[:, xp.arange(len(states))[:, None], states], NEVER)


@ctc_loss.forward
def _(xp, log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    (times, n, classes), dtype = log_probs.shape, log_probs.dtype
    states, skips, _, ends, last = walks = _walks.op.fn(
        xp, targets, input_lengths, target_lengths, times, classes, blank)
    emitted, barrier = _emitted(xp, log_probs, states), xp.where(skips, 0, NEVER).astype(dtype)
    before = xp.full((times + 1, n, states.shape[1] + 2), NEVER, dtype)  # with two states that nobody is in
    alphas = before[1:, :, 2:]
    before[0, :, 2] = 0                                                  # all start from the first one
    for t in range(times):
        a = before[t]
        alphas[t] = emitted[t] + _logsum(xp, a[:, 2:], a[:, 1:-1], a[:, :-2] + barrier)
    final = xp.where(ends, alphas[last, xp.arange(n)], NEVER)
    top = final.max(1)
    losses = -(top + xp.log(xp.exp(final - top[:, None]).sum(1)))
    kept = walks, alphas, losses
    losses = xp.where(losses > -NEVER / 2, 0 if zero_infinity else xp.inf, losses).astype(dtype)
    if reduction == "mean":
        losses = losses / xp.maximum(target_lengths, 1).astype(dtype)
    return reduced("ctc_loss", losses, reduction), kept


@ctc_loss.backward
def _(xp, g, kept, log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity):
    (states, skips, _, ends, last), alphas, losses = kept
    times, n, length = alphas.shape
    emitted, barrier = _emitted(xp, log_probs, states), xp.full((n, length + 2), NEVER, g.dtype)
    barrier[:, :-2] = xp.where(skips, 0, NEVER)
    beta, ends = xp.full((n, length), NEVER, g.dtype), xp.where(ends, 0, NEVER).astype(g.dtype)
    after = xp.full((n, length + 2), NEVER, g.dtype)
    posterior = xp.empty(alphas.shape, g.dtype)                          # of being in a state at a time
    for t in range(times - 1, -1, -1):
        beta = xp.where((last == t)[:, None], ends, beta)
        posterior[t] = alphas[t] + beta + losses[:, None]
        after[:, :-2] = beta + emitted[t]
        beta = _logsum(xp, after[:, :-2], after[:, 1:-1], after[:, 2:] + barrier[:, 2:])
    scale = g / (n * xp.maximum(target_lengths, 1)) if reduction == "mean" else g
    scale = xp.where(losses > -NEVER / 2, 0, scale).astype(g.dtype)
    posterior = xp.exp(posterior, out=posterior) * scale[:, None]
    gradient, example = xp.zeros(log_probs.shape, g.dtype), xp.arange(n)
    gradient[:, :, blank] = -posterior[:, :, ::2].sum(2)
    for s in range(1, length, 2):
        gradient[:, example, states[:, s]] -= posterior[:, :, s]
    return gradient, None, None, None


@ctc_loss.samples
def _(make):
    probabilities, lengths = make.normal(5, 3, 4), np.array([5, 3, 4])
    targets, target_lengths = np.array([[1, 2], [3, 3], [1, 9]]), np.array([2, 2, 1])
    yield probabilities, targets, lengths, target_lengths
    yield probabilities, targets % 3, lengths, target_lengths, 3, "none"
    yield probabilities, targets, np.array([5, 2, 4]), target_lengths, 0, "sum", True    # 3, 3 needs 3 times
    yield probabilities, targets[:, :0], lengths, target_lengths * 0
