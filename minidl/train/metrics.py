"""Metrics: sums that stay on the device while batches pass; `compute` brings one answer to the host."""
from .. import backend
from ..errors import ArgumentError, DTypeError, ShapeError, fields, message, number
from ..ops.loss import demand_each
from ..tensor import Tensor


def _array(value):
    return (value if isinstance(value, Tensor) else Tensor(value)).data


class Metric:
    """Base: `update(outputs, targets)` adds a batch, `compute()` gives the number, `reset()` starts again."""

    def __init__(self):
        self.reset()

    name = property(lambda self: type(self).__name__.lower())

    def reset(self):
        """Forget all batches."""
        self.total, self.count = 0, 0

    def update(self, outputs, targets):
        """Add a batch."""
        raise NotImplementedError

    def compute(self):
        """The metric over all batches since `reset`, a float; nan over nothing."""
        count = self._host(self.count)
        return self._host(self.total) / count if count else float("nan")

    @staticmethod
    def _host(total):
        return float(backend.to_host(total) if backend.is_array(total) else total)

    def state_dict(self):
        """What a resumed run needs to go on inside an epoch."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, saved):
        """Go on from there."""
        self.total, self.count = fields(self.name, saved, "total", "count")


class Mean(Metric):
    """The mean of what it is given, weighted by batch sizes: `update(value, n)`."""

    def update(self, value, n=1):
        self.total, self.count = self.total + _array(value).astype("float64") * n, self.count + n


def _classes(op, outputs, targets, ignore_index=None):
    """(outputs (N, K), targets (N), which of them count (N), how many) as arrays; segmentation maps (N, K, H, W),
    (N, H, W) are flattened.

    Raises:
        ShapeError, DTypeError, ArgumentError: they do not go together; labels are no integers from 0 to K - 1.
    """
    outputs, targets = _array(outputs), _array(targets)
    if outputs.ndim != targets.ndim + 1 or outputs.shape[:1] + outputs.shape[2:] != targets.shape:
        raise ShapeError(message(op, "targets",
                                 f"labels {outputs.shape[:1] + outputs.shape[2:]} for outputs {outputs.shape}",
                                 targets.shape))
    if targets.dtype.kind not in "iu":
        raise DTypeError(message(op, "targets", "integers", targets.dtype))
    xp, classes = backend.namespace(outputs), outputs.shape[1]
    labels, counted, number = targets.reshape(-1), xp.ones(targets.size, "bool"), targets.size
    if ignore_index is not None:
        counted = labels != ignore_index
        labels, number = xp.where(counted, labels, 0), counted.sum()
    demand_each(xp, op, "targets", f"classes in [0, {classes}), or an ignore_index of the metric", labels,
                (labels >= 0) & (labels < classes))
    return xp, xp.moveaxis(outputs, 1, -1).reshape(-1, classes), labels, counted, number


class Accuracy(Metric):
    """The share of labels that are among the `top_k` highest scores.

    Args:
        top_k: how many, at least 1.
        ignore_index: a label that does not count.

    Args of `update`: outputs (N, K, *) scores, targets (N, *) integer labels.
    """

    def __init__(self, top_k=1, ignore_index=None):
        self.top_k, self.ignore_index = number("Accuracy", "top_k", top_k, 1, whole=True), ignore_index
        super().__init__()

    name = property(lambda self: "accuracy" if self.top_k == 1 else f"top{self.top_k}")

    def update(self, outputs, targets):
        xp, scores, labels, counted, number = _classes(self.name, outputs, targets, self.ignore_index)
        if self.top_k == 1:
            hits = scores.argmax(-1) == labels
        else:                                              # how many scores are above that of the label
            own = xp.take_along_axis(scores, labels[:, None].astype("int64"), -1)
            hits = (scores > own).sum(-1) < self.top_k
        self.total, self.count = self.total + (hits & counted).sum(), self.count + number


class ConfusionMatrix(Metric):
    """counts (K, K): how often label i (row) was called j (column).

    Args:
        num_classes: K.
        ignore_index: a label that does not count.
    """

    def __init__(self, num_classes, ignore_index=None):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        super().__init__()

    def update(self, outputs, targets):
        xp, scores, labels, counted, number = _classes(self.name, outputs, targets, self.ignore_index)
        if scores.shape[-1] != self.num_classes:
            raise ShapeError(message(self.name, "outputs", f"{self.num_classes} classes", f"{scores.shape[-1]}"))
        counts = xp.zeros((self.num_classes,) * 2, "int64")            # (a bincount would make the host wait)
        backend.scatter_add(counts, (labels, scores.argmax(-1)), counted.astype("int64"))
        self.total, self.count = self.total + counts, self.count + number

    def compute(self):
        """counts (K, K), int64, on the host."""
        import numpy as np
        return backend.to_host(self.total) if backend.is_array(self.total) else np.zeros((self.num_classes,) * 2,
                                                                                         "int64")


class F1(ConfusionMatrix):
    """The harmonic mean of precision and recall: of all decisions ("micro"), or the mean over classes ("macro")."""

    def __init__(self, num_classes, average="macro", ignore_index=None):
        if average not in ("macro", "micro"):
            raise ArgumentError(message("F1", "average", "macro or micro", repr(average)))
        self.average = average
        super().__init__(num_classes, ignore_index)

    def compute(self):
        counts = super().compute()
        hits, called, real = counts.diagonal().astype("float64"), counts.sum(0), counts.sum(1)
        if self.average == "micro":
            hits, called, real = hits.sum(), called.sum(), real.sum()
        both = called + real
        return float((2 * hits / both.clip(1)).mean())


class MeanIoU(ConfusionMatrix):
    """The mean over classes of what prediction and truth share, of all that either covers.

    A class that neither has counts for nothing.  Source: Everingham et al. 2010, "The PASCAL Visual Object Classes
    Challenge", section 4.2 (segmentation accuracy).
    """

    def compute(self):
        counts = super().compute()
        both, either = counts.diagonal().astype("float64"), counts.sum(0) + counts.sum(1) - counts.diagonal()
        there = either > 0
        return float((both[there] / either[there]).mean()) if there.any() else 0.0
