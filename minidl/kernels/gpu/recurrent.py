"""LSTM and GRU over whole sequences: one product for what all inputs give to the gates, then the steps."""
from ... import backend
from ...dispatch import Kernel, register
from ...errors import ArgumentError, message
from .arrays import column_sum, dense, multiplied, unless_served
from .launch import cdiv, launch
from .matmul import by_rows, multiply, padded, rows_padded


class Sequences:
    """N sequences of T steps on their way through a cell: what is the same at every step, which has a launch each."""

    def __init__(self, xp, op, x, first, weight_hh, lengths, reverse):
        self.xp, self.dtype, self.steps, self.reverse = xp, x.dtype, len(x), reverse
        self.rows, self.hidden = first.shape
        self.start, self.end = (len(x), 0) if reverse else (0, len(x))         # numbers of the outermost states
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

    def room(self, width, dtype, more=0):
        """For something of every step, rows padded with zeros to `width` from either of those that they may have."""
        make = self.xp.empty if width in (self.hidden, self.width) else self.xp.zeros
        return make((self.steps + more, self.rows, width), dtype)

    def states(self, first, width, dtype):
        """Room for the states before and after all steps, the first one in its place."""
        room = self.room(width, dtype, more=1)
        room[self.start, :, :self.hidden] = first
        return room

    def last(self, states):
        """The state after the last step."""
        return states[self.end, :, :self.hidden].astype(self.dtype, copy=False)

    def forth(self, cell, arrays, biases):
        """Take all steps; `arrays` are the cell's own."""
        self._run(f"{cell}_forward", (*arrays, self.weight, *biases), self._order())

    def back(self, cell, arrays):
        """Take gradients through all steps, the last one first."""
        order, states = self._order()[::-1], 1 if cell == "gru" else 2          # (a GRU needs none after its steps)
        steps = [(step, following, *around[:states]) for (step, *around), following in
                 zip(order, [-1, *[step for step, *_ in order]])]
        self._run(f"{cell}_backward", (*arrays, self.weight), steps)

    def _order(self):
        """[(step, number of the state before it, after it)] as they are taken."""
        forth = [(t, t, t + 1) for t in range(self.steps)]
        return [(t, after, before) for t, before, after in reversed(forth)] if self.reverse else forth

    def _run(self, kernel, arrays, steps):
        """Launch a kernel for each of the steps: what it is told of a step, behind the arrays."""
        for step in steps:
            launch(kernel, lambda c: (cdiv(self.rows, c["BLOCK_N"]), cdiv(self.hidden, c["BLOCK_H"])),
                   (*arrays, self.lengths, *step, self.rows, self.hidden), dtype=multiplied(self.x))

    @staticmethod
    def unserved(cell, x, h):
        """Why a cell's kernels do not take sequences x with first states h, or None."""
        return unless_served(f"{cell}_forward", x)


def _carried(xp, gradient):
    """The gradient of the last state, in an array that becomes that of the one before, step by step."""
    return xp.array(gradient, "float32", order="C")


def _gradients(sequences, ga, gb, rest, h, x_shape, weight_ih, weight_hh, biases):
    """Of x, the first h, the weights and biases: from those of what x and h gave to the gates, and of what came to the
    first h past them."""
    xp, width, hidden = sequences.xp, sequences.width, sequences.hidden
    first = gb[-1 if sequences.reverse else 0][:, :width]
    ga, gb, before = by_rows(ga), by_rows(gb), by_rows(h[1:] if sequences.reverse else h[:-1])

    def of_first():
        return (multiply(xp, first, dense(xp, weight_hh), dtype="float32") + rest).astype(sequences.dtype, copy=False)

    sums = [None if b is None else lambda g=g: column_sum(xp, g, sequences.dtype)[:width]
            for b, g in zip(biases, (ga, gb))]
    return ((lambda: multiply(xp, ga[:, :width], dense(xp, weight_ih)).reshape(x_shape)), of_first,
            (lambda: multiply(xp, ga[:, :width].T, sequences.x)),
            (lambda: multiply(xp, gb[:, :width].T, before[:, :hidden])), *sums)


class Recurrences:
    """The layers of one maker, whose `sequences` know how to take steps."""

    def __init__(self, maker, sequences):
        self.maker, self.sequences = maker, sequences

    def register(self, first=False):
        """The kernels, behind or before those that there are."""
        for cell, forward, backward in (("lstm", self.lstm, self.lstm_backward), ("gru", self.gru, self.gru_backward)):
            refuses = getattr(self, f"no_{cell}")
            register(Kernel(f"{cell}.{self.maker}", cell, "cuda", forward, backward, refuses), first)

    def _forward(self, cell, sequences, first, extra, weight_ih, biases):
        """((y, the last h), (gates, states)); `extra`: an LSTM's states c, or room for a GRU's recurrent part."""
        xp, hidden = sequences.xp, sequences.hidden
        gates = dense(xp, multiply(xp, sequences.x, dense(xp, weight_ih).T, dtype="float32"))
        h = sequences.states(first, padded(hidden), sequences.dtype)
        apart = sequences.lengths is not None or padded(hidden) != hidden      # else outputs are the states
        y = sequences.room(hidden, sequences.dtype) if apart else h[:-1] if sequences.reverse else h[1:]
        sequences.forth(cell, (gates, h, extra, y if apart else None), [dense(xp, b) for b in biases])
        return (y, sequences.last(h)), (gates, h)

    def _odd(self, cell, x, h):
        fits = h.size and x.size                       # (also at least one step)
        return self.sequences.unserved(cell, x, h) if fits else "an empty axis"

    # -- LSTM -------------------------------------------------------------------------

    def lstm(self, xp, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
        """See minidl/ops/recurrent.py; likewise below."""
        sequences = self.sequences(xp, "lstm", x, h, weight_hh, lengths, reverse)
        cs = sequences.states(c, sequences.hidden, "float32")
        (y, h), kept = self._forward("lstm", sequences, h, cs, weight_ih, (bias_ih, bias_hh))
        return (y, h, sequences.last(cs)), (sequences, cs, *kept)

    def lstm_backward(self, xp, g, kept, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
        """Gradients of all inputs."""
        sequences, cs, gates, h = kept
        rest, gc = [_carried(xp, a) for a in g[1:]]
        ga = sequences.room(padded(sequences.width), x.dtype)
        sequences.back("lstm", (gates, cs, dense(xp, g[0]), ga, gc, rest))
        of_x, of_h, *others = _gradients(sequences, ga, ga, rest, h, x.shape, weight_ih, weight_hh, (bias_ih, bias_hh))
        return of_x, of_h, (lambda: gc.astype(x.dtype, copy=False)), *others, None, None

    def no_lstm(self, arrays, params):
        """Why the kernels do not run, or None."""
        x, h, c, *_, weight_hr, _ = arrays
        projects = weight_hr is not None or h.shape != c.shape
        return "a projection of the outputs" if projects else self._odd("lstm", x, h)

    # -- GRU --------------------------------------------------------------------------

    def gru(self, xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
        """See minidl/ops/recurrent.py; likewise below."""
        sequences = self.sequences(xp, "gru", x, h, weight_hh, lengths, reverse)
        recurrent = sequences.room(sequences.hidden, "float32")
        out, kept = self._forward("gru", sequences, h, recurrent, weight_ih, (bias_ih, bias_hh))
        return out, (sequences, recurrent, *kept)

    def gru_backward(self, xp, g, kept, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
        """Gradients of all inputs."""
        sequences, recurrent, gates, h = kept
        rest, (ga, gb) = _carried(xp, g[1]), [sequences.room(padded(sequences.width), x.dtype) for _ in range(2)]
        sequences.back("gru", (gates, h, recurrent, dense(xp, g[0]), ga, gb, rest))
        return *_gradients(sequences, ga, gb, rest, h, x.shape, weight_ih, weight_hh, (bias_ih, bias_hh)), None

    def no_gru(self, arrays, params):
        """Why the kernels do not run, or None."""
        return self._odd("gru", *arrays[:2])


TRITON = Recurrences("triton", Sequences)
TRITON.register()


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


for _name, (_one, _turned), _odd in (("lstm_cell", _cell(TRITON.lstm, TRITON.lstm_backward), TRITON.no_lstm),
                                     ("gru_cell", _cell(TRITON.gru, TRITON.gru_backward), TRITON.no_gru)):
    register(Kernel(f"{_name}.triton", _name, "cuda", _one, _turned,
                    lambda arrays, params, odd=_odd: odd((*arrays, None), params)))
