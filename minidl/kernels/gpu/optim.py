"""A step of Adam or AdamW over all parameters of a group: a launch for each, which passes over it once."""
import math

from ...dispatch import Kernel, register
from .arrays import ALIGNMENT, dense, unless_served
from .launch import cdiv, launch

STATES = "mean", "square", "largest"


def _refuses(arrays, group):
    for p, _, state in zip(*arrays):
        if reason := unless_served("adam_step", p):
            return reason
        kept = [state[name] for name in STATES if name in state]
        dense_ones = all([a.flags.c_contiguous and not a.data.ptr % ALIGNMENT for a in (p, *kept)])
        if not dense_ones or any([a.shape != p.shape or a.dtype.name != "float32" for a in kept]):
            return "a parameter or a state that lies scattered in memory, or a state that is not float32"
    return None


def _adam(xp, rule, group, parameters, gradients, states):
    (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
    for p, g, state in zip(parameters, gradients, states):
        names = STATES if group["amsgrad"] else STATES[:2]
        kept = [state[n] if n in state else state.setdefault(n, xp.zeros(p.shape, "float32")) for n in names]
        step = state["step"]
        launch("adam_step", lambda c, count=p.size: (cdiv(count, c["BLOCK"]),),
               (p, dense(xp, g), *kept, *[None] * (3 - len(kept)), p.size, lr / (1 - beta1 ** step),
                1 / math.sqrt(1 - beta2 ** step), beta1, 1 - beta1, beta2, 1 - beta2, group["eps"],
                0.0 if rule.decoupled else decay, 1 - lr * decay if rule.decoupled else 1.0), dtype=p.dtype.name)


register(Kernel("adam.triton", "optim.adam", "cuda", _adam, None, _refuses))
