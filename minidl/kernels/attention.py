"""Attention without an array of scores: forward, backward, and the gradient of a bias; of a few queries to a cache.

Queries, keys and values are read in place, whatever their strides are, as long as the elements of a row lie
together: so do those that come from splitting one projection. Sequences of different lengths are a call each of the
compiled kernel, which shares its work out among threads by heads and rows.
"""
from dataclasses import dataclass
from math import prod

import numpy as np

from .. import shapes
from ..backend.random import Key
from ..dispatch import Kernel, register
from . import cache, cpu
from .arrays import unless_float32

_FAR = 2**40               # further than any key is
_ALL = slice(None)


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


@dataclass
class _Part:
    """What one call of the extension serves."""

    sequences: slice
    queries: slice
    keys: slice
    offset: int
    first: int             # number of the first weight in the draw for dropout

    def rows(self, array, of):
        """The part of an array (batch, heads, rows, width)."""
        return array[self.sequences, :, of]

    def plane(self, array):
        """The part of a bias or mask."""
        if array is None:
            return None
        found = zip(array.shape, (self.sequences, _ALL, self.queries, self.keys))
        return array[tuple([_ALL if n == 1 else part for n, part in found])]


def _by_length(query, key, lengths, offset):
    """The parts of a call of `attention`: one, or one for each sequence that has keys."""
    (h, t), s = query.shape[-3:-1], key.shape[-2]
    if lengths is None:
        return [_Part(_ALL, _ALL, _ALL, s - t if offset is None else offset, 0)]
    return [_Part(slice(n, n + 1), _ALL, slice(end), end - t if offset is None else offset, n * h * t * s)
            for n, end in enumerate(lengths.ravel().tolist()) if end]


def _by_start(starts, key_starts, keys, offset):
    """The parts of a call of `attention_packed`: the sequences that have queries and keys."""
    starts = starts.tolist()
    ends = starts if key_starts is None else key_starts.tolist()
    return [_Part(_ALL, slice(q, p), slice(k, j), (j - k) - (p - q) if offset is None else offset, q * keys + k)
            for q, p, k, j in zip(starts, starts[1:], ends, ends[1:]) if p > q and j > k]


class _Call:
    """One call of the op: arrays (batch, heads, rows, width), and what the extension wants to know."""

    def __init__(self, parts, query, key, value, bias, mask, scale, is_causal, window_size, softcap, dropout_p,
                 dropout_key):
        lead = query.shape[:-3]
        self.q, self.k, self.v = map(_rows, (query, key, value))
        self.bias, self.mask, self.parts = _plane(bias, lead), _plane(mask, lead), parts
        self.whole = len(parts) == 1 and parts[0].sequences == parts[0].keys == _ALL
        before, behind = [_FAR if n < 0 else min(n, _FAR) for n in window_size]
        self.scale, self.softcap = query.shape[-1] ** -0.5 if scale is None else scale, softcap
        self.window, self.dropout = (before, 0 if is_causal else behind), None
        if dropout_p:
            kept = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
            self.dropout = dropout_key.seed, dropout_key.stream, round((1 - dropout_p) * 2**31), kept

    def new(self, array, width):
        """A new array like `array`; with zeros where no part of the call may write."""
        found = _like(array, width)
        if not self.whole:
            found[...] = 0
        return found

    def inputs(self, part):
        """The part of queries, keys, values, bias and mask."""
        return (part.rows(self.q, part.queries), part.rows(self.k, part.keys), part.rows(self.v, part.keys),
                part.plane(self.bias), part.plane(self.mask))

    def settings(self, part):
        """scale, softcap, offset, how many keys before and behind, dropout."""
        dropout = self.dropout and (*self.dropout, part.first, self.q.shape[2], self.k.shape[2])
        return self.scale, self.softcap, part.offset, *self.window, dropout

    def statistics(self, logsum, part):
        """The part of the rows' logarithms: of a sequence they lie together."""
        b, h, t, _ = self.q.shape
        return logsum.reshape(b, h, t)[part.sequences] if part.queries == _ALL else \
            logsum[h * part.queries.start:h * part.queries.stop].reshape(1, h, -1)

    def forward(self, out):
        """Fill `out`; the logarithms of rows."""
        logsum = (np.empty if self.whole else np.zeros)(prod(self.q.shape[:3]), "float32")
        for part in self.parts:
            cpu.attention.forward(*self.inputs(part), part.rows(out, part.queries), self.statistics(logsum, part),
                                  *self.settings(part))
        return logsum

    def seen(self, part, g, out, logsum):
        """All that the extension reads to go back."""
        return (*self.inputs(part), part.rows(g, part.queries), part.rows(out, part.queries),
                self.statistics(logsum, part))

    def backward(self, g, out, logsum, *gradients):
        """Fill the gradients of queries, keys and values."""
        for part in self.parts:
            places = [part.rows(a, where) for a, where in zip(gradients, (part.queries, part.keys, part.keys))]
            cpu.attention.backward(*self.seen(part, g, out, logsum), *places, *self.settings(part))

    def backward_bias(self, g, out, logsum):
        """The gradient of the bias."""
        gbias = (np.empty if self.whole else np.zeros)(self.bias.shape, "float32")
        for part in self.parts:
            place = part.plane(gbias)
            found = place if self.whole else np.empty(place.shape, "float32")
            cpu.attention.backward_bias(*self.seen(part, g, out, logsum), found, *self.settings(part))
            if found is not place:
                place += found
        return gbias


# -- attention ------------------------------------------------------------------------------

def _odd(arrays, params):
    query, key, value, bias, mask, lengths = arrays
    if reason := unless_float32(query, key, value, bias):
        return reason
    (*lead, h, t, _), (g, s, _) = query.shape, value.shape[-3:]
    if not (query.size and key.size and value.size):
        return "empty arrays"
    scores = (*lead, h, t, s)
    if h % g or any(a is not None and shapes.broadcast(a.shape, scores) != scores for a in (bias, mask)):
        return "shapes that do not fit"
    if lengths is not None and not 0 <= lengths.min() <= lengths.max() <= s:
        return "lengths out of range"
    return _odd_parameters(**params)


def _odd_parameters(scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key):
    numbers = isinstance(scale, (float, int, type(None))) and isinstance(softcap, (float, int))
    offset = 0 if offset is None else offset
    if not numbers or not all(isinstance(n, int) for n in (offset, *window_size)) or abs(offset) > _FAR:
        return "parameters of unusual types"
    if dropout_p and not (isinstance(dropout_key, Key) and 0 < dropout_p <= 1):
        return "no such dropout"
    return None


def _call(query, key, value, bias, mask, lengths, scale, is_causal, offset, *rest):
    parts = _by_length(query, key, lengths, offset)
    return _Call(parts, query, key, value, bias, mask, scale, is_causal, *rest)


def _forward(xp, query, key, value, *rest):
    call = _call(query, key, value, *rest)
    out = call.new(query, value.shape[-1])
    return out, (out, call.forward(_four(out)))


def _backward(xp, g, kept, query, key, value, bias, mask, lengths, **params):
    call, (out, logsum), lead = _call(query, key, value, bias, mask, lengths, *params.values()), kept, query.shape[:-3]
    g, out = _rows(g), _rows(out)

    def of_bias():
        gbias = call.backward_bias(g, out, logsum)
        return gbias.reshape(*(lead if len(gbias) != 1 else (1,) * len(lead)), *gbias.shape[1:])

    gradients = [call.new(a, a.shape[-1]) for a in (query, key, value)]
    call.backward(g, out, logsum, *map(_four, gradients))
    return *gradients, of_bias, None, None


register(Kernel("attention.cpu", "attention", "cpu", _forward, _backward, _odd))


# -- attention_packed -----------------------------------------------------------------------

def _odd_packed(arrays, params):
    query, key, value, starts, key_starts = arrays
    if reason := unless_float32(query, key, value):
        return reason
    if not (query.size and key.size and value.size):
        return "empty arrays"
    if query.shape[1] % key.shape[1]:
        return "shapes that do not fit"
    for edges, count in ((starts, len(query)), (starts if key_starts is None else key_starts, len(key))):
        if not edges.size or edges[0] != 0 or edges[-1] != count or (edges[1:] < edges[:-1]).any():
            return "starts that do not rise"
    return _odd_parameters(**params)


def _by_heads(array):
    """(rows, heads, width) as (1, heads, rows, width)."""
    return array.swapaxes(0, 1)[None]


def _packed_call(query, key, value, starts, key_starts, scale, is_causal, offset, *rest):
    parts = _by_start(starts, key_starts, len(key), offset)
    return _Call(parts, *map(_by_heads, (query, key, value)), None, None, scale, is_causal, *rest)


def _packed(xp, query, key, value, *rest):
    call = _packed_call(query, key, value, *rest)
    out = np.zeros((*query.shape[:2], value.shape[-1]), "float32")
    return out, (out, call.forward(_by_heads(out)))


def _packed_backward(xp, g, kept, query, key, value, starts, key_starts, **params):
    call, (out, logsum) = _packed_call(query, key, value, starts, key_starts, *params.values()), kept
    gradients = [np.zeros(a.shape, "float32") for a in (query, key, value)]
    call.backward(_rows(_by_heads(g)), _by_heads(out), logsum, *map(_by_heads, gradients))
    return *gradients, None, None


register(Kernel("attention_packed.cpu", "attention_packed", "cpu", _packed, _packed_backward, _odd_packed))


# -- decode_attention -----------------------------------------------------------------------

def _odd_cache(arrays, params):
    query, key, value, lengths, table = arrays
    if reason := unless_float32(query, key, value) or cache.odd(query, key, value, table):
        return reason
    if not 0 <= lengths.min() <= lengths.max() <= cache.room(key, table):
        return "lengths out of range"
    if table is not None:
        used = cache.used_pages(np, key, lengths, table)
        if not 0 <= used.min() <= used.max() < len(key):
            return "pages out of range"
    return cache.odd_parameters(**params)


def _decode(xp, query, key, value, lengths, table, scale, window_size, softcap):
    out, logsum = _like(query, value.shape[-1]), np.empty(query.shape[:3], "float32")
    lengths, table = [a if a is None else np.ascontiguousarray(a, "int64") for a in (lengths, table)]
    cpu.attention.cached(*map(_rows, (query, key, value)), lengths, table, out, logsum,
                         query.shape[-1] ** -0.5 if scale is None else scale, softcap,
                         _FAR if window_size[0] < 0 else min(window_size[0], _FAR))
    return out, (out, logsum)


register(Kernel("decode_attention.cpu", "decode_attention", "cpu", _decode, cache.backward, _odd_cache))

from . import rotary  # noqa: E402, F401  (its kernel is of this family)
