"""Rows added into a table (the gradient of an embedding), and dropout, whose mask is never stored."""
from ...backend.random import Key
from ...dispatch import Kernel, register
from .arrays import dense, unless_served
from .heads import dropout
from .launch import cdiv, launch


def _add_rows(xp, x, index, rows):
    """By sorting the places; where they repeat, rows are added in their order."""
    places, columns = index.reshape(-1).astype("int64", copy=False), x.shape[-1]
    order = xp.argsort(places)                         # (CuPy's sort is stable)
    starts = xp.searchsorted(places[order], xp.arange(rows + 1))
    y = xp.empty((rows, columns), x.dtype)
    launch("add_rows", lambda c: (rows, cdiv(columns, c["COLUMNS"])), (dense(xp, x), order, starts, y, columns),
           dtype=x.dtype.name)
    return y


def _odd_rows(arrays, params):
    x, index = arrays
    fits = x.size and x.shape[:-1] == index.shape
    return unless_served("add_rows", x) or (None if fits else "nothing to add, or not a row for each place")


def _dropout(xp, x, p, key, axes):
    x = dense(xp, x)
    y = xp.empty(x.shape, x.dtype)
    launch("dropout_mask", lambda c: (cdiv(x.size, 4 * c["BLOCK"]),), (x, y, x.size, *dropout(p, key)),
           dtype=x.dtype.name)
    return y


def _odd_mask(arrays, params):
    (x,), p, axes = arrays, params["p"], params["axes"]
    fits = isinstance(p, (int, float)) and 0 <= p <= 1 and isinstance(params["key"], Key) and x.size
    fits = fits and (axes is None or {a % x.ndim for a in axes if -x.ndim <= a < x.ndim} == {*range(x.ndim)})
    return unless_served("dropout_mask", x) or (
        None if fits else "whole rows that fall together, nothing, or odd parameters")


register(Kernel("_added_to_rows.triton", "_added_to_rows", "cuda", _add_rows, None, _odd_rows))
register(Kernel("dropout.triton", "dropout", "cuda", _dropout,
                lambda xp, g, p, key, axes: _dropout(xp, g, p, key, axes), _odd_mask))
