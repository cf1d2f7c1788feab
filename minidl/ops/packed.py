"""Attention of sequences of any lengths that lie one behind the other in one array, without padding."""
from .. import backend
from ..errors import ArgumentError, message
from ..op import fused, primitive
from .attention import Tiles, attention, means, slopes, window
from .index import getitem
from .shape import permute_dims

__all__ = ["attention_packed"]


@fused("query(T,H,D):float key(S,G,D) value(S,G,E) starts(M):int key_starts(M):int? -> (T,H,E)", synchronises=True)
def attention_packed(query, key, value, starts, key_starts=None, /, scale=None, is_causal=False, offset=0,
                     window_size=(-1, -1), softcap=0.0, dropout_p=0.0, dropout_key=None):
    """`attention` within each of N = M - 1 sequences.

    Args:
        query (T, H, D), key (S, G, D), value (S, G, E): any floating dtype; H / G query heads share a key head.
        starts (N + 1): sequence n has the queries from starts[n] to before starts[n + 1]: 0, sums of lengths, T.
            Elsewhere called cu_seqlens.
        key_starts (N + 1): likewise of keys; None: as the queries'.
        scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key: as of `attention`; places are counted
            from the start of each sequence.

    Returns:
        (T, H, E): rows of zeros for queries that see no key.

    Raises:
        ArgumentError: starts do not rise from 0 to T, or those of keys to S; dropout as in `attention`.
        ShapeError: shapes do not fit; H is no multiple of G.

    Source: the interface of Dao 2023, "FlashAttention-2", arXiv:2307.08691, `flash_attn_varlen_func`.
    """
    key_starts = starts if key_starts is None else key_starts
    mine, places = _places(starts, len(query), "starts")
    theirs, key_places = _places(key_starts, len(key), "key_starts")
    if offset is None:
        offset = getitem((key_starts[1:] - key_starts[:-1]) - (starts[1:] - starts[:-1]), mine)
    distance, (before, behind) = key_places - (places + offset)[:, None], window(is_causal, window_size)
    seen = (mine[:, None] == theirs) & (distance >= -before) & (distance <= behind)
    query, key, value = [permute_dims(x, (1, 0, 2)) for x in (query, key, value)]
    y = attention(query, key, value, None, seen, None, scale, softcap=softcap, dropout_p=dropout_p,
                  dropout_key=dropout_key)
    return permute_dims(y, (1, 0, 2))


def demand_starts(argument, starts, count):
    """Demand that sequences lie one behind the other in `count` rows."""
    rises = (starts[:1] == 0).all() & (starts[-1:] == count).all() & (starts[1:] >= starts[:-1]).all()
    backend.demand(rises & (len(starts) > 0), lambda: ArgumentError(message(
        "attention_packed", argument, f"numbers that rise from 0 to the {count} rows", starts)))


@primitive("starts(M):int -> (T) (T)", differentiable=False)
def _places(xp, starts, /, count, argument):
    """Of each of `count` rows the number of its sequence, and its place therein."""
    starts = starts.astype("int64")
    demand_starts(argument, starts, count)
    rows = xp.arange(count)
    number = xp.searchsorted(starts, rows, side="right") - 1
    return number, rows - starts[number]


def _calls(xp, query, key, value, starts, key_starts, scale, is_causal, offset, window_size, softcap, dropout_p,
           dropout_key):
    """(rows of queries, rows of keys, tiles) of each sequence."""
    t, s, rows = len(query), len(key), []
    for name, edges, count in (("starts", starts, t), ("key_starts", starts if key_starts is None else key_starts, s)):
        edges = [int(edge) for edge in backend.to_host(edges)]
        if sorted(edges) != edges or [*edges[:1], *edges[-1:]] != [0, count]:
            expected = f"numbers that rise from 0 to the {count} rows"
            raise ArgumentError(message("attention_packed", name, expected, edges))
        rows.append([slice(*pair) for pair in zip(edges, edges[1:])])
    for mine, theirs in zip(*rows):
        q, k, v = [x[part].swapaxes(0, 1) for x, part in ((query, mine), (key, theirs), (value, theirs))]
        drawn = t, s, mine.start, theirs.start
        yield mine, theirs, Tiles(xp, q, k, v, None, None, None, scale, is_causal, offset, window_size, softcap,
                                  dropout_p, dropout_key, drawn)


def _row_by_row(array):
    """An array (1, G, R, T, X) of a sequence as (T, H, X)."""
    _, g, r, t, x = array.shape
    return array.reshape(g * r, t, x).swapaxes(0, 1)


@attention_packed.forward
def _(xp, query, key, value, *rest):
    out, kept = xp.zeros((*query.shape[:2], value.shape[-1]), query.dtype), []
    for mine, _, tiles in _calls(xp, query, key, value, *rest):
        kept.append(means(tiles))
        out[mine] = _row_by_row(kept[-1][0])
    return out, kept


@attention_packed.backward
def _(xp, g, kept, query, key, value, starts, key_starts, **params):
    gradients = gq, gk, gv = [xp.zeros(a.shape, a.dtype) for a in (query, key, value)]
    for (mine, theirs, tiles), (out, logsum) in zip(_calls(xp, query, key, value, starts, key_starts,
                                                           *params.values()), kept):
        gy = g[mine].swapaxes(0, 1).reshape(out.shape)
        of_q, of_k, of_v, _ = slopes(tiles, gy, out, logsum)
        gq[mine] = _row_by_row(of_q)
        gk[theirs], gv[theirs] = [_row_by_row(x[:, :, None]) for x in (of_k, of_v)]
    return *gradients, None, None


@attention_packed.cost
def _(query, key, value, *_, **params):
    return 2 * query[0] * query[1] * key[0] * (query[2] + value[2])


@attention_packed.samples
def _(make):
    def qkv(t, s, h=2, g=2):
        return make.normal(t, h, 4) / 2, make.normal(s, g, 4) / 2, make.normal(s, g, 3)

    starts = make.integers(1, 4) + [0, 3, 3, 8]
    yield *qkv(8, 8), starts
    yield *qkv(8, 8, h=4), starts, None, 0.4, True, 0, (2, -1), 2.0
    yield *qkv(8, 10), starts, make.integers(1, 4) + [0, 4, 4, 10], None, True, None
    yield *qkv(8, 9, g=1), starts, make.integers(1, 4) + [0, 0, 5, 9], None, True, 1
    yield *qkv(8, 8), starts, None, {"dropout_p": 0.4, "dropout_key": make.key(3)}
    yield *qkv(0, 0), make.integers(1, 3)


@_places.samples
def _(make):
    yield make.integers(1, 4) + [0, 2, 2, 5], 5, "starts"
