"""Losses of predicted numbers and distributions, and what all losses share.

Losses do not broadcast: a target of another shape is nearly always a mistake, and one that trains on without
a word. Targets that are NaN, or impossible, are refused; predictions that are NaN give a loss that is NaN.
"""
import math

import numpy as np

from ..backend import demand
from ..errors import ArgumentError, ShapeError, message
from ..op import fused, primitive
from ..shapes import broadcast
from .elementwise import abs, exp, log, maximum, minimum, square, where

__all__ = ["gaussian_nll_loss", "huber_loss", "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss",
           "smooth_l1_loss"]


# -- what losses share ----------------------------------------------------------------

def loss(contract="input(*):float target(*):float -> (_)"):
    """Declare a loss: a fused op that refuses inputs of unequal shapes with a hint."""
    def declare(fn):
        op = fused(contract)(fn)

        @op.otherwise
        def _(first, *others, **params):
            for name, other in zip(op.op.inputs[1:], others):
                if other.shape != first.shape:
                    raise _unequal(fn.__name__, op.op.inputs[0], first.shape, name, other.shape)
            return NotImplemented
        return op
    return declare


def _unequal(op, first, shape, name, other):
    """The error that says what to do about it."""
    if math.prod(other) == math.prod(shape):
        hint = f"Losses do not broadcast; use {name}.reshape({shape}) if its elements are in that order."
    elif broadcast(shape, other) == shape:
        hint = f"Losses do not broadcast; use {name}.broadcast_to({shape}) if it is meant to repeat."
    else:
        hint = "Losses do not broadcast."
    return ShapeError(message(op, name, f"{shape} as {first}", other, hint))


def reduced(op, losses, reduction):
    """What `reduction` says, "mean", "sum" or "none", of an array or tensor of losses."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction != "mean":
        raise ArgumentError(message(op, "reduction", '"mean", "sum" or "none"', repr(reduction)))
    if not losses.size:
        raise ArgumentError(message(op, "input", "at least one loss to average", f"an array {losses.shape}",
                                    "Leave out empty batches."))
    return losses.mean()


DOMAINS = {
    "numbers": lambda x: x == x,
    "numbers >= 0": lambda x: x >= 0,
    "probabilities in [0, 1]": lambda x: (x >= 0) & (x <= 1),
    "1 or -1": lambda x: x * x == 1,
}


def demand_each(xp, op, argument, expected, x, truth):
    """Demand that `truth` holds of each element of x; the error names the first of which it does not."""
    def error():
        wrong = xp.nonzero(~truth.ravel())[0]
        first = int(wrong[0])
        place = tuple(map(int, np.unravel_index(first, x.shape)))
        found = f"{x.ravel()[first].item()} at {place}, the first of {len(wrong)} such among {x.size}"
        return ArgumentError(message(op, argument, expected, found))
    demand(truth.all(), error)


@primitive("x(*):any -> (*)", exact=True)
def _in_domain(xp, x, /, loss, argument, domain):
    """x itself, once it is known that each element lies in one of DOMAINS; the error is the loss's."""
    demand_each(xp, loss, argument, domain, x, DOMAINS[domain](x))
    return x


@_in_domain.vjp
def _(g):
    return g


def demanded(op, x, argument="target", domain="numbers"):
    """x itself, once it is known that each element lies in one of DOMAINS; "numbers" are all but NaN."""
    return _in_domain(x, op, argument, domain)


def weighed(op, losses, weight):
    """The losses times weights that broadcast to them; None weighs nothing."""
    if weight is None:
        return losses
    if broadcast(weight.shape, losses.shape) != losses.shape:
        raise ShapeError(message(op, "weight", f"a shape that broadcasts to {losses.shape}", weight.shape))
    return losses * weight


# -- distances of numbers -------------------------------------------------------------

@loss()
def mse_loss(input, target, /, reduction="mean"):
    """The squared error.

    Args:
        input (*): predictions.
        target (*): what they should be.
        reduction: "mean", "sum" or "none": what becomes of the single losses.

    Returns:
        (), or (*) for "none": (input - target)^2.

    Raises:
        ShapeError: input and target differ in shape.
        ArgumentError: a target is NaN; the mean of no losses.
    """
    return reduced("mse_loss", square(input - demanded("mse_loss", target)), reduction)


@loss()
def l1_loss(input, target, /, reduction="mean"):
    """The absolute error: |input - target|.

    Args:
        input (*), target (*), reduction: as in `mse_loss`.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `mse_loss`.
    """
    return reduced("l1_loss", abs(input - demanded("l1_loss", target)), reduction)


def _huber(op, input, target, delta):
    """d^2 / 2 for distances d up to delta, then a straight line: q (d - q / 2), where q = min(d, delta)."""
    if not delta > 0:
        raise ArgumentError(message(op, {"huber_loss": "delta"}.get(op, "beta"), "a positive number", delta))
    distance = abs(input - demanded(op, target))
    near = minimum(distance, float(delta))
    return near * (distance - near * 0.5)


@loss()
def huber_loss(input, target, /, reduction="mean", delta=1.0):
    """The squared error where it is small, in proportion to the error where it is large.

    Args:
        input (*), target (*), reduction: as in `mse_loss`.
        delta: up to which distance it is d^2 / 2; beyond, delta (d - delta / 2). Positive.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `mse_loss`; delta is not positive.

    Source: Huber 1964, "Robust Estimation of a Location Parameter".
    """
    return reduced("huber_loss", _huber("huber_loss", input, target, delta), reduction)


@loss()
def smooth_l1_loss(input, target, /, reduction="mean", beta=1.0):
    """`huber_loss` over its delta, which is called beta: far from the target it is the absolute error.

    Args:
        input (*), target (*), reduction: as in `mse_loss`.
        beta: up to which distance it is d^2 / (2 beta); beyond, d - beta / 2. 0 gives `l1_loss`.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `mse_loss`; beta is negative.

    Source: Girshick 2015, "Fast R-CNN", arXiv:1504.08083, eq. 3.
    """
    if beta == 0:
        return l1_loss(input, target, reduction)
    return reduced("smooth_l1_loss", _huber("smooth_l1_loss", input, target, beta) * (1 / beta), reduction)


# -- likelihoods ----------------------------------------------------------------------

@loss()
def poisson_nll_loss(input, target, /, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """The negative log-likelihood of counts under Poisson distributions.

    Args:
        input (*): the logarithm of each expected count; or the expected count itself.
        target (*): counts.
        log_input: which of the two.
        full: add Stirling's approximation of log(target!), where the target is above 1.
        eps: added to expected counts before their logarithm is taken.
        reduction: as in `mse_loss`.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `mse_loss`; a target is negative.
    """
    target = demanded("poisson_nll_loss", target, "target", "numbers >= 0")
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        n = maximum(target, 1.0)
        losses = losses + where(target > 1.0, n * log(n) - n + log(n * (2 * math.pi)) * 0.5, 0.0)
    return reduced("poisson_nll_loss", losses, reduction)


@fused("input(*):float target(*):float var(_):float -> (_)")
def gaussian_nll_loss(input, target, var, /, full=False, eps=1e-6, reduction="mean"):
    """The negative log-likelihood of numbers under normal distributions.

    Args:
        input (*): means.
        target (*): numbers.
        var (_): variances, of a shape that broadcasts to the means'.
        full: add the constant log(2 pi) / 2.
        eps: variances below it count as eps, for their own gradient too.
        reduction: as in `mse_loss`.

    Returns:
        (), or (*) for "none": (log(var) + (input - target)^2 / var) / 2.

    Raises:
        ShapeError, ArgumentError: as `mse_loss`; a variance is negative.

    Source: Nix, Weigend 1994, "Estimating the Mean and Variance of the Target Probability Distribution".
    """
    op = "gaussian_nll_loss"
    if broadcast(var.shape, input.shape) != input.shape:
        raise ShapeError(message(op, "var", f"a shape that broadcasts to {input.shape}", var.shape))
    var = demanded(op, var, "var", "numbers >= 0")
    var = var + (maximum(var, eps) - var).detach()
    losses = (log(var) + square(input - demanded(op, target)) / var) * 0.5
    return reduced(op, losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


@loss()
def kl_div(input, target, /, reduction="mean", log_target=False):
    """The Kullback-Leibler divergence of predicted distributions from the target's, element by element.

    Args:
        input (*): logarithms of predicted probabilities.
        target (*): probabilities, or their logarithms.
        reduction: "batchmean": the sum over the length of the first axis, which is the mean divergence of its
            distributions; "mean" (over all elements, which is not), "sum" or "none".
        log_target: the target is logarithms.

    Returns:
        (), or (*) for "none": target * (log(target) - input), 0 where the target is 0.

    Raises:
        ShapeError, ArgumentError: as `mse_loss`; a probability is negative.

    Source: Kullback, Leibler 1951, "On Information and Sufficiency", eq. 2.2.
    """
    if log_target:
        target = demanded("kl_div", target)
        losses = exp(target) * (target - input)
    else:
        target = demanded("kl_div", target, "target", "numbers >= 0")
        losses = target * (log(where(target > 0.0, target, 1.0)) - input)
    if reduction == "batchmean":
        return reduced("kl_div", losses, "sum") / max(len(input), 1)
    return reduced("kl_div", losses, reduction)


# -- samples --------------------------------------------------------------------------

def _apart(make, *shape):
    """Two arrays whose differences are on no kink: none near 0, or 0.6."""
    target = make.normal(*shape)
    return target + make.distinct(*shape), target


@mse_loss.samples
@l1_loss.samples
def _(make):
    yield *_apart(make, 3, 4), "mean"
    yield *_apart(make, 2, 1, 3), "none"
    yield *_apart(make, 5), "sum"
    yield *_apart(make), "mean"
    yield *_apart(make, 0, 2), "sum"


@huber_loss.samples
@smooth_l1_loss.samples
def _(make):
    yield *_apart(make, 3, 4), "mean"
    yield *_apart(make, 4, 4), "none", 0.6
    yield *_apart(make, 0, 2), "sum"


@poisson_nll_loss.samples
def _(make):
    yield make.normal(3, 4), make.positive(3, 4)
    yield make.positive(3, 4), make.integers(4, 3, 4) + 0.25, False, True
    yield make.normal(3), make.positive(3) * 3, True, True, 1e-8, "none"


@gaussian_nll_loss.samples
def _(make):
    yield make.normal(3, 4), make.normal(3, 4), make.positive(3, 4)
    yield make.normal(3, 4), make.normal(3, 4), make.positive(3, 1), True, 1e-3, "none"
    yield make.normal(3), make.normal(3), make.positive(), {"reduction": "sum"}


@kl_div.samples
def _(make):
    yield make.normal(3, 4), make.unit(3, 4)
    yield make.normal(3, 4), make.unit(3, 4), "batchmean"
    yield make.normal(3, 4), make.normal(3, 4), "none", True
    yield make.normal(2, 3), make.unit(2, 3), "sum"
