"""LSTM and GRU over whole sequences: one product for what all inputs give to the gates, then a launch per step."""
from ... import backend
from ...dispatch import Kernel, register
from ...errors import ArgumentError, message
from .arrays import column_sum, dense, unless_served
from .launch import cdiv, launch
from .matmul import by_rows, multiply, padded, rows_padded


class _Sequences:
    """N sequences of T steps on their way through a cell: what is the same at every step."""

    def __init__(self, xp, op, x, first, weight_hh, lengths, reverse):
        self.xp, self.dtype, self.steps, self.reverse = xp, x.dtype, len(x), reverse
        self.rows, self.hidden = first.shape
        self.width = len(weight_hh)                    # of all gates
        self.weight = dense(xp, weight_hh) if padded(self.hidden) == self.hidden else rows_padded(xp, weight_hh)
        self.lengths, alive = None, None
        if lengths is not None:
            backend.demand(((lengths >= 0) & (lengths <= len(x))).all(), lambda: ArgumentError(message(
                op, "lengths", f"from 0 to {len(x)}, the steps of x", f"{lengths.min()} to {lengths.max()}")))
            self.lengths = dense(xp, lengths.astype("int64", copy=False))
            alive = (lengths > xp.arange(len(x))[:, None])[..., None]
        # zeros beyond the ends of sequences, whatever is there: NaN too
        self.x = by_rows(dense(xp, x if alive is None else xp.where(alive, x, xp.zeros((), x.dtype))))

    def order(self):
        """[(step, number of the state before it, after it)] as they are taken."""
        forth = [(t, t, t + 1) for t in range(self.steps)]
        return [(t, after, before) for t, before, after in reversed(forth)] if self.reverse else forth

    def room(self, width, dtype, more=0):
        """For something of every step, rows padded with zeros to `width` from either of those that they may have."""
        make = self.xp.empty if width in (self.hidden, self.width) else self.xp.zeros
        return make((self.steps + more, self.rows, width), dtype)

    def states(self, first, width, dtype):
        """Room for the states before and after all steps, the first one in its place."""
        room = self.room(width, dtype, more=1)
        room[self.order()[0][1], :, :self.hidden] = first
        return room

    def last(self, states):
        """The state after the last step."""
        return states[self.order()[-1][2], :, :self.hidden].astype(self.dtype, copy=False)

    def run(self, kernel, arrays, steps):
        """Launch a kernel for each of the steps: what it is told of a step, behind the arrays."""
        for step in steps:
            launch(kernel, lambda c: (cdiv(self.rows, c["BLOCK_N"]), cdiv(self.hidden, c["BLOCK_H"])),
                   (*arrays, *step, self.rows, self.hidden), dtype=self.dtype.name)


def _forward(kernel, sequences, first, extra, weight_ih, bias_ih, bias_hh):
    """((y, the last h), (gates, states)); `extra`: an LSTM's states c, or room for a GRU's recurrent part."""
    xp, hidden = sequences.xp, sequences.hidden
    gates = dense(xp, multiply(xp, sequences.x, dense(xp, weight_ih).T, dtype="float32"))
    h = sequences.states(first, padded(hidden), sequences.dtype)
    apart = sequences.lengths is not None or padded(hidden) != hidden      # else outputs are the states
    y = sequences.room(hidden, sequences.dtype) if apart else h[:-1] if sequences.reverse else h[1:]
    sequences.run(kernel, (gates, h, extra, y if apart else None, sequences.weight, dense(xp, bias_ih),
                           dense(xp, bias_hh), sequences.lengths), sequences.order())
    return (y, sequences.last(h)), (gates, h)


def _back(sequences):
    """[(step, the one that follows it or -1, numbers of the states before and after it)], the last one first."""
    order = sequences.order()
    return [(step, following, before, after) for (step, before, after), following in
            zip(reversed(order), [-1, *[step for step, *_ in reversed(order)]])]


def _carried(xp, gradient):
    """The gradient of the last state, in an array that becomes that of the one before, step by step."""
    return xp.array(gradient, "float32", order="C")


def _gradients(sequences, ga, gb, rest, h, x_shape, weight_ih, weight_hh, biases):
    """Of x, the first h, the weights and biases: from those of what x and h gave to the gates, and of what came to the
    first h past them."""
    xp, width, hidden = sequences.xp, sequences.width, sequences.hidden
    first = gb[sequences.order()[0][0]][:, :width]
    ga, gb, before = by_rows(ga), by_rows(gb), by_rows(h[1:] if sequences.reverse else h[:-1])

    def of_first():
        return (multiply(xp, first, dense(xp, weight_hh), dtype="float32") + rest).astype(sequences.dtype, copy=False)

    sums = [None if b is None else lambda g=g: column_sum(xp, g, sequences.dtype)[:width]
            for b, g in zip(biases, (ga, gb))]
    return ((lambda: multiply(xp, ga[:, :width], dense(xp, weight_ih)).reshape(x_shape)), of_first,
            (lambda: multiply(xp, ga[:, :width].T, sequences.x)),
            (lambda: multiply(xp, gb[:, :width].T, before[:, :hidden])), *sums)


# -- LSTM -----------------------------------------------------------------------------

def _lstm(xp, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
    sequences = _Sequences(xp, "lstm", x, h, weight_hh, lengths, reverse)
    cs = sequences.states(c, sequences.hidden, "float32")
    (y, h), kept = _forward("lstm_forward", sequences, h, cs, weight_ih, bias_ih, bias_hh)
    return (y, h, sequences.last(cs)), (sequences, cs, *kept)


def _lstm_backward(xp, g, kept, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
    sequences, cs, gates, h = kept
    rest, gc = [_carried(xp, a) for a in g[1:]]
    ga = sequences.room(padded(sequences.width), x.dtype)
    sequences.run("lstm_backward", (gates, cs, dense(xp, g[0]), ga, gc, rest, sequences.weight,
                                    sequences.lengths), _back(sequences))
    of_x, of_h, *others = _gradients(sequences, ga, ga, rest, h, x.shape, weight_ih, weight_hh, (bias_ih, bias_hh))
    return of_x, of_h, (lambda: gc.astype(x.dtype, copy=False)), *others, None, None


def _no_lstm(arrays, params):
    x, h, c, *_, weight_hr, _ = arrays
    if weight_hr is not None or h.shape != c.shape:
        return "a projection of the outputs"
    return _no_sequence(arrays, params)


# -- GRU ------------------------------------------------------------------------------

def _gru(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
    sequences = _Sequences(xp, "gru", x, h, weight_hh, lengths, reverse)
    recurrent = sequences.room(sequences.hidden, "float32")
    out, kept = _forward("gru_forward", sequences, h, recurrent, weight_ih, bias_ih, bias_hh)
    return out, (sequences, recurrent, *kept)


def _gru_backward(xp, g, kept, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
    sequences, recurrent, gates, h = kept
    rest, (ga, gb) = _carried(xp, g[1]), [sequences.room(padded(sequences.width), x.dtype) for _ in range(2)]
    sequences.run("gru_backward", (gates, h, recurrent, dense(xp, g[0]), ga, gb, rest, sequences.weight,
                                   sequences.lengths), [step[:3] for step in _back(sequences)])
    return *_gradients(sequences, ga, gb, rest, h, x.shape, weight_ih, weight_hh, (bias_ih, bias_hh)), None


def _no_sequence(arrays, params):
    x, h = arrays[:2]
    fits = h.size and x.size                           # (also at least one step)
    return unless_served("lstm_forward", x) or (None if fits else "an empty axis")


register(Kernel("lstm.triton", "lstm", "cuda", _lstm, _lstm_backward, _no_lstm))
register(Kernel("gru.triton", "gru", "cuda", _gru, _gru_backward, _no_sequence))


# -- cells: sequences of one step -----------------------------------------------------

def _cell(forward, backward):
    """(forward, backward) of one step, from those of a sequence."""
    def one(xp, x, *arrays):
        (_, *state), kept = forward(xp, x[None], *arrays, None, False)
        return (tuple(state) if len(state) > 1 else state[0]), kept

    def back(xp, g, kept, x, *arrays):
        g = g if isinstance(g, (tuple, list)) else [g]
        of_x, *others, _ = backward(xp, (xp.zeros_like(g[0])[None], *g), kept, x[None], *arrays, None, False)
        return (lambda: of_x()[0]), *others

    return one, back


for _name, (_one, _turned), _odd in (("lstm_cell", _cell(_lstm, _lstm_backward), _no_lstm),
                                     ("gru_cell", _cell(_gru, _gru_backward), _no_sequence)):
    register(Kernel(f"{_name}.triton", _name, "cuda", _one, _turned,
                    lambda arrays, params, odd=_odd: odd((*arrays, None), params)))
