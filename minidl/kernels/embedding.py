"""Rows of a table by their numbers, rows added into a table; random words, and dropout, whose mask is never stored."""
import numpy as np

from ..backend import random
from ..dispatch import Kernel, register
from . import cpu
from .arrays import dense, unless_float32

# -- embedding -----------------------------------------------------------------------------

def _numbers(index):
    return dense(index).reshape(-1).astype("int64", copy=False)


def _odd_rows(index, columns, rows):
    if not index.size or not columns:
        return "nothing to move"
    return None if index.min() >= 0 and index.max() < rows else "numbers that are out of range"


def _odd_lookup(arrays, params):
    index, weight = arrays
    (rows, columns), padding = weight.shape, params["padding_idx"]
    fits = padding is None or type(padding) is int and -rows <= padding < rows
    return unless_float32(weight) or _odd_rows(index, columns, rows) or (None if fits else "a padding_idx out of range")


def _embedding(xp, index, weight, padding_idx):
    y = np.empty((index.size, weight.shape[1]), "float32")
    cpu.embedding.gather_rows(dense(weight), _numbers(index), y)
    return y.reshape(*index.shape, weight.shape[1])


def _embedding_backward(xp, g, index, weight_shape, padding_idx):
    skipped = -1 if padding_idx is None else padding_idx % weight_shape[0]
    return None, (lambda: _scattered(g, index, weight_shape[0], skipped))


def _scattered(x, index, rows, skipped=-1):
    out = np.empty((rows, x.shape[-1]), "float32")
    cpu.embedding.scatter_rows(dense(x).reshape(-1, x.shape[-1]), _numbers(index), out, skipped)
    return out


def _odd_sums(arrays, params):
    x, index = arrays
    return unless_float32(x) or _odd_rows(index, x.shape[-1], params["rows"])


register(Kernel("embedding.cpu", "embedding", "cpu", _embedding, _embedding_backward, _odd_lookup))
register(Kernel("_added_to_rows.cpu", "_added_to_rows", "cpu", lambda xp, x, index, rows: _scattered(x, index, rows),
                None, _odd_sums))


# -- random words, and dropout ------------------------------------------------------------------

random.use(cpu.embedding.philox)


def _odd_mask(arrays, params):
    (x,), p, axes = arrays, params["p"], params["axes"]
    fits = isinstance(p, (int, float)) and 0 <= p <= 1 and isinstance(params["key"], random.Key) and x.size
    fits = fits and (axes is None or {a % x.ndim for a in axes if -x.ndim <= a < x.ndim} == {*range(x.ndim)})
    return unless_float32(x) or (None if fits else "whole rows that fall together, nothing, or odd parameters")


def _dropout(xp, x, p, key, axes):
    y = np.empty(x.shape, "float32")
    cpu.embedding.dropout(key.seed, key.stream, dense(x).reshape(-1), y.reshape(-1), round((1 - p) * 2**31),
                          1 / (1 - p) if p < 1 else 0.0)
    return y


register(Kernel("dropout.cpu", "dropout", "cpu", _dropout, lambda xp, g, p, key, axes: _dropout(xp, g, p, key, axes),
                _odd_mask, least=1024))
