"""Attention: against one query at a time, in tiles of any size, in windows, with nothing to see."""
import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.backend import random
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)
FILE = sys.modules["minidl.ops.attention"]


def qkv(h=2, g=2, t=7, s=9, d=4, e=3, lead=(2,), dtype="float64"):
    return [RNG.standard_normal((*lead, *shape)).astype(dtype) for shape in ((h, t, d), (g, s, d), (g, s, e))]


def one_by_one(q, k, v, bias, mask, lengths, scale, causal, offset, window, softcap):
    """The same, for each query alone, over just the keys that it sees."""
    out, group = np.zeros((*q.shape[:-1], v.shape[-1])), q.shape[-3] // k.shape[-3]
    bias = np.broadcast_to(0.0 if bias is None else bias, (*q.shape[:-1], k.shape[-2]))
    mask = np.broadcast_to(True if mask is None else mask, bias.shape)
    for *n, h, t in np.ndindex(*q.shape[:-1]):
        end = k.shape[-2] if lengths is None else lengths[tuple(n)]
        head, place, terms = (*n, h // group), t + (end - q.shape[-2] if offset is None else offset), []
        for s in range(end):
            if (causal and s > place) or (-1 < window[0] < place - s) or (-1 < window[1] < s - place):
                continue
            score = q[(*n, h, t)] @ k[head][s] * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
            score = softcap * math.tanh(score / softcap) if softcap else score
            if mask[(*n, h, t, s)] and bias[(*n, h, t, s)] > -math.inf:
                terms.append((math.exp(score + bias[(*n, h, t, s)]), v[head][s]))
        if terms:
            out[(*n, h, t)] = sum(w * value for w, value in terms) / sum(w for w, _ in terms)
    return out


@st.composite
def calls(draw):
    h, g = draw(st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)]))
    t, s, lead = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.sampled_from([(), (2,), (2, 2)]))
    full = (*lead, h, t, s)
    shape = [n if draw(st.booleans()) else 1 for n in full][draw(st.integers(0, len(full))):]
    hidden = np.where(RNG.random(shape) < 0.3, -np.inf, 0.5)
    bias = draw(st.sampled_from([None, np.asarray(RNG.standard_normal(shape)), hidden]))
    mask = draw(st.sampled_from([None, np.asarray(RNG.random(shape) < 0.7)]))
    lengths = draw(st.sampled_from([None, RNG.integers(0, s + 1, lead)]))
    params = (draw(st.sampled_from([None, 0.3])), draw(st.booleans()), draw(st.sampled_from([*range(-3, 4), None])),
              draw(st.sampled_from([(-1, -1), (1, 0), (2, -1), (-1, 1)])), draw(st.sampled_from([0.0, 1.5])))
    return qkv(h, g, t, s, lead=lead), bias, mask, lengths, params


@given(calls(), st.sampled_from([1, 40, 1 << 19]))
def test_against_one_query_at_a_time(case, tile):
    arrays, *rest, params = case
    FILE.TILE = tile
    got = ops.attention(*arrays, *rest, *params)
    np.testing.assert_allclose(got.numpy(), one_by_one(*arrays, *rest, *params), rtol=1e-9, atol=1e-12)


@pytest.fixture(autouse=True)
def tile():
    before = FILE.TILE
    yield before
    FILE.TILE = before


@pytest.mark.parametrize("params", [{}, {"is_causal": True, "window_size": (20, -1)},
                                    {"dropout_p": 0.3, "softcap": 2.0}])
def test_tiles_change_nothing_but_rounding(params):
    params |= {"dropout_key": random.key(3)} if "dropout_p" in params else {}
    arrays = *qkv(4, 2, 100, 90), RNG.standard_normal((2, 1, 1, 90))
    leaves = [Tensor(a, requires_grad=True) for a in arrays]
    g, results = Tensor(RNG.standard_normal((2, 4, 100, 3))), []
    for FILE.TILE in (1, 1 << 30):
        y = ops.attention(*leaves, **params)
        results.append([y, *gradients(y, leaves, g)])
    for one, other in zip(*results):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-9, atol=1e-12)


def test_memory_is_linear_in_the_length():
    q, k, v = [Tensor(a, requires_grad=True) for a in qkv(1, 1, 8192, 8192, 8, 8, (), "float32")]
    tracemalloc.start()
    ops.attention(q, k, v).sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8192 ** 2 * 4 / 10                   # a tenth of the scores


def test_queries_that_see_nothing():
    leaves = [Tensor(a, requires_grad=True) for a in (*qkv(t=3, s=3), RNG.standard_normal((3, 3)))]
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    bias = np.where(mask, 0.0, -np.inf)
    for y in (ops.attention(*leaves, mask), ops.attention(*leaves[:3], bias),
              ops.attention(*leaves, is_causal=True, offset=-2)):
        grads = gradients(y, leaves[:3], Tensor(np.ones(y.shape)))
        assert (y.numpy()[:, :, 1] == 0).all() and all(np.isfinite(g.numpy()).all() for g in grads)
        assert (grads[0].numpy()[:, :, 1] == 0).all()


def test_a_cache_of_keys_goes_last_with_last():
    q, k, v = qkv(t=9, s=9)
    whole = ops.attention(q, k, v, is_causal=True).numpy()
    for t in (1, 3):
        for offset in (9 - t, None):
            part = ops.attention(q[..., -t:, :], k, v, is_causal=True, offset=offset)
            np.testing.assert_allclose(part.numpy(), whole[..., -t:, :], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_lies_behind_a_sequence_does_not_matter(dtype):
    lengths = np.array([9, 0, 4])
    arrays = qkv(lead=(3,), dtype=dtype)
    spoilt = [a.copy() for a in arrays]
    for array in spoilt[1:]:
        for n, end in enumerate(lengths):
            array[n, :, end:] = np.nan
    found = []
    for drawn in (arrays, spoilt):
        leaves = [Tensor(a, requires_grad=True) for a in drawn]
        y = ops.attention(*leaves, lengths=lengths)
        found.append([x.numpy() for x in (y, *gradients((y * y).sum(), leaves))])
    for one, other in zip(*found):
        np.testing.assert_array_equal(one, other)
    for n, end in enumerate(lengths):
        assert not any(g[n, :, end:].any() for g in found[0][2:])


# -- packed sequences, and caches ---------------------------------------------------------

@pytest.mark.parametrize("params", [{}, {"is_causal": True}, {"is_causal": True, "offset": None},
                                    {"window_size": (2, 1), "softcap": 1.5, "scale": 0.3, "offset": 1}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_packed_sequences_are_attention_of_each(dtype, params):
    starts, key_starts = np.cumsum([0, 3, 0, 5, 1]), np.cumsum([0, 4, 2, 5, 0])
    q, k, v = [RNG.standard_normal(shape).astype(dtype) for shape in ((9, 4, 5), (11, 2, 5), (11, 2, 3))]
    y = ops.attention_packed(q, k, v, starts, key_starts, **params).numpy()
    for a, b, c, d in zip(starts, starts[1:], key_starts, key_starts[1:]):
        parts = [x.swapaxes(0, 1) for x in (q[a:b], k[c:d], v[c:d])]
        alone = ops.attention(*parts, **params).numpy().swapaxes(0, 1)
        np.testing.assert_allclose(y[a:b], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cache_in_pages_is_the_cache(dtype):
    lengths, size = np.array([13, 4, 0, 16]), 4
    q, k, v = qkv(4, 2, 2, 16, lead=(4,), dtype=dtype)
    places = RNG.permutation(20)[:16].reshape(4, 4)
    pools = [np.full((20, 2, size, a.shape[-1]), np.nan, dtype) for a in (k, v)]
    for pool, cache in zip(pools, (k, v)):
        pool[places] = cache.reshape(4, 2, 4, size, -1).swapaxes(1, 2)
    places[np.arange(4) * size >= lengths[:, None]] = -1
    whole = ops.attention(q, k, v, lengths=lengths, is_causal=True, offset=None).numpy()
    for caches in ((k, v, lengths), (*pools, lengths, places)):
        np.testing.assert_allclose(ops.decode_attention(q, *caches).numpy(), whole, rtol=1e-5, atol=1e-6)


def packed(*starts, count=9):
    x = np.ones((count, 2, 4), "f4")
    return ops.attention_packed(x, x, x, np.array(starts, int))


def decoded(lengths, table, dtype="f4"):
    cache, table = np.ones((6, 2, 4, 4), dtype), table and np.array(table)
    return ops.decode_attention(np.ones((2, 2, 1, 4), dtype), cache, cache, np.array(lengths), table)


def test_dropout_drops_weights():
    q, k = np.ones((1, 1, 200, 1)), np.ones((1, 1, 50, 1))
    y = ops.attention(q, k, k, dropout_p=0.4, dropout_key=random.key(1)).numpy()
    kept = y * 0.6 * 50                                # each of 50 weights, all alike, stays or does not
    np.testing.assert_allclose(kept, kept.round(), atol=1e-9)
    assert y.mean() == pytest.approx(1, abs=0.02) and y.std() > 0.05


def test_scaled_dot_product_attention():
    q, k, v = qkv(4, 2, 5, 5)
    bias, mask = Tensor(RNG.standard_normal((5, 5)), requires_grad=True), RNG.random((5, 5)) < 0.6
    sdpa = ops.scaled_dot_product_attention
    y = sdpa(q, k, v, mask, enable_gqa=True)
    np.testing.assert_array_equal(y.numpy(), ops.attention(q, k, v, None, mask).numpy())
    y = sdpa(q, k, v, bias, is_causal=True, scale=0.1, enable_gqa=True)
    np.testing.assert_array_equal(y.numpy(), ops.attention(q, k, v, bias, None, None, 0.1, True).numpy())
    assert gradients(y.sum(), [bias])[0].shape == (5, 5)
    with pytest.raises(ShapeError, match=r"\[scaled_dot_product_attention\] key: .* Set enable_gqa=True"):
        sdpa(q, k, v)


@pytest.mark.parametrize("call, error, match", [
    (lambda q, k, v: ops.attention(q, k, v[..., :5, :]), ShapeError, r"\[attention\] value: .* S=9"),
    (lambda q, k, v: ops.attention(q[:, 1:], k, v), ShapeError, r"\[attention\] key: .* the 3 of query"),
    (lambda q, k, v: ops.attention(q, k, v, np.ones((3, 7, 9))), ShapeError, r"bias: .* to \(2, 4, 7, 9\)"),
    (lambda q, k, v: ops.attention(q, k, v, None, np.ones((1, 2, 4, 7, 9), bool)), ShapeError, r"mask"),
    (lambda q, k, v: ops.attention(q, k, v, dropout_p=0.5), ArgumentError, r"dropout_key: expected a Key"),
    (lambda q, k, v: ops.attention(q, k, v, dropout_p=2, dropout_key=3), ArgumentError, r"dropout_p"),
    (lambda q, k, v: ops.attention(q, k, v, lengths=[9, 10]), ArgumentError, r"\[attention\] lengths: .* to 9, .* 10"),
    (lambda q, k, v: ops.attention(q, k, v, lengths=[9]), ShapeError, r"\[attention\] lengths"),
    (lambda *_: packed(0, 5, 4, 9), ArgumentError, r"\[attention_packed\] starts: .* rise from 0 to the 9 rows"),
    (lambda *_: packed(1, 9), ArgumentError, r"\[attention_packed\] starts"),
    (lambda *_: packed(), ArgumentError, r"\[attention_packed\] starts"),
    (lambda *_: decoded([5, 3], [[0, 6], [1, 9]]), ArgumentError, r"\[decode_attention\] page_table: .* 0 to 5, .* 6"),
    (lambda *_: decoded([5, 3], [[0, -1], [1, 9]]), ArgumentError, r"\[decode_attention\] page_table: .* -1"),
    (lambda *_: decoded([5, 9], [[0, 1], [1, 2]]), ArgumentError, r"\[decode_attention\] lengths: .* 0 to 8.* 9"),
    (lambda *_: decoded([5, -1], [[0, 1], [1, 2]], "f8"), ArgumentError, r"\[decode_attention\] lengths"),
    (lambda *_: decoded([4, 4], None), ShapeError, r"\[decode_attention\] key_cache: .* 2 sequences, or a page_table"),
])
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call(*qkv(4, 2))
