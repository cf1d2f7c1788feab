"""Norms by row and by group of channels; sums of gradients of weights take two passes, in a fixed order."""
from functools import cache
from math import prod

from ...dispatch import Kernel, register
from ...shapes import row_size
from .arrays import column_sum, dense, parts_of, unless_served
from .launch import cdiv, launch

# -- by row: layer_norm, rms_norm -------------------------------------------------------


def _columns(x, params, *affine):
    return row_size(x.shape, params["normalized_shape"], *[None if a is None else a.shape for a in affine])


def _odd_rows(arrays, params):
    x, *affine = arrays
    fits = _columns(x, params, *affine)
    return unless_served("row_norm_forward", x) or (None if fits else "odd rows, or empty ones")


def _by_rows(xp, x, weight, bias, eps, normalized_shape, centre):
    columns = _columns(x, {"normalized_shape": normalized_shape}, weight, bias)
    x = dense(xp, x)
    rows, y = x.size // columns, xp.empty(x.shape, x.dtype)
    rstd, mean = xp.empty(rows, "float32"), xp.empty(rows, "float32") if centre else None
    launch("row_norm_forward", lambda c: (cdiv(rows, c["ROWS"]),),
           (x, dense(xp, weight), dense(xp, bias), y, mean, rstd, rows, columns, eps), dtype=x.dtype.name)
    return y, (mean, rstd)


def _by_rows_backward(xp, g, kept, x, weight, bias):
    mean, rstd = kept
    g, x, rows, dtype = dense(xp, g), dense(xp, x), len(rstd), x.dtype
    columns = x.size // rows if rows else next((a.size for a in (weight, bias) if a is not None), 1)

    def of_x():
        gx = xp.empty(x.shape, dtype)
        launch("row_norm_backward", lambda c: (cdiv(rows, c["ROWS"]),),
               (g, x, dense(xp, weight), mean, rstd, gx, rows, columns), dtype=dtype.name)
        return gx

    @cache
    def of_both():
        parts, chunk = parts_of(rows, columns)
        sums = xp.empty((parts, 2, columns), "float32")
        launch("row_norm_parameters", lambda c: (cdiv(columns, c["COLUMNS"]), parts),
               (g, x, mean, rstd, sums, rows, columns, chunk), dtype=dtype.name)
        return column_sum(xp, sums, dtype).reshape(2, columns)

    return of_x, *[None if a is None else lambda i=i, a=a: of_both()[i].reshape(a.shape)
                   for i, a in enumerate((weight, bias))]


def _layer_norm(xp, x, weight, bias, eps, normalized_shape):
    return _by_rows(xp, x, weight, bias, eps, normalized_shape, centre=True)


def _layer_norm_backward(xp, g, kept, x, weight, bias, eps, normalized_shape):
    return _by_rows_backward(xp, g, kept, x, weight, bias)


def _rms_norm(xp, x, weight, eps, normalized_shape):
    return _by_rows(xp, x, weight, None, 2.0**-23 if eps is None else eps, normalized_shape, centre=False)


def _rms_norm_backward(xp, g, kept, x, weight, eps, normalized_shape):
    return _by_rows_backward(xp, g, kept, x, weight, None)[:2]


register(Kernel("layer_norm.triton", "layer_norm", "cuda", _layer_norm, _layer_norm_backward, _odd_rows))
register(Kernel("rms_norm.triton", "rms_norm", "cuda", _rms_norm, _rms_norm_backward, _odd_rows))


# -- by group of channels: group_norm, instance_norm ---------------------------------------

def _odd_groups(arrays, params):
    x, *of_channels = arrays
    groups = params["num_groups"]
    fits = x.ndim > 1 and all(a is None or a.shape == x.shape[1:2] for a in of_channels)
    fits = fits and isinstance(groups, int) and groups > 0 and prod(x.shape[1:]) and not x.shape[1] % groups
    return unless_served("group_norm_forward", x) or (None if fits else "empty groups, or that divide no channels")


def _odd_instances(arrays, params):
    return _odd_groups(arrays, {"num_groups": arrays[0].shape[1] if arrays[0].ndim > 1 else 0})


def _group_norm(xp, x, weight, bias, num_groups, eps):
    x = dense(xp, x)
    mean, rstd = [xp.empty(len(x) * num_groups, "float32") for _ in range(2)]
    y = xp.empty(x.shape, x.dtype)
    launch("group_norm_forward", (mean.size,),
           (x, dense(xp, weight), dense(xp, bias), y, mean, rstd, *_sizes(x, num_groups), eps), dtype=x.dtype.name)
    return y, (mean, rstd)


def _sizes(x, groups):
    """groups, channels of each, elements of each of these."""
    return groups, x.shape[1] // groups, prod(x.shape[2:])


def _group_norm_backward(xp, g, kept, x, weight, bias, num_groups, eps):
    (mean, rstd), dtype = kept, x.dtype
    g, x, sums = dense(xp, g), dense(xp, x), xp.empty((len(x), 2, x.shape[1]), "float32")
    sizes, rows = _sizes(x, num_groups), len(x) * x.shape[1]
    launch("group_norm_sums", lambda c: (cdiv(rows, c["ROWS"]),), (g, x, mean, rstd, sums, *sizes, rows),
           dtype=dtype.name)

    def of_x():
        gx = xp.empty(x.shape, dtype)
        launch("group_norm_backward", (mean.size,), (g, x, dense(xp, weight), mean, rstd, sums, gx, *sizes),
               dtype=dtype.name)
        return gx

    @cache
    def of_both():
        return column_sum(xp, sums, dtype).reshape(2, -1)

    return of_x, *[None if a is None else lambda i=i: of_both()[i] for i, a in enumerate((weight, bias))]


def _instance_norm(xp, x, weight, bias, eps):
    return _group_norm(xp, x, weight, bias, x.shape[1], eps)


def _instance_norm_backward(xp, g, kept, x, weight, bias, eps):
    return _group_norm_backward(xp, g, kept, x, weight, bias, x.shape[1], eps)


register(Kernel("group_norm.triton", "group_norm", "cuda", _group_norm, _group_norm_backward, _odd_groups))
register(Kernel("instance_norm.triton", "instance_norm", "cuda", _instance_norm, _instance_norm_backward,
                _odd_instances))
