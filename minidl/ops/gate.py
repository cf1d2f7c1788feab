"""Gates: an activation of one array, times another."""
from ..op import fused
from .activation import gelu, silu

__all__ = ["geglu", "swiglu"]


@fused("gate(*):float up(*):float -> (*)")
def swiglu(gate, up, /):
    """silu(gate) * up.

    Args:
        gate (*), up (*): any floating dtype; as a rule two linear maps of the same rows.

    Returns:
        (*): like gate.

    Raises:
        ShapeError: gate and up differ in shape.

    Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202, eq. 5.
    """
    return silu(gate) * up


@fused("gate(*):float up(*):float -> (*)")
def geglu(gate, up, /, approximate="none"):
    """gelu(gate) * up.

    Args:
        gate (*), up (*): any floating dtype; as a rule two linear maps of the same rows.
        approximate: as of `gelu`.

    Returns:
        (*): like gate.

    Raises:
        ShapeError: gate and up differ in shape.
        ArgumentError: approximate is neither "none" nor "tanh".

    Source: Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202, eq. 5.
    """
    return gelu(gate, approximate) * up


def _forward(xp, activation, gate, up, *params):
    bent, kept = activation.op.closed_form(xp, gate, *params)
    return bent * up, (bent, kept)


def _backward(xp, activation, g, kept, gate, up, *params):
    bent, kept = kept
    return (lambda: activation.op.rule(xp, g * up, kept, gate, *params)), (lambda: g * bent)


@swiglu.forward
def _(xp, gate, up):
    return _forward(xp, silu, gate, up, 1.0)


@swiglu.backward
def _(xp, g, kept, gate, up):
    return _backward(xp, silu, g, kept, gate, up, 1.0)


@geglu.forward
def _(xp, gate, up, approximate):
    return _forward(xp, gelu, gate, up, approximate)


@geglu.backward
def _(xp, g, kept, gate, up, approximate):
    return _backward(xp, gelu, g, kept, gate, up, approximate)


@swiglu.samples
def _(make):
    for shape in ((), (3, 4), (0, 3)):
        yield make.normal(*shape), make.normal(*shape)
    yield make.distinct(3) * 400, make.normal(3)           # naive exponentials overflow


@geglu.samples
def _(make):
    for approximate in ("none", "tanh"):
        yield make.normal(3, 4), make.normal(3, 4), approximate
        yield make.distinct(3) * 400, make.normal(3), approximate
    yield make.normal(0, 3), make.normal(0, 3)
