"""Convolutions over one and two axes, and their transposes, without a matrix of patches."""
from dataclasses import astuple
from functools import lru_cache

import numpy as np

from ..dispatch import Kernel, register
from ..errors import MinidlError
from ..ops.conv import Axis, conv_axes, transposed_axes
from . import cpu, depthwise, direct, pointwise, winograd
from .arrays import dense, unless_float32

_ONE = astuple(Axis(1))                # the rows of a sequence


@lru_cache(1024)
def _axes(derive, *shapes_and_params):
    """The axes as tuples, rows first; None for arguments that the reference reports."""
    try:
        return [_ONE, *map(astuple, derive(*shapes_and_params))][-2:]
    except MinidlError:
        return None


def _plan(derive, *shapes_and_params):
    try:
        return _axes(derive, *shapes_and_params)
    except TypeError:                  # (lists do not hash)
        return _axes.__wrapped__(derive, *shapes_and_params)


def _images(array):
    """(N, C, H, W), contiguous; sequences have H = 1."""
    array = dense(array)
    return array if array.ndim == 4 else array[:, :, None]


# -- on arrays ------------------------------------------------------------------------

def _kernels(shape, weight, axes, groups):
    """What has `forward`, `backward_input` and `backward_weight` for such filters, and images or results (N, ...)."""
    if depthwise.serves(weight, groups):
        return depthwise
    return next((way for way in (winograd, pointwise) if way.serves(shape, weight, axes, groups)), direct)


def _correlate(x, weight, bias, axes, groups, residual=None, activation=0):
    y = np.empty((x.shape[0], weight.shape[0], *[a[-1] for a in axes[4 - x.ndim:]]), x.dtype)
    run = _kernels(x.shape, weight, axes, groups).forward
    run(_images(x), _images(weight), dense(bias), _images(y), groups, *axes, dense(residual), activation)
    return y


def _spread(g, weight, bias, axes, groups):
    x = np.empty((g.shape[0], groups * weight.shape[1], *[a[0] for a in axes[4 - g.ndim:]]), g.dtype)
    run = _kernels(g.shape, weight, axes, groups).backward_input
    run(_images(g), _images(weight), dense(bias), _images(x), groups, *axes)
    return x


def _filter_gradient(x, g, weight, axes, groups):
    found = np.empty(weight.shape, weight.dtype)
    _kernels(x.shape, weight, axes, groups).backward_weight(_images(g), _images(x), _images(found), groups, *axes)
    return found


def _bias_gradient(g):
    found = np.empty(g.shape[1], g.dtype)
    cpu.conv.backward_bias(dense(g).reshape(*g.shape[:2], -1), found)
    return found


# -- the kernels ----------------------------------------------------------------------

def _convolve(xp, x, weight, bias, stride, padding, dilation, groups):
    axes = _plan(conv_axes, x.shape, weight.shape, stride, padding, dilation, groups)
    return _correlate(x, weight, bias, axes, groups), axes


def _convolve_backward(xp, g, axes, x, weight, bias, stride, padding, dilation, groups):
    return ((lambda: _spread(g, weight, None, axes, groups)),
            (lambda: _filter_gradient(x, g, weight, axes, groups)), None if bias is None else lambda: _bias_gradient(g))


def _transpose(xp, x, weight, bias, stride, padding, output_padding, groups, dilation):
    axes = _plan(transposed_axes, x.shape, weight.shape, None, stride, padding, output_padding, groups, dilation)
    return _spread(x, weight, bias, axes, groups), axes


def _transpose_backward(xp, g, axes, x, weight, bias, stride, padding, output_padding, groups, dilation):
    return ((lambda: _correlate(g, weight, None, axes, groups)),
            (lambda: _filter_gradient(g, x, weight, axes, groups)), None if bias is None else lambda: _bias_gradient(g))


def _refuses(arrays, params):
    if reason := unless_float32(*arrays):
        return reason
    x, weight, _ = arrays
    found = x.size and weight.size and _plan(conv_axes, x.shape, weight.shape, params["stride"], params["padding"],
                                             params["dilation"], params["groups"])
    return None if found else "no elements, or odd arguments"


def _refuses_transpose(arrays, params):
    if reason := unless_float32(*arrays):
        return reason
    x, weight, bias = arrays
    if bias is not None and len(bias) != weight.shape[1] * params["groups"]:
        return "an odd bias"
    found = x.size and weight.size and _plan(transposed_axes, x.shape, weight.shape, None, params["stride"],
                                             params["padding"], params["output_padding"], params["groups"],
                                             params["dilation"])
    return None if found else "no elements, or odd arguments"


for _rank in 1, 2:
    register(Kernel(f"conv{_rank}d.cpu", f"conv{_rank}d", "cpu", _convolve, _convolve_backward, _refuses))
    register(Kernel(f"conv_transpose{_rank}d.cpu", f"conv_transpose{_rank}d", "cpu", _transpose, _transpose_backward,
                    _refuses_transpose))


if hasattr(cpu, "elementwise"):
    from . import conv_activation  # noqa: F401  (its kernel is of both families)
if hasattr(cpu, "gemm"):
    from . import squeeze  # noqa: F401
