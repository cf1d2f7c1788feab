"""Exponential moving average of a model's state."""
from contextlib import contextmanager

from .. import backend
from ..dtypes import HALVES, is_float
from ..errors import CheckpointError, fields, message, number


class EMA:
    """Keeps averages of a module's parameters and floating buffers; integers are copied.

    Args:
        module: whose state_dict is followed.
        decay: the share of the past in each update, 0 to 1.
        warmup: use min(decay, (1 + n) / (10 + n)) at update n, so that early averages forget the start.

    Source: Polyak, Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging"; warm-up as in TensorFlow's.
    """

    def __init__(self, module, decay=0.999, warmup=True):
        number("EMA", "decay", decay, 0, 1)
        self.module, self.decay, self.warmup, self.updates = module, decay, warmup, 0
        self.shadow = {n: t.data.astype("float32" if t.dtype in HALVES else t.dtype)       # (16 bits would stand still)
                       for n, t in module.state_dict().items()}

    def update(self):
        """Move the averages towards the module's present state."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        for name, tensor in self.module.state_dict().items():
            kept = self.shadow[name]
            if is_float(tensor.dtype):
                kept *= decay
                kept += tensor.data.astype(kept.dtype, copy=False) * (1 - decay)
            else:
                kept[...] = tensor.data

    @contextmanager
    def average_parameters(self):
        """`with ema.average_parameters(): ...` evaluates the averages; afterwards the module has its own state back."""
        own = {n: t.data.copy() for n, t in self.module.state_dict().items()}
        self.module.load_state_dict(self.shadow)
        try:
            yield self.module
        finally:
            self.module.load_state_dict(own)

    def state_dict(self):
        """Averages and how many updates made them."""
        return {"updates": self.updates, "shadow": dict(self.shadow)}

    def load_state_dict(self, saved):
        """Go on from there.

        Raises:
            CheckpointError: the averages are of another model; nothing was changed.
        """
        updates, shadow = fields("EMA", saved, "updates", "shadow")
        theirs, mine = [{n: a.shape for n, a in arrays.items()} for arrays in (shadow, self.shadow)]
        if wrong := sorted({name for name, _ in theirs.items() ^ mine.items()}):
            raise CheckpointError(message("EMA", "shadow", "the module's names and shapes",
                                          f"a difference in {', '.join(wrong[:4])}"))
        self.updates = updates
        for name, array in shadow.items():
            kept = self.shadow[name]
            kept[...] = backend.to_device(array, backend.device(kept))
