"""Recurrent networks: RNN, LSTM and GRU over whole sequences, of many layers, and their cells.

Instead of packed sequences, `lengths` (N) says how long each sequence of a padded batch is: outputs beyond are 0, the
last state is that at each sequence's own end, and the reverse direction starts there.  The maths, with sources,
stands at the ops of the same names.
"""
import math

from .. import ops
from ..backend import random
from ..errors import ArgumentError, ShapeError, message, number
from . import init
from .module import Module
from .parameter import Parameter


def _uniform(hidden_size):
    """Uniform in +-1/sqrt(H)."""
    bound = 1 / math.sqrt(max(hidden_size, 1))
    return init.uniform(-bound, bound)


class _Recurrent(Module):
    """What recurrent layers share."""

    gates = 1

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False, proj_size=0):
        name = type(self).__name__
        number(name, "num_layers", num_layers, 1, whole=True)
        number(name, "hidden_size", hidden_size, 1, whole=True)
        number(name, "proj_size", proj_size, 0, hidden_size - 1, whole=True)
        number(name, "dropout", dropout, 0, 1)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.proj_size = bidirectional, proj_size
        directions, rows, draw = 2 if bidirectional else 1, self.gates * hidden_size, _uniform(hidden_size)
        for layer in range(num_layers):
            inputs = directions * self._out if layer else input_size
            for end in self._ends(layer):
                setattr(self, f"weight_ih{end}", Parameter(draw, rows, inputs))
                setattr(self, f"weight_hh{end}", Parameter(draw, rows, self._out))
                if bias:
                    setattr(self, f"bias_ih{end}", Parameter(draw, rows))
                    setattr(self, f"bias_hh{end}", Parameter(draw, rows))
                if proj_size:
                    setattr(self, f"weight_hr{end}", Parameter(draw, proj_size, hidden_size))

    @property
    def _out(self):
        """R: how long outputs are."""
        return self.proj_size or self.hidden_size

    def _ends(self, layer):
        """What the parameters' names end with, for each direction."""
        return (f"_l{layer}", f"_l{layer}_reverse") if self.bidirectional else (f"_l{layer}",)

    def _parts(self, hx):
        """The parts of the state, as they are given."""
        return [hx]

    def _sizes(self):
        """How long a row of each part of the state is."""
        return [self._out]

    def _weights(self, end):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, f"{name}{end}", None) for name in names]

    def _states(self, x, hx):
        """For each layer and direction the parts of its first state (N, H)."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        shapes = [(count, x.shape[1], n) for n in self._sizes()]
        if hx is None:
            parts = [ops.zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes]
        else:
            parts = self._parts(hx)
        for part, shape in zip(parts, shapes):
            if part.shape != shape:
                expected = f"{shape}, layers and directions first"
                raise ShapeError(message(type(self).__name__, "hx", expected, part.shape))
        return list(zip(*map(ops.unstack, parts)))

    def forward(self, x, hx=None, lengths=None):
        """Run over sequences.

        Args:
            x (T, N, I): T steps of N sequences; (N, T, I) if batch_first.
            hx (layers * directions, N, H): the states before the first step, layer by layer, each forwards, then
                backwards; None: zeros.
            lengths (N): of the sequences, integers in [0, T]; None: all T.

        Returns:
            y (T, N, directions * H), laid out as x: the last layer's outputs; and hx after the last step.

        Raises:
            ShapeError: x or hx has another shape.
            ArgumentError: a length is out of range.
        """
        if x.ndim != 3 or x.shape[2] != self.input_size:
            expected = f"3 axes, the last of input_size={self.input_size}"
            raise ShapeError(message(type(self).__name__, "x", expected, x.shape))
        x = x.swapaxes(0, 1) if self.batch_first else x
        states, last = iter(self._states(x, hx)), []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = ops.dropout(x, self.dropout, random.default().next_key())
            outputs = []
            for end, reverse in zip(self._ends(layer), (False, True)):
                y, *state = self._run(x, *next(states), *self._weights(end), lengths, reverse=reverse)
                outputs.append(y)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else ops.concat(outputs, -1)
        parts = tuple([ops.stack(part) for part in zip(*last)])
        return x.swapaxes(0, 1) if self.batch_first else x, parts if len(parts) > 1 else parts[0]


class RNN(_Recurrent):
    """Layers of Elman networks.

    Args:
        input_size, hidden_size: I and H.
        num_layers: how many, each on the outputs of the one before.
        nonlinearity: "tanh" or "relu".
        bias: add two per gate.
        batch_first: sequences are (N, T, I) rather than (T, N, I).
        dropout: probability with which inputs of all layers but the first are dropped in training.
        bidirectional: each layer also runs backwards.

    Parameters: for each layer l, and with "_reverse" added for the way back: weight_ih_l (H, I), weight_hh_l (H, H),
    bias_ih_l (H), bias_hh_l (H); uniform in +-1/sqrt(H).

    Raises:
        ArgumentError: num_layers or hidden_size is not positive; dropout is no probability.
    """

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
                 dropout=0.0, bidirectional=False):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        self.nonlinearity = nonlinearity

    def _run(self, *args, reverse):
        return ops.rnn(*args, self.nonlinearity, reverse)


class LSTM(_Recurrent):
    """Layers of long short-term memories. The state `hx` is a pair (h, c); c (layers * directions, N, H).

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional: as of RNN.
        proj_size: R, to which outputs h are projected; 0: they are not, and R is H.

    Parameters: as of RNN, with rows 4H (input, forget, cell, output gate), weight_hh_l (4H, R), and perhaps
    weight_hr_l (R, H).

    Raises:
        ArgumentError: num_layers or hidden_size is not positive; dropout is no probability; proj_size is not below
            hidden_size.
    """

    gates = 4

    def _sizes(self):
        return [self._out, self.hidden_size]

    def _parts(self, hx):
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise ArgumentError(message("LSTM", "hx", "a pair of tensors (h, c)", type(hx).__name__))
        return hx

    def _weights(self, end):
        return [*super()._weights(end), getattr(self, f"weight_hr{end}", None)]

    def _run(self, *args, reverse):
        return ops.lstm(*args, reverse)


class GRU(_Recurrent):
    """Layers of gated recurrent units.

    Args: as of RNN, without nonlinearity.

    Parameters: as of RNN, with rows 3H (reset gate, update gate, new state).

    Raises:
        ArgumentError: num_layers or hidden_size is not positive; dropout is no probability.
    """

    gates = 3

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def _run(self, *args, reverse):
        return ops.gru(*args, reverse)


# -- cells -------------------------------------------------------------------------------------

class _Cell(Module):
    """What cells share."""

    gates = 1

    def __init__(self, input_size, hidden_size, bias=True):
        self.input_size, self.hidden_size, draw = input_size, hidden_size, _uniform(hidden_size)
        self.bias, rows = bias, self.gates * hidden_size
        self.weight_ih, self.weight_hh = Parameter(draw, rows, input_size), Parameter(draw, rows, hidden_size)
        self.bias_ih = Parameter(draw, rows) if bias else None
        self.bias_hh = Parameter(draw, rows) if bias else None

    def _zeros(self, x):
        return ops.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)

    def _weights(self):
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class RNNCell(_Cell):
    """One step of an Elman network.

    Args:
        input_size, hidden_size: I and H.
        bias: add two.
        nonlinearity: "tanh" or "relu".

    Parameters: weight_ih (H, I), weight_hh (H, H), bias_ih (H), bias_hh (H): uniform in +-1/sqrt(H).
    """

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh"):
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def forward(self, x, hx=None):
        """x (N, I), hx (N, H), or None for zeros -> (N, H)."""
        return ops.rnn_cell(x, self._zeros(x) if hx is None else hx, *self._weights(), self.nonlinearity)


class LSTMCell(_Cell):
    """One step of a long short-term memory. Arguments and parameters as of RNNCell, with rows 4H."""

    gates = 4

    def forward(self, x, hx=None):
        """x (N, I), hx a pair h, c (N, H), or None for zeros -> a new pair."""
        return ops.lstm_cell(x, *((self._zeros(x), self._zeros(x)) if hx is None else hx), *self._weights())


class GRUCell(_Cell):
    """One step of a gated recurrent unit. Arguments and parameters as of RNNCell, with rows 3H."""

    gates = 3

    def forward(self, x, hx=None):
        """x (N, I), hx (N, H), or None for zeros -> (N, H)."""
        return ops.gru_cell(x, self._zeros(x) if hx is None else hx, *self._weights())
