"""What kernels of attention share: where a program works, tiles, scores, and which weights dropout keeps.

Sequences lie in a batch, each of `length` rows, the keys' perhaps of fewer (`lengths`); or one behind the other
("packed"): then `starts` holds where each begins, and where the last ends. Scores are to the base 2.
"""
from typing import NamedTuple

import triton
import triton.language as tl
from triton.language.extra import libdevice

from .functions import given, vectors

LOG2_E = tl.constexpr(1.4426950408889634)
ALWAYS = tl.constexpr(0x80000000)                      # the threshold below which every word lies: nothing is dropped


class Rows(NamedTuple):
    """The rows (count, width) of one head of a sequence; steps to the next head and the next row, in elements."""

    data: tl.tensor
    head: tl.tensor
    step: tl.tensor
    count: tl.tensor
    width: tl.tensor


class Block(NamedTuple):
    """Some Rows, and the tile of those from `first` on."""

    rows: Rows
    first: tl.tensor
    tile: tl.tensor


class Plane(NamedTuple):
    """A bias or mask (queries, keys) of one head of a sequence; steps are 0 along axes that it lacks. Or null."""

    data: tl.tensor
    head: tl.tensor
    query: tl.tensor


class Scores(NamedTuple):
    """What makes scores of products, and drops weights, in one head of a sequence."""

    bias: Plane
    mask: Plane
    queries: tl.tensor
    keys: tl.tensor
    offset: tl.tensor                                  # query t has the place t + offset among the keys
    before: tl.tensor                                  # keys before and behind its place that a query sees
    behind: tl.tensor
    scale: tl.tensor
    softcap: tl.tensor
    draw: tuple                                        # seed, stream, threshold below which words keep a weight
    kept_scale: tl.tensor                              # what kept weights are multiplied by
    row: tl.tensor                                     # the number of the first row of queries among all heads'
    rows: tl.tensor                                    # and how many of them a head has
    column: tl.tensor                                  # the first key's number among the draw's columns
    columns: tl.tensor                                 # and how many these are


# -- where a program works ------------------------------------------------------------

@triton.jit
def place(starts, sequences, heads, length, width, BLOCK: tl.constexpr, HEAD: tl.constexpr, LAST_FIRST: tl.constexpr):
    """(sequence, head, first column of its part, first row of its block), perhaps beyond the sequence's end.

    Of packed sequences, sequence b has the slots from starts[b] // BLOCK + b on: enough for its blocks, and found
    without knowing the lengths of others.
    """
    program, packed = tl.program_id(0), given(starts)
    slots = length // BLOCK + sequences if packed else tl.cdiv(length, BLOCK)
    slot, part = program % slots, program // slots % tl.cdiv(width, HEAD)
    head = program // slots // tl.cdiv(width, HEAD)
    head, sequence = head % heads, head // heads
    if LAST_FIRST:
        slot = slots - 1 - slot
    if packed:
        sequence, after = 0, sequences                 # the last sequence whose first slot is not behind this one
        while after - sequence > 1:
            middle = (sequence + after) // 2
            behind = tl.load(starts + middle) // BLOCK + middle > slot
            sequence, after = tl.where(behind, sequence, middle), tl.where(behind, middle, after)
        slot -= tl.load(starts + sequence) // BLOCK + sequence
    return sequence.to(tl.int64), head.to(tl.int64), part * HEAD, slot * BLOCK


@triton.jit
def extent(starts, sequence, length):
    """(where a sequence begins, its length): within the array, whatever `starts` say."""
    start = 0
    if given(starts):
        start = tl.minimum(tl.maximum(tl.load(starts + sequence), 0), length)
        length = tl.minimum(tl.maximum(tl.load(starts + sequence + 1), start), length) - start
    return start, length


@triton.jit
def within(lengths, sequence, length):
    """How many of a sequence's rows are no padding."""
    if given(lengths):
        length = tl.minimum(tl.maximum(tl.load(lengths + sequence), 0), length)
    return length


@triton.jit
def seen(first, last, before, behind, length, plain, BLOCK: tl.constexpr):
    """[low, high): what any row at places first ... last sees; [inner, outer): what all see, if `plain`; in blocks."""
    low = tl.minimum(tl.maximum(first - before, 0), length) // BLOCK
    high = tl.cdiv(tl.minimum(tl.maximum(last + behind + 1, 0), length), BLOCK)
    inner = tl.minimum(tl.maximum(tl.cdiv(tl.maximum(last - before, 0), BLOCK), low), high)
    outer = tl.maximum(tl.minimum(tl.maximum(first + behind + 1, 0), length) // BLOCK, inner)
    outer = tl.where(plain, outer, inner)
    return low * BLOCK, inner * BLOCK, outer * BLOCK, tl.maximum(high, outer) * BLOCK


# -- tiles ------------------------------------------------------------------------------

@triton.jit
def rows_of(data, batch, head, step, sequence, start, count, width):
    """The Rows of a sequence's head 0; steps and width are multiples of VECTOR."""
    return Rows(data + vectors(sequence * batch + start * step), vectors(head), vectors(step), count, vectors(width))


@triton.jit
def of_head(rows, head):
    """The Rows of another head."""
    return Rows(rows.data + head * rows.head, rows.head, rows.step, rows.count, rows.width)


@triton.jit
def part_of(rows, column):
    """Their columns from one on."""
    return Rows(rows.data + column, rows.head, rows.step, rows.count, rows.width - column)


@triton.jit
def _places(rows, first, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    row, column = first + tl.arange(0, BLOCK)[:, None], tl.arange(0, HEAD)[None, :]
    return rows.data + row * rows.step + column, row < rows.count, column < rows.width


@triton.jit
def load(rows, first, BLOCK: tl.constexpr, HEAD: tl.constexpr, WHOLE: tl.constexpr = False):
    """Rows from `first` on, zeros where there are none. WHOLE: all are there."""
    at, there, columns = _places(rows, first, BLOCK, HEAD)
    return tl.load(at, columns if WHOLE else there & columns, other=0.0)


@triton.jit
def store(rows, tile, first, BLOCK: tl.constexpr, HEAD: tl.constexpr):
    """Write rows from `first` on, as far as there are such."""
    at, there, columns = _places(rows, first, BLOCK, HEAD)
    tl.store(at, tile.to(rows.data.dtype.element_ty), there & columns)


@triton.jit
def block(rows, first, BLOCK: tl.constexpr, HEAD: tl.constexpr, WHOLE: tl.constexpr = False):
    """A Block of rows from `first` on."""
    return Block(rows, first, load(rows, first, BLOCK, HEAD, WHOLE))


@triton.jit
def product(one, other, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """The products of the rows of two Blocks: of their tiles, or, where rows are wider, in steps of SPLIT columns."""
    if SPLIT == 0:
        found = tl.dot(one.tile, other.tile.T, input_precision=PRECISION)
    else:
        found = tl.zeros([one.tile.shape[0], other.tile.shape[0]], tl.float32)
        for column in range(0, one.rows.width, SPLIT):
            left = load(part_of(one.rows, column), one.first, one.tile.shape[0], SPLIT)
            right = load(part_of(other.rows, column), other.first, other.tile.shape[0], SPLIT)
            found = tl.dot(left, right.T, found, input_precision=PRECISION)
    return found


# -- scores -----------------------------------------------------------------------------

@triton.jit
def for_head(a, head):
    """The Scores of a head, from those of head 0."""
    bias = Plane(a.bias.data + head * a.bias.head, a.bias.head, a.bias.query)
    mask = Plane(a.mask.data + head * a.mask.head, a.mask.head, a.mask.query)
    return Scores(bias, mask, a.queries, a.keys, a.offset, a.before, a.behind, a.scale, a.softcap, a.draw, a.kept_scale,
                  a.row + head * a.rows, a.rows, a.column, a.columns)


@triton.jit
def simple(a):
    """Are scores but scaled products, all of which count?"""
    return not (given(a.bias.data) | given(a.mask.data) | (a.softcap > 0) | (a.draw[2] < ALWAYS))


@triton.jit
def scores(a, products, query, key, PLAIN: tl.constexpr):
    """Scores, -inf where a query does not see a key: of Rows of numbers along the tile's axes. PLAIN: all see all.

    Nothing that depends on the products stands under an `if`: only then does the compiler give this product and the
    next one the same layout.
    """
    if PLAIN:
        found = products * (a.scale * LOG2_E)
    else:
        distance = key - (query + a.offset)
        there = (query < a.queries) & (key < a.keys)
        sees = there & (distance >= -a.before) & (distance <= a.behind)
        if given(a.mask.data):
            sees = sees & tl.load(a.mask.data + (query * a.mask.query + key), there, other=0)
        added = tl.zeros(products.shape, a.bias.data.dtype.element_ty)
        if given(a.bias.data):
            added = tl.load(a.bias.data + (query * a.bias.query + key), there, other=0.0)
        found = tl.map_elementwise(_bent, products * a.scale, a.softcap)[0] + added.to(tl.float32)
        found = tl.where(sees, found * LOG2_E, float("-inf"))
    return found


@triton.jit
def slopes(a, weights, gradient, delta, stays):
    """The gradient of scores, to the base e: `gradient` is that of the weights that stay."""
    return weights * (tl.where(stays, gradient * a.kept_scale, 0.0) - delta)


@triton.jit
def unbent(a, gradient, products):
    """The gradient of scores, taken through softcap."""
    return tl.map_elementwise(_unbent, gradient, products * a.scale, a.softcap)[0]


@triton.jit
def _bent(score, softcap):
    if softcap > 0:
        score = libdevice.tanh(score / softcap) * softcap
    return (score,)


@triton.jit
def _unbent(gradient, score, softcap):
    if softcap > 0:
        bent = libdevice.tanh(score / softcap)
        gradient *= 1.0 - bent * bent
    return (gradient,)


# -- dropout ------------------------------------------------------------------------------

@triton.jit
def kept(a, query, at, BLOCK: tl.constexpr):
    """(queries, BLOCK) of bool: which weights of keys from `at` on are not dropped.

    As minidl/backend/random.py draws: a counter gives four words, those of neighbours in a row. Where rows do not
    begin with a counter's first word, a group of four takes words from two.
    """
    found = tl.full([query.shape[0], BLOCK], 1, tl.int1)
    if a.draw[2] < ALWAYS:
        number = (a.row + query) * a.columns + (a.column + at)
        counter = (number >> 2)[:, None] + tl.arange(0, BLOCK // 4)[None, :]
        bits = _bits(counter, a.draw)
        if (a.columns | a.column + at) & 3 != 0:
            bits = (bits | _bits(counter + 1, a.draw) << 4) >> (number & 3).to(tl.int32)[:, None]
        bits = bits[:, :, None] >> tl.arange(0, 4)[None, None, :]
        found = tl.reshape(bits & 1 != 0, (query.shape[0], BLOCK))
    return found


@triton.jit
def _bits(counter, draw):
    """For each counter four bits: do its words say that a weight is kept?"""
    seed, stream, threshold = draw
    a, b, c, d = tl.philox_impl(counter.to(tl.uint32), (counter >> 32).to(tl.uint32), stream.to(tl.uint32),
                                (stream >> 32).to(tl.uint32), seed.to(tl.uint32), (seed >> 32).to(tl.uint32))
    low = (a >> 1 < threshold).to(tl.int32) | (b >> 1 < threshold).to(tl.int32) << 1
    return low | (c >> 1 < threshold).to(tl.int32) << 2 | (d >> 1 < threshold).to(tl.int32) << 3
