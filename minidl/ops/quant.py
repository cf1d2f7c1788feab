"""Arithmetic of quantised numbers."""
from math import prod

from ..errors import DTypeError, message
from ..op import fused, primitive
from ..shapes import broadcast
from .linalg import linear

__all__ = ["int8_linear", "int8_matmul"]


@primitive("a(...,M,K):any b(...,K,N):any -> (...,M,N)", differentiable=False)
def int8_matmul(xp, a, b, /):
    """The exact product of matrices of int8, for quantised layers: their scales are multiplied in afterwards.

    Args:
        a (..., M, K), b (..., K, N): int8; leading axes broadcast.

    Returns:
        (..., M, N): int32; sums beyond 2**31 (K above 131072) wrap around.

    Raises:
        DTypeError: a or b is not int8.
        ShapeError: K differs, or leading axes do not broadcast.

    Source: Jacob et al. 2017, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", arXiv:1712.05877, section 2.2.
    """
    for name, array in (("a", a), ("b", b)):
        if array.dtype != "int8":
            raise DTypeError(message("int8_matmul", name, "int8", array.dtype))
    # (Products of int8 and sums of them are exact in float64, whose products of matrices are quick.)
    return xp.matmul(a.astype("float64"), b.astype("float64")).astype("int64").astype("int32")


@int8_matmul.cost
def _(a, b):
    return 2 * prod(broadcast(a[:-2], b[:-2])) * a[-2] * a[-1] * b[-1]


@int8_matmul.samples
def _(make):
    def int8(*shape):
        return (make.integers(256, *shape) - 128).astype("int8")

    yield int8(3, 7), int8(7, 5)
    yield int8(2, 1, 3, 8), int8(4, 8, 2)
    yield int8(2, 3, 5), int8(5, 4)
    yield int8(2, 0), int8(0, 3)


@fused("x(*,I):float weight(O,I):any scale(O):float bias(O):float? -> (*,O)")
def int8_linear(x, weight, scale, bias=None, /):
    """A linear map whose weights are kept in int8, a quarter of their size: x @ (weight * scale).T + bias.

    Args:
        x (*, I): rows, any floating dtype.
        weight (O, I): int8. It has no gradient.
        scale (O): what a unit of each output's weights is.
        bias (O), optional.

    Returns:
        (*, O): like x.

    Raises:
        DTypeError: weight is not int8.
        ShapeError: x's rows are not as long as those of weight, or scale or bias does not fit.

    Source: Dettmers et al. 2022, "LLM.int8()", arXiv:2208.07339, section 2.1; of weights alone.
    """
    if weight.dtype != "int8":
        raise DTypeError(message("int8_linear", "weight", "int8", weight.dtype))
    y = linear(x, weight.astype(x.dtype)) * scale
    return y if bias is None else y + bias


@int8_linear.forward
def _(xp, x, weight, scale, bias):
    y = _products(x, weight) * scale
    return (y if bias is None else y + bias).reshape(*x.shape[:-1], len(weight)), None


@int8_linear.backward
def _(xp, g, kept, x, weight, scale, bias):
    rows = _rows(g)
    return (lambda: ((rows * scale) @ weight.astype(x.dtype)).reshape(x.shape)), None, \
        (lambda: (_products(x, weight) * rows).sum(0)), (lambda: rows.sum(0))


def _products(x, weight):
    """Rows of x times those of an int8 weight: (R, O)."""
    return _rows(x) @ weight.astype(x.dtype).T


def _rows(x):
    """(*, I) as (R, I)."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


@int8_linear.cost
def _(x, weight, scale, bias):
    return (2 * x[-1] + 1 + (bias is not None)) * prod(x[:-1]) * weight[0]


@int8_linear.samples
def _(make):
    def int8(*shape):
        return (make.integers(256, *shape) - 128).astype("int8")

    yield make.normal(3, 7), int8(5, 7), make.positive(5) * 0.01, make.normal(5)
    yield make.normal(2, 3, 8), int8(4, 8), make.positive(4) * 0.01
    yield make.normal(0, 3), int8(2, 3), make.positive(2), make.normal(2)
