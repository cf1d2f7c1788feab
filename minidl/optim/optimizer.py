"""Optimizer: parameter groups, state, and the loop over parameters that every rule shares.

A rule is one function, `update(xp, p, g, state, group)`: it changes the array `p`
in place by the gradient `g`, and keeps what it remembers in `state`.  Half types
are updated in float32 and rounded once, when they are stored.  A rule marked
`@served_by("optim.name")` may have a kernel that updates many parameters at once.
"""
import inspect
import math
import sys
from collections.abc import Iterable
from numbers import Real

from .. import backend, dispatch
from ..dtypes import HALVES
from ..errors import ArgumentError, CheckpointError, ShapeError, fields, message
from ..tensor import Tensor

LARGEST = sys.float_info.max
ANY, SHARE = (0, LARGEST, "at least 0"), (0, 1, "0 to 1")
BOUNDS = {"lr": ANY, "eps": ANY, "weight_decay": ANY, "momentum": ANY, "alpha": SHARE, "rho": SHARE,
          "betas": (0, math.nextafter(1, 0), "0 <= beta < 1")}        # setting -> least, most, in words


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
        params = listed(self.name, "params", params)
        if not params:
            raise ArgumentError(message(self.name, "params", "at least one parameter", "none"))
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    name = property(lambda self: type(self).__name__)

    def add_param_group(self, group):
        """Join more parameters, with own settings: `{"params": [...], "lr": 1e-4}`."""
        if not isinstance(group, dict) or "params" not in group:
            raise ArgumentError(message(self.name, "group", 'a dict with "params"', repr(group)[:60]))
        unknown = group.keys() - self.defaults.keys() - {"params"}
        if unknown:
            raise ArgumentError(message(self.name, "group", f"settings among {', '.join(self.defaults)}",
                                        ", ".join(sorted(unknown))))
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else listed(self.name, "params", params)
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise ArgumentError(message(self.name, "params", "leaf tensors", repr(p)[:60]))
            if id(p) in known:
                raise ArgumentError(message(self.name, "params", "each parameter once",
                                            f"one of shape {p.shape} twice"))
            known.add(id(p))
        self.param_groups.append(self._checked({**self.defaults, **group, "params": params}))

    def _checked(self, group):
        """The group, its settings as plain numbers where their defaults are that, and within their bounds."""
        usual = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        return {name: self._setting(name, value, usual.get(name)) for name, value in group.items()}

    def _setting(self, name, value, default, place=""):
        if isinstance(default, tuple):
            if not isinstance(value, (tuple, list)) or len(value) != len(default):
                raise ArgumentError(message(self.name, name, f"{len(default)} numbers", repr(value)))
            return tuple([self._setting(name, v, d, f"[{i}]") for i, (v, d) in enumerate(zip(value, default))])
        if not isinstance(default, float):
            return value
        least, most, expected = BOUNDS.get(name, (-LARGEST, LARGEST, "a finite number"))
        number = float(value) if isinstance(value, Real) else math.nan     # (NumPy's would change the dtype they meet)
        if not least <= number <= most:
            raise ArgumentError(message(self.name, name + place, expected, repr(value)))
        return number

    def update(self, xp, p, g, state, group):
        """Change `p` by `g`; see the module's docstring."""
        raise NotImplementedError

    def step(self):
        """One update of every parameter that has a gradient. Gradients are read, never written."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads, states = [p.grad.data for p in params], [self.state.setdefault(p, {"step": 0}) for p in params]
            for state in states:
                state["step"] += 1
            kernel = self._kernel(params, grads, states, group)
            if kernel:
                kernel.forward(backend.namespace(grads[0]), self, group, [p.writable() for p in params], grads, states)
            else:
                for p, g, state in zip(params, grads, states):
                    self._step_one(p, g, state, group)

    def _kernel(self, params, grads, states, group):
        """What updates all of these at once; or None."""
        name = getattr(self.update, "served", None)
        return dispatch.choose(name, params[0].device, ([p.data for p in params], grads, states), group) \
            if name and params else None

    def _step_one(self, p, g, state, group):
        xp = backend.namespace(p.data)
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
        number = {p: i for i, p in enumerate(self._params())}
        groups = [{**g, "params": [number[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": {str(number[p]): dict(s) for p, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, saved):
        """Take on what `state_dict` gave.

        Raises:
            CheckpointError: the groups have other sizes or settings, or a state another shape, than those here;
                nothing was changed.
        """
        saved_state, saved_groups = fields(self.name, saved, "state", "param_groups")
        sizes = [[len(g["params"]) for g in groups] for groups in (self.param_groups, saved_groups)]
        if sizes[0] != sizes[1]:
            raise CheckpointError(message(self.name, "param_groups", f"groups of {sizes[0]} parameters", sizes[1]))
        groups = []
        for mine, theirs in zip(self.param_groups, saved_groups):
            if unknown := theirs.keys() - mine.keys():
                raise CheckpointError(message(self.name, "param_groups", f"settings among {', '.join(self.defaults)}",
                                              ", ".join(sorted(unknown)), "Is it the state of another optimizer?"))
            groups.append(self._checked({**mine, **theirs, "params": mine["params"]}))
        params, state = {str(i): p for i, p in enumerate(self._params())}, {}
        for number, kept in saved_state.items():
            if number not in params:
                raise CheckpointError(message(self.name, "state", f"numbers of {len(params)} parameters", repr(number)))
            p = params[number]
            wrong = [k for k, a in kept.items() if hasattr(a, "shape") and a.shape and not self._fits(a.shape, p.shape)]
            if wrong:
                raise CheckpointError(message(self.name, f"state[{number}]", f"arrays that fit {p.shape}",
                                              f"{wrong[0]} of shape {kept[wrong[0]].shape}"))
            state[p] = {k: backend.find(p.device).from_host(a.copy(), p.device) if hasattr(a, "shape") else a
                        for k, a in kept.items()}
        self.state = state
        for mine, group in zip(self.param_groups, groups):
            mine.update(group)

    def _params(self):
        return [p for group in self.param_groups for p in group["params"]]

    @staticmethod
    def _fits(shape, of):
        return len(shape) == len(of) and all(n in (1, m) for n, m in zip(shape, of))

    def __repr__(self):
        rows = [", ".join(f"{k}={v}" for k, v in g.items() if k != "params") for g in self.param_groups]
        return f"{self.name}({'; '.join(rows)})"


def served_by(name):
    """Mark a rule that kernels of this name in the dispatch table may stand in for."""
    def mark(update):
        update.served = name
        return update
    return mark


def listed(op, argument, values):
    """An iterable of parameters as a list.

    Raises:
        ArgumentError: it is none, as a module; or one tensor, whose rows are meant by nobody.
    """
    if isinstance(values, Tensor) or not isinstance(values, Iterable):
        raise ArgumentError(message(op, argument, "an iterable of tensors", f"a {type(values).__name__}",
                                    "Pass model.parameters()."))
    return list(values)


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
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return None
    xp, arrays = backend.namespace(grads[0].data), [g.data for g in grads]
    if kernel := dispatch.choose("optim.global_norm", grads[0].device, arrays, {}):
        return kernel.forward(xp, arrays)
    total = 0
    for g in arrays:
        g = g.astype("float32") if g.dtype in HALVES else g
        total = total + (g * g).sum()
    return xp.asarray(xp.sqrt(total))


def _scaled(grads, scale):
    """The gradients times a 0-d array; new arrays, as gradients may share memory."""
    arrays = [g.data for g in grads]
    if kernel := dispatch.choose("optim.scale", grads[0].device, arrays, {}):
        return kernel.forward(backend.namespace(arrays[0]), arrays, scale)
    return [(g * scale).astype(g.dtype, copy=False) for g in arrays]


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
    parameters = _to_clip("clip_grad_norm_", parameters, max_norm=max_norm)
    norm = global_norm(parameters)
    if norm is None:
        return Tensor(0.0)
    xp = backend.namespace(norm)
    if error_if_nonfinite:
        backend.demand(xp.isfinite(norm),
                       ArgumentError(message("clip_grad_norm_", "gradients", "a finite norm", "nan or inf")))
    scale = xp.minimum(max_norm / (norm + 1e-6), 1)
    live = [p for p in parameters if p.grad is not None]
    for p, g in zip(live, _scaled([p.grad for p in live], scale)):
        p.grad = Tensor(g)
    return Tensor(norm)


def clip_grad_value_(parameters, clip_value):
    """Clip every element of every gradient to [-clip_value, clip_value]."""
    for p in _to_clip("clip_grad_value_", parameters, clip_value=clip_value):
        if p.grad is not None:
            p.grad = Tensor(p.grad.data.clip(-clip_value, clip_value))


def _to_clip(op, parameters, **bound):
    positive(op, **bound)
    return [parameters] if isinstance(parameters, Tensor) else listed(op, "parameters", parameters)


def positive(op, **numbers):
    """Raise unless all are numbers above 0."""
    for name, n in numbers.items():
        if not isinstance(n, Real) or not n > 0:
            raise ArgumentError(message(op, name, "more than 0", repr(n)))


def need_matrix(op, p):
    """Raise unless a rule that works on matrices got one."""
    if p.ndim < 2:
        raise ShapeError(message(op, "params", "matrices (2 axes or more)", p.shape,
                                 "Give vectors to another optimizer, as AdamW."))
