"""Optimizer steps over all parameters of a group in one pass, and what clipping by the norm needs.

`minidl.optim` asks for them by the names "optim.adam"...: forward(xp, rule, group, parameters, gradients, states)
updates arrays in place, each state being the dict of one parameter, its step counted already.
"""
import math

import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import packed, packed_like

STATES = "mean", "square", "largest", "velocity"


def _refuses(arrays, group):
    for p, g, state in zip(*arrays):
        kept = [state[name] for name in STATES if name in state]
        if not all([type(a) is np.ndarray and a.dtype == np.float32 and a.size for a in (p, g, *kept)]):
            return "only NumPy's float32, not empty"
        if packed(p) is not p or any([a.shape != p.shape or packed_like(a, p) is not a for a in kept]):
            return "a parameter or a state that lies scattered in memory"
    return None


def _recall(states, name, parameters, new=np.zeros_like):
    """The array of this name of each state, made where it is missing."""
    return [state[name] if name in state else state.setdefault(name, new(p)) for state, p in zip(states, parameters)]


def _adam(xp, rule, group, parameters, gradients, states):
    (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
    means, squares, largest = [_recall(states, name, parameters) if wanted else []
                               for name, wanted in (("mean", True), ("square", True), ("largest", group["amsgrad"]))]
    cpu.optim.adam_step(
        parameters, _beside(parameters, gradients), means, squares, largest,
        [lr / (1 - beta1 ** state["step"]) for state in states],
        [1 / math.sqrt(1 - beta2 ** state["step"]) for state in states],
        beta1, 1 - beta1, beta2, 1 - beta2, group["eps"],
        0.0 if rule.decoupled else decay, 1 - lr * decay if rule.decoupled else 1.0)


def _sgd(xp, rule, group, parameters, gradients, states):
    momentum, velocities = group["momentum"], []
    shares = [1 - group["dampening"] if "velocity" in state else 1.0 for state in states]    # the first is g itself
    if momentum:
        velocities = _recall(states, "velocity", parameters)
    cpu.optim.sgd_step(parameters, _beside(parameters, gradients), velocities, [group["lr"]] * len(parameters), shares,
                       momentum, group["nesterov"], group["weight_decay"])


def _beside(parameters, gradients):
    return [packed_like(g, p) for p, g in zip(parameters, gradients)]


def _norm(xp, gradients):
    return np.asarray(math.sqrt(cpu.optim.squared_norm([packed(g) for g in gradients])), "float32")


def _scaled(xp, gradients, scale):
    if scale == 1:                     # most often: and then they may stay as they are
        return gradients
    gradients = [packed(g) for g in gradients]
    scaled = [np.empty_like(g) for g in gradients]
    cpu.optim.scale(scaled, gradients, float(scale))
    return scaled


def _refuses_gradients(arrays, params):
    fits = all([type(a) is np.ndarray and a.dtype == np.float32 and a.size for a in arrays])
    return None if fits else "only NumPy's float32, not empty"


for op, forward, refuses in (("adam", _adam, _refuses), ("sgd", _sgd, _refuses),
                             ("global_norm", _norm, _refuses_gradients), ("scale", _scaled, _refuses_gradients)):
    register(Kernel(f"{op}.cpu", f"optim.{op}", "cpu", forward, None, refuses))
