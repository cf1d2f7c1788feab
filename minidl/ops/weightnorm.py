"""Vectors and weights of norm 1."""
from ..errors import ShapeError, message
from ..op import fused, primitive
from .elementwise import maximum
from .linalg import vector_norm
from .shape import moveaxis

__all__ = ["normalize", "power_iteration", "spectral_norm", "weight_norm"]


@fused("x(*):float -> (*)", methods=["normalize"])
def normalize(x, /, p=2.0, axis=-1, eps=1e-12):
    """Divide vectors by their p-norm.

    Args:
        x (*): any floating dtype.
        p: of the norm, as `vector_norm`'s ord.
        axis: along which the vectors lie; a tuple of axes for one norm over all of them.
        eps: smaller norms count as this one.

    Returns:
        (*): vectors of norm 1, or less where eps came in.

    Raises:
        ArgumentError: no such axis.

    Source: PyTorch, `torch.nn.functional.normalize`.
    """
    return x / maximum(vector_norm(x, axis, p, True), eps)


@normalize.samples
def _(make):
    yield make.normal(3, 4),
    yield make.normal(2, 3, 4), 3.0, (0, 2)
    yield make.normal(3, 4) * 0.1, 1.0, 0, 0.5
    yield make.normal(3),


@fused("v(_):float g(_) -> (_)")
def weight_norm(v, g, /, axis=0):
    """Directions times magnitudes: g * v / |v|.

    Args:
        v (_): the directions, any floating dtype.
        g (_): the magnitudes: v's shape with length 1 in all axes but `axis`.
        axis: each index along it has a norm of its own; None: one norm for all.

    Returns:
        (_): v's shape.

    Raises:
        ShapeError: g has another shape.

    Source: Salimans, Kingma 2016, "Weight Normalization", arXiv:1602.07868, eq. 2.
    """
    axes = tuple([i for i in range(v.ndim) if axis is None or i != axis % v.ndim])
    shape = tuple([1 if i in axes else n for i, n in enumerate(v.shape)])
    if g.shape != shape:
        raise ShapeError(message("weight_norm", "g", f"{shape}, as v is {v.shape} and axis={axis}", g.shape))
    return v * (g / vector_norm(v, axes, keepdims=True))


@weight_norm.samples
def _(make):
    yield make.normal(3, 4), make.normal(3, 1)
    yield make.normal(3, 2, 4), make.normal(1, 1, 4), -1
    yield make.normal(3, 4), make.normal(1, 1), None


@fused("weight(_):float u(O) v(I) -> (_)")
def spectral_norm(weight, u, v, /, axis=0):
    """Divide a weight, taken as a matrix, by its largest singular value u^T W v.

    Args:
        weight (_): any floating dtype; as a matrix (O, I) its rows run along `axis`.
        u (O), v (I): the singular vectors, as `power_iteration` finds them (through which nothing flows).
        axis: the one of the rows.

    Returns:
        (_): weight's shape.

    Raises:
        ArgumentError: u and v do not fit the matrix.

    Source: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks",
    arXiv:1802.05957, eq. 8.
    """
    matrix = moveaxis(weight, axis, 0).reshape((u.shape[0], v.shape[0]))
    return weight / ((matrix * v).sum(1) * u).sum()


@primitive("weight(_):float u(O) v(I) -> (O) (I)", differentiable=False)
def power_iteration(xp, weight, u, v, /, steps=1, axis=0, eps=1e-12):
    """Improve estimates of the singular vectors to the largest singular value of a weight, taken as a matrix.

    Args:
        weight (_): any floating dtype; as a matrix (O, I) its rows run along `axis`.
        u (O), v (I): the estimates so far, of norm 1.
        steps: how many times both are improved.
        axis: the one of the rows.
        eps: smaller norms count as this one.

    Returns:
        u (O), v (I): better ones.

    Raises:
        ArgumentError: u and v do not fit the matrix.

    Source: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks",
    arXiv:1802.05957, algorithm 1.
    """
    matrix = xp.moveaxis(weight, axis, 0).reshape(u.shape[0], v.shape[0])
    for _ in range(steps):
        v = u @ matrix
        v = v / xp.maximum(xp.sqrt(v @ v), eps)
        u = matrix @ v
        u = u / xp.maximum(xp.sqrt(u @ u), eps)
    return u, v


@spectral_norm.samples
def _(make):
    yield make.positive(3, 4), make.unit(3), make.unit(4)
    yield make.positive(3, 2, 4), make.unit(2), make.unit(12), 1


@power_iteration.samples
def _(make):
    yield make.normal(3, 4), make.unit(3), make.unit(4)
    yield make.normal(3, 2, 4), make.unit(2), make.unit(12), 3, 1
