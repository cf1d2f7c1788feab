"""Sums, means and extremes over axes, on all threads."""
import numpy as np

from ..dispatch import Kernel, register
from ..shapes import unbroadcast_axes
from . import cpu
from .arrays import dense, unless_float32

LEAST = 1 << 14                        # elements from which a kernel is quicker than NumPy


def _axes(ndim, axis):
    """The axes that `axis` names as a set; None if they are not plain, or one is named twice."""
    try:
        axes = range(ndim) if axis is None else [range(ndim)[a] for a in (axis if type(axis) is tuple else (axis,))]
    except (IndexError, TypeError):
        return None
    return set(axes) if len(set(axes)) == len(axes) else None


def _folded(shape, axes):
    """The sizes (k1, r1, k2, r2) that a shape folds to, kept and reduced in turn; None if that is not enough."""
    sizes, slot = [1, 1, 1, 1], 0
    for i, n in enumerate(shape):
        if n != 1:
            slot += slot % 2 != (i in axes)
            if slot > 3:
                return None
            sizes[slot] *= n
    return sizes


def _refuses(arrays, params):
    x, = arrays
    if why_not := unless_float32(x):
        return why_not
    axes = _axes(x.ndim, params["axis"])
    if axes is None or not x.size or type(params["keepdims"]) is not bool:
        return "the op explains what axes there are, and nothing to reduce"
    return None if _folded(x.shape, axes) else "axes that alternate more than twice"


def _reduce(function, x, axes, mean=False):
    """(k1 * k2) of x, flat."""
    k1, r1, k2, r2 = sizes = _folded(x.shape, axes)
    y = np.empty(k1 * k2, "float32")
    cpu.elementwise.reduce(function, dense(x), y, sizes, float(r1 * r2 if mean else 1))
    return y


def reduction(op, function, mean=False):
    """Register the kernel of an op (x, axis, keepdims)."""
    def forward(xp, x, axis, keepdims):
        axes = _axes(x.ndim, axis)
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
        return _reduce(function, x, axes, mean).reshape(shape)

    register(Kernel(f"{op}.cpu", op, "cpu", forward, None, _refuses, least=LEAST))


reduction("sum", "sum")
reduction("mean", "sum", mean=True)
reduction("max", "max")
reduction("min", "min")


def _sum_to(xp, x, shape):
    return _reduce("sum", x, set(unbroadcast_axes(x.shape, shape))).reshape(shape)


def _refuses_sum_to(arrays, params):
    x, = arrays
    shape = params["shape"]
    if why_not := unless_float32(x):
        return why_not
    fits = type(shape) is tuple and len(shape) <= x.ndim and x.size and all(
        [n in (1, m) for n, m in zip(shape[::-1], x.shape[::-1])])
    return None if fits and _folded(x.shape, set(unbroadcast_axes(x.shape, shape))) else "a shape that the op explains"


register(Kernel("sum_to.cpu", "sum_to", "cpu", _sum_to, None, _refuses_sum_to, least=LEAST))
