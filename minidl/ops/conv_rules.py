"""Derivatives of convolutions by convolutions: a penalty on gradients costs about what gradients cost.

Of correlation, its transpose, and the sum over places that makes the filters' gradient (see conv.py), each is bilinear,
and its derivatives are the other two.
"""
from ..op import primitive
from .conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_axes,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    filter_gradient,
    transposed_axes,
)

__all__: list = []

BY_RANK = {3: (conv1d, conv_transpose1d), 4: (conv2d, conv_transpose2d), 5: (conv3d, conv_transpose3d)}


def _correlated(x, weight, axes, groups):
    """x (N, C, ...) correlated with weight (O, C/groups, ...) along axes: (N, O, ...)."""
    convolve, _ = BY_RANK[x.ndim]
    pads = [(-a.start, max(a.span + a.start - a.size, 0)) for a in axes]
    y = convolve(x, weight, None, [a.stride for a in axes], pads, [a.dilation for a in axes], groups)
    counts = tuple(a.count for a in axes)
    return y if y.shape[2:] == counts else y[(..., *[slice(n) for n in counts])]


def _spread(g, weight, axes, groups):
    """What outputs g (N, O, ...) send back to what they saw along axes: (N, C, ...)."""
    _, transpose = BY_RANK[g.ndim]
    spare = [a.span + a.start - a.size for a in axes]
    pads, extra = [(-a.start, max(s, 0)) for a, s in zip(axes, spare)], [max(-s, 0) for s in spare]
    return transpose(g, weight, None, [a.stride for a in axes], pads, extra, groups, [a.dilation for a in axes])


@primitive("x(_):float y(_):float -> (_)")
def _filters(xp, x, y, /, axes, groups):
    """The derivative of sum(y * correlated(x, weight)) in the weight."""
    return filter_gradient(xp, x, y, axes, groups)


@_filters.vjp
def _(g, x, y, axes, groups):
    return (lambda: _spread(y, g, axes, groups)), (lambda: _correlated(x, g, axes, groups))


def _convolved(g, x, weight, bias, stride, padding, dilation, groups):
    axes = tuple(conv_axes(x.shape, weight.shape, stride, padding, dilation, groups))
    return ((lambda: _spread(g, weight, axes, groups)), (lambda: _filters(x, g, axes, groups)),
            (lambda: g.sum((0, *range(2, g.ndim)))))


def _transposed(g, x, weight, bias, stride, padding, output_padding, groups, dilation):
    axes = tuple(transposed_axes(x.shape, weight.shape, bias, stride, padding, output_padding, groups, dilation))
    return ((lambda: _correlated(g, weight, axes, groups)), (lambda: _filters(g, x, axes, groups)),
            (lambda: g.sum((0, *range(2, g.ndim)))))


for _convolve, _transpose in BY_RANK.values():
    _convolve.taped(_convolved), _transpose.taped(_transposed)


@_filters.samples
def _(make):
    x, weight = (2, 4, 6, 5), (6, 2, 3, 2)
    axes = tuple(conv_axes(x, weight, 2, 1, 1, 2))
    yield make.normal(*x), make.normal(2, 6, *[a.count for a in axes]), axes, 2
