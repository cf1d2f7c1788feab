"""Embeddings: rows of a table by their numbers, one by one or in bags."""
from math import inf, prod

from .. import backend
from ..errors import ArgumentError, ShapeError, message
from ..op import fused, primitive
from .creation import arange
from .elementwise import maximum, where
from .shape import reshape

__all__ = ["embedding", "embedding_bag"]


@primitive("index(_):int weight(V,D) -> (_,D)", exact=True)
def embedding(xp, index, weight, /, padding_idx=None):
    """The rows of a table that an index names.

    Args:
        index (_): integers in [0, V).
        weight (V, D): the table, any floating dtype.
        padding_idx: a row that gets no gradient; negative ones count from the end.

    Returns:
        (_, D): a row for each element of the index.

    Raises:
        ArgumentError: an index or padding_idx is out of range.

    Source: Bengio et al. 2003, "A Neural Probabilistic Language Model", JMLR 3, section 2.
    """
    _row("embedding", weight.shape[0], padding_idx)
    backend.demand(((index >= 0) & (index < weight.shape[0])).all(), lambda: ArgumentError(message(
        "embedding", "index", f"integers in [0, {weight.shape[0]}), as weight is {weight.shape}",
        f"some from {index.min()} to {index.max()}", "Is the vocabulary as large as the tokenizer's?")))
    return weight[index]


@embedding.vjp
def _(g, index, weight_shape, padding_idx):
    rows = weight_shape[0]
    if padding_idx is not None:
        g = where((index != _row("embedding", rows, padding_idx))[..., None], g, 0.0)
    return None, _added_to_rows(g, index, rows)


def _row(op, rows, padding_idx):
    """padding_idx counted from 0; None stays."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ArgumentError(message(op, "padding_idx", f"an integer in [-{rows}, {rows})", repr(padding_idx)))
    return padding_idx % rows


@primitive("x(*,D) index(*):int -> (V,D)")
def _added_to_rows(xp, x, index, /, rows):
    """Zeros (V, D) with each row of x added where the index says: the transpose of `embedding`."""
    out = xp.zeros((rows, x.shape[-1]), x.dtype)
    backend.scatter_add(out, index.ravel(), x.reshape(index.size, x.shape[-1]))
    return out


@_added_to_rows.vjp
def _(g, index):
    return embedding(index, g), None


@fused("index(_):int weight(V,D):float offsets(_):int? per_sample_weights(_)? -> (B,D)")
def embedding_bag(index, weight, offsets=None, per_sample_weights=None, /, mode="mean", padding_idx=None,
                  include_last_offset=False):
    """Sums, means or maxima over bags of rows of a table.

    Args:
        index (B, L) or (P): integers in [0, V): B bags of L; or all bags one after another.
        weight (V, D): the table, any floating dtype.
        offsets (B), with index (P) only: where each bag starts: 0, and then never before the one in front.
        per_sample_weights (as index), with mode "sum" only: what each row is multiplied by.
        mode: "sum", "mean" or "max".
        padding_idx: a row that is left out of every bag; negative ones count from the end.
        include_last_offset: `offsets` has one more element, where the last bag ends.

    Returns:
        (B, D): 0 for an empty bag. Of rows that tie for a maximum, each gets its share of the gradient.

    Raises:
        ArgumentError: an unknown mode; an index, offset or padding_idx out of range; weights in another mode.
        ShapeError: offsets are missing or given in vain; weights do not have index's shape.

    Source: Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification", arXiv:1607.01759; PyTorch,
    `torch.nn.functional.embedding_bag`.
    """
    _check_bags(index, offsets, per_sample_weights, mode)
    if offsets is None:
        bags, count = index.shape[0], prod(index.shape)
        bag = arange(count, device=index.device) // max(index.shape[1], 1)
    else:
        bags = offsets.shape[0] - include_last_offset
        bag = _bag_of(offsets, index.shape[0], include_last_offset)
    index, padding = reshape(index, (-1,)), _row("embedding_bag", weight.shape[0], padding_idx)
    rows, counts = embedding(index, weight), (index != (-1 if padding is None else padding))[:, None]
    if mode == "max":
        return _max_of_bags(where(counts, rows, -inf), bag, bags)
    rows = where(counts, rows, 0.0)
    if per_sample_weights is not None:
        rows = rows * reshape(per_sample_weights, (-1, 1))
    total = _added_to_rows(rows, bag, bags)
    if mode == "mean":
        total = total / maximum(_added_to_rows(counts.astype(rows.dtype), bag, bags), 1.0)
    return total


def _check_bags(index, offsets, weights, mode):
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(message("embedding_bag", "mode", '"sum", "mean" or "max"', repr(mode)))
    if index.ndim != (2 if offsets is None else 1):
        raise ShapeError(message("embedding_bag", "index", "(B, L), or (P) with offsets", index.shape))
    if weights is not None and mode != "sum":
        expected = 'None unless mode is "sum"'
        raise ArgumentError(message("embedding_bag", "per_sample_weights", expected, f"some, and {mode!r}"))
    if weights is not None and weights.shape != index.shape:
        expected = f"{index.shape} as index"
        raise ShapeError(message("embedding_bag", "per_sample_weights", expected, weights.shape))


@primitive("offsets(B):int -> (P)", differentiable=False)
def _bag_of(xp, offsets, /, count, include_last_offset):
    """The number of the bag that each of `count` places is in."""
    end = xp.full(0 if include_last_offset else 1, count, "int64")
    edges = xp.concatenate([offsets.astype("int64"), end])
    rise = (edges[0] == 0) & (edges[-1] == count) & (edges[1:] >= edges[:-1]).all()
    backend.demand(rise, lambda: ArgumentError(message(
        "embedding_bag", "offsets", f"numbers that rise from 0 to {count}, as index is long", offsets)))
    return xp.searchsorted(edges[:-1], xp.arange(count), side="right") - 1


@primitive("x(P,D) bag(P):int -> (B,D)")
def _max_of_bags(xp, x, bag, /, bags):
    """The largest elements of each bag; 0 where there is none. Bags lie one after another."""
    best, step = x.copy(), 1
    while step < len(x):               # best[i] becomes that of the 2 * step places up to i, within i's bag
        same = (bag[step:] == bag[:-step])[:, None]
        best[step:] = xp.where(same, xp.maximum(best[step:], best[:-step]), best[step:])
        step *= 2
    starts, ends = [xp.searchsorted(bag, xp.arange(bags), side=side) for side in ("left", "right")]
    largest = xp.concatenate([xp.zeros((1, x.shape[1]), x.dtype), best])[ends]
    return xp.where((starts == ends)[:, None] | (largest == -inf), 0.0, largest)


@_max_of_bags.vjp
def _(g, x, bag, out, bags):
    hits = (x == embedding(bag, out)).astype(g.dtype)
    return embedding(bag, g / maximum(_added_to_rows(hits, bag, bags), 1.0)) * hits, None


@embedding.samples
def _(make):
    yield make.integers(5, 2, 3), make.normal(5, 4)
    yield make.integers(4, 7), make.normal(5, 4), -1           # (nothing flows into padding, so none is here)
    yield make.integers(5), make.normal(5, 4)
    yield make.integers(5, 0, 2), make.normal(5, 4)


@_added_to_rows.samples
def _(make):
    yield make.normal(7, 4), make.integers(5, 7), 5
    yield make.normal(2, 3, 4), make.integers(5, 2, 3), 6


@embedding_bag.samples
def _(make):
    for mode in ("sum", "mean", "max"):
        yield make.integers(5, 3, 4), make.distinct(5, 2), None, None, mode, 2
        yield make.integers(5, 6), make.distinct(5, 2), make.integers(1, 1) + [0, 3, 3, 5], None, mode
    yield make.integers(5, 2, 3), make.normal(5, 2), None, make.normal(2, 3), "sum"
    yield make.integers(5, 6), make.normal(5, 2), make.integers(1, 1) + [0, 2, 6], None, "mean", None, True
    yield make.integers(5, 0, 3), make.normal(5, 2)
