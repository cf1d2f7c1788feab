"""Steps of LSTM and GRU: the product of the state and the recurrent weights, and all gates, in one kernel.

A program has some sequences and some hidden units, with all gates of these. What the inputs give to the gates
(T, N, G H) was computed for all steps at once by matmul, in float32; steps leave the bent gates there, for the way
back. States are kept before and after every step: h as (T + 1, N, H padded to VECTOR), in the dtype, as the next
product reads it; an LSTM's c as (T + 1, N, H) in float32. Sequences may end early: beyond their lengths states stay.

On the way back a step first takes the gradient of its output through the gates of the step that follows it: the
product of these (T, N, G H padded to VECTOR) and the recurrent weights. `rest` (N, H) is what comes past the gates.
"""
import triton
import triton.language as tl

from .functions import given, padded, sigmoid, tanh
from .variants import PRODUCTS, tuned


@triton.jit
def _place(rows, hidden, BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr):
    """This program's sequences and hidden units, and which of the pairs exist."""
    row = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    unit = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    return row, unit, (row < rows)[:, None] & (unit < hidden)[None, :]


@triton.jit
def _alive(lengths, row, rows, step):
    """Which sequences have this step; all, where there are no lengths."""
    end = tl.load(lengths + row, (row < rows) & given(lengths), other=step + 1)
    return (step < end)[:, None]


@triton.jit
def _bias(bias, gate, unit, hidden):
    return tl.load(bias + gate * hidden + unit, (unit < hidden) & given(bias), other=0.0).to(tl.float32)[None, :]


@triton.jit
def _recurrent(h, weight, row, unit, rows, hidden, GATES: tl.constexpr, PRECISION: tl.constexpr,
               BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr):
    """h (N, H) @ each gate's rows of weight (G H, H), of this program's sequences and units; the fourth may be 0."""
    wide = padded(hidden)
    step = hidden.to(tl.int64) * wide
    h_at = h + tl.minimum(row, rows - 1).to(tl.int64)[:, None] * wide
    w_at = weight + tl.minimum(unit, hidden - 1).to(tl.int64)[None, :] * wide
    a, b, c, d = (tl.zeros([BLOCK_N, BLOCK_H], tl.float32), tl.zeros([BLOCK_N, BLOCK_H], tl.float32),
                  tl.zeros([BLOCK_N, BLOCK_H], tl.float32), tl.zeros([BLOCK_N, BLOCK_H], tl.float32))
    for first in range(0, wide, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        inside = (k < wide)[:, None]
        left = tl.load(h_at + k[None, :], (k < wide)[None, :], other=0.0)
        a = tl.dot(left, tl.load(w_at + k[:, None], inside, other=0.0), a, input_precision=PRECISION)
        b = tl.dot(left, tl.load(w_at + step + k[:, None], inside, other=0.0), b, input_precision=PRECISION)
        c = tl.dot(left, tl.load(w_at + 2 * step + k[:, None], inside, other=0.0), c, input_precision=PRECISION)
        if GATES == 4:
            d = tl.dot(left, tl.load(w_at + 3 * step + k[:, None], inside, other=0.0), d, input_precision=PRECISION)
    return a, b, c, d


@triton.jit
def _to_output(gates, weight, gy, rest, step, following, at, row, unit, rows, hidden, mask, alive,
               GATES: tl.constexpr, PRECISION: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr,
               BLOCK_K: tl.constexpr):
    """The gradient of h after a step: from the gates of the following one (-1: there is none), its own output's, and
    what came past the gates."""
    depth = tl.where(following < 0, 0, GATES * hidden)
    wide = padded(GATES * hidden)
    g_at = gates + (tl.maximum(following, 0).to(tl.int64) * rows + tl.minimum(row, rows - 1))[:, None] * wide
    w_at = weight + unit[None, :]
    inside = (unit < padded(hidden))[None, :]
    sums = tl.zeros([BLOCK_N, BLOCK_H], tl.float32)
    for first in range(0, depth, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        left = tl.load(g_at + k[None, :], (k < wide)[None, :], other=0.0)
        right = tl.load(w_at + k.to(tl.int64)[:, None] * padded(hidden), inside & (k < depth)[:, None], other=0.0)
        sums = tl.dot(left, right, sums, input_precision=PRECISION)
    own = tl.load(gy + step.to(tl.int64) * rows * hidden + at, mask & alive, other=0.0).to(tl.float32)
    return sums + own + tl.load(rest + at, mask, other=0.0)


# -- LSTM: gates i, f, g, o -------------------------------------------------------------------------------------------


@triton.jit
def lstm_forward(gates, h, c, y, weight, bias_ih, bias_hh, lengths, step, before, after, rows, hidden,
                 BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr):
    """Step number `step`, from the states at `before` to those at `after`; y (T, N, H) may be left out."""
    row, unit, mask = _place(rows, hidden, BLOCK_N, BLOCK_H)
    wide = padded(hidden)
    h_before = h + before.to(tl.int64) * rows * wide
    i, f, g, o = _recurrent(h_before, weight, row, unit, rows, hidden, 4, PRECISION, BLOCK_N, BLOCK_H, BLOCK_K)
    gates += (step.to(tl.int64) * rows + row)[:, None] * 4 * hidden + unit[None, :]
    i += tl.load(gates, mask, other=0.0) + _bias(bias_ih, 0, unit, hidden) + _bias(bias_hh, 0, unit, hidden)
    f += tl.load(gates + hidden, mask, other=0.0) + _bias(bias_ih, 1, unit, hidden) + _bias(bias_hh, 1, unit, hidden)
    g += tl.load(gates + 2 * hidden, mask, other=0.0) + _bias(bias_ih, 2, unit, hidden) \
        + _bias(bias_hh, 2, unit, hidden)
    o += tl.load(gates + 3 * hidden, mask, other=0.0) + _bias(bias_ih, 3, unit, hidden) \
        + _bias(bias_hh, 3, unit, hidden)
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    at, h_at = row[:, None] * hidden + unit[None, :], row[:, None] * wide + unit[None, :]
    alive = _alive(lengths, row, rows, step)
    c_old = tl.load(c + before.to(tl.int64) * rows * hidden + at, mask, other=0.0)
    h_old = tl.load(h_before + h_at, mask, other=0.0).to(tl.float32)
    c_new = f * c_old + i * g
    h_new = o * tanh(c_new)
    tl.store(gates, i, mask)
    tl.store(gates + hidden, f, mask)
    tl.store(gates + 2 * hidden, g, mask)
    tl.store(gates + 3 * hidden, o, mask)
    tl.store(c + after.to(tl.int64) * rows * hidden + at, tl.where(alive, c_new, c_old), mask)
    tl.store(h + after.to(tl.int64) * rows * wide + h_at, tl.where(alive, h_new, h_old), mask)
    tl.store(y + step.to(tl.int64) * rows * hidden + at, tl.where(alive, h_new, 0.0), mask & given(y))


@triton.jit
def lstm_backward(gates, c, gy, ga, gc, rest, weight, lengths, step, following, before, after, rows, hidden,
                  BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr):
    """The gradients of what step `step` bent, ga (T, N, 4H padded); gc and rest (N, H) become those before the step."""
    row, unit, mask = _place(rows, hidden, BLOCK_N, BLOCK_H)
    at = row[:, None] * hidden + unit[None, :]
    alive = _alive(lengths, row, rows, step)
    gh = _to_output(ga, weight, gy, rest, step, following, at, row, unit, rows, hidden, mask, alive, 4, PRECISION,
                    BLOCK_N, BLOCK_H, BLOCK_K)
    gates += (step.to(tl.int64) * rows + row)[:, None] * 4 * hidden + unit[None, :]
    i, f = tl.load(gates, mask, other=0.0), tl.load(gates + hidden, mask, other=0.0)
    g, o = tl.load(gates + 2 * hidden, mask, other=0.0), tl.load(gates + 3 * hidden, mask, other=0.0)
    c_old = tl.load(c + before.to(tl.int64) * rows * hidden + at, mask, other=0.0)
    bent = tanh(tl.load(c + after.to(tl.int64) * rows * hidden + at, mask, other=0.0))
    old = tl.load(gc + at, mask, other=0.0)
    of_c = old + gh * o * (1.0 - bent * bent)
    ga += (step.to(tl.int64) * rows + row)[:, None] * padded(4 * hidden) + unit[None, :]
    tl.store(ga, tl.where(alive, of_c * g * i * (1.0 - i), 0.0), mask)
    tl.store(ga + hidden, tl.where(alive, of_c * c_old * f * (1.0 - f), 0.0), mask)
    tl.store(ga + 2 * hidden, tl.where(alive, of_c * i * (1.0 - g * g), 0.0), mask)
    tl.store(ga + 3 * hidden, tl.where(alive, gh * bent * o * (1.0 - o), 0.0), mask)
    tl.store(gc + at, tl.where(alive, of_c * f, old), mask)
    tl.store(rest + at, tl.where(alive, 0.0, gh), mask)


# -- GRU: gates r, z, n -----------------------------------------------------------------------------------------------


@triton.jit
def gru_forward(gates, h, recurrent, y, weight, bias_ih, bias_hh, lengths, step, before, after, rows, hidden,
                BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr):
    """Step number `step`, from the states at `before` to those at `after`; y (T, N, H) may be left out.

    recurrent (T, N, H): what the reset gate scales, for the way back.
    """
    row, unit, mask = _place(rows, hidden, BLOCK_N, BLOCK_H)
    wide = padded(hidden)
    h_before = h + before.to(tl.int64) * rows * wide
    r, z, nh, _ = _recurrent(h_before, weight, row, unit, rows, hidden, 3, PRECISION, BLOCK_N, BLOCK_H, BLOCK_K)
    gates += (step.to(tl.int64) * rows + row)[:, None] * 3 * hidden + unit[None, :]
    r += tl.load(gates, mask, other=0.0) + _bias(bias_ih, 0, unit, hidden) + _bias(bias_hh, 0, unit, hidden)
    z += tl.load(gates + hidden, mask, other=0.0) + _bias(bias_ih, 1, unit, hidden) + _bias(bias_hh, 1, unit, hidden)
    nh += _bias(bias_hh, 2, unit, hidden)
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(tl.load(gates + 2 * hidden, mask, other=0.0) + _bias(bias_ih, 2, unit, hidden) + r * nh)
    at, h_at = row[:, None] * hidden + unit[None, :], row[:, None] * wide + unit[None, :]
    alive = _alive(lengths, row, rows, step)
    h_old = tl.load(h_before + h_at, mask, other=0.0).to(tl.float32)
    h_new = n + z * (h_old - n)
    tl.store(gates, r, mask)
    tl.store(gates + hidden, z, mask)
    tl.store(gates + 2 * hidden, n, mask)
    tl.store(recurrent + step.to(tl.int64) * rows * hidden + at, nh, mask)
    tl.store(h + after.to(tl.int64) * rows * wide + h_at, tl.where(alive, h_new, h_old), mask)
    tl.store(y + step.to(tl.int64) * rows * hidden + at, tl.where(alive, h_new, 0.0), mask & given(y))


@triton.jit
def gru_backward(gates, h, recurrent, gy, ga, gb, rest, weight, lengths, step, following, before, rows, hidden,
                 BLOCK_N: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr):
    """The gradients of what the inputs, ga, and the state, gb, give to the gates of step `step` (T, N, 3H padded);
    rest (N, H) becomes that before the step."""
    row, unit, mask = _place(rows, hidden, BLOCK_N, BLOCK_H)
    at = row[:, None] * hidden + unit[None, :]
    alive = _alive(lengths, row, rows, step)
    gh = _to_output(gb, weight, gy, rest, step, following, at, row, unit, rows, hidden, mask, alive, 3, PRECISION,
                    BLOCK_N, BLOCK_H, BLOCK_K)
    gates += (step.to(tl.int64) * rows + row)[:, None] * 3 * hidden + unit[None, :]
    r, z, n = (tl.load(gates, mask, other=0.0), tl.load(gates + hidden, mask, other=0.0),
               tl.load(gates + 2 * hidden, mask, other=0.0))
    h_at = before.to(tl.int64) * rows * padded(hidden) + row[:, None] * padded(hidden) + unit[None, :]
    h_old = tl.load(h + h_at, mask, other=0.0).to(tl.float32)
    of_n = tl.where(alive, gh * (1.0 - z) * (1.0 - n * n), 0.0)
    of_z = tl.where(alive, gh * (h_old - n) * z * (1.0 - z), 0.0)
    nh = tl.load(recurrent + step.to(tl.int64) * rows * hidden + at, mask, other=0.0)
    of_r = of_n * nh * r * (1.0 - r)
    out = (step.to(tl.int64) * rows + row)[:, None] * padded(3 * hidden) + unit[None, :]
    tl.store(ga + out, of_r, mask)
    tl.store(ga + out + hidden, of_z, mask)
    tl.store(ga + out + 2 * hidden, of_n, mask)
    tl.store(gb + out, of_r, mask)
    tl.store(gb + out + hidden, of_z, mask)
    tl.store(gb + out + 2 * hidden, of_n * r, mask)
    tl.store(rest + at, tl.where(alive, gh * z, gh), mask)


# -- variants --------------------------------------------------------------------------------------------------------

KINDS = {**dict.fromkeys("gates c recurrent gc rest".split(), "*fp32"), "lengths": "*i64"}       # the others: the dtype


def variants():
    for dtype, pointer in PRODUCTS.items():
        for kernel, arrays, numbers in (
                (lstm_forward, "gates h c y weight bias_ih bias_hh lengths", "step before after rows hidden"),
                (lstm_backward, "gates c gy ga gc rest weight lengths", "step following before after rows hidden"),
                (gru_forward, "gates h recurrent y weight bias_ih bias_hh lengths", "step before after rows hidden"),
                (gru_backward, "gates h recurrent gy ga gb rest weight lengths", "step following before rows hidden")):
            names = arrays.split()
            signature = {**{n: KINDS.get(n, pointer) for n in names}, **dict.fromkeys(numbers.split(), "i32")}
            yield tuned(kernel, {"dtype": dtype}, signature, divisible=names)
