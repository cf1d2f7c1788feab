"""Attention: the forward, and a backward that computes the scores again.

A program takes a block of queries (for the gradients of keys and values: of keys) and walks over the blocks on the
other side that it can see. Blocks that all of its rows see whole take the short way; those at a window's edge, and all
of them where there is a bias, a mask, a softcap or dropout, the long one, LONG rows at a time. Nothing is added up by
atomics: the same bits every time.

A row of up to HEAD elements is one tile. Where SPLIT is not 0 rows may be wider: products go over them in steps of
SPLIT, and each HEAD columns of a result have programs of their own, which compute the scores anew.

Source: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
arXiv:2307.08691, algorithms 1 and 2; the gradients of keys and of queries are two kernels, as neither then waits
for the other's sums.
"""
import triton
import triton.language as tl

from .heads import (
    Plane,
    Scores,
    block,
    extent,
    for_head,
    kept,
    load,
    of_head,
    part_of,
    place,
    product,
    rows_of,
    scores,
    seen,
    simple,
    slopes,
    store,
    unbent,
    within,
)
from .variants import PRODUCTS, tuned

# -- forward ------------------------------------------------------------------------------

@triton.jit
def _attend(sums, top, total, a, own, query, keys, values, at, PLAIN: tl.constexpr, BLOCK: tl.constexpr,
            HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """A block of keys joins the softmax: sums of values, and of weights, all relative to exp2(top)."""
    products = product(own, block(keys, at, BLOCK, HEAD, PLAIN), SPLIT, PRECISION)
    found = scores(a, products, query[:, None], (at + tl.arange(0, BLOCK))[None, :], PLAIN)
    peak = tl.maximum(top, tl.max(found, 1))
    floor = peak if PLAIN else tl.where(peak == float("-inf"), 0.0, peak)      # (a row that sees nothing so far)
    weights, fade = tl.exp2(found - floor[:, None]), tl.exp2(top - floor)
    total = total * fade + tl.sum(weights, 1)
    if not PLAIN:
        weights = tl.where(kept(a, query, at, BLOCK), weights, 0.0)
    tile = load(values, at, BLOCK, HEAD, PLAIN)
    return tl.dot(weights.to(tile.dtype), tile, sums * fade[:, None], input_precision=PRECISION), peak, total


@triton.jit
def attention_forward(
        q, k, v, bias, mask, query_starts, key_starts, lengths, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
        v_head, v_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head,
        sequences, heads, group, queries, keys, width, value_width, scale, softcap, offset, ends, before, behind, seed,
        stream, threshold, kept_scale, out, logsum, out_batch, out_head, out_row, BLOCK_M: tl.constexpr,
        BLOCK_N: tl.constexpr, LONG: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    b, h, part, first = place(query_starts, sequences, heads, queries, value_width, BLOCK_M, HEAD, True)
    start, count = extent(query_starts, b, queries)
    key_start, key_count = extent(key_starts, b, within(lengths, b, keys))
    if (first < 0) | (first >= count):
        return
    q = of_head(rows_of(q, q_batch, q_head, q_row, b, start, count, width), h)
    k = of_head(rows_of(k, k_batch, k_head, k_row, b, key_start, key_count, width), h // group)
    v = of_head(rows_of(v, v_batch, v_head, v_row, b, key_start, key_count, value_width), h // group)
    out = of_head(rows_of(out, out_batch, out_head, out_row, b, start, count, value_width), h)
    v, out = part_of(v, part), part_of(out, part)
    bias = Plane(bias + b * bias_batch, bias_head, bias_query)
    mask = Plane(mask + b * mask_batch, mask_head, mask_query)
    offset += ends * (key_count - count)
    a = for_head(Scores(bias, mask, count, key_count, offset, before, behind, scale, softcap, (seed, stream, threshold),
                        kept_scale, b * row_batch + start, row_head, key_start, keys), h)

    own, query = block(q, first, BLOCK_M, HEAD), first + tl.arange(0, BLOCK_M)
    sums = tl.zeros([BLOCK_M, HEAD], tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    last = tl.minimum(first + BLOCK_M, count) - 1
    low, inner, outer, high = seen(first + offset, last + offset, before, behind, key_count, simple(a), BLOCK_N)
    for at in range(inner, outer, BLOCK_N):
        sums, top, total = _attend(sums, top, total, a, own, query, k, v, at, True, BLOCK_N, HEAD, SPLIT, PRECISION)
    for at in tl.range(low, high - (outer - inner), LONG, disable_licm=True):
        at += tl.where(at < inner, 0, outer - inner)
        sums, top, total = _attend(sums, top, total, a, own, query, k, v, at, False, LONG, HEAD, SPLIT, PRECISION)
    total = tl.where(total == 0, 1.0, total)
    store(out, sums * (kept_scale / total)[:, None], first, BLOCK_M, HEAD)
    found = tl.where(top == float("-inf"), 0.0, top) + tl.log2(total)
    tl.store(logsum + a.row + query, found, (query < count) & (part == 0))


# -- backward -----------------------------------------------------------------------------

@triton.jit
def _of_queries(sums, a, own, own_g, query, logs, deltas, keys, values, part, at, PLAIN: tl.constexpr,
                BLOCK: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """What a block of keys adds to the gradient of queries."""
    theirs = block(keys, at, BLOCK, HEAD, PLAIN)
    products = product(own, theirs, SPLIT, PRECISION)
    found = scores(a, products, query[:, None], (at + tl.arange(0, BLOCK))[None, :], PLAIN)
    weights = tl.exp2(found - logs[:, None])
    gradient = product(own_g, block(values, at, BLOCK, HEAD, PLAIN), SPLIT, PRECISION)
    if PLAIN:
        gradient = weights * (gradient - deltas[:, None])
    else:
        gradient = slopes(a, weights, gradient, deltas[:, None], kept(a, query, at, BLOCK))
        gradient = unbent(a, gradient, products)
    tile = load(part_of(keys, part), at, BLOCK, HEAD, PLAIN) if SPLIT else theirs.tile
    return tl.dot(gradient.to(tile.dtype), tile, sums, input_precision=PRECISION)


@triton.jit
def attention_backward_query(
        q, k, v, bias, mask, query_starts, key_starts, lengths, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
        v_head, v_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head,
        sequences, heads, group, queries, keys, width, value_width, scale, softcap, offset, ends, before, behind, seed,
        stream, threshold, kept_scale, out, g, logsum, delta, gq, out_batch, out_head, out_row, g_batch, g_head, g_row,
        gq_batch, gq_head, gq_row, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, LONG: tl.constexpr,
        HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """Also gives delta, which the other gradients want: of each row the sum of the output times its gradient."""
    b, h, part, first = place(query_starts, sequences, heads, queries, width, BLOCK_M, HEAD, True)
    start, count = extent(query_starts, b, queries)
    key_start, key_count = extent(key_starts, b, within(lengths, b, keys))
    if (first < 0) | (first >= count):
        return
    q = of_head(rows_of(q, q_batch, q_head, q_row, b, start, count, width), h)
    k = of_head(rows_of(k, k_batch, k_head, k_row, b, key_start, key_count, width), h // group)
    v = of_head(rows_of(v, v_batch, v_head, v_row, b, key_start, key_count, value_width), h // group)
    out = of_head(rows_of(out, out_batch, out_head, out_row, b, start, count, value_width), h)
    g = of_head(rows_of(g, g_batch, g_head, g_row, b, start, count, value_width), h)
    gq = of_head(rows_of(gq, gq_batch, gq_head, gq_row, b, start, count, width), h)
    bias = Plane(bias + b * bias_batch, bias_head, bias_query)
    mask = Plane(mask + b * mask_batch, mask_head, mask_query)
    offset += ends * (key_count - count)
    a = for_head(Scores(bias, mask, count, key_count, offset, before, behind, scale, softcap, (seed, stream, threshold),
                        kept_scale, b * row_batch + start, row_head, key_start, keys), h)

    own, own_g, query = block(q, first, BLOCK_M, HEAD), block(g, first, BLOCK_M, HEAD), first + tl.arange(0, BLOCK_M)
    logs = tl.load(logsum + a.row + query, query < count, other=0.0)
    deltas = _deltas(g, out, first, BLOCK_M, HEAD)
    tl.store(delta + a.row + query, deltas, (query < count) & (part == 0))
    sums = tl.zeros([BLOCK_M, HEAD], tl.float32)
    last = tl.minimum(first + BLOCK_M, count) - 1
    low, inner, outer, high = seen(first + offset, last + offset, before, behind, key_count, simple(a), BLOCK_N)
    for at in range(inner, outer, BLOCK_N):
        sums = _of_queries(sums, a, own, own_g, query, logs, deltas, k, v, part, at, True, BLOCK_N, HEAD, SPLIT,
                           PRECISION)
    for at in tl.range(low, high - (outer - inner), LONG, disable_licm=True):
        at += tl.where(at < inner, 0, outer - inner)
        sums = _of_queries(sums, a, own, own_g, query, logs, deltas, k, v, part, at, False, LONG, HEAD, SPLIT,
                           PRECISION)
    store(part_of(gq, part), sums * scale, first, BLOCK_M, HEAD)


@triton.jit
def _deltas(g, out, first, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    sums = tl.zeros([BLOCK], tl.float32)
    for column in range(0, g.width, HEAD):
        tile = load(part_of(g, column), first, BLOCK, HEAD).to(tl.float32)
        sums += tl.sum(tile * load(part_of(out, column), first, BLOCK, HEAD).to(tl.float32), 1)
    return sums


@triton.jit
def _of_keys(key_sums, value_sums, a, own, values, key, logsum, delta, q, g, part, at, PLAIN: tl.constexpr,
             BLOCK: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """What a block of queries adds to the gradients of keys and of values. Tiles are (keys, queries)."""
    query = at + tl.arange(0, BLOCK)
    there = query < a.queries
    theirs = block(q, at, BLOCK, HEAD, PLAIN)
    products = product(own, theirs, SPLIT, PRECISION)
    logs = tl.load(logsum + a.row + query, there, other=0.0)
    weights = tl.exp2(scores(a, products, query[None, :], key[:, None], PLAIN) - logs[None, :])
    slope = block(g, at, BLOCK, HEAD, PLAIN)
    gradient = product(values, slope, SPLIT, PRECISION)
    tile = load(part_of(g, part), at, BLOCK, HEAD, PLAIN) if SPLIT else slope.tile
    deltas = tl.load(delta + a.row + query, there, other=0.0)
    if PLAIN:
        value_sums = tl.dot(weights.to(tile.dtype), tile, value_sums, input_precision=PRECISION)
        gradient = weights * (gradient - deltas[None, :])
    else:
        stays = tl.trans(kept(a, query, own.first, own.tile.shape[0]))
        value_sums = tl.dot(tl.where(stays, weights, 0.0).to(tile.dtype), tile, value_sums, input_precision=PRECISION)
        gradient = unbent(a, slopes(a, weights, gradient, deltas[None, :], stays), products)
    tile = load(part_of(q, part), at, BLOCK, HEAD, PLAIN) if SPLIT else theirs.tile
    return tl.dot(gradient.to(tile.dtype), tile, key_sums, input_precision=PRECISION), value_sums


@triton.jit
def attention_backward_key_value(
        q, k, v, bias, mask, query_starts, key_starts, lengths, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
        v_head, v_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head,
        sequences, heads, group, queries, keys, width, value_width, scale, softcap, offset, ends, before, behind, seed,
        stream, threshold, kept_scale, g, logsum, delta, gk, gv, g_batch, g_head, g_row, gk_batch, gk_head, gk_row,
        gv_batch, gv_head, gv_row, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, LONG: tl.constexpr,
        HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """The query heads that share a key head come one after the other."""
    b, j, part, first = place(key_starts, sequences, heads // group, keys, tl.maximum(width, value_width), BLOCK_N,
                              HEAD, False)
    start, count = extent(query_starts, b, queries)
    key_start, rows = extent(key_starts, b, keys)
    if (first < 0) | (first >= rows):
        return
    key_count = within(lengths, b, rows)
    q = of_head(rows_of(q, q_batch, q_head, q_row, b, start, count, width), j * group)
    g = of_head(rows_of(g, g_batch, g_head, g_row, b, start, count, value_width), j * group)
    k = of_head(rows_of(k, k_batch, k_head, k_row, b, key_start, key_count, width), j)
    v = of_head(rows_of(v, v_batch, v_head, v_row, b, key_start, key_count, value_width), j)
    gk = of_head(rows_of(gk, gk_batch, gk_head, gk_row, b, key_start, rows, width), j)
    gv = of_head(rows_of(gv, gv_batch, gv_head, gv_row, b, key_start, rows, value_width), j)
    bias = Plane(bias + b * bias_batch, bias_head, bias_query)
    mask = Plane(mask + b * mask_batch, mask_head, mask_query)
    offset += ends * (key_count - count)
    a = for_head(Scores(bias, mask, count, key_count, offset, before, behind, scale, softcap, (seed, stream, threshold),
                        kept_scale, b * row_batch + start, row_head, key_start, keys), j * group)

    own, values, key = block(k, first, BLOCK_N, HEAD), block(v, first, BLOCK_N, HEAD), first + tl.arange(0, BLOCK_N)
    key_sums = tl.zeros([BLOCK_N, HEAD], tl.float32)
    value_sums = tl.zeros([BLOCK_N, HEAD], tl.float32)
    last = tl.minimum(first + BLOCK_N, key_count) - 1
    low, inner, outer, high = seen(first - offset, last - offset, behind, before, count, simple(a), BLOCK_M)
    high = tl.where(first < key_count, high, low)
    whole, span = outer - inner, high - low - (outer - inner)
    for step in range(0, whole * group, BLOCK_M):
        h, at = (step // whole).to(tl.int64), inner + step % whole
        key_sums, value_sums = _of_keys(key_sums, value_sums, for_head(a, h), own, values, key, logsum, delta,
                                        of_head(q, h), of_head(g, h), part, at, True, BLOCK_M, HEAD, SPLIT, PRECISION)
    for step in tl.range(0, span * group, LONG, disable_licm=True):
        h, at = (step // span).to(tl.int64), low + step % span
        at += tl.where(at < inner, 0, whole)
        key_sums, value_sums = _of_keys(key_sums, value_sums, for_head(a, h), own, values, key, logsum, delta,
                                        of_head(q, h), of_head(g, h), part, at, False, LONG, HEAD, SPLIT, PRECISION)
    there = (key < key_count)[:, None]
    store(part_of(gk, part), tl.where(there, key_sums * scale, 0.0), first, BLOCK_N, HEAD)
    store(part_of(gv, part), tl.where(there, value_sums * kept_scale, 0.0), first, BLOCK_N, HEAD)


@triton.jit
def attention_backward_bias(
        q, k, v, bias, mask, query_starts, key_starts, lengths, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
        v_head, v_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head,
        sequences, heads, group, queries, keys, width, value_width, scale, softcap, offset, ends, before, behind, seed,
        stream, threshold, kept_scale, g, logsum, delta, gbias, g_batch, g_head, g_row, batches, bias_heads,
        BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """A tile of the gradient of a bias, summed over the sequences and heads that share it: (batches, bias_heads,
    queries, keys), float32."""
    program, blocks = tl.program_id(0), tl.cdiv(keys, BLOCK_N)
    at, program = program % blocks * BLOCK_N, program // blocks
    blocks = tl.cdiv(queries, BLOCK_M)
    first, own = program % blocks * BLOCK_M, (program // blocks).to(tl.int64)
    query, key = first + tl.arange(0, BLOCK_M), at + tl.arange(0, BLOCK_N)
    there = query < queries
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    share = heads // bias_heads                        # heads, one after the other, that see the same tile
    for copy in tl.range(0, sequences // batches * share, disable_licm=True):
        b, h = own // bias_heads + copy // share, own % bias_heads + copy % share
        key_count = within(lengths, b, keys)
        left = block(of_head(rows_of(q, q_batch, q_head, q_row, b, 0, queries, width), h), first, BLOCK_M, SPLIT)
        right = block(of_head(rows_of(k, k_batch, k_head, k_row, b, 0, key_count, width), h // group), at, BLOCK_N,
                      SPLIT)
        a = for_head(Scores(Plane(bias + b * bias_batch, bias_head, bias_query),
                            Plane(mask + b * mask_batch, mask_head, mask_query), queries, key_count,
                            offset + ends * (key_count - queries), before, behind, scale, softcap,
                            (seed, stream, threshold), kept_scale, b * row_batch, row_head, 0, keys), h)
        logs = tl.load(logsum + a.row + query, there, other=0.0)
        deltas = tl.load(delta + a.row + query, there, other=0.0)
        found = scores(a, product(left, right, SPLIT, PRECISION), query[:, None], key[None, :], False)
        left = block(of_head(rows_of(g, g_batch, g_head, g_row, b, 0, queries, value_width), h), first, BLOCK_M, SPLIT)
        right = block(of_head(rows_of(v, v_batch, v_head, v_row, b, 0, key_count, value_width), h // group), at,
                      BLOCK_N, SPLIT)
        sums += slopes(a, tl.exp2(found - logs[:, None]), product(left, right, SPLIT, PRECISION), deltas[:, None],
                       kept(a, query, at, BLOCK_N))
    tile = gbias + ((own * queries + query) * keys)[:, None] + key[None, :]
    tl.store(tile, sums, there[:, None] & (key < keys)[None, :])


# -- what is compiled ---------------------------------------------------------------------

WIDTHS = {"float16": (32, 64, 128, 256), "bfloat16": (32, 64, 128, 256), "float32": (64, 256), "tf32": (64, 128, 256)}
MATRICES = "q", "k", "v", "out", "g", "gq", "gk", "gv"                         # a row's elements lie side by side
KINDS = {"mask": "*i1", "query_starts": "*i32", "key_starts": "*i32", "lengths": "*i32", "scale": "fp32",
         "softcap": "fp32", "seed": "i64", "stream": "i64", "threshold": "u32", "kept_scale": "fp32",
         "logsum": "*fp32", "delta": "*fp32", "gbias": "*fp32"}


def _variant(function, dtype, **key):
    def kind(name):
        step = name.endswith(("_batch", "_head", "_row", "_query"))
        return PRODUCTS[dtype] if name in (*MATRICES, "bias") else KINDS.get(name, "i64" if step else "i32")

    names = [n for n in function.arg_names if not n.isupper()]
    return tuned(function, {"dtype": dtype, **key}, {n: kind(n) for n in names},
                 divisible=[n for n in names if n in MATRICES])


def variants():
    for dtype, widths in WIDTHS.items():
        for head in widths:
            yield _variant(attention_forward, dtype, head=head)
            if (dtype, head) not in (("float32", 64), ("tf32", 128)):          # (too many registers: 256 serves)
                yield _variant(attention_backward_query, dtype, head=head)
                yield _variant(attention_backward_key_value, dtype, head=head)
        yield _variant(attention_backward_bias, dtype)
