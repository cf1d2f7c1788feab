"""Parameters that are computed from others: weight and spectral normalisation.

`weight_norm(conv)` replaces the parameter `weight` by two, `weight_g` and `weight_v`; `conv.weight` is then computed
at every use, so that layers, state dicts and optimisers need know nothing of it.  Names are those of PyTorch's
`torch.nn.utils.weight_norm` and `spectral_norm`.
"""
from functools import partial

from .. import ops
from ..errors import ArgumentError, message
from ..tape import no_grad, recomputing
from . import init
from .parameter import Buffer, Parameter


def weight_norm(module, name="weight", dim=0):
    """Replace a weight by its directions and magnitudes, which are learnt apart.

    Args:
        module: the one that has the weight.
        name: of the weight.
        dim: each index along this axis has a magnitude of its own; None: one for all.

    New parameters: `<name>_g`, the magnitudes, (O, 1, ...), or () without `dim`; `<name>_v`, the directions,
    shaped as the weight.

    Returns:
        the module.

    Raises:
        ArgumentError: the module has no such parameter, or the weight no such axis.

    Source: Salimans, Kingma 2016, "Weight Normalization", arXiv:1602.07868, eq. 2.
    """
    weight = _parameter("weight_norm", module, name)
    dim = None if dim is None else _axis("weight_norm", weight, dim)
    axes = tuple([i for i in range(weight.ndim) if i != dim])
    lengths = ops.vector_norm(weight.detach(), axes, keepdims=dim is not None)

    value = partial(_weight_normed, name=name, dim=dim)
    return _replace(module, name, value, {f"{name}_g": Parameter(lengths), f"{name}_v": Parameter(weight)})


def _weight_normed(module, name, dim):
    g, v = getattr(module, f"{name}_g"), getattr(module, f"{name}_v")
    return ops.weight_norm(v, g if dim is not None else g.reshape((1,) * v.ndim), dim)


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=0):
    """Replace a weight by itself over its largest singular value, which a power iteration follows.

    Args:
        module: the one that has the weight.
        name: of the weight.
        n_power_iterations: how many at each use in training; in evaluation there are none.
        eps: smaller norms count as this one.
        dim: the axis of the outputs: 0, but 1 for transposed convolutions.

    New state: parameter `<name>_orig`, the weight before; buffers `<name>_u` (O), `<name>_v` (I), the singular vectors.

    Returns:
        the module.

    Raises:
        ArgumentError: the module has no such parameter, or the weight no such axis.

    Source: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", arXiv:1802.05957.
    """
    weight = _parameter("spectral_norm", module, name)
    dim = _axis("spectral_norm", weight, dim)
    value = partial(_spectral_normed, name=name, steps=n_power_iterations, eps=eps, dim=dim)
    rows = weight.shape[dim]
    u, v = [_unit_vector(n) for n in (rows, weight.size // max(rows, 1))]
    return _replace(module, name, value, {f"{name}_orig": Parameter(weight), f"{name}_u": u, f"{name}_v": v})


def _spectral_normed(module, name, steps, eps, dim):
    weight, u, v = [getattr(module, f"{name}_{end}") for end in ("orig", "u", "v")]
    if module.training and not recomputing():
        held = u, v
        u, v = ops.power_iteration(weight, u, v, steps, dim, eps)
        held[0].assign(u)
        held[1].assign(v)                              # (the graph holds the new arrays, not those assigned to)
    return ops.spectral_norm(weight, u, v, dim)


def remove_weight_norm(module, name="weight"):
    """Make one parameter of `<name>_g` and `<name>_v` again, with the value that they have now. Gives the module."""
    return _restore("remove_weight_norm", module, name, (f"{name}_g", f"{name}_v"))


def remove_spectral_norm(module, name="weight"):
    """Make one parameter of `<name>_orig` again, with the value that it has now. Gives the module."""
    return _restore("remove_spectral_norm", module, name, (f"{name}_orig", f"{name}_u", f"{name}_v"))


# -- attributes that are computed -------------------------------------------------------------

def _parameter(op, module, name):
    parameter = vars(module).get(name)
    if not isinstance(parameter, Parameter):
        raise ArgumentError(message(op, "name", f"a parameter of {type(module).__name__}", repr(name)))
    return parameter


def _axis(op, weight, dim):
    if not -weight.ndim <= dim < weight.ndim:
        raise ArgumentError(message(op, "dim", f"an axis of the weight {weight.shape}", dim))
    return dim % weight.ndim


def _unit_vector(n):
    return Buffer(ops.normalize(Buffer(init.normal(), n)))


def _replace(module, name, value, state):
    """Let `module.<name>` be `value(module)` at every use, with `state` in the parameter's place."""
    delattr(module, name)
    vars(module).update(state)
    _class_with(module, {**getattr(module, "_computed", {}), name: value})
    return module


def _restore(op, module, name, state):
    computed = dict(getattr(module, "_computed", {}))
    if name not in computed or not all(n in vars(module) for n in state):
        raise ArgumentError(message(op, "name", f"what such a norm computes in {type(module).__name__}", repr(name)))
    with no_grad():
        parameter = Parameter(getattr(module, name))
    del computed[name]
    for n in state:
        delattr(module, n)
    _class_with(module, computed)
    setattr(module, name, parameter)
    return module


def _class_with(module, computed):
    """Give the module a class of its own, with these properties; without any, the one it came with."""
    plain = getattr(module, "_plain_class", type(module))
    members = {name: property(value) for name, value in computed.items()}
    members |= {"_computed": computed, "_plain_class": plain, "__reduce__": _reduce, "__module__": plain.__module__,
                "__doc__": plain.__doc__}
    module.__class__ = type(plain.__name__, (plain,), members) if computed else plain


def _reduce(module):
    """What `copy` and `pickle` make anew: by the class that has a name, since that made here has none."""
    return _made_anew, (module._plain_class, module._computed), vars(module)


def _made_anew(plain, computed):
    module = plain.__new__(plain)
    _class_with(module, computed)
    return module
