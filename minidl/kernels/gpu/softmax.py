"""Softmax over any axis, and cross entropy of labels that keeps no second array of the scores' size."""
from math import prod

from ...backend import demand
from ...dispatch import Kernel, register
from ...errors import ArgumentError, message
from ...ops.loss import demand_each
from .arrays import dense, unless_served
from .launch import cdiv, launch


def _grid(outer, inner):
    return lambda c: (cdiv(outer, c["ROWS"]) if inner == 1 else outer * cdiv(inner, c["INNER"]),)


# -- softmax, log_softmax ----------------------------------------------------------------

def _around(array, axis):
    """(elements along the axes before, along this one, along those behind)."""
    axis %= array.ndim
    return prod(array.shape[:axis]), array.shape[axis], prod(array.shape[axis + 1:])


def _odd_axis(arrays, params):
    x, axis = arrays[0], params["axis"]
    fits = type(axis) is int and -x.ndim <= axis < x.ndim
    return unless_served("softmax_forward", x) or (None if fits else "no such axis")


def _softmax(log):
    def forward(xp, x, axis):
        x = dense(xp, x)
        y, (outer, count, inner) = xp.empty(x.shape, x.dtype), _around(x, axis)
        launch("softmax_forward", _grid(outer, inner), (x, y, outer, count, inner, log), dtype=x.dtype.name)
        return y

    def backward(xp, g, out, axis):
        gx, (outer, count, inner) = xp.empty(out.shape, out.dtype), _around(out, axis)
        launch("softmax_backward", _grid(outer, inner), (dense(xp, g), dense(xp, out), gx, outer, count, inner, log),
               dtype=out.dtype.name)
        return gx

    return forward, backward


for _name, (_forward, _backward) in {"softmax": _softmax(log=0), "log_softmax": _softmax(log=1)}.items():
    register(Kernel(f"{_name}.triton", _name, "cuda", _forward, _backward, _odd_axis))


# -- cross entropy -------------------------------------------------------------------------

def _by_class(x):
    """Scores (N, K, *) or (K) as (N, K, M): these three."""
    return _around(x, 1) if x.ndim > 1 else (1, len(x), 1)


def _odd_labels(arrays, params):
    x, target, weight = arrays
    fits = x.size and target.shape == x.shape[:1] * (x.ndim > 1) + x.shape[2:]
    fits = fits and (weight is None or weight.shape == x.shape[:2][-1:])
    fits = fits and params["reduction"] in ("mean", "sum", "none") and 0 <= params["label_smoothing"] <= 1
    return unless_served("label_loss_forward", x) or (
        None if fits else "shapes that do not fit, nothing, or unknown parameters")


def _label_loss(xp, x, target, weight, ignore_index, reduction, label_smoothing):
    x, (outer, count, inner) = dense(xp, x), _by_class(x)
    labels = dense(xp, target.astype("int64", copy=False))
    demand_each(xp, "cross_entropy", "target", f"classes in [0, {count}), or {ignore_index} to ignore", labels,
                (labels >= 0) & (labels < count) | (labels == ignore_index))
    losses, *kept = [xp.empty(target.shape, "float32") for _ in range(4)]
    launch("label_loss_forward", _grid(outer, inner),
           (x, labels, dense(xp, weight), losses, *kept, outer, count, inner, ignore_index, label_smoothing),
           dtype=x.dtype.name)
    total = None
    if reduction == "mean":
        total = kept[0].sum()
        demand(total > 0, lambda: ArgumentError(message(
            "cross_entropy", "target", "an example to average that counts", "none",
            'Leave out batches where all are ignored or weigh 0, or use reduction="sum".')))
        losses = losses.sum() / total
    elif reduction == "sum":
        losses = losses.sum()
    return losses.astype(x.dtype, copy=False), (labels, total, *kept)


def _label_loss_backward(xp, g, kept, x, target, weight, ignore_index, reduction, label_smoothing):
    labels, total, weights, tops, totals = kept
    outer, count, inner = _by_class(x)

    def of_input():
        gx = xp.empty(x.shape, x.dtype)
        mass = None if weight is None else weight.astype("float32", copy=False).sum()
        launch("label_loss_backward", _grid(outer, inner),
               (dense(xp, x), labels, dense(xp, weight), gx, dense(xp, g), total, mass, weights, tops, totals, outer,
                count, inner, int(reduction == "none"), ignore_index, label_smoothing), dtype=x.dtype.name)
        return gx

    def of_weight():
        shape = outer, count, inner
        log_total = (tops + xp.log(totals)).reshape(outer, 1, inner)
        counts = (labels != ignore_index).reshape(outer, 1, inner)
        scale = g.astype("float32") if total is None else g.astype("float32") / total
        scale = counts * (scale.reshape(outer, 1, inner) if reduction == "none" else scale)
        is_right = (xp.arange(count)[:, None] == labels.reshape(outer, 1, inner)) & counts
        share = is_right * (1 - label_smoothing) + label_smoothing / count
        gw = ((log_total - x.reshape(shape).astype("float32")) * scale * share).sum((0, 2))
        if reduction == "mean":
            gw = gw - is_right.sum((0, 2)) / total * (weight.astype("float32") * gw).sum()
        return gw.astype(weight.dtype)

    return of_input, None, None if weight is None else of_weight


register(Kernel("label_cross_entropy.triton", "label_cross_entropy", "cuda", _label_loss, _label_loss_backward,
                _odd_labels))
