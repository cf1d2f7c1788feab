"""Hooks on modules: functions that see, and may change, what goes in and what comes out, forward and backward."""
from ..op import primitive
from ..tape import Handle
from ..tensor import Tensor


class _Stage:
    """The functions of one moment."""

    hooks = None


class Hooks:
    """The hooks of one module. It has none of these until the first is registered."""

    def __init__(self):
        self.forward_pre, self.forward, self.full_backward = _Stage(), _Stage(), _Stage()

    def add(self, stage, function):
        """Attach a function to "forward_pre", "forward" or "full_backward"; gives a handle."""
        return Handle(getattr(self, stage), function)

    def call(self, module, args, kwargs):
        """`module.forward`, with the hooks around it."""
        for hook in self.forward_pre.hooks or ():
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        watch = _Backward(module, self.full_backward.hooks) if self.full_backward.hooks else None
        if watch:
            args = watch.inputs(args)
        out = module.forward(*args, **kwargs)
        for hook in self.forward.hooks or ():
            changed = hook(module, args, out)
            out = out if changed is None else changed
        return watch.outputs(out) if watch else out


class _Backward:
    """The backward hooks of one call: keeps the gradients of its outputs until those of its inputs are there too."""

    def __init__(self, module, hooks):
        self.module, self.hooks = module, hooks
        self.places = self.grad_output = ()
        self.count = 0                                 # of inputs

    def inputs(self, args):
        """The same arguments, behind the point where their gradients are complete."""
        self.count = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        return _behind(args, self.places, self._ready)

    def outputs(self, out):
        """The same outputs, before the point where their gradients are complete."""
        outs = out if isinstance(out, (tuple, list)) else [out]
        outs = _behind(outs, [i for i, y in enumerate(outs) if isinstance(y, Tensor)], self._arrived)
        return type(out)(outs) if type(out) in (tuple, list) else outs[0] if outs and outs is not out else out

    def _arrived(self, gradients):
        self.grad_output = gradients
        if not self.places:                            # no input wants a gradient: nothing else to wait for
            self._ready(())
        return gradients

    def _ready(self, gradients):
        seen = [None] * self.count
        for place, gradient in zip(self.places, gradients):
            seen[place] = gradient
        for hook in self.hooks:
            changed = hook(self.module, tuple(seen), self.grad_output)
            if changed is not None:
                seen = changed if isinstance(changed, (tuple, list)) else [changed]
        self.grad_output = ()
        return tuple([seen[place] for place in self.places])


def _behind(values, places, seen):
    """The values, those at `places` passed through `_observed`."""
    values = list(values)
    if places:
        for place, value in zip(places, _observed([values[i] for i in places], seen)):
            values[place] = value
    return values


@primitive("xs(_):any+ -> (_)+", exact=True)
def _observed(xp, xs, /, seen):
    """The arrays as they are. In backward, `seen(gradients)` is called with all of theirs and gives what goes on."""
    return xs


@_observed.vjp
def _(g, seen):
    return seen(g)
