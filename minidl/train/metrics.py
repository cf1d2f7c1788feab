"""Metrics: sums that stay on the device while batches pass; `compute` brings one answer to the host."""
from .. import backend
from ..errors import ArgumentError, ShapeError, message
from ..tensor import Tensor


def _array(value):
    return value.data if isinstance(value, Tensor) else value


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
        return self._host(self.total) / self.count if self.count else float("nan")

    @staticmethod
    def _host(total):
        return float(backend.to_host(total)) if backend.is_array(total) else float(total)

    def state_dict(self):
        """What a resumed run needs to go on inside an epoch."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, saved):
        """Go on from there."""
        self.total, self.count = saved["total"], saved["count"]


class Mean(Metric):
    """The mean of what it is given, weighted by batch sizes: `update(value, n)`."""

    def update(self, value, n=1):
        self.total, self.count = self.total + _array(value).astype("float64") * n, self.count + n


def _classes(op, outputs, targets):
    """(outputs (N, K), targets (N)) as arrays; segmentation maps (N, K, H, W) and (N, H, W) are flattened."""
    outputs, targets = _array(outputs), _array(targets)
    if outputs.ndim != targets.ndim + 1 or outputs.shape[:1] + outputs.shape[2:] != targets.shape:
        raise ShapeError(message(op, "targets",
                                 f"labels {outputs.shape[:1] + outputs.shape[2:]} for outputs {outputs.shape}",
                                 targets.shape))
    xp = backend.namespace(outputs)
    return xp, xp.moveaxis(outputs, 1, -1).reshape(-1, outputs.shape[1]), targets.reshape(-1)


class Accuracy(Metric):
    """The share of labels that are among the `top_k` highest scores.

    Args of `update`: outputs (N, K, *) scores, targets (N, *) integer labels.
    """

    def __init__(self, top_k=1):
        self.top_k = top_k
        super().__init__()

    name = property(lambda self: "accuracy" if self.top_k == 1 else f"top{self.top_k}")

    def update(self, outputs, targets):
        xp, scores, labels = _classes(self.name, outputs, targets)
        if self.top_k == 1:
            hits = scores.argmax(-1) == labels
        else:                                              # how many scores are above that of the label
            own = xp.take_along_axis(scores, labels[:, None].astype("int64"), -1)
            hits = (scores > own).sum(-1) < self.top_k
        self.total, self.count = self.total + hits.sum(), self.count + labels.size


class ConfusionMatrix(Metric):
    """counts (K, K): how often label i (row) was called j (column)."""

    def __init__(self, num_classes):
        self.num_classes = num_classes
        super().__init__()

    def update(self, outputs, targets):
        xp, scores, labels = _classes(self.name, outputs, targets)
        if scores.shape[-1] != self.num_classes:
            raise ShapeError(message(self.name, "outputs", f"{self.num_classes} classes", f"{scores.shape[-1]}"))
        counts = xp.zeros((self.num_classes,) * 2, "int64")            # (a bincount would make the host wait)
        backend.scatter_add(counts, (labels, scores.argmax(-1)), xp.ones(labels.shape, "int64"))
        self.total, self.count = self.total + counts, self.count + labels.size

    def compute(self):
        """counts (K, K), int64, on the host."""
        import numpy as np
        return backend.to_host(self.total) if backend.is_array(self.total) else np.zeros((self.num_classes,) * 2,
                                                                                         "int64")


class F1(ConfusionMatrix):
    """The harmonic mean of precision and recall: of all decisions ("micro"), or the mean over classes ("macro")."""

    def __init__(self, num_classes, average="macro"):
        if average not in ("macro", "micro"):
            raise ArgumentError(message("F1", "average", "macro or micro", repr(average)))
        self.average = average
        super().__init__(num_classes)

    def compute(self):
        counts = super().compute()
        hits, called, real = counts.diagonal().astype("float64"), counts.sum(0), counts.sum(1)
        if self.average == "micro":
            hits, called, real = hits.sum(), called.sum(), real.sum()
        both = called + real
        return float((2 * hits / both.clip(1)).mean())


