"""Attention without an array of scores: forward, backward, and the gradient of a bias.

Queries, keys and values are read in place, whatever their strides are, as long as the elements of a row lie
together: so do those that come from splitting one projection.
"""
from math import prod

import numpy as np

from .. import shapes
from ..backend.random import Key
from ..dispatch import Kernel, register
from . import cpu
from .arrays import unless_float32

_FAR = 2**40               # further than any key is


def _four(array):
    """(batch, heads, length, width), as a view where strides allow it."""
    return array if array.ndim == 4 else array.reshape(prod(array.shape[:-3]), *array.shape[-3:])


def _rows(array):
    """An input as the extension reads it: the elements of a row lie together."""
    array = _four(array)
    return array if array.strides[-1] == array.itemsize else np.ascontiguousarray(array)


def _like(array, width):
    """A new array of the shape of `array` but for its width; heads lie in rows where those of `array` do."""
    shape = (*array.shape[:-1], width)
    found = np.empty_like(array, shape=shape) if array.ndim == 4 else np.empty(shape, array.dtype)
    return found if found.strides[-1] == found.itemsize else np.empty(shape, array.dtype)


def _plane(array, lead):
    """A bias or mask with the axes (batch, heads, queries, keys), each as long as the scores' or 1; None stays."""
    if array is None:
        return None
    array = array.reshape((1,) * (len(lead) + 3 - array.ndim) + array.shape)
    if array.ndim > 4 and prod(array.shape[:-3]) != 1:
        array = np.broadcast_to(array, (*lead, *array.shape[-3:]))
    return array if array.ndim == 4 else array.reshape(prod(array.shape[:-3]), *array.shape[-3:])


def _odd(arrays, params):
    query, key, value, bias, mask = arrays
    if reason := unless_float32(query, key, value, bias):
        return reason
    (*lead, h, t, _), (g, s, _) = query.shape, value.shape[-3:]
    if not (query.size and key.size and value.size):
        return "empty arrays"
    scores = (*lead, h, t, s)
    if h % g or any(a is not None and shapes.broadcast(a.shape, scores) != scores for a in (bias, mask)):
        return "shapes that do not fit"
    return _odd_parameters(**params)


def _odd_parameters(scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key):
    numbers = isinstance(scale, (float, int, type(None))) and isinstance(softcap, (float, int))
    if not numbers or not all(isinstance(n, int) for n in (offset, *window_size)) or abs(offset) > _FAR:
        return "parameters of unusual types"
    if dropout_p and not (isinstance(dropout_key, Key) and 0 < dropout_p <= 1):
        return "no such dropout"
    return None


def _settings(query, scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key):
    """What the extension wants to know: scale, softcap, offset, how many keys before and behind, dropout."""
    before, behind = [_FAR if n < 0 else min(n, _FAR) for n in window_size]
    scale, dropout = query.shape[-1] ** -0.5 if scale is None else scale, None
    if dropout_p:
        kept = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
        dropout = dropout_key.seed, dropout_key.stream, round((1 - dropout_p) * 2**31), kept
    return scale, softcap, offset, before, 0 if is_causal else behind, dropout


def _forward(xp, query, key, value, bias, mask, *params):
    *lead, h, t, _ = query.shape
    out, logsum = _like(query, value.shape[-1]), np.empty((prod(lead), h, t), "float32")
    cpu.attention.forward(_rows(query), _rows(key), _rows(value), _plane(bias, lead), _plane(mask, lead), _four(out),
                          logsum, *_settings(query, *params))
    return out, (out, logsum)


def _backward(xp, g, kept, query, key, value, bias, mask, **params):
    (out, logsum), lead = kept, query.shape[:-3]
    inputs = [*map(_rows, (query, key, value)), _plane(bias, lead), _plane(mask, lead), _rows(g), _rows(out), logsum]
    settings = _settings(query, **params)

    def of_bias():
        gbias = np.empty(inputs[3].shape, "float32")
        cpu.attention.backward_bias(*inputs, gbias, *settings)
        return gbias.reshape(*(lead if len(gbias) != 1 else (1,) * len(lead)), *gbias.shape[1:])

    gradients = [_like(a, a.shape[-1]) for a in (query, key, value)]
    cpu.attention.backward(*inputs, *map(_four, gradients), *settings)
    return *gradients, of_bias, None


register(Kernel("attention.cpu", "attention", "cpu", _forward, _backward, _odd))
