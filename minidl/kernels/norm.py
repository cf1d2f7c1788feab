"""Norms in one pass over memory: rows, groups and channels stay in cache while they are looked at again."""
from functools import cache
from math import prod

import numpy as np

from ..dispatch import Kernel, register
from ..shapes import row_size
from . import cpu
from .arrays import dense, unless_float32


def _flat(array):
    return None if array is None else dense(array).reshape(-1)


def _like(array, shape=None):
    """A new array in the place of a gradient of `array`; None for None."""
    return None if array is None else np.empty(shape or array.shape, "float32")


# -- by row: layer_norm, rms_norm -------------------------------------------------------

def _columns(x, params, *affine):
    return row_size(x.shape, params["normalized_shape"], *[None if a is None else a.shape for a in affine])


def _odd_rows(arrays, params):
    x, *affine = arrays
    fits = _columns(x, params, *affine) > 1 and x.size
    return unless_float32(*arrays) or (None if fits else "no rows, odd ones, or rows of one element")


def _by_rows(x, weight, bias, eps, normalized_shape, centre):
    rows = dense(x).reshape(-1, _columns(x, {"normalized_shape": normalized_shape}, weight, bias))
    y, rstd = np.empty_like(rows), np.empty(len(rows), "float32")
    mean = np.empty_like(rstd) if centre else None
    cpu.norm.row_norm_forward(rows, _flat(weight), _flat(bias), y, mean, rstd, eps)
    return y.reshape(x.shape), (mean, rstd)


def _by_rows_backward(g, kept, x, weight, bias):
    mean, rstd = kept
    rows = dense(x).reshape(len(rstd), -1)
    gx = np.empty_like(rows)
    gweight, gbias = [_like(a, rows.shape[1]) for a in (weight, bias)]
    cpu.norm.row_norm_backward(dense(g).reshape(rows.shape), rows, _flat(weight), mean, rstd, gx, gweight, gbias)
    return gx.reshape(x.shape), *[a if a is None else found.reshape(a.shape)
                                  for a, found in ((weight, gweight), (bias, gbias))]


def _layer_norm(xp, x, weight, bias, eps, normalized_shape):
    return _by_rows(x, weight, bias, eps, normalized_shape, centre=True)


def _layer_norm_backward(xp, g, kept, x, weight, bias, eps, normalized_shape):
    return _by_rows_backward(g, kept, x, weight, bias)


def _rms_norm(xp, x, weight, eps, normalized_shape):
    return _by_rows(x, weight, None, 2.0**-23 if eps is None else eps, normalized_shape, centre=False)


def _rms_norm_backward(xp, g, kept, x, weight, eps, normalized_shape):
    return _by_rows_backward(g, kept, x, weight, None)[:2]


register(Kernel("layer_norm.cpu", "layer_norm", "cpu", _layer_norm, _layer_norm_backward, _odd_rows))
register(Kernel("rms_norm.cpu", "rms_norm", "cpu", _rms_norm, _rms_norm_backward, _odd_rows))


# -- by group of channels: group_norm, instance_norm ---------------------------------------

def _ncl(array):
    """(N, C, *spatial) as (N, C, L)."""
    return dense(array).reshape(*array.shape[:2], prod(array.shape[2:]))


def _odd_channels(arrays, params):
    x, *of_channels = arrays
    fits = x.ndim > 1 and x.size and all(a is None or a.shape == x.shape[1:2] for a in of_channels)
    return unless_float32(*arrays) or (None if fits else "no elements, or no channels of their number")


def _odd_groups(arrays, params):
    groups = params["num_groups"]
    fits = isinstance(groups, int) and groups > 0 and not arrays[0].shape[1] % groups
    fits = fits and arrays[0].size > len(arrays[0]) * groups
    return _odd_channels(arrays, params) or (None if fits else "groups of one element, or that divide no channels")


def _odd_instances(arrays, params):
    return _odd_channels(arrays, params) or _odd_groups(arrays, {"num_groups": arrays[0].shape[1]})


def _group_norm(xp, x, weight, bias, num_groups, eps):
    ncl = _ncl(x)
    y = np.empty_like(ncl)
    mean, rstd = [np.empty(len(x) * num_groups, "float32") for _ in range(2)]
    cpu.norm.group_norm_forward(ncl, dense(weight), dense(bias), y, mean, rstd, num_groups, eps)
    return y.reshape(x.shape), (mean, rstd)


def _group_norm_backward(xp, g, kept, x, weight, bias, num_groups, eps):
    gx, gweight, gbias = np.empty(x.shape, "float32"), _like(weight), _like(bias)
    cpu.norm.group_norm_backward(_ncl(g), _ncl(x), dense(weight), *kept, _ncl(gx), gweight, gbias, num_groups)
    return gx, gweight, gbias


def _instance_norm(xp, x, weight, bias, eps):
    return _group_norm(xp, x, weight, bias, x.shape[1], eps)


def _instance_norm_backward(xp, g, kept, x, weight, bias, eps):
    return _group_norm_backward(xp, g, kept, x, weight, bias, x.shape[1], eps)


register(Kernel("group_norm.cpu", "group_norm", "cpu", _group_norm, _group_norm_backward, _odd_groups))
register(Kernel("instance_norm.cpu", "instance_norm", "cpu", _instance_norm, _instance_norm_backward, _odd_instances))


# -- by channel of the batch: batch_norm, batch_norm_inference ---------------------------------

def _batch_norm(xp, x, weight, bias, eps):
    y, (mean, variance, rstd) = np.empty(x.shape, "float32"), np.empty((3, x.shape[1]), "float32")
    cpu.norm.batch_norm_forward(_ncl(x), dense(weight), dense(bias), _ncl(y), mean, variance, rstd, eps)
    return (y, mean, variance), (mean, rstd)


def _batch_norm_backward(xp, gs, kept, x, weight, bias, eps):
    g, gmean, gvariance = gs
    gx, (gweight, gbias) = np.empty(x.shape, "float32"), np.empty((2, x.shape[1]), "float32")
    cpu.norm.batch_norm_backward(_ncl(g), dense(gmean), dense(gvariance), _ncl(x), dense(weight), *kept, _ncl(gx),
                                 gweight, gbias)
    return gx, gweight, gbias


def _scaled(x, mean, scale, bias):
    y = np.empty(x.shape, "float32")
    cpu.norm.channel_affine(_ncl(x), dense(mean), dense(scale), dense(bias), _ncl(y))
    return y


def _batch_norm_inference(xp, x, mean, variance, weight, bias, eps):
    rstd = 1 / np.sqrt(variance + np.float32(eps))
    return _scaled(x, mean, rstd if weight is None else rstd * weight, bias), rstd


def _batch_norm_inference_backward(xp, g, rstd, x, mean, variance, weight, bias, eps):
    scale = rstd if weight is None else rstd * weight

    @cache
    def sums():
        total, product = np.empty((2, x.shape[1]), "float32")
        cpu.norm.channel_sums(_ncl(g), _ncl(x), dense(mean), rstd, total, product)
        return total, product

    return ((lambda: _scaled(g, None, scale, None)), (lambda: -scale * sums()[0]),
            (lambda: -0.5 * scale * rstd * sums()[1]), (lambda: sums()[1]), (lambda: sums()[0]))


register(Kernel("batch_norm.cpu", "batch_norm", "cpu", _batch_norm, _batch_norm_backward, _odd_channels))
register(Kernel("batch_norm_inference.cpu", "batch_norm_inference", "cpu", _batch_norm_inference,
                _batch_norm_inference_backward, _odd_channels))
