"""Losses of predicted classes: each example has one class of several, or any number of yes-or-no labels.

The class axis of K scores is the second one, (N, K, *), as in images (N, K, H, W), or the only one, (K).
"""
import math

from ..backend import demand
from ..dtypes import is_float
from ..errors import ArgumentError, ShapeError, message
from ..op import as_tensor, fused, primitive
from .activation import logsigmoid, sigmoid
from .elementwise import maximum
from .index import take, take_along_axis
from .loss import demand_each, demanded, loss, reduced, weighed
from .scatter import one_hot
from .shape import broadcast_to, expand_dims, reshape
from .softmax import log_softmax

__all__ = ["binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "dice_loss",
           "label_cross_entropy", "multi_margin_loss", "nll_loss", "sigmoid_focal_loss", "soft_cross_entropy"]


# -- one class of several -------------------------------------------------------------

def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """How unlikely a softmax of scores makes the right classes: -log softmax(input)[target].

    Args:
        input (N, K, *) or (K): scores (logits), floating.
        target: the right classes, integers (N, *) or (); or the classes' probabilities (N, K, *) or (K),
            floating.
        weight (K): of each class; None: 1.
        ignore_index: examples of this class do not count (of integers only).
        reduction: "mean", "sum" or "none". Integers are averaged by the weights of their classes.
        label_smoothing: the share, in [0, 1], of each target that is spread over all classes alike.

    Returns:
        (), or the shape (N, *) or () of the examples for "none".

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a class out of range; a probability that is NaN; the mean of no examples.

    Source: of the smoothing, Szegedy et al. 2015, "Rethinking the Inception Architecture", arXiv:1512.00567,
    section 7.
    """
    target = as_tensor(target)
    if is_float(target.dtype):
        return soft_cross_entropy(input, target, weight, reduction, label_smoothing)
    return label_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def _check(op, input, examples, target, weight, label_smoothing=0.0):
    """Refuse shapes that do not fit: `examples` is the target's shape that does."""
    if not input.ndim or not input.shape[:2][-1]:
        raise ShapeError(message(op, "input", "scores (N, K, *) or (K) of at least one class", input.shape))
    classes = input.shape[:2][-1]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(message(op, "weight", f"one weight for each of {classes} classes", weight.shape))
    if target.shape != examples:
        raise ShapeError(message(op, "target", f"{examples} for scores {input.shape}", target.shape,
                                 "Class numbers (integers) have the scores' shape but for the second axis, "
                                 "that of classes; probabilities (floating) have all of it."))
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(message(op, "label_smoothing", "a number in [0, 1]", label_smoothing))


def _examples(input):
    """The shape without the class axis."""
    return input.shape[:1] + input.shape[2:] if input.ndim > 1 else ()


def _by_class(x):
    """The scores as an array (N, K, M)."""
    return x.reshape(1, -1, 1) if x.ndim == 1 else x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _settled(xp, op, labels, classes, ignore_index=None):
    """(the labels, int64, with 0 for those to ignore; which ones count). Demands that these are in range."""
    labels = labels.astype("int64")
    fits = (labels >= 0) & (labels < classes)
    counts = fits if ignore_index is None else labels != ignore_index
    or_ignored = "" if ignore_index is None else f", or {ignore_index} to ignore"
    demand_each(xp, op, "target", f"classes in [0, {classes}){or_ignored}", labels,
                fits if ignore_index is None else fits | ~counts)
    return xp.where(counts, labels, 0), counts


@primitive("labels(*):int -> (*) (*)", differentiable=False)
def _settled_labels(xp, labels, /, loss, classes, ignore_index=None):
    return _settled(xp, loss, labels, classes, ignore_index)


def _averaged(loss, losses, total):
    """The sum of losses (an array) over that of their weights."""
    demand(total > 0, lambda: ArgumentError(message(
        loss, "target", "an example to average that counts", "none",
        'Leave out batches where all are ignored or weigh 0, or use reduction="sum".')))
    return losses.sum() / total


@primitive("losses(*) weights(*) -> ()")
def _average(xp, losses, weights, /, loss):
    return _averaged(loss, losses, weights.sum())


@_average.vjp
def _(g, weights, out):
    g = broadcast_to(g / weights.sum(), weights.shape)
    return g, (lambda: -g * out)


def _column(weight, ndim):
    """Weights of classes (K) as an array that broadcasts to scores of `ndim` axes."""
    return reshape(weight, (-1,) + (1,) * (ndim - 2))


def _nll(op, log_p, labels, weight, ignore_index, reduction, label_smoothing=0.0):
    """The losses of log-probabilities (N, K, *), on tensors."""
    _check(op, log_p, _examples(log_p), labels, weight, label_smoothing)
    axis = min(1, log_p.ndim - 1)
    classes = log_p.shape[axis]
    labels, counts = _settled_labels(labels, op, classes, ignore_index)
    counts = counts.astype(log_p.dtype)
    weights = counts if weight is None else take(weight, labels) * counts
    losses = -take_along_axis(log_p, expand_dims(labels, axis), axis).squeeze(axis) * weights
    if label_smoothing:
        spread = -(log_p if weight is None else log_p * _column(weight, log_p.ndim)).sum(axis) * counts
        losses = losses * (1 - label_smoothing) + spread * (label_smoothing / classes)
    return _average(losses, weights, op) if reduction == "mean" else reduced(op, losses, reduction)


@fused("input(_):float target(_):int weight(K)? -> (_)")
def nll_loss(input, target, weight=None, /, ignore_index=-100, reduction="mean"):
    """The negative log-likelihood of the right classes.

    Args:
        input (N, K, *) or (K): logarithms of probabilities.
        target (N, *) or (): the right classes.
        weight, ignore_index, reduction: as in `cross_entropy`.

    Returns:
        (), or the target's shape for "none": -input[target].

    Raises:
        ShapeError, ArgumentError: as `cross_entropy`.
    """
    return _nll("nll_loss", input, target, weight, ignore_index, reduction)


@fused("input(_):float target(_):int weight(K)? -> (_)")
def label_cross_entropy(input, target, weight=None, /, ignore_index=-100, reduction="mean",
                        label_smoothing=0.0):
    """`cross_entropy` where the target is class numbers.

    Args:
        input, target, weight, ignore_index, reduction, label_smoothing: as in `cross_entropy`.

    Returns:
        (), or the target's shape for "none".

    Raises:
        ShapeError, ArgumentError: as `cross_entropy`.
    """
    _check("cross_entropy", input, _examples(input), target, weight)
    log_p = log_softmax(input, min(1, input.ndim - 1))
    return _nll("cross_entropy", log_p, target, weight, ignore_index, reduction, label_smoothing)


@label_cross_entropy.forward
def _(xp, input, target, weight, ignore_index, reduction, label_smoothing):
    _check("cross_entropy", input, _examples(input), target, weight, label_smoothing)
    x = _by_class(input)                                                 # (N, K, M)
    n, classes, m = x.shape
    labels, counts = _settled(xp, "cross_entropy", target, classes, ignore_index)
    labels, counts = labels.reshape(n, m), counts.reshape(n, m).astype(x.dtype)
    weights = counts if weight is None else weight[labels] * counts
    at = xp.arange(n)[:, None], labels, xp.arange(m)
    top = x.max(1, keepdims=True)
    scores = x - top                                                     # the one array as large as the input
    right = scores[at]
    if label_smoothing:
        spread = scores.sum(1) if weight is None else xp.matmul(weight, scores)
    total = xp.exp(scores, out=scores).sum(1)
    log_total = xp.log(total)
    losses = weights * (log_total - right)
    if label_smoothing:
        spread = counts * (log_total * (classes if weight is None else weight.sum()) - spread)
        losses = (1 - label_smoothing) * losses + label_smoothing / classes * spread
    kept = at, counts, weights, top, total
    if reduction == "mean":
        return _averaged("cross_entropy", losses, weights.sum()), kept
    return reduced("cross_entropy", losses.reshape(target.shape), reduction), kept


@label_cross_entropy.backward
def _(xp, g, kept, input, target, weight, ignore_index, reduction, label_smoothing):
    at, counts, weights, top, total = kept
    x, w = _by_class(input), 1 if weight is None else weight[:, None]
    n, classes, m = x.shape
    scale = g.reshape(n, m) if reduction == "none" else g / weights.sum() if reduction == "mean" else g
    right, spread = scale * counts * (1 - label_smoothing), scale * counts * (label_smoothing / classes)

    def of_input():
        own = right if weight is None else right * weight[at[1]]
        gx = x - top
        xp.exp(gx, out=gx)
        gx *= ((own + spread * (classes if weight is None else weight.sum())) / total)[:, None]
        gx[at] -= own
        if label_smoothing:
            gx -= spread[:, None] * w
        return gx.reshape(input.shape)

    def of_weight():
        is_right = xp.arange(classes)[:, None] == at[1][:, None]
        gw = ((top + xp.log(total)[:, None] - x) * (is_right * right[:, None] + spread[:, None])).sum((0, 2))
        share = (is_right * counts[:, None]).sum((0, 2)) / weights.sum() if reduction == "mean" else 0
        return gw - share * (weight * gw).sum()

    return of_input, None, of_weight


@fused("input(_):float target(_):float weight(K)? -> (_)")
def soft_cross_entropy(input, target, weight=None, /, reduction="mean", label_smoothing=0.0):
    """`cross_entropy` where the target is probabilities.

    Args:
        input, target, weight, reduction, label_smoothing: as in `cross_entropy`.

    Returns:
        (), or the shape (N, *) or () of the examples for "none".

    Raises:
        ShapeError, ArgumentError: as `cross_entropy`.
    """
    _check("cross_entropy", input, input.shape, target, weight, label_smoothing)
    axis = min(1, input.ndim - 1)
    log_p, target = log_softmax(input, axis), demanded("cross_entropy", target)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / input.shape[axis]
    parts = target * log_p if weight is None else target * log_p * _column(weight, input.ndim)
    return reduced("cross_entropy", -parts.sum(axis), reduction)


@soft_cross_entropy.forward
def _(xp, input, target, weight, reduction, label_smoothing):
    _check("cross_entropy", input, input.shape, target, weight, label_smoothing)
    demand_each(xp, "cross_entropy", "target", "numbers", target, target == target)
    x, wanted = _by_class(input), _by_class(target)
    weight = xp.ones(x.shape[1], x.dtype) if weight is None else weight
    share, kept = label_smoothing / x.shape[1], 1 - label_smoothing
    top = x.max(1, keepdims=True)
    scores = x - top                                                     # the one array as large as the input
    matched = kept * xp.einsum("k,nkm,nkm->nm", weight, wanted, scores) + share * xp.matmul(weight, scores)
    mass = kept * xp.matmul(weight, wanted) + share * weight.sum()
    total = xp.exp(scores, out=scores).sum(1)
    losses = (mass * xp.log(total) - matched).reshape(_examples(input))
    return reduced("cross_entropy", losses, reduction), (top, total, mass)


@soft_cross_entropy.backward
def _(xp, g, kept, input, target, weight, reduction, label_smoothing):
    top, total, mass = kept
    x, w = _by_class(input), 1 if weight is None else weight[:, None]
    n, classes, m = x.shape
    wanted = _by_class(target) * (1 - label_smoothing) + label_smoothing / classes
    scale = g.reshape(n, 1, m) if reduction == "none" else g / (n * m) if reduction == "mean" else g

    def of_input():
        gx = x - top
        xp.exp(gx, out=gx)
        gx *= scale * (mass / total)[:, None]
        gx -= scale * w * wanted
        return gx.reshape(input.shape)

    def nll():
        return scale * (top + xp.log(total)[:, None] - x)

    def of_target():
        return (nll() * w * (1 - label_smoothing)).reshape(target.shape)

    return of_input, of_target, (lambda: (nll() * wanted).sum((0, 2)))


@fused("input(_):float target(_):int weight(K)? -> (_)")
def multi_margin_loss(input, target, weight=None, /, p=1, margin=1.0, reduction="mean"):
    """How far scores of wrong classes come within a margin of the right class's.

    Args:
        input (N, K) or (K): scores.
        target (N) or (): the right classes.
        weight (K): of each right class; None: 1.
        p: power of what is within the margin, 1 or more.
        margin: in units of the scores.
        reduction: "mean" (not weighted), "sum" or "none".

    Returns:
        (), or the target's shape for "none": sum over other classes of max(0, margin - right + other)^p / K.

    Raises:
        ShapeError, ArgumentError: as `cross_entropy`.

    Source: Weston, Watkins 1999, "Support Vector Machines for Multi-Class Pattern Recognition".
    """
    op, classes = "multi_margin_loss", input.shape[-1] if input.ndim else 0
    _check(op, input, input.shape[:-1], target, weight)
    labels, _ = _settled_labels(target, op, classes)
    right = one_hot(labels, classes, input.dtype)
    gaps = maximum(margin - (input * right).sum(-1, True) + input, 0.0) ** float(p)
    losses = (gaps * (1.0 - right)).sum(-1) / classes
    return reduced(op, losses if weight is None else losses * take(weight, labels), reduction)


# -- yes or no ------------------------------------------------------------------------

@primitive("p(*) -> (*)")
def _bounded_log(xp, p, /):
    """log(p), but not below -100; the gradient not above 1e12."""
    return xp.maximum(xp.log(xp.maximum(p, 1.4e-45)), -100.0)            # (float32's least, below exp(-100))


@_bounded_log.vjp
def _(g, p):
    return g / maximum(p, 1e-12)


@loss("input(*):float target(*):float weight(_)? -> (_)")
def binary_cross_entropy(input, target, weight=None, /, reduction="mean"):
    """How unlikely predicted probabilities make yes-or-no labels.

    Args:
        input (*): probabilities of yes, in [0, 1].
        target (*): 1 for yes, 0 for no, or the probability of yes, in [0, 1].
        weight (_): of each loss, in a shape that broadcasts to the input's.
        reduction: "mean", "sum" or "none": what becomes of the single losses.

    Returns:
        (), or (*) for "none": -target log(input) - (1 - target) log(1 - input), at most 100.

    Raises:
        ShapeError: input and target differ in shape.
        ArgumentError: a probability is outside [0, 1]; the mean of no losses.
    """
    input = demanded("binary_cross_entropy", input, "input", "probabilities in [0, 1]")
    target = demanded("binary_cross_entropy", target, "target", "probabilities in [0, 1]")
    losses = -(target * _bounded_log(input) + (1.0 - target) * _bounded_log(1.0 - input))
    return reduced("binary_cross_entropy", weighed("binary_cross_entropy", losses, weight), reduction)


@loss("input(*):float target(*):float weight(_)? pos_weight(_)? -> (_)")
def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, /, reduction="mean"):
    """`binary_cross_entropy` of sigmoid(input), without overflow.

    Args:
        input (*): scores (logits).
        target (*): as in `binary_cross_entropy`; any numbers but NaN.
        weight (_), reduction: as in `binary_cross_entropy`.
        pos_weight (_): how much more a yes counts than a no, in a shape that broadcasts to the input's.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError: input and target differ in shape.
        ArgumentError: a target is NaN; the mean of no losses.
    """
    op = "binary_cross_entropy_with_logits"
    target, of_yes = demanded(op, target), logsigmoid(input)             # log p(yes); less x it is log p(no)
    yes = target if pos_weight is None else weighed(op, target, pos_weight)
    losses = (1.0 - target) * (input - of_yes) - yes * of_yes
    return reduced(op, weighed(op, losses, weight), reduction)


@loss()
def sigmoid_focal_loss(input, target, /, alpha=0.25, gamma=2.0, reduction="none"):
    """Cross-entropy of yes-or-no labels in which easy examples count little.

    Args:
        input (*): scores (logits).
        target (*): 1 for yes, 0 for no.
        alpha: the weight of yes, 1 - alpha being that of no; negative: both weigh 1.
        gamma: losses are multiplied by (1 - probability of the right answer)^gamma.
        reduction: as in `binary_cross_entropy`.

    Returns:
        (), or (*) for "none".

    Raises:
        ShapeError, ArgumentError: as `binary_cross_entropy_with_logits`.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv:1708.02002, eq. 5.
    """
    losses = binary_cross_entropy_with_logits(input, target, None, None, "none")
    wrong = sigmoid(input) * (1.0 - target) + sigmoid(-input) * target
    losses = losses * wrong ** float(gamma)
    if alpha >= 0:
        losses = losses * (target * alpha + (1.0 - target) * (1 - alpha))
    return reduced("sigmoid_focal_loss", losses, reduction)


@loss()
def dice_loss(input, target, /, axis=None, smooth=1.0, reduction="mean"):
    """1 less the overlap of predicted and true masks: 2 |A B| / (|A| + |B|).

    Args:
        input (*): probabilities, as after a sigmoid or softmax, in [0, 1].
        target (*): masks, 1 inside, 0 outside.
        axis: the axes of one mask, an integer or a tuple; None: all but the first. (2, 3) gives one loss per
            image and class, (0, 2, 3) one per class of the whole batch.
        smooth: added to both parts of the fraction: two empty masks agree.
        reduction: as in `binary_cross_entropy`, over masks.

    Returns:
        (), or one loss per mask for "none".

    Raises:
        ShapeError: input and target differ in shape.
        ArgumentError: a probability is outside [0, 1]; the mean of no losses.

    Source: Milletari, Navab, Ahmadi 2016, "V-Net", arXiv:1606.04797, section 3, without the squares.
    """
    input = demanded("dice_loss", input, "input", "probabilities in [0, 1]")
    target = demanded("dice_loss", target, "target", "probabilities in [0, 1]")
    axis = tuple(range(1, input.ndim)) if axis is None else axis
    both, sizes = (input * target).sum(axis), (input + target).sum(axis)
    return reduced("dice_loss", 1.0 - (both * 2.0 + smooth) / (sizes + smooth), reduction)


# -- samples --------------------------------------------------------------------------

@nll_loss.samples
def _(make):
    yield make.normal(4, 3), make.integers(3, 4)
    yield make.normal(2, 3, 2, 2), make.integers(3, 2, 2, 2), make.positive(3), 1
    yield make.normal(2, 3, 2), make.integers(3, 2, 2), make.positive(3), -100, "none"
    yield make.normal(3), make.integers(3), None, -100, "sum"


@label_cross_entropy.samples
def _(make):
    yield make.normal(4, 3), make.integers(3, 4)
    yield make.normal(2, 3, 2, 2), make.integers(3, 2, 2, 2), make.positive(3), 1
    yield make.normal(2, 3, 2), make.integers(3, 2, 2), make.positive(3), 0, "none", 0.2
    yield make.normal(2, 3, 2), make.integers(3, 2, 2), make.positive(3), -100, "mean", 0.2
    yield make.normal(3), make.integers(3), None, -100, "sum", 0.1
    yield make.normal(2, 3) * 1000, make.integers(3, 2)


@soft_cross_entropy.samples
def _(make):
    yield make.normal(4, 3), make.unit(4, 3)
    yield make.normal(2, 3, 2), make.unit(2, 3, 2), make.positive(3), "mean", 0.2
    yield make.normal(2, 3, 2, 1), make.unit(2, 3, 2, 1), make.positive(3), "none"
    yield make.normal(3), make.unit(3), None, "sum", 0.1


@multi_margin_loss.samples
def _(make):
    yield make.distinct(4, 3) * 1.1, make.integers(3, 4)
    yield make.distinct(4, 3) * 1.1, make.integers(3, 4), make.positive(3), 2, 0.7, "none"
    yield make.distinct(3) * 1.1, make.integers(3), None, 1, 1.0, "sum"


@binary_cross_entropy.samples
def _(make):
    yield make.unit(3, 4), make.unit(3, 4)
    yield make.unit(3, 4), make.unit(3, 4), make.positive(4), "none"
    yield make.unit(), make.unit(), None, "sum"


@binary_cross_entropy_with_logits.samples
def _(make):
    yield make.normal(3, 4), make.unit(3, 4)
    yield make.normal(3, 4), make.unit(3, 4), make.positive(3, 1), make.positive(4), "sum"
    yield make.normal(2, 3) * 100, make.unit(2, 3), None, make.positive(), "none"
    yield make.normal(), make.unit()


@sigmoid_focal_loss.samples
def _(make):
    yield make.normal(3, 4), make.unit(3, 4)
    yield make.normal(3, 4), make.unit(3, 4), -1, 1.5, "mean"


@dice_loss.samples
def _(make):
    yield make.unit(2, 3, 4), make.unit(2, 3, 4)
    yield make.unit(2, 3, 2, 2), make.unit(2, 3, 2, 2), (0, 2, 3), 0.5, "none"
