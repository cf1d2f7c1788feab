"""Softmax over any axis, and cross entropy that keeps no second array of the scores' size."""
from math import prod

import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense, unless_float32

# -- softmax, log_softmax ----------------------------------------------------------------

def _around(array, axis):
    """An array as (outer, count, inner), `axis` in the middle."""
    axis %= array.ndim
    return dense(array).reshape(prod(array.shape[:axis]), array.shape[axis], prod(array.shape[axis + 1:]))


def _odd_axis(arrays, params):
    x, axis = arrays[0], params["axis"]
    fits = x.size and type(axis) is int and -x.ndim <= axis < x.ndim
    return unless_float32(x) or (None if fits else "no elements, or no such axis")


def _softmax(log):
    def forward(xp, x, axis):
        y = np.empty(x.shape, "float32")
        cpu.softmax.softmax(_around(x, axis), _around(y, axis), log)
        return y

    def backward(xp, g, out, axis):
        gx = np.empty(g.shape, "float32")
        cpu.softmax.softmax_backward(_around(g, axis), _around(out, axis), _around(gx, axis), log)
        return gx

    return forward, backward


for _name, (_forward, _backward) in {"softmax": _softmax(log=False), "log_softmax": _softmax(log=True)}.items():
    register(Kernel(f"{_name}.cpu", _name, "cpu", _forward, _backward, _odd_axis))


# -- cross entropy -------------------------------------------------------------------------

def _by_class(x):
    """Scores (N, K, *) or (K) as (N, K, M)."""
    return dense(x).reshape(1, -1, 1) if x.ndim == 1 else _around(x, 1)


def _odd_scores(x, target, weight, examples, reduction, label_smoothing):
    """Why not, of what both kinds of target have in common; `examples` is the shape that target must have."""
    fits = x.size and target.shape == examples and (weight is None or weight.shape == x.shape[:2][-1:])
    fits = fits and reduction in ("mean", "sum", "none") and 0 <= label_smoothing <= 1
    return unless_float32(x, weight) or (None if fits else "shapes that do not fit, nothing, or unknown parameters")


def _odd_labels(arrays, params):
    x, target, weight = arrays
    why_not = _odd_scores(x, target, weight, x.shape[:1] * (x.ndim > 1) + x.shape[2:], params["reduction"],
                          params["label_smoothing"])
    if why_not:
        return why_not
    classes, ignored = x.shape[:2][-1], params["ignore_index"]
    if not (target.min() >= 0 and target.max() < classes) and not np.all(
            (target == ignored) | (target >= 0) & (target < classes)):
        return "labels out of range"
    if params["reduction"] == "mean":
        counts = target != ignored
        if not (counts.any() if weight is None else weight[target[counts]].sum() > 0):
            return "no example to average"
    return None


def _reduced(losses, reduction, count):
    """Losses (N, M), or their sum, or their mean over `count`, as 0-d arrays."""
    if reduction == "none":
        return losses
    total = losses.sum(dtype="float64")
    return np.asarray(total if reduction == "sum" else total / count, "float32")


def _label_loss(xp, x, target, weight, ignore_index, reduction, label_smoothing):
    scores = _by_class(x)
    n, classes, m = scores.shape
    labels = dense(target.astype("int64", copy=False)).reshape(n, m)
    counts = labels != ignore_index
    labels = labels if counts.all() else np.where(counts, labels, 0)
    weights = counts.astype("float32") if weight is None else weight[labels] * counts
    top, total, nll = np.empty((3, n, m), "float32")
    of_all = np.empty_like(nll) if label_smoothing else None
    cpu.softmax.label_loss(scores, labels, dense(weight), top, total, nll, of_all)
    losses = nll * weights
    if label_smoothing:
        losses *= 1 - label_smoothing
        losses += of_all * counts * np.float32(label_smoothing / classes)
    out = _reduced(losses, reduction, weights.sum(dtype="float64"))
    return (out.reshape(target.shape) if reduction == "none" else out), (labels, counts, weights, top, total)


def _label_loss_backward(xp, g, kept, x, target, weight, ignore_index, reduction, label_smoothing):
    labels, counts, weights, top, total = kept
    scores = _by_class(x)
    n, classes, m = scores.shape
    scale = g.reshape(n, m) if reduction == "none" else g / weights.sum() if reduction == "mean" else g
    right = scale * counts * np.float32(1 - label_smoothing)
    spread = scale * counts * np.float32(label_smoothing / classes) if label_smoothing else None

    def of_input():
        own = right if weight is None else right * weight[labels]
        weight_of_all = classes if weight is None else weight.sum()
        mass = own if spread is None else own + spread * weight_of_all
        gx = np.empty(x.shape, "float32")
        cpu.softmax.label_gradient(scores, labels, dense(weight), top, mass / total, own, spread, _by_class(gx))
        return gx

    def of_weight():
        log_total = top + np.log(total)
        is_right = np.arange(classes)[:, None] == labels[:, None]
        by_class = is_right * right[:, None] + (0 if spread is None else spread[:, None])
        gw = ((log_total[:, None] - scores) * by_class).sum((0, 2))
        share = (is_right * counts[:, None]).sum((0, 2)) / weights.sum() if reduction == "mean" else 0
        return (gw - share * (weight * gw).sum()).astype("float32")

    return of_input, None, of_weight


def _odd_targets(arrays, params):
    x, target, weight = arrays
    why_not = unless_float32(target) or _odd_scores(x, target, weight, x.shape, params["reduction"],
                                                    params["label_smoothing"])
    return why_not or ("a target that is no number" if np.isnan(target.sum()) and np.isnan(target).any() else None)


def _soft_loss(xp, x, target, weight, reduction, label_smoothing):
    scores = _by_class(x)
    n, classes, m = scores.shape
    top, total, mass, nll = np.empty((4, n, m), "float32")
    cpu.softmax.soft_loss(scores, _by_class(target), dense(weight), top, total, mass, nll, 1 - label_smoothing,
                          label_smoothing / classes)
    out = _reduced(nll, reduction, n * m)
    return (out.reshape(x.shape[:1] * (x.ndim > 1) + x.shape[2:]) if reduction == "none" else out), (top, total, mass)


def _soft_loss_backward(xp, g, kept, x, target, weight, reduction, label_smoothing):
    top, total, mass = kept
    scores = _by_class(x)
    n, classes, m = scores.shape
    scale = g.reshape(n, m) if reduction == "none" else g / np.float32(n * m) if reduction == "mean" else g
    own = np.broadcast_to(scale, (n, m)).astype("float32")

    def of_input():
        gx = np.empty(x.shape, "float32")
        cpu.softmax.soft_gradient(scores, _by_class(target), dense(weight), top, own * mass / total, own, _by_class(gx),
                                  1 - label_smoothing, label_smoothing / classes)
        return gx

    def nll():
        return own[:, None] * ((top + np.log(total))[:, None] - scores)

    def of_target():
        weighted = nll() if weight is None else nll() * weight[:, None]
        return (weighted * np.float32(1 - label_smoothing)).reshape(target.shape)

    def of_weight():
        wanted = _by_class(target) * np.float32(1 - label_smoothing) + np.float32(label_smoothing / classes)
        return (nll() * wanted).sum((0, 2))

    return of_input, of_target, of_weight


register(Kernel("label_cross_entropy.cpu", "label_cross_entropy", "cpu", _label_loss, _label_loss_backward,
                _odd_labels))
register(Kernel("soft_cross_entropy.cpu", "soft_cross_entropy", "cpu", _soft_loss, _soft_loss_backward, _odd_targets))
