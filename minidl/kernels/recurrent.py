"""Recurrent layers over whole sequences: the weights are packed once, and gates bent while they are in cache."""
import numpy as np

from ..dispatch import Kernel, register
from ..tape import recording
from . import cpu
from .arrays import dense, unless_float32
from .kept import kept

GATES = {"lstm": 4, "gru": 3, "rnn": 1}                # of a hidden unit
KEPT = {"lstm": 4, "gru": 4, "rnn": 1}                 # numbers for the backward; a GRU's: what r multiplies, too
LEAST_WEIGHT = 1 << 14                                 # elements: packing smaller ones costs less than looking them up


def _refuses(arrays, lengths):
    x = arrays[0]
    if reason := unless_float32(*arrays):
        return reason
    if not all(a is None or a.size for a in arrays):
        return "an empty axis"
    if lengths is not None and not 0 <= lengths.min() <= lengths.max() <= len(x):
        return "lengths out of range"
    return None


def _within(x, lengths):
    """x with zeros beyond the ends of sequences, whatever is there: NaN too."""
    return x if lengths is None else np.where((lengths > np.arange(len(x))[:, None])[..., None], x, np.float32(0))


def _states(first, steps, reverse):
    """Room for the states before and after all steps, the first one in its place."""
    states = np.empty((steps + 1, *first.shape), "float32")
    states[steps if reverse else 0] = first
    return states


def _packed(cell, weight):
    """What is kept of a weight (GH, K), or None."""
    def make():
        size = cpu.recurrent.packed_size(GATES[cell], len(weight) // GATES[cell], weight.shape[1])
        packed = np.empty(size, "float32")
        cpu.recurrent.pack_weight(GATES[cell], dense(weight), packed)
        return packed
    return kept(weight, cell, make) if weight.size >= LEAST_WEIGHT else None


def _run(cell, x, first, c, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, relu=False):
    """((y, the last h), what the backward needs); `c` are an LSTM's states."""
    lengths = None if lengths is None else dense(lengths.astype("int64", copy=False))
    x, steps, (n, hidden) = dense(_within(x, lengths)), len(x), first.shape
    h = _states(first, steps, reverse)
    gates = np.empty((steps, n, KEPT[cell] * hidden), "float32") if recording() else None
    y = (h[:-1] if reverse else h[1:]) if lengths is None else np.empty((steps, n, hidden), "float32")
    getattr(cpu.recurrent, f"{cell}_forward")(
        x, dense(weight_ih), dense(weight_hh), _packed(cell, weight_ih), _packed(cell, weight_hh), dense(bias_ih),
        dense(bias_hh), lengths, gates, h, c, None if lengths is None else y, reverse, relu)
    return (y, h[0 if reverse else -1]), (x, gates, h, c, lengths)


def _turn(cell, saved, gy, gh, extra_g, weight_hh, reverse, relu=False):
    """Gradients of the gates (T, N, GH) and of the first h; `extra_g` is c's, or room for that of a GRU's part."""
    _, gates, h, c, lengths = saved
    ga, gh = np.empty((*gy.shape[:2], len(weight_hh)), "float32"), np.array(gh, order="C")
    getattr(cpu.recurrent, f"{cell}_backward")(dense(gy), dense(weight_hh), lengths, gates, h, c, gh, extra_g, ga,
                                               reverse, relu)
    return ga, gh


def _rows(array):
    """All steps (T, N, G) as rows (T N, G)."""
    return array.reshape(-1, array.shape[-1])


def _product(a, b, out=None):
    out = np.empty((a.shape[0], b.shape[1]), "float32") if out is None else out
    cpu.gemm.matmul(a, b, out)
    return out


def _sum(rows):
    out = np.empty(rows.shape[1], "float32")
    cpu.recurrent.sum_rows(rows, out)
    return out


def _parameters(saved, ga, reverse, bias_ih, bias_hh):
    """Gradients of the weights and biases from those of the gates."""
    x, _, h, _, _ = saved
    ga, before = _rows(ga), _rows(h[1:] if reverse else h[:-1])
    bias = []

    def summed():
        """Both biases' gradient, once."""
        bias[:] = bias or [_sum(ga)]
        return bias[0].copy()

    return ((lambda: _product(ga.T, _rows(x))), (lambda: _product(ga.T, before)),
            *[None if b is None else summed for b in (bias_ih, bias_hh)])


def _of_x(ga, weight_ih):
    return lambda: _product(_rows(ga), dense(weight_ih)).reshape(*ga.shape[:2], -1)


# -- LSTM -----------------------------------------------------------------------------

def _lstm(xp, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
    cs = _states(c, len(x), reverse) if recording() else np.array(c[None], order="C")
    (y, h), saved = _run("lstm", x, h, cs, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    return (y, h, cs[0 if reverse else -1]), saved


def _lstm_backward(xp, g, saved, x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, lengths, reverse):
    gy, gh, gc = g
    gc = np.array(gc, order="C")
    ga, gh = _turn("lstm", saved, gy, gh, gc, weight_hh, reverse)
    return _of_x(ga, weight_ih), gh, gc, *_parameters(saved, ga, reverse, bias_ih, bias_hh), None, None


def _no_lstm(arrays, params):
    x, h, c, *weights, weight_hr, lengths = arrays
    if weight_hr is not None:
        return "a projection of the outputs"
    if h.shape != c.shape:
        return "h and c of different shapes"
    return _refuses((x, h, c, *weights), lengths)


# -- GRU ------------------------------------------------------------------------------

def _gru(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
    return _run("gru", x, h, None, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)


def _gru_backward(xp, g, saved, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
    gb = np.empty(g[0].shape, "float32")
    ga, gh = _turn("gru", saved, *g, gb, weight_hh, reverse)
    of_weight_ih, _, of_bias_ih, of_bias = _parameters(saved, ga, reverse, bias_ih, bias_hh)
    n, gb = h.shape[1], _rows(gb)

    def of_weight_hh():
        before, out = _rows(saved[2][1:] if reverse else saved[2][:-1]), np.empty_like(weight_hh, order="C")
        _product(_rows(ga)[:, :2 * n].T, before, out[:2 * n])
        _product(gb.T, before, out[2 * n:])
        return out

    def of_bias_hh():
        found = of_bias()
        found[2 * n:] = _sum(gb)
        return found

    return _of_x(ga, weight_ih), gh, of_weight_ih, of_weight_hh, of_bias_ih, of_bias and of_bias_hh, None


# -- RNN ------------------------------------------------------------------------------

def _rnn(xp, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, nonlinearity, reverse):
    return _run("rnn", x, h, None, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse, nonlinearity == "relu")


def _rnn_backward(xp, g, saved, x, h, weight_ih, weight_hh, bias_ih, bias_hh, lengths, nonlinearity, reverse):
    ga, gh = _turn("rnn", saved, *g, None, weight_hh, reverse, nonlinearity == "relu")
    return _of_x(ga, weight_ih), gh, *_parameters(saved, ga, reverse, bias_ih, bias_hh), None


def _no_sequence(arrays, params):
    if params.get("nonlinearity", "tanh") not in ("tanh", "relu"):
        return "another nonlinearity"
    *arrays, lengths = arrays
    return _refuses(arrays, lengths)


register(Kernel("lstm.cpu", "lstm", "cpu", _lstm, _lstm_backward, _no_lstm))
register(Kernel("gru.cpu", "gru", "cpu", _gru, _gru_backward, _no_sequence))
register(Kernel("rnn.cpu", "rnn", "cpu", _rnn, _rnn_backward, _no_sequence))
