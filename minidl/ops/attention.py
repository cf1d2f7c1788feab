"""Attention: every query takes a mean of the values, weighted by how its key products compare.

The closed form cuts the (T, S) scores into tiles of queries, and keeps of each row only the logarithm of its
sum of exponentials, from which backward computes the tile again: memory is linear in the length of sequences.
"""
from math import inf, prod

from .. import backend, shapes
from ..backend import random
from ..errors import ArgumentError, ShapeError, message
from ..op import as_tensor, fused
from .creation import arange
from .dropout import dropout
from .elementwise import tanh, where
from .shape import reshape
from .softmax import softmax

__all__ = ["attention", "scaled_dot_product_attention"]

TILE = 1 << 19             # scores in a tile: a few MB


@fused("query(*,H,T,D):float key(*,G,S,D) value(*,G,S,E) bias(_)? mask(_):bool? lengths(*):int? -> (*,H,T,E)")
def attention(query, key, value, bias=None, mask=None, lengths=None, /, scale=None, is_causal=False, offset=0,
              window_size=(-1, -1), softcap=0.0, dropout_p=0.0, dropout_key=None):
    """Means of the values, weighted by softmax(query @ key.T * scale + bias).

    Args:
        query (*, H, T, D), key (*, G, S, D), value (*, G, S, E): any floating dtype; H / G query heads
            share a key head.
        bias: added to the scores; broadcasts to (*, H, T, S). -inf hides a key.
        mask: bool, True where a query may see a key; broadcasts to (*, H, T, S).
        lengths (*): of the sequences of keys, in [0, S]; None: all S. Keys behind them are padding: hidden, whatever
            they are, and given no gradient.
        scale: what products are multiplied by; None: 1 / sqrt(D).
        is_causal: hide keys behind the query's own place.
        offset: query t has the place t + offset among the keys: 0 aligns first with first, as PyTorch does;
            None last with last (S - T, or lengths - T), as a cache of earlier keys wants.
        window_size: how many keys before and behind its own place a query sees; -1: all.
        softcap: c > 0 bends scores, before the bias, to c * tanh(scores / c); 0 leaves them.
        dropout_p: probability with which weights are dropped, in [0, 1].
        dropout_key: a random Key, where dropout_p is not 0.

    Returns:
        (*, H, T, E): rows of zeros for queries that see no key.

    Raises:
        ShapeError: shapes do not fit; H is no multiple of G.
        ArgumentError: dropout_p is outside [0, 1], or there is no dropout_key; lengths are outside [0, S].

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv:1706.03762, eq. 1. Shared key heads:
    Ainslie et al. 2023, arXiv:2305.13245. Windows: Beltagy, Peters, Cohan 2020, arXiv:2004.05150.
    Tiles: Dao 2023, "FlashAttention-2", arXiv:2307.08691, algorithms 1 and 2.
    """
    (*lead, h, t, d), (g, s, e) = query.shape, value.shape[-3:]
    ends, places = s, arange(s, device=query.device)
    if lengths is not None:
        ends = reshape(lengths.astype("int64"), (*lead, 1, 1, 1))
        key, value = [where((places < ends).mT, x, 0.0) for x in (key, value)]
    queries = reshape(query, (*lead, g, _heads_per_group(h, g), t, d))
    scores = queries * (max(d, 1) ** -0.5 if scale is None else scale) @ key[..., None, :, :].mT
    scores = reshape(scores, (*lead, h, t, s))
    if softcap:
        scores = tanh(scores / softcap) * softcap
    before, behind = window(is_causal, window_size)
    distance = places - (arange(t, device=query.device)[:, None] + (ends - t if offset is None else offset))
    seen = (distance >= -before) & (distance <= behind) & (places < ends)
    if mask is not None:
        seen = seen & mask
    if bias is not None:
        scores, seen = scores + bias, seen & (bias > -inf)
    weights = where(seen, softmax(where(seen, scores, -1e30)), 0.0)
    if dropout_p:
        weights = dropout(weights, dropout_p, _drawn_from(dropout_p, dropout_key))
    return reshape(reshape(weights, (*queries.shape[:-1], s)) @ value[..., None, :, :], (*lead, h, t, e))


def _heads_per_group(h, g):
    if not g or h % g:
        raise ShapeError(message("attention", "key", f"a number of heads that divides the {h} of query", g))
    return h // g


def window(is_causal, window_size):
    """How many keys a query sees before and behind its own place."""
    before, behind = [2**62 if n < 0 else n for n in window_size]
    return before, 0 if is_causal else behind


def _drawn_from(p, key):
    if not 0 <= p <= 1:
        raise ArgumentError(message("attention", "dropout_p", "a number in [0, 1]", repr(p)))
    if not isinstance(key, random.Key):
        raise ArgumentError(message("attention", "dropout_key", f"a Key, as dropout_p is {p}", repr(key)))
    return key


def demand_lengths(lengths, keys):
    """Demand that sequences have no more keys than there are."""
    backend.demand(((lengths >= 0) & (lengths <= keys)).all(), lambda: ArgumentError(message(
        "attention", "lengths", f"from 0 to {keys}, the keys", f"{lengths.min()} to {lengths.max()}")))


class Tiles:
    """One call, cut into tiles: arrays have axes (B, G, R, T or S, ...): R query heads share a key head."""

    def __init__(self, xp, query, key, value, bias, mask, lengths, scale, is_causal, offset, window_size, softcap,
                 dropout_p, dropout_key, drawn=None):
        (*lead, h, t, d), (g, s, e) = query.shape, value.shape[-3:]
        b, r = prod(lead), _heads_per_group(h, g)
        self.xp, self.lead, self.sizes, self.softcap = xp, lead, (b, g, r, t, s), softcap
        self.q = query.reshape(b, g, r, t, d)
        self.k, self.v = key.reshape(b, g, s, d), value.reshape(b, g, s, e)
        self.ends = self._ends(lengths)                # of the sequences of keys, (B, 1, 1, 1, 1); an int: of all
        self.offset = self.ends - t if offset is None else offset
        self.bias, self.mask = self._five("bias", bias), self._five("mask", mask)
        self.scale = max(d, 1) ** -0.5 if scale is None else scale
        self.window = window(is_causal, window_size)
        self.dropout = (dropout_p, _drawn_from(dropout_p, dropout_key)) if dropout_p else None
        self.drawn = drawn or (t, s, 0, 0)             # the sizes of a head's draw, and where this call lies in it

    def _ends(self, lengths):
        """Where sequences of keys end; what lies behind becomes zeros, whatever it was: NaN too."""
        b, _, _, _, s = self.sizes
        if lengths is None:
            return s
        demand_lengths(lengths, s)
        ends = lengths.astype("int64").reshape(b, 1, 1, 1)
        within = (self.xp.arange(s) < ends).swapaxes(-1, -2)
        self.k, self.v = [self.xp.where(within, x, x.dtype.type(0)) for x in (self.k, self.v)]
        return ends[..., None]

    def _five(self, name, array):
        """A bias or mask with axes (B, G, R, T, S), each as long as the scores' or 1; None stays."""
        if array is None:
            return None
        b, g, r, t, s = self.sizes
        full = (*self.lead, g * r, t, s)
        if shapes.broadcast(array.shape, full) != full:
            raise ShapeError(message("attention", name, f"a shape that broadcasts to {full}", array.shape))
        array = array.reshape((1,) * (len(full) - array.ndim) + array.shape)
        lead, (heads, *rest) = array.shape[:-3], array.shape[-3:]
        if prod(lead) != 1:
            array, lead = self.xp.broadcast_to(array, (*self.lead, heads, *rest)), self.lead
        return array.reshape(prod(lead), *((1, 1) if heads == 1 else (g, r)), *rest)

    def like_bias(self, array):
        """The gradient (B, G, R, T, S) of the bias with the axes of the scores, as far as they are not 1."""
        b, g, r, *rest = array.shape
        return array.reshape(*(self.lead if b != 1 else (1,) * len(self.lead)), g * r, *rest)

    def __iter__(self):
        """Index expressions (b, g, t, s) of tiles, without keys that none of their queries sees."""
        b, g, r, t, s = self.sizes
        before, behind = self.window
        rows = max(1, min(t, max(32, TILE // max(1, r * s))))
        groups = max(1, min(g, TILE // max(1, r * rows * s)))
        batch = max(1, min(b, TILE // max(1, g * r * rows * s)))
        for t0 in range(0, t, rows):
            t1, keys = min(t, t0 + rows), slice(0, s)
            if isinstance(self.offset, int):
                keys = slice(max(0, t0 + self.offset - before), min(s, t1 + self.offset + behind))
            if keys.start < keys.stop:
                yield from [(slice(b0, b0 + batch), slice(g0, g0 + groups), slice(t0, t1), keys)
                            for b0 in range(0, b, batch) for g0 in range(0, g, groups)]

    def part(self, array, b, g, t, s):
        """A tile of an array with axes (B, G, R, T, S), some of them of length 1."""
        index = [slice(None) if n == 1 else i for n, i in zip(array.shape, (b, g, slice(None), t, s))]
        return array[tuple(index)]

    def queries(self, array, b, g, t):
        """A tile of an array (B, G, R, T, X) as matrices (b, g, R t, X)."""
        array = array[b, g, :, t]
        b, g, r, t, x = array.shape
        return array.reshape(b, g, r * t, x)

    def scores(self, b, g, t, s):
        """(scores (b, g, R, t, s), -inf where hidden; and what softcap's slope is made of, or None)."""
        xp, q = self.xp, self.queries(self.q, b, g, t) * self.scale
        scores, capped = xp.matmul(q, self.k[b, g, s].swapaxes(-1, -2)), None
        scores = scores.reshape(*scores.shape[:2], self.sizes[2], t.stop - t.start, scores.shape[-1])
        if self.softcap:
            scores /= self.softcap
            capped = xp.tanh(scores)
            scores = capped * self.softcap
        if self.bias is not None:
            scores += self.part(self.bias, b, g, t, s)
        if self.mask is not None:
            scores += xp.where(self.part(self.mask, b, g, t, s), 0.0, -inf).astype(scores.dtype)
        before, behind = self.window
        offset, ends = [x if isinstance(x, int) else x[b] for x in (self.offset, self.ends)]
        places = xp.arange(s.start, s.stop)
        if min(before, behind) < 2**62:
            distance = places - (xp.arange(t.start, t.stop)[:, None] + offset)
            scores += xp.where((distance >= -before) & (distance <= behind), 0.0, -inf).astype(scores.dtype)
        if not isinstance(ends, int):
            scores += xp.where(places < ends, 0.0, -inf).astype(scores.dtype)
        return scores, capped

    def kept(self, b, g, t, s):
        """What dropout multiplies weights by, 0 or 1 / (1 - p): the same however tiles are cut."""
        (p, key), (batch, groups, r, _, _) = self.dropout, self.sizes
        queries, keys, t0, s0 = self.drawn
        batch, rows, columns = range(batch)[b], t.stop - t.start, slice(s0 + s.start, s0 + s.stop)
        heads = [(i * groups + j) * r + k for i in batch for j in range(groups)[g] for k in range(r)]
        drawn = [random.bernoulli(self.xp, key, (rows, keys), 1 - p, (head * queries + t0 + t.start) * keys)[:, columns]
                 for head in heads]
        drawn = self.xp.stack(drawn).reshape(len(batch), -1, r, rows, s.stop - s.start)
        return drawn.astype(self.q.dtype) * (1 / (1 - p) if p < 1 else 0.0)


@attention.forward
def _(xp, query, key, value, *rest):
    out, logsum = means(Tiles(xp, query, key, value, *rest))
    return out.reshape(*query.shape[:-1], value.shape[-1]), (out, logsum)


@attention.backward
def _(xp, g, kept, query, key, value, bias, mask, lengths, **params):
    tiles = Tiles(xp, query, key, value, bias, mask, lengths, **params)
    gq, gk, gv, gbias = slopes(tiles, g.reshape(kept[0].shape), *kept)
    gbias = None if bias is None else tiles.like_bias(gbias)
    return gq.reshape(query.shape), gk.reshape(key.shape), gv.reshape(value.shape), gbias, None, None


def means(tiles):
    """(out (B, G, R, T, E), logsum (B, G, R, T, 1)): the forward of a call's tiles."""
    xp = tiles.xp
    out = xp.zeros((*tiles.q.shape[:-1], tiles.v.shape[-1]), tiles.q.dtype)
    logsum = xp.zeros((*tiles.q.shape[:-1], 1), tiles.q.dtype)
    for b, g, t, s in tiles:
        p, _ = tiles.scores(b, g, t, s)
        top = p.max(-1, keepdims=True)
        top = xp.where(top == -inf, 0.0, top)          # a row that sees nothing: its exponentials are 0
        p -= top
        xp.exp(p, out=p)
        total = p.sum(-1, keepdims=True)
        total = xp.where(total == 0, 1.0, total)
        logsum[b, g, :, t] = top + xp.log(total)
        if tiles.dropout:
            p *= tiles.kept(b, g, t, s)
        rows = (*p.shape[:2], p.shape[2] * p.shape[3], p.shape[4])
        y = xp.matmul(p.reshape(rows), tiles.v[b, g, s]).reshape(*p.shape[:4], out.shape[-1])
        xp.divide(y, total, out=out[b, g, :, t])
    return out, logsum


def slopes(tiles, gy, out, logsum):
    """Gradients of q (B, G, R, T, D), k (B, G, S, D), v (B, G, S, E) and bias from gy (B, G, R, T, E), the output's."""
    xp, bias = tiles.xp, tiles.bias
    delta = (gy * out).sum(-1, keepdims=True)
    gq, gk, gv = [xp.zeros(a.shape, a.dtype) for a in (tiles.q, tiles.k, tiles.v)]
    gbias = None if bias is None else xp.zeros(bias.shape, bias.dtype)
    for b, g, t, s in tiles:
        p, capped = tiles.scores(b, g, t, s)
        p -= logsum[b, g, :, t]
        xp.exp(p, out=p)
        drops = tiles.kept(b, g, t, s) if tiles.dropout else None
        rows = (*p.shape[:2], p.shape[2] * p.shape[3], p.shape[4])
        gt = tiles.queries(gy, b, g, t)
        weights = p if drops is None else p * drops
        gv[b, g, s] += xp.matmul(weights.reshape(rows).swapaxes(-1, -2), gt)
        gs = xp.matmul(gt, tiles.v[b, g, s].swapaxes(-1, -2)).reshape(p.shape)
        if drops is not None:
            gs *= drops
        gs -= delta[b, g, :, t]
        gs *= p                                        # d/d(scores)
        if bias is not None:
            part = tiles.part(gbias, b, g, t, s)
            part += gs.sum(tuple([i for i, n in enumerate(part.shape) if n == 1]), keepdims=True)
        if capped is not None:
            gs *= 1.0 - capped * capped
        gs *= tiles.scale
        gs = gs.reshape(rows)
        gq[b, g, :, t] = xp.matmul(gs, tiles.k[b, g, s]).reshape(*p.shape[:4], tiles.q.shape[-1])
        gk[b, g, s] += xp.matmul(gs.swapaxes(-1, -2), tiles.queries(tiles.q, b, g, t))
    return gq, gk, gv, gbias


@attention.cost
def _(query, key, value, *_, **params):
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


@attention.samples
def _(make):
    def qkv(h=2, g=2, t=3, s=4, lead=(2,)):
        return make.normal(*lead, h, t, 5), make.normal(*lead, g, s, 5), make.normal(*lead, g, s, 3)

    yield qkv()
    yield *qkv(h=4, g=2, lead=()), make.normal(4, 3, 4), None, None, 0.3, True
    yield *qkv(h=2, g=1, lead=(2, 2)), make.normal(2, 1, 1, 1, 4), make.bools(3, 4), None, None, True, 1
    yield *qkv(t=6, s=6), make.normal(2, 2, 6, 6), None, None, None, False, 0, (1, 2)
    yield *qkv(t=6, s=4), None, make.bools(2, 1, 6, 4), None, None, True, -2, (1, -1), 2.0
    yield *qkv(s=5), make.normal(2, 1, 1, 5), None, make.integers(1, 2) + [2, 5]
    yield *qkv(h=4, lead=(3,)), None, None, make.integers(1, 3) + [4, 0, 2], None, True, None, (2, -1)
    yield *qkv(h=1, g=1, lead=()), None, make.bools(4), make.integers(1) + 3, {
        "is_causal": True, "offset": 1, "dropout_p": 0.4, "dropout_key": make.key(2)}
    yield *qkv(), make.normal(1, 4), None, {"dropout_p": 0.4, "dropout_key": make.key(1)}
    yield *qkv(t=0),
    yield *qkv(s=0),


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False,
                                 scale=None, enable_gqa=False, dropout_key=None, **more):
    """`attention` with PyTorch's arguments.

    Args:
        query (*, H, T, D), key (*, G, S, D), value (*, G, S, E): any floating dtype.
        attn_mask: bool, True where a query may see a key; or floating, added to the scores, and given its
            gradient. Broadcasts to (*, H, T, S).
        dropout_p: probability with which weights are dropped; needs `dropout_key`, a random Key.
        is_causal: query t sees keys up to t only.
        scale: what products are multiplied by; None: 1 / sqrt(D).
        enable_gqa: let H be a multiple of G.
        more: `attention`'s offset, window_size, softcap.

    Returns:
        (*, H, T, E): rows of zeros for queries that see no key.

    Raises:
        ShapeError: shapes do not fit; H and G differ, and enable_gqa is not set.
    """
    query, key, value, attn_mask = map(as_tensor, (query, key, value, attn_mask))
    if not enable_gqa and query.shape[-3:-2] != key.shape[-3:-2]:
        hint = "Set enable_gqa=True to let query heads share key heads."
        expected = f"as many heads as query {query.shape}"
        raise ShapeError(message("scaled_dot_product_attention", "key", expected, key.shape, hint))
    bias, mask = (None, attn_mask) if attn_mask is not None and attn_mask.dtype == bool else (attn_mask, None)
    more.update(scale=scale, is_causal=is_causal, dropout_p=dropout_p, dropout_key=dropout_key)
    return attention(query, key, value, bias, mask, **more)
