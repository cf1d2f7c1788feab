"""Attention of a sequence's newest queries to a cache of its keys and values, as when a model writes token by token.

The cache has room for more keys than there are, and may lie in pages anywhere in a pool that sequences share.
"""
from .. import backend
from ..errors import ArgumentError, ShapeError, message
from ..op import fused, primitive
from .attention import attention
from .index import getitem
from .shape import permute_dims, reshape

__all__ = ["decode_attention"]


@fused("query(N,H,T,D):float key_cache(B,G,S,D) value_cache(B,G,S,E) lengths(N):int page_table(N,P):int? -> (N,H,T,E)")
def decode_attention(query, key_cache, value_cache, lengths, page_table=None, /, scale=None, window_size=(-1, -1),
                     softcap=0.0):
    """Causal `attention` of the last T queries of N sequences to all keys of each, its own among them.

    Args:
        query (N, H, T, D): any floating dtype; few, often one: query t has the place lengths - T + t.
        key_cache (B, G, S, D), value_cache (B, G, S, E): B = N caches with room for S keys; with a page table, B
            pages of S keys. H / G query heads share a key head. Axes may lie in any order in memory.
        lengths (N): how many keys of each sequence are in the cache, those of the queries included, in [0, room].
        page_table (N, P): the pages where each sequence's keys are, in order: key s is the s % S-th of page s // S.
            Entries behind a sequence's end may be anything. The room is then P S.
        scale: what products are multiplied by; None: 1 / sqrt(D).
        window_size: how many keys before its own place a query sees; -1: all. (The second number is `attention`'s.)
        softcap: c > 0 bends scores to c * tanh(scores / c); 0 leaves them.

    Returns:
        (N, H, T, E): rows of zeros for queries that see no key.

    Raises:
        ArgumentError: lengths or pages are out of range.
        ShapeError: shapes do not fit; H is no multiple of G.

    Source: pages: Kwon et al. 2023, "Efficient Memory Management for Large Language Model Serving with PagedAttention",
    arXiv:2309.06180, section 4.1. Kernels cut keys into parts: Dao et al. 2023, "Flash-Decoding for long-context
    inference".
    """
    if page_table is not None:
        table = _used_pages(lengths, page_table, key_cache.shape[0], key_cache.shape[2])
        key_cache, value_cache = [_in_a_row(cache, table) for cache in (key_cache, value_cache)]
    elif len(key_cache) != len(query):
        raise ShapeError(message("decode_attention", "key_cache", f"a cache for each of {len(query)} sequences, or a "
                                 "page_table", key_cache.shape))
    return attention(query, key_cache, value_cache, None, None, lengths, scale, True, None, window_size, softcap)


def _in_a_row(cache, table):
    """(N, G, P S, D): the pages (B, G, S, D) that a table (N, P) names, one behind the other."""
    (n, p), (_, g, s, d) = table.shape, cache.shape
    return reshape(permute_dims(getitem(cache, table), (0, 2, 1, 3, 4)), (n, g, p * s, d))


@primitive("lengths(N):int page_table(N,P):int -> (N,P)", differentiable=False)
def _used_pages(xp, lengths, page_table, /, pages, size):
    """The table with 0 for entries that no key of a sequence needs."""
    room = page_table.shape[1] * size
    backend.demand(((lengths >= 0) & (lengths <= room)).all(), lambda: ArgumentError(message(
        "decode_attention", "lengths", f"from 0 to {room}, the room of {page_table.shape[1]} pages",
        f"{lengths.min()} to {lengths.max()}")))
    table = xp.where(xp.arange(page_table.shape[1]) * size < lengths[:, None], page_table, 0)
    backend.demand(((table >= 0) & (table < pages)).all(), lambda: ArgumentError(message(
        "decode_attention", "page_table", f"pages from 0 to {pages - 1}, as key_cache has {pages}",
        f"some from {table.min()} to {table.max()}")))
    return table


@decode_attention.cost
def _(query, key, value, lengths, page_table=None, **_):
    keys = key[2] * (page_table[1] if page_table else 1)
    return 2 * query[0] * query[1] * query[2] * keys * (query[3] + value[3])


@decode_attention.samples
def _(make):
    def caches(b, g, s, d=4, e=3):
        return make.normal(b, g, s, d), make.normal(b, g, s, e)

    yield make.normal(3, 4, 1, 4), *caches(3, 2, 7), make.integers(1, 3) + [7, 3, 0]
    yield make.normal(2, 2, 3, 4), *caches(2, 1, 9), make.integers(1, 2) + [9, 4], None, 0.7, (3, -1), 2.0
    table = make.integers(1, 3, 3) + [[4, 0, 2], [1, -7, 99], [3, 5, 99]]
    yield make.normal(3, 4, 1, 4), *caches(6, 2, 4), make.integers(1, 3) + [11, 4, 5], table
    yield make.normal(3, 3, 2, 4), *caches(6, 1, 4, e=5), make.integers(1, 3) + [12, 1, 0], table, None, (4, -1)


@_used_pages.samples
def _(make):
    yield make.integers(1, 2) + [5, 2], make.integers(1, 2, 3) + [[1, 3, 0], [2, -1, 9]], 4, 2
