"""Layer norm in one pass over memory, rows in cache."""
import numpy as np

from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense, unless_float32


def _columns(x, params, *affine):
    """How many elements a row has; 0 where weight, bias and normalized_shape do not agree on x's last axes."""
    shape = params["normalized_shape"]
    shape = next((a.shape for a in affine if a is not None), x.shape[-1:]) if shape is None else shape
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    fits = shape and x.shape[x.ndim - len(shape):] == shape and all(a is None or a.shape == shape for a in affine)
    return int(np.prod(shape)) if fits else 0


def _refuses(arrays, params):
    x, *affine = arrays
    return unless_float32(*arrays) or (None if _columns(x, params, *affine) and x.size else "no rows, or odd ones")


def _layer_norm(xp, x, weight, bias, eps, normalized_shape):
    n = _columns(x, {"normalized_shape": normalized_shape}, weight, bias)
    rows = dense(x).reshape(-1, n)
    y, mean, rstd = np.empty_like(rows), np.empty(len(rows), "float32"), np.empty(len(rows), "float32")
    cpu.norm.layer_norm_forward(rows, _flat(weight), _flat(bias), y, mean, rstd, eps)
    return y.reshape(x.shape), (mean, rstd)


def _layer_norm_backward(xp, g, kept, x, weight, bias, eps, normalized_shape):
    mean, rstd = kept
    rows = dense(x).reshape(len(mean), -1)
    gx, gweight, gbias = np.empty_like(rows), *[None if a is None else np.empty(a.size, "float32") for a in (weight, bias)]
    cpu.norm.layer_norm_backward(dense(g).reshape(rows.shape), rows, _flat(weight), mean, rstd, gx, gweight, gbias)
    return gx.reshape(x.shape), *[None if a is None else found.reshape(a.shape)
                                  for a, found in ((weight, gweight), (bias, gbias))]


def _flat(array):
    return None if array is None else dense(array).reshape(-1)


register(Kernel("layer_norm.cpu", "layer_norm", "cpu", _layer_norm, _layer_norm_backward, _refuses))
