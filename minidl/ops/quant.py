"""Arithmetic of quantised numbers."""
from math import prod

from ..errors import DTypeError, message
from ..op import primitive
from ..shapes import broadcast

__all__ = ["int8_matmul"]


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
