"""Recurrent layers: against a plain loop over one sequence at a time, each as long as it is."""
import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.errors import ArgumentError, ShapeError
from minidl.guests import flops
from minidl.op import as_tensor

RNG = np.random.default_rng(0)
T, N, I, H = 5, 3, 4, 6                                # noqa: E741
LENGTHS = np.array([3, 5, 0])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_step(x, h, c, w, u, b, d, p=None):
    i, f, g, o = np.split(w @ x + b + u @ h + d, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h if p is None else p @ h), c


def gru_step(x, h, w, u, b, d):
    (xr, xz, xn), (hr, hz, hn) = np.split(w @ x + b, 3), np.split(u @ h + d, 3)
    z = sigmoid(xz + hz)
    return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn) + z * h,


def rnn_step(x, h, w, u, b, d):
    return np.tanh(w @ x + b + u @ h + d),


CASES = {"rnn": (rnn_step, 1, H, 1), "gru": (gru_step, 3, H, 1), "lstm": (lstm_step, 4, H, 2),
         "projected lstm": (lstm_step, 4, 2, 2)}


def made(name):
    """(op's name, step, inputs x, states, parameters)"""
    step, gates, r, states = CASES[name]
    shapes = [(gates * H, I), (gates * H, r), (gates * H,), (gates * H,)] + [(r, H)] * (r < H)
    state = [RNG.standard_normal((N, n)) for n in (r, H)[:states]]
    parameters = [RNG.standard_normal(s) * 0.5 for s in shapes]
    return name.split()[-1], step, RNG.standard_normal((T, N, I)), state, parameters


def call(name, x, states, parameters, lengths=None, reverse=False):
    padded = parameters + [None] * (5 - len(parameters)) if name == "lstm" else parameters
    return getattr(ops, name)(x, *states, *padded, lengths, reverse=reverse)


def total(tensors):
    return sum([t.sum() for t in tensors[1:]], tensors[0].sum())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("name", CASES)
def test_against_a_loop(name, lengths, reverse):
    name, step, x, states, parameters = made(name)
    y, *last = call(name, x, states, parameters, lengths, reverse)
    for n in range(N):
        state, steps = [s[n] for s in states], range(T if lengths is None else lengths[n])
        outputs = np.zeros((T, states[0].shape[1]))
        for t in reversed(steps) if reverse else steps:
            state = step(x[t, n], *state, *parameters)
            outputs[t] = state[0]
        np.testing.assert_allclose(y.numpy()[:, n], outputs, rtol=1e-10, atol=1e-12)
        for got, want in zip(last, state):
            np.testing.assert_allclose(got.numpy()[n], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_cell_is_one_step(name):
    name, step, x, states, parameters = made(name)
    cell, sequence = [[Tensor(p, requires_grad=True) for p in parameters] for _ in range(2)]
    got = getattr(ops, f"{name}_cell")(x[0], *states, *cell)
    _, *want = call(name, x[:1], states, sequence)
    got = got if isinstance(got, tuple) else (got,)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    for a, b in zip(gradients(total(got), cell), gradients(total(want), sequence)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_what_lies_beyond_the_ends_does_not_matter(name):
    name, _, x, states, parameters = made(name)
    results = []
    for filler in (0.0, np.nan, 1e300):
        padded = x.copy()
        padded[np.arange(T)[:, None] >= LENGTHS] = filler
        leaves = [Tensor(a, requires_grad=True) for a in (padded, *states, *parameters)]
        k = 1 + len(states)
        outs = call(name, leaves[0], leaves[1:k], leaves[k:], LENGTHS)
        results.append([*outs, *gradients(total(outs), leaves)])
        assert (results[-1][len(outs)].numpy()[np.arange(T)[:, None] >= LENGTHS] == 0).all()
    for first, *others in zip(*results):
        for other in others:
            np.testing.assert_array_equal(first.numpy(), other.numpy())


def test_relu():
    _, _, x, (h,), (w, u, b, d) = made("rnn")
    y, _ = ops.rnn(x, h, w, u, b, d, None, "relu")
    for t in range(T):
        h = np.maximum(x[t] @ w.T + b + h @ u.T + d, 0)
        np.testing.assert_allclose(y.numpy()[t], h, rtol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_cost(name):
    name, _, x, states, parameters = made(name)
    tensors = [as_tensor(a) for a in (x, *states, *parameters)]
    weights = sum(p.size for p in parameters if p.ndim == 2)
    assert flops(getattr(ops, name).op, tensors, {}) == 2 * T * N * weights


@pytest.mark.parametrize("change, error, match", [
    (dict(lengths=LENGTHS + 1), ArgumentError, r"\[lstm\] lengths: expected from 0 to 5, .* got 1 to 6"),
    (dict(lengths=LENGTHS - 1), ArgumentError, r"\[lstm\] lengths"),
    (dict(lengths=LENGTHS[:2]), ShapeError, r"\[lstm\] lengths: expected lengths\(N\) with N=3"),
    (dict(x=np.ones((0, N, I))), ShapeError, r"\[lstm\] x: expected at least one step, got \(0, 3, 4\)"),
    (dict(x=np.ones((T, N, 3))), ShapeError, r"\[lstm\] weight_ih: .* I=3"),
    (dict(h=np.ones((N, 2))), ShapeError, r"\[lstm\] weight_hh: .* R=2"),
    (dict(h=np.ones((N, 2)), weight_hh=np.ones((4 * H, 2))), ShapeError, r"\[lstm\] h: .* no weight_hr"),
])
def test_errors(change, error, match):
    _, _, x, (h, c), parameters = made("lstm")
    w, u, *_ = parameters
    given = dict(x=x, h=h, c=c, weight_ih=w, weight_hh=u, b=None, d=None, p=None, lengths=None)
    with pytest.raises(error, match=match):
        ops.lstm(*(given | change).values())
    with pytest.raises(ArgumentError, match=r"\[rnn\] nonlinearity: .* got 'gelu'"):
        ops.rnn(x, h, *[p[:H] for p in parameters], None, "gelu")
