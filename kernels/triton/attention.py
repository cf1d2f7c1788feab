"""Attention: the forward, and a backward that computes the scores again.

A program takes a block of queries (for the gradients of keys and values: of keys) and walks over the blocks on the
other side that it can see. Blocks that all of its rows see whole take the short way; those at a window's edge, and
all of them where there is a bias, a mask, a softcap or dropout, take the long one, which is the slower by a third or
so. Scores are to the base 2. Nothing is added up by atomics: the same bits every time.

Sequences lie in a batch, or one behind the other ("packed"): then `query_starts` and `key_starts` hold where each
begins, and where the last ends. A row of up to HEAD elements is one tile. Where SPLIT is not 0 rows may be wider:
products go over them in steps of SPLIT, and each HEAD columns of a result have programs of their own, which compute
the scores anew.

Source: Dao 2023, "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning",
arXiv:2307.08691, algorithms 1 and 2; the gradients of keys and of queries are two kernels, as neither then waits
for the other's sums.
"""
import triton
import triton.language as tl
from triton.language.extra import libdevice

from .variants import POINTERS, tuned

LOG2_E = tl.constexpr(1.4426950408889634)
ALWAYS = tl.constexpr(0x80000000)                      # the threshold below which every word lies: nothing is dropped


# -- where a program works ------------------------------------------------------------

@triton.jit
def _given(pointer):
    return pointer.to(tl.int64) != 0


@triton.jit
def _place(starts, sequences, length, heads, width, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    """(sequence, head, first column of its part, first row of its block, start of the sequence, its length).

    Of packed sequences, sequence b has the slots from starts[b] // BLOCK + b on: enough for its blocks, and found
    without knowing the lengths of others. In a slot too many the first row lies beyond the sequence.
    """
    program, parts, packed = tl.program_id(0), tl.cdiv(width, HEAD), _given(starts)
    slots = length // BLOCK + sequences if packed else tl.cdiv(length, BLOCK)
    slot = slots - 1 - program % slots                 # those that see most, if causal, come first
    part = program // slots % parts
    head = program // slots // parts % heads
    sequence, start = program // slots // parts // heads, 0
    if packed:
        after, sequence = sequences, 0                 # the last sequence whose first slot is not behind this one
        while after - sequence > 1:
            middle = (sequence + after) // 2
            behind = tl.load(starts + middle) // BLOCK + middle > slot
            sequence, after = tl.where(behind, sequence, middle), tl.where(behind, middle, after)
        start = tl.load(starts + sequence)
        length = tl.load(starts + sequence + 1) - start
        slot -= start // BLOCK + sequence
    return sequence.to(tl.int64), head, part * HEAD, slot * BLOCK, start, length


@triton.jit
def _span(starts, sequence, length):
    """(where a sequence begins, its length)."""
    start = 0
    if _given(starts):
        start = tl.load(starts + sequence)
        length = tl.load(starts + sequence + 1) - start
    return start, length


@triton.jit
def _ranges(first, last, before, behind, length, long_way, BLOCK: tl.constexpr):
    """[low, high): what any row at places first ... last sees; [inner, outer): what all see. In whole blocks."""
    low = tl.minimum(tl.maximum(first - before, 0), length) // BLOCK
    high = tl.cdiv(tl.minimum(tl.maximum(last + behind + 1, 0), length), BLOCK)
    inner = tl.minimum(tl.maximum(tl.cdiv(tl.maximum(last - before, 0), BLOCK), low), high)
    outer = tl.maximum(tl.minimum(tl.maximum(first + behind + 1, 0), length) // BLOCK, inner)
    outer = tl.where(long_way, inner, outer)
    return low * BLOCK, inner * BLOCK, outer * BLOCK, tl.maximum(high, outer) * BLOCK


# -- tiles ------------------------------------------------------------------------------
# A matrix is a tuple: pointer, distance between rows, rows, columns.

@triton.jit
def _tile(matrix, first, column, BLOCK: tl.constexpr, HEAD: tl.constexpr, WHOLE: tl.constexpr = False):
    """Rows from `first` on, columns from `column` on; zeros where there are none (WHOLE: all rows are there)."""
    pointer, stride, rows, width = matrix
    row, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, HEAD)[None, :]
    at = pointer + (first.to(tl.int64) * stride + column) + (row * stride + columns)
    inside = columns < width - column
    return tl.load(at, inside if WHOLE else inside & (first + row < rows), other=0.0)


@triton.jit
def _put(matrix, values, first, column, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    pointer, stride, rows, width = matrix
    row, columns = tl.arange(0, BLOCK)[:, None], tl.arange(0, HEAD)[None, :]
    at = pointer + (first.to(tl.int64) * stride + column) + (row * stride + columns)
    tl.store(at, values.to(pointer.dtype.element_ty), (columns < width - column) & (first + row < rows))


@triton.jit
def _product(mine, own, first, tile, matrix, at, BLOCK: tl.constexpr, OTHER: tl.constexpr, SPLIT: tl.constexpr,
             PRECISION: tl.constexpr):
    """A block's rows times rows of the other side, (BLOCK, OTHER): of their tiles, or SPLIT columns at a time."""
    if SPLIT:
        product = _split_product(own, first, matrix, at, BLOCK, OTHER, SPLIT, PRECISION)
    else:
        product = tl.dot(mine, tl.trans(tile), input_precision=PRECISION)
    return product


@triton.jit
def _split_product(own, first, matrix, at, BLOCK: tl.constexpr, OTHER: tl.constexpr, SPLIT: tl.constexpr,
                   PRECISION: tl.constexpr):
    product = tl.zeros([BLOCK, OTHER], tl.float32)
    for column in range(0, own[3], SPLIT):
        mine, tile = _tile(own, first, column, BLOCK, SPLIT), _tile(matrix, at, column, OTHER, SPLIT)
        product = tl.dot(mine, tl.trans(tile), product, input_precision=PRECISION)
    return product


# -- scores, the long way -----------------------------------------------------------------

@triton.jit
def _scores(products, query, key, sizes, view, bias, mask, scale, softcap):
    """Scores, -inf where a query does not see a key; query and key have the tile's axes, one each.

    Nothing that depends on the products stands under an `if`: only then does the compiler give this product and the
    next one the same layout.
    """
    queries, keys = sizes
    offset, before, behind = view
    distance = key - (query + offset)
    inside = (query < queries) & (key < keys)
    seen = inside & (distance >= -before) & (distance <= behind)
    if _given(mask[0]):
        seen = seen & (_spread(mask, query, key, inside) != 0)
    added = tl.zeros(products.shape, bias[0].dtype.element_ty)
    if _given(bias[0]):
        added = _spread(bias, query, key, inside)
    scores = tl.map_elementwise(_bent, products * scale, softcap)[0] + added.to(tl.float32)
    return tl.where(seen, scores * LOG2_E, float("-inf"))


@triton.jit
def _spread(plane, query, key, inside):
    """A tile of a bias or mask: a tuple of a pointer to the row `first`, that row, the distance between rows."""
    pointer, first, stride = plane
    return tl.load(pointer + ((query - first) * stride + key), inside, other=0)


@triton.jit
def _bent(score, softcap):
    if softcap > 0:
        score = libdevice.tanh(score / softcap) * softcap
    return (score,)


@triton.jit
def _unbent(gradient, score, softcap):
    """The gradient of scores, taken through softcap."""
    if softcap > 0:
        bent = libdevice.tanh(score / softcap)
        gradient *= 1.0 - bent * bent
    return (gradient,)


# -- dropout ------------------------------------------------------------------------------

@triton.jit
def _kept(row, key, keys, draw, COLUMNS: tl.constexpr):
    """(rows, COLUMNS) of bool: which weights are not dropped, by the numbers from row * keys + key on.

    As minidl/backend/random.py draws: a counter gives four words, those of neighbours in a row. Where rows do not
    begin with a counter's first word, a group of four takes words from two.
    """
    number = row.to(tl.int64) * keys + key
    counter = (number >> 2)[:, None] + tl.arange(0, COLUMNS // 4)[None, :]
    bits = _bits(counter, draw)
    if (keys | key) & 3 != 0:
        bits = (bits | _bits(counter + 1, draw) << 4) >> (number & 3).to(tl.int32)[:, None]
    bits = bits[:, :, None] >> tl.arange(0, 4)[None, None, :]
    return tl.reshape(bits & 1 != 0, (row.shape[0], COLUMNS))


@triton.jit
def _bits(counter, draw):
    """For each counter four bits: do its words say that a weight is kept?"""
    seed, stream, threshold = draw
    a, b, c, d = tl.philox_impl(counter.to(tl.uint32), (counter >> 32).to(tl.uint32), stream.to(tl.uint32),
                                (stream >> 32).to(tl.uint32), seed.to(tl.uint32), (seed >> 32).to(tl.uint32))
    low = (a >> 1 < threshold).to(tl.int32) | (b >> 1 < threshold).to(tl.int32) << 1
    return low | (c >> 1 < threshold).to(tl.int32) << 2 | (d >> 1 < threshold).to(tl.int32) << 3


# -- forward ------------------------------------------------------------------------------

@triton.jit
def _fold(scores, top, total, SOME: tl.constexpr):
    """One more block of the softmax over a row: (weights, what earlier sums are multiplied by, top, total)."""
    peak = tl.maximum(top, tl.max(scores, 1))
    floor = peak if SOME else tl.where(peak == float("-inf"), 0.0, peak)       # (a row that sees nothing so far)
    weights = tl.exp2(scores - floor[:, None])
    fade = tl.exp2(top - floor)
    return weights, fade, peak, total * fade + tl.sum(weights, 1)


@triton.jit
def attention_forward(
        q, k, v, bias, mask, out, logsum, query_starts, key_starts, q_batch, q_head, q_row, k_batch, k_head, k_row,
        v_batch, v_head, v_row, out_batch, out_head, out_row, bias_batch, bias_head, bias_query, mask_batch, mask_head,
        mask_query, row_batch, row_head, sequences, heads, group, queries, keys, width, value_width, scale, softcap,
        offset, before, behind, seed, stream, threshold, kept_scale, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
        LONG_N: tl.constexpr, LONG_STAGES: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr,
        PRECISION: tl.constexpr):
    all_keys = keys
    b, head, part, first, start, queries = _place(query_starts, sequences, queries, heads, value_width, BLOCK_M, HEAD)
    key_start, keys = _span(key_starts, b, keys)
    if _given(query_starts):
        offset += keys - queries
    if first >= queries:
        return
    h, g = head.to(tl.int64), (head // group).to(tl.int64)
    q = (q + b * q_batch + h * q_head + start.to(tl.int64) * q_row, q_row, queries, width)
    k = (k + b * k_batch + g * k_head + key_start.to(tl.int64) * k_row, k_row, keys, width)
    v = (v + b * v_batch + g * v_head + key_start.to(tl.int64) * v_row, v_row, keys, value_width)

    long_way = _given(bias) | _given(mask) | (softcap > 0) | (threshold < ALWAYS)
    last = tl.minimum(first + BLOCK_M, queries) - 1
    low, inner, outer, high = _ranges(first + offset, last + offset, before, behind, keys, long_way, BLOCK_N)
    mine = _tile(q, first, 0, BLOCK_M, HEAD)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, HEAD], tl.float32)
    for at in range(inner, outer, BLOCK_N):
        key_tile = _tile(k, at, 0, BLOCK_N, HEAD, True)
        products = _product(mine, q, first, key_tile, k, at, BLOCK_M, BLOCK_N, SPLIT, PRECISION)
        weights, fade, top, total = _fold(products * (scale * LOG2_E), top, total, True)
        value_tile = _tile(v, at, part, BLOCK_N, HEAD, True)
        sums = tl.dot(weights.to(value_tile.dtype), value_tile, sums * fade[:, None], input_precision=PRECISION)

    query, key = first + tl.arange(0, BLOCK_M), tl.arange(0, LONG_N)
    row = b * row_batch + h * row_head + start
    bias = (bias + b * bias_batch + h * bias_head + first.to(tl.int64) * bias_query, first, bias_query)
    mask = (mask + b * mask_batch + h * mask_head + first.to(tl.int64) * mask_query, first, mask_query)
    for at in tl.range(low, high - (outer - inner), LONG_N, num_stages=LONG_STAGES, disable_licm=True):
        at += tl.where(at < inner, 0, outer - inner)
        key_tile = _tile(k, at, 0, LONG_N, HEAD)
        products = _product(mine, q, first, key_tile, k, at, BLOCK_M, LONG_N, SPLIT, PRECISION)
        scores = _scores(products, query[:, None], (at + key)[None, :], (queries, keys), (offset, before, behind),
                         bias, mask, scale, softcap)
        weights, fade, top, total = _fold(scores, top, total, False)
        kept = tl.full([BLOCK_M, LONG_N], 1, tl.int1)
        if threshold < ALWAYS:
            kept = _kept(row + query, key_start + at, all_keys, (seed, stream, threshold), LONG_N)
        weights = tl.where(kept, weights, 0.0)
        value_tile = _tile(v, at, part, LONG_N, HEAD)
        sums = tl.dot(weights.to(value_tile.dtype), value_tile, sums * fade[:, None], input_precision=PRECISION)

    total = tl.where(total == 0, 1.0, total)
    out = (out + b * out_batch + h * out_head + start.to(tl.int64) * out_row, out_row, queries, value_width)
    _put(out, sums * (kept_scale / total)[:, None], first, part, BLOCK_M, HEAD)
    found = tl.where(top == float("-inf"), 0.0, top) + tl.log2(total)
    tl.store(logsum + row + query, found, (query < queries) & (part == 0))


# -- backward -----------------------------------------------------------------------------

@triton.jit
def _weights(products, logsum, query, key, sizes, view, bias, mask, scale, softcap):
    """What the forward's softmax gave, the long way; logsum broadcasts to the tile."""
    return tl.exp2(_scores(products, query, key, sizes, view, bias, mask, scale, softcap) - logsum)


@triton.jit
def attention_backward_query(
        q, k, v, bias, mask, out, g, logsum, delta, gq, query_starts, key_starts, q_batch, q_head, q_row, k_batch,
        k_head, k_row, v_batch, v_head, v_row, out_batch, out_head, out_row, g_batch, g_head, g_row, gq_batch, gq_head,
        gq_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head, sequences,
        heads, group, queries, keys, width, value_width, scale, softcap, offset, before, behind, seed, stream,
        threshold, kept_scale, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, LONG_N: tl.constexpr,
        LONG_STAGES: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """Also gives delta, which the other gradients want: of each row the sum of the output times its gradient."""
    all_keys = keys
    b, head, part, first, start, queries = _place(query_starts, sequences, queries, heads, width, BLOCK_M, HEAD)
    key_start, keys = _span(key_starts, b, keys)
    if _given(query_starts):
        offset += keys - queries
    if first >= queries:
        return
    h, j = head.to(tl.int64), (head // group).to(tl.int64)
    q = (q + b * q_batch + h * q_head + start.to(tl.int64) * q_row, q_row, queries, width)
    k = (k + b * k_batch + j * k_head + key_start.to(tl.int64) * k_row, k_row, keys, width)
    v = (v + b * v_batch + j * v_head + key_start.to(tl.int64) * v_row, v_row, keys, value_width)
    g = (g + b * g_batch + h * g_head + start.to(tl.int64) * g_row, g_row, queries, value_width)
    out = (out + b * out_batch + h * out_head + start.to(tl.int64) * out_row, out_row, queries, value_width)
    query = first + tl.arange(0, BLOCK_M)
    row = b * row_batch + h * row_head + start
    logs = tl.load(logsum + row + query, query < queries, other=0.0)
    mine, slopes = _tile(q, first, 0, BLOCK_M, HEAD), _tile(g, first, 0, BLOCK_M, HEAD)
    deltas = tl.sum(slopes.to(tl.float32) * _tile(out, first, 0, BLOCK_M, HEAD).to(tl.float32), 1)
    if SPLIT:
        for column in range(HEAD, value_width, HEAD):
            tile = _tile(out, first, column, BLOCK_M, HEAD).to(tl.float32)
            deltas += tl.sum(_tile(g, first, column, BLOCK_M, HEAD).to(tl.float32) * tile, 1)
    tl.store(delta + row + query, deltas, (query < queries) & (part == 0))

    long_way = _given(bias) | _given(mask) | (softcap > 0) | (threshold < ALWAYS)
    last = tl.minimum(first + BLOCK_M, queries) - 1
    low, inner, outer, high = _ranges(first + offset, last + offset, before, behind, keys, long_way, BLOCK_N)
    sums = tl.zeros([BLOCK_M, HEAD], tl.float32)
    for at in range(inner, outer, BLOCK_N):
        key_tile, value_tile = _tile(k, at, 0, BLOCK_N, HEAD, True), _tile(v, at, 0, BLOCK_N, HEAD, True)
        products = _product(mine, q, first, key_tile, k, at, BLOCK_M, BLOCK_N, SPLIT, PRECISION)
        weights = tl.exp2(products * (scale * LOG2_E) - logs[:, None])
        gradient = _product(slopes, g, first, value_tile, v, at, BLOCK_M, BLOCK_N, SPLIT, PRECISION)
        gradient = weights * (gradient - deltas[:, None])
        if SPLIT:
            key_tile = _tile(k, at, part, BLOCK_N, HEAD, True)
        sums = tl.dot(gradient.to(key_tile.dtype), key_tile, sums, input_precision=PRECISION)

    key = tl.arange(0, LONG_N)
    bias = (bias + b * bias_batch + h * bias_head + first.to(tl.int64) * bias_query, first, bias_query)
    mask = (mask + b * mask_batch + h * mask_head + first.to(tl.int64) * mask_query, first, mask_query)
    for at in tl.range(low, high - (outer - inner), LONG_N, num_stages=LONG_STAGES, disable_licm=True):
        at += tl.where(at < inner, 0, outer - inner)
        key_tile, value_tile = _tile(k, at, 0, LONG_N, HEAD), _tile(v, at, 0, LONG_N, HEAD)
        products = _product(mine, q, first, key_tile, k, at, BLOCK_M, LONG_N, SPLIT, PRECISION)
        weights = _weights(products, logs[:, None], query[:, None], (at + key)[None, :], (queries, keys),
                           (offset, before, behind), bias, mask, scale, softcap)
        gradient = _product(slopes, g, first, value_tile, v, at, BLOCK_M, LONG_N, SPLIT, PRECISION)
        kept = tl.full([BLOCK_M, LONG_N], 1, tl.int1)
        if threshold < ALWAYS:
            kept = _kept(row + query, key_start + at, all_keys, (seed, stream, threshold), LONG_N)
        gradient = weights * (tl.where(kept, gradient * kept_scale, 0.0) - deltas[:, None])
        gradient = tl.map_elementwise(_unbent, gradient, products * scale, softcap)[0]
        if SPLIT:
            key_tile = _tile(k, at, part, LONG_N, HEAD)
        sums = tl.dot(gradient.to(key_tile.dtype), key_tile, sums, input_precision=PRECISION)
    gq = (gq + b * gq_batch + h * gq_head + start.to(tl.int64) * gq_row, gq_row, queries, width)
    _put(gq, sums * scale, first, part, BLOCK_M, HEAD)


@triton.jit
def attention_backward_key_value(
        q, k, v, bias, mask, g, logsum, delta, gk, gv, query_starts, key_starts, q_batch, q_head, q_row, k_batch,
        k_head, k_row, v_batch, v_head, v_row, g_batch, g_head, g_row, gk_batch, gk_head, gk_row, gv_batch, gv_head,
        gv_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch, row_head, sequences,
        heads, group, queries, keys, width, value_width, scale, softcap, offset, before, behind, seed, stream,
        threshold, kept_scale, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, LONG_M: tl.constexpr,
        LONG_STAGES: tl.constexpr, HEAD: tl.constexpr, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """Tiles are (keys, queries). The query heads that share a key head come one after the other."""
    all_keys = keys
    b, shared, part, first, key_start, keys = _place(key_starts, sequences, keys, heads // group,
                                                     tl.maximum(width, value_width), BLOCK_N, HEAD)
    start, queries = _span(query_starts, b, queries)
    if _given(query_starts):
        offset += keys - queries
    if first >= keys:
        return
    j = shared.to(tl.int64)
    k = (k + b * k_batch + j * k_head + key_start.to(tl.int64) * k_row, k_row, keys, width)
    v = (v + b * v_batch + j * v_head + key_start.to(tl.int64) * v_row, v_row, keys, value_width)
    q += b * q_batch + j * group * q_head + start.to(tl.int64) * q_row
    g += b * g_batch + j * group * g_head + start.to(tl.int64) * g_row
    row = b * row_batch + j * group * row_head + start
    mine, values = _tile(k, first, 0, BLOCK_N, HEAD), _tile(v, first, 0, BLOCK_N, HEAD)

    long_way = _given(bias) | _given(mask) | (softcap > 0) | (threshold < ALWAYS)
    last = tl.minimum(first + BLOCK_N, keys) - 1
    low, inner, outer, high = _ranges(first - offset, last - offset, behind, before, queries, long_way, BLOCK_M)
    key_sums = tl.zeros([BLOCK_N, HEAD], tl.float32)
    value_sums = tl.zeros([BLOCK_N, HEAD], tl.float32)
    span = outer - inner
    query = tl.arange(0, BLOCK_M)
    for step in range(0, span * group, BLOCK_M):
        h, at = (step // span).to(tl.int64), inner + step % span
        rows, slopes = (q + h * q_head, q_row, queries, width), (g + h * g_head, g_row, queries, value_width)
        tile = _tile(rows, at, 0, BLOCK_M, HEAD, True)
        products = _product(mine, k, first, tile, rows, at, BLOCK_N, BLOCK_M, SPLIT, PRECISION)
        logs = tl.load(logsum + (row + h * row_head) + at + query)
        weights = tl.exp2(products * (scale * LOG2_E) - logs[None, :])
        slope = _tile(slopes, at, 0, BLOCK_M, HEAD, True)
        gradient = _product(values, v, first, slope, slopes, at, BLOCK_N, BLOCK_M, SPLIT, PRECISION)
        if SPLIT:
            tile, slope = _tile(rows, at, part, BLOCK_M, HEAD, True), _tile(slopes, at, part, BLOCK_M, HEAD, True)
        value_sums = tl.dot(weights.to(slope.dtype), slope, value_sums, input_precision=PRECISION)
        deltas = tl.load(delta + (row + h * row_head) + at + query)
        gradient = weights * (gradient - deltas[None, :])
        key_sums = tl.dot(gradient.to(tile.dtype), tile, key_sums, input_precision=PRECISION)

    key, query = first + tl.arange(0, BLOCK_N), tl.arange(0, LONG_M)
    span = high - low - span
    for step in tl.range(0, span * group, LONG_M, num_stages=LONG_STAGES, disable_licm=True):
        h, at = (step // span).to(tl.int64), low + step % span
        at += tl.where(at < inner, 0, outer - inner)
        rows, slopes = (q + h * q_head, q_row, queries, width), (g + h * g_head, g_row, queries, value_width)
        tile = _tile(rows, at, 0, LONG_M, HEAD)
        products = _product(mine, k, first, tile, rows, at, BLOCK_N, LONG_M, SPLIT, PRECISION)
        logs = tl.load(logsum + (row + h * row_head) + at + query, at + query < queries, other=0.0)
        head = j * group + h
        added = (bias + b * bias_batch + head * bias_head + at.to(tl.int64) * bias_query, at, bias_query)
        shown = (mask + b * mask_batch + head * mask_head + at.to(tl.int64) * mask_query, at, mask_query)
        weights = _weights(products, logs[None, :], (at + query)[None, :], key[:, None], (queries, keys),
                           (offset, before, behind), added, shown, scale, softcap)
        kept = tl.full([BLOCK_N, LONG_M], 1, tl.int1)
        if threshold < ALWAYS:
            number = row + h * row_head + at + query
            kept = tl.trans(_kept(number, key_start + first, all_keys, (seed, stream, threshold), BLOCK_N))
        slope = _tile(slopes, at, 0, LONG_M, HEAD)
        gradient = _product(values, v, first, slope, slopes, at, BLOCK_N, LONG_M, SPLIT, PRECISION)
        if SPLIT:
            tile, slope = _tile(rows, at, part, LONG_M, HEAD), _tile(slopes, at, part, LONG_M, HEAD)
        value_sums = tl.dot(tl.where(kept, weights, 0.0).to(slope.dtype), slope, value_sums, input_precision=PRECISION)
        deltas = tl.load(delta + (row + h * row_head) + at + query, at + query < queries, other=0.0)
        gradient = weights * (tl.where(kept, gradient * kept_scale, 0.0) - deltas[None, :])
        gradient = tl.map_elementwise(_unbent, gradient, products * scale, softcap)[0]
        key_sums = tl.dot(gradient.to(tile.dtype), tile, key_sums, input_precision=PRECISION)
    gk = (gk + b * gk_batch + j * gk_head + key_start.to(tl.int64) * gk_row, gk_row, keys, width)
    gv = (gv + b * gv_batch + j * gv_head + key_start.to(tl.int64) * gv_row, gv_row, keys, value_width)
    _put(gk, key_sums * scale, first, part, BLOCK_N, HEAD)
    _put(gv, value_sums * kept_scale, first, part, BLOCK_N, HEAD)


@triton.jit
def attention_backward_bias(
        q, k, v, bias, mask, g, logsum, delta, gbias, q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head,
        v_row, g_batch, g_head, g_row, bias_batch, bias_head, bias_query, mask_batch, mask_head, mask_query, row_batch,
        row_head, sequences, heads, group, queries, keys, width, value_width, scale, softcap, offset, before, behind,
        seed, stream, threshold, kept_scale, batches, bias_heads, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
        SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """A tile of the gradient of a bias, summed over the sequences and heads that share it: (batches, bias_heads,
    queries, keys), float32."""
    program, blocks = tl.program_id(0), tl.cdiv(keys, BLOCK_N)
    at = program % blocks * BLOCK_N
    block = program // blocks % tl.cdiv(queries, BLOCK_M)
    first = block * BLOCK_M
    own = program // blocks // tl.cdiv(queries, BLOCK_M)
    query, key = first + tl.arange(0, BLOCK_M), at + tl.arange(0, BLOCK_N)
    inside = query < queries
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    low, _, _, high = _ranges(first + offset, tl.minimum(first + BLOCK_M, queries) - 1 + offset, before, behind, keys,
                              True, 1)
    share = heads // bias_heads
    copies = sequences // batches * share if (at < high) & (at + BLOCK_N > low) else 0
    for copy in tl.range(copies, disable_licm=True):
        b = (own // bias_heads + copy // share).to(tl.int64)
        h = (own % bias_heads + copy % share).to(tl.int64)
        j = h // group
        rows = (q + b * q_batch + h * q_head, q_row, queries, width)
        k_rows = (k + b * k_batch + j * k_head, k_row, keys, width)
        slopes = (g + b * g_batch + h * g_head, g_row, queries, value_width)
        v_rows = (v + b * v_batch + j * v_head, v_row, keys, value_width)
        row = b * row_batch + h * row_head + query
        products = _split_product(rows, first, k_rows, at, BLOCK_M, BLOCK_N, SPLIT, PRECISION)
        added = (bias + b * bias_batch + h * bias_head + first.to(tl.int64) * bias_query, first, bias_query)
        shown = (mask + b * mask_batch + h * mask_head + first.to(tl.int64) * mask_query, first, mask_query)
        logs, deltas = tl.load(logsum + row, inside, other=0.0), tl.load(delta + row, inside, other=0.0)
        weights = _weights(products, logs[:, None], query[:, None], key[None, :], (queries, keys),
                           (offset, before, behind), added, shown, scale, softcap)
        gradient = _split_product(slopes, first, v_rows, at, BLOCK_M, BLOCK_N, SPLIT, PRECISION)
        kept = tl.full([BLOCK_M, BLOCK_N], 1, tl.int1)
        if threshold < ALWAYS:
            kept = _kept(row, at, keys, (seed, stream, threshold), BLOCK_N)
        sums += weights * (tl.where(kept, gradient * kept_scale, 0.0) - deltas[:, None])
    place = (own.to(tl.int64) * queries + query) * keys
    tl.store(gbias + place[:, None] + key[None, :], sums, inside[:, None] & (key < keys)[None, :])


# -- what is compiled ---------------------------------------------------------------------

HALVES, WIDTHS = ("float16", "bfloat16"), (32, 64, 128, 256)
KEYS = [(dtype, head) for dtype in HALVES for head in WIDTHS]
MATRICES = "q", "k", "v", "out", "g", "gq", "gk", "gv"                         # a row's elements lie side by side
STEPS = "batch", "head", "row"


def _kind(name, pointer):
    """The type of a kernel's argument."""
    if name in (*MATRICES, "bias"):
        return pointer
    kinds = {"mask": "*u8", "logsum": "*fp32", "delta": "*fp32", "gbias": "*fp32", "query_starts": "*i32",
             "key_starts": "*i32", "scale": "fp32", "softcap": "fp32", "kept_scale": "fp32", "threshold": "u32",
             "seed": "i64", "stream": "i64"}
    return kinds.get(name, "i64" if name.endswith(("_batch", "_head")) else "i32")


def _variant(function, dtype, key):
    names = [n for n in function.arg_names if not n.isupper()]
    divisible = {"width", "value_width", *MATRICES, *[f"{m}_{step}" for m in MATRICES for step in STEPS]}
    return tuned(function, {"dtype": dtype, **key}, {n: _kind(n, POINTERS[dtype]) for n in names},
                 divisible=[n for n in names if n in divisible])


def variants():
    for function in (attention_forward, attention_backward_query, attention_backward_key_value):
        whole = [] if function is attention_backward_key_value else [("float32", 64)]     # (the others need no more)
        for dtype, head in [*KEYS, *whole, ("float32", 256)]:
            yield _variant(function, dtype, {"head": head})
    for dtype in POINTERS:
        yield _variant(attention_backward_bias, dtype, {})
