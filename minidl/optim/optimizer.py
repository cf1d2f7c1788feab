"""Optimizer: parameter groups, state, and the loop over parameters that every rule shares.

A rule is one function, `update(xp, p, g, state, group)`: it changes the array `p`
in place by the gradient `g`, and keeps what it remembers in `state`.  Half types
are updated in float32 and rounded once, when they are stored.
"""
from .. import backend
from ..dtypes import HALVES
from ..errors import ArgumentError, CheckpointError, ShapeError, message
from ..tensor import Tensor


class Optimizer:
    """Base of all optimizers.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with "params" and own values of the defaults.
        defaults: the rule's settings, by name.

    Raises:
        ArgumentError: no parameters, one twice, or a setting that makes no sense.
    """

    def __init__(self, params, **defaults):
        self.defaults, self.state, self.param_groups = defaults, {}, []
        params = list(params)
        if not params:
            raise ArgumentError(message(self.name, "params", "at least one parameter", "none"))
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    name = property(lambda self: type(self).__name__)

    def add_param_group(self, group):
        """Join more parameters, with own settings: `{"params": [...], "lr": 1e-4}`."""
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ArgumentError(message(self.name, "group", f"settings among {', '.join(self.defaults)}",
                                        ", ".join(sorted(unknown))))
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise ArgumentError(message(self.name, "params", "leaf tensors", repr(p)[:60]))
            if id(p) in known:
                raise ArgumentError(message(self.name, "params", "each parameter once",
                                            f"one of shape {p.shape} twice"))
            known.add(id(p))
        group = {**self.defaults, **group, "params": params}
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group):
        for setting, low, high in (("lr", 0, None), ("eps", 0, None), ("weight_decay", 0, None), ("momentum", 0, None),
                                   ("alpha", 0, 1), ("rho", 0, 1), ("dampening", None, None)):
            value = group.get(setting)
            if isinstance(value, (int, float)) and not ((low is None or value >= low)
                                                        and (high is None or value <= high)):
                raise ArgumentError(message(self.name, setting, f"at least {low}" if high is None
                                            else f"{low} to {high}", value))
        for i, beta in enumerate(group.get("betas", ())):
            if not 0 <= beta < 1:
                raise ArgumentError(message(self.name, f"betas[{i}]", "0 <= beta < 1", beta))

    def update(self, xp, p, g, state, group):
        """Change `p` by `g`; see the module's docstring."""
        raise NotImplementedError

    def step(self):
        """One update of every parameter that has a gradient. Gradients are read, never written."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(p, p.grad.data, group)

    def _step_one(self, p, g, group):
        xp, state = backend.namespace(p.data), self.state.setdefault(id(p), {"step": 0})
        state["step"] += 1
        if p.dtype in HALVES:
            wide = p.data.astype("float32")
            self.update(xp, wide, g.astype("float32"), state, group)
            p.writable()[...] = wide.astype(p.dtype)
        else:
            self.update(xp, p.writable(), g, state, group)

    def zero_grad(self):
        """Forget all gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def state_dict(self):
        """Everything needed to go on: settings by group, and state by the parameter's number."""
        params = [p for g in self.param_groups for p in g["params"]]
        number = {id(p): i for i, p in enumerate(params)}
        groups = [{**g, "params": [number[id(p)] for p in g["params"]]} for g in self.param_groups]
        return {"state": {str(number[i]): dict(s) for i, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved):
        """Take on what `state_dict` gave.

        Raises:
            CheckpointError: the groups have other sizes, or a state another shape, than the parameters here.
        """
        sizes = [len(g["params"]) for g in self.param_groups], [len(g["params"]) for g in saved["param_groups"]]
        if sizes[0] != sizes[1]:
            raise CheckpointError(message(self.name, "param_groups", f"groups of {sizes[0]} parameters", sizes[1]))
        params = [p for g in self.param_groups for p in g["params"]]
        state = {}
        for number, kept in saved["state"].items():
            p = params[int(number)]
            wrong = [k for k, a in kept.items() if hasattr(a, "shape") and a.shape and not self._fits(a.shape, p.shape)]
            if wrong:
                raise CheckpointError(message(self.name, f"state[{number}]", f"arrays that fit {p.shape}",
                                              f"{wrong[0]} of shape {kept[wrong[0]].shape}"))
            state[id(p)] = {k: backend.find(p.device).from_host(a.copy(), p.device) if hasattr(a, "shape") else a
                            for k, a in kept.items()}
        self.state = state
        for group, theirs in zip(self.param_groups, saved["param_groups"]):
            group.update({k: tuple(v) if isinstance(v, list) else v for k, v in theirs.items() if k != "params"})

    @staticmethod
    def _fits(shape, of):
        return len(shape) == len(of) and all(n in (1, m) for n, m in zip(shape, of))

    def __repr__(self):
        rows = [", ".join(f"{k}={v}" for k, v in g.items() if k != "params") for g in self.param_groups]
        return f"{self.name}({'; '.join(rows)})"


def recall(xp, state, name, like):
    """The array `name` of a state, zeros of `like`'s shape and dtype at first."""
    if name not in state:
        state[name] = xp.zeros_like(like)
    return state[name]


def blend(average, new, beta):
    """average = beta * average + (1 - beta) * new, in place."""
    average *= beta
    average += new * (1 - beta)
    return average


def global_norm(params):
    """The L2 norm of all gradients together, a 0-d array where they live; None without gradients."""
    total = xp = None
    for p in params:
        if p.grad is not None:
            g = p.grad.data.astype("float32") if p.grad.dtype in HALVES else p.grad.data
            square, xp = (g * g).sum(), backend.namespace(g)
            total = square if total is None else total + square
    return None if total is None else xp.asarray(xp.sqrt(total))


def clip_grad_norm_(parameters, max_norm, error_if_nonfinite=False):
    """Scale all gradients down, together, to a norm of at most `max_norm`.

    Args:
        parameters: tensors; those without a gradient are passed over.
        max_norm: in the gradients' own units.
        error_if_nonfinite: raise where the norm is nan or inf.

    Returns:
        the norm before clipping, a 0-d tensor (no transfer is made).

    Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not max_norm > 0:
        raise ArgumentError(message("clip_grad_norm_", "max_norm", "more than 0", max_norm))
    norm = global_norm(parameters)
    if norm is None:
        return Tensor(0.0)
    xp = backend.namespace(norm)
    if error_if_nonfinite:
        backend.demand(xp.isfinite(norm),
                       ArgumentError(message("clip_grad_norm_", "gradients", "a finite norm", "nan or inf")))
    scale = xp.minimum(max_norm / (norm + 1e-6), 1)
    for p in parameters:
        if p.grad is not None:                         # a new array: gradients may share memory
            p.grad = Tensor((p.grad.data * scale).astype(p.grad.dtype, copy=False))
    return Tensor(norm)


def clip_grad_value_(parameters, clip_value):
    """Clip every element of every gradient to [-clip_value, clip_value]."""
    if not clip_value > 0:
        raise ArgumentError(message("clip_grad_value_", "clip_value", "more than 0", clip_value))
    for p in [parameters] if isinstance(parameters, Tensor) else parameters:
        if p.grad is not None:
            p.grad = Tensor(p.grad.data.clip(-clip_value, clip_value))


def need_matrix(op, p):
    """Raise unless a rule that works on matrices got one."""
    if p.ndim < 2:
        raise ShapeError(message(op, "params", "matrices (2 axes or more)", p.shape,
                                 "Give vectors to another optimizer, as AdamW."))
