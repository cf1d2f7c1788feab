"""Sequences of unequal length, and who may look at whom."""
import numpy as np
import pytest

from minidl import Tensor, nn
from minidl.errors import ArgumentError

RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def close(x, y, tol=1e-5):
    np.testing.assert_allclose(x.data, getattr(y, "data", y), rtol=tol, atol=tol)


# -- recurrent ---------------------------------------------------------------------------------

@pytest.mark.parametrize("layer", [
    nn.RNN(3, 4, 2), nn.RNN(3, 4, 2, "relu", bidirectional=True), nn.GRU(3, 4, 2, bidirectional=True),
    nn.GRU(3, 4, batch_first=True), nn.LSTM(3, 4, 2, bidirectional=True),
    nn.LSTM(3, 4, 2, proj_size=2, bidirectional=True, batch_first=True)])
def test_each_sequence_ends_at_its_own_length(layer):
    """A padded batch with lengths is what its sequences are one by one, whatever the padding."""
    x, lengths = f(4, 6, 3), [6, 1, 4, 3]              # (N, T, I)
    axis = 0 if layer.batch_first else 1
    state = [f(layer.num_layers * (2 if layer.bidirectional else 1), 4, n) for n in layer._sizes()]

    def run(x, state, lengths=None):
        x, state = Tensor(x if layer.batch_first else x.swapaxes(0, 1)), [Tensor(s) for s in state]
        y, last = layer(x, state if len(state) > 1 else state[0], lengths)
        return y, last if isinstance(last, tuple) else (last,)

    within = np.arange(6)[:, None] < np.array(lengths)[:, None, None]
    y, last = run(np.where(within, x, np.nan), state, lengths)
    for n, length in enumerate(lengths):
        alone, ends = run(x[n:n + 1, :length], [s[:, n:n + 1] for s in state])
        mine, alone = y.numpy().take(n, axis), alone.numpy().take(0, axis)
        np.testing.assert_allclose(mine[:length], alone, atol=1e-6)
        assert not mine[length:].any()
        for whole, end in zip(last, ends):
            np.testing.assert_allclose(whole.data[:, n], end.data[:, 0], atol=1e-6)
    with pytest.raises(ArgumentError, match=r"lengths: expected .*from 0 to 6.*\(in \w+\)"):
        run(x, state, [7, 1, 1, 1])


@pytest.mark.parametrize("layer, cell", [(nn.RNN(3, 4), nn.RNNCell(3, 4)), (nn.LSTM(3, 4), nn.LSTMCell(3, 4)),
                                         (nn.GRU(3, 4, bias=False), nn.GRUCell(3, 4, bias=False))])
def test_a_layer_is_its_cell_at_every_step(layer, cell):
    cell.load_state_dict({n.removesuffix("_l0"): t for n, t in layer.state_dict().items()})
    x, state = Tensor(f(5, 2, 3)), None
    for t in range(5):
        state = cell(x[t], state)
    y, last = layer(x)
    for a, b in zip(last if isinstance(last, tuple) else [last], state if isinstance(state, tuple) else [state]):
        close(a[0], b)
    close(y[-1], state[0] if isinstance(state, tuple) else state)


# -- attention --------------------------------------------------------------------------------

def attend(layer, q, k, v, seen):
    """Multi-head attention head by head, in plain NumPy: (N, L, E), (N, S, E) twice, seen (N, L, S)."""
    state, e = {n: t.data for n, t in layer.state_dict().items()}, layer.embed_dim
    d, outs, weights = e // layer.num_heads, [], []
    parts = np.split(state["in_proj_weight"], 3), np.split(state["in_proj_bias"], 3)
    projected = [x @ w.T + b for x, w, b in zip((q, k, v), *parts)]
    for h in range(layer.num_heads):
        a, b, c = (x[..., h * d:h * d + d] for x in projected)
        scores = np.exp(np.where(seen, a @ b.swapaxes(1, 2) / np.sqrt(d), -np.inf))
        weights.append(scores / scores.sum(-1, keepdims=True))
        outs.append(weights[-1] @ c)
    return np.concatenate(outs, -1) @ state["out_proj.weight"].T + state["out_proj.bias"], np.stack(weights, 1)


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_masks_hide_keys(batch_first):
    layer = nn.MultiheadAttention(6, 3, batch_first=batch_first)
    layer.in_proj_bias.assign(f(18))
    q, k, v = f(2, 4, 6), f(2, 5, 6), f(2, 5, 6)
    padding = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]], bool)
    masks = {"none": ({}, np.ones((2, 4, 5), bool)), "padding": ({"key_padding_mask": padding}, ~padding[:, None]),
             "causal": ({"is_causal": True}, np.tri(4, 5, dtype=bool))}
    both, later = masks["padding"][1] & masks["causal"][1], ~np.tri(4, 5, dtype=bool)
    masks["both"] = {"key_padding_mask": padding, "attn_mask": later}, both
    masks["lengths"] = {"lengths": np.array([5, 3])}, masks["padding"][1]
    masks["lengths and causal"] = {"lengths": np.array([5, 3]), "attn_mask": later}, both
    masks["heads"] = {"attn_mask": np.repeat(~both, 3, 0)}, both
    masks["added"] = {"attn_mask": np.where(later, -np.inf, 0).astype("f4"), "key_padding_mask": padding}, both
    given = [Tensor(x if batch_first else x.swapaxes(0, 1)) for x in (q, k, v)]
    for keywords, seen in masks.values():
        keywords = {n: Tensor(m) if isinstance(m, np.ndarray) else m for n, m in keywords.items()}
        want, weights = attend(layer, q, k, v, seen)
        y, mean = layer(*given, **keywords)
        quick, nothing = layer(*given, **keywords, need_weights=False)
        close(y if batch_first else y.swapaxes(0, 1), want)
        close(quick, y)
        close(mean, weights.mean(1))
        close(layer(*given, **keywords, average_attn_weights=False)[1], weights)
        assert nothing is None
    y, weights = layer(*given, key_padding_mask=Tensor(np.ones((2, 5), bool)))       # nothing to be seen: no NaN
    assert not weights.data.any() and np.isfinite(y.data).all()


def test_a_transformer_looks_neither_ahead_nor_at_padding():
    net = nn.Transformer(8, 2, 1, 2, 16, batch_first=True).eval()
    source, target = f(2, 5, 8), f(2, 4, 8)
    padding = Tensor(np.array([[0, 0, 0, 1, 1], [0] * 5], bool))

    def run(source, target, **mask):
        masks = dict(src_key_padding_mask=padding, memory_key_padding_mask=padding, **mask)
        return net(Tensor(source), Tensor(target), **masks)

    y = run(source, target, tgt_mask=net.generate_square_subsequent_mask(4))
    other_source, other_target = source.copy(), target.copy()
    other_source[0, 3:], other_target[:, 3] = 7, 7
    z = run(other_source, other_target, tgt_is_causal=True)
    close(y[:, :3], z[:, :3])
    assert np.abs(y.data[:, 3] - z.data[:, 3]).max() > 1e-3
    close(run(source, target, tgt_is_causal=True), y)
