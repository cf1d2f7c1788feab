"""Convolutions against sums written out, as linear maps and their transposes, in every layout and block."""
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, ShapeError
from minidl.guests import flops
from minidl.ops import conv
from minidl.testing import opcheck
from minidl.testing.samples import samples

CONV = {1: ops.conv1d, 2: ops.conv2d, 3: ops.conv3d}
TRANSPOSED = {1: ops.conv_transpose1d, 2: ops.conv_transpose2d, 3: ops.conv_transpose3d}
LAYOUTS = {"as it comes": {}, "an axis outside": {"LONG_ROW": 1}, "small blocks": {"BLOCK": 400},
           "small blocks, an axis outside": {"LONG_ROW": 1, "BLOCK": 400}}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request, monkeypatch):
    """Large arrays take other ways than small ones: send small ones there too."""
    for name, value in request.param.items():
        monkeypatch.setattr(conv, name, value)


@st.composite
def problems(draw):
    """(x, weight, stride, padding pairs, dilation, groups) that fit each other, in 1 to 3 axes."""
    rank, groups, n = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 7]))
    few, pair = st.integers(1, 3), st.tuples(st.integers(0, 3), st.integers(0, 3))
    kernel, stride, dilation, pads = [draw(st.lists(some, min_size=rank, max_size=rank))
                                      for some in (few, few, few, pair)]
    least = [max(1, d * (r - 1) + 1 - sum(p)) for d, r, p in zip(dilation, kernel, pads)]
    size = [n + draw(st.integers(0, 4)) for n in least]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    c, o = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    return (rng.standard_normal((n, groups * c, *size)), rng.standard_normal((groups * o, c, *kernel)),
            stride, pads, dilation, groups)


def written_out(x, weight, stride, pads, dilation, groups):
    """The sum, window by window."""
    kernel, o, c = weight.shape[2:], weight.shape[0] // groups, weight.shape[1]
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    counts = [(n - d * (r - 1) - 1) // s + 1 for n, d, r, s in zip(x.shape[2:], dilation, kernel, stride)]
    out = np.zeros((x.shape[0], weight.shape[0], *counts))
    for at in product(*map(range, counts)):
        first = [p * s for p, s in zip(at, stride)]
        seen = x[(..., *[slice(f, f + d * (r - 1) + 1, d) for f, d, r in zip(first, dilation, kernel)])]
        for i in range(groups):
            mine, axes = slice(i * o, (i + 1) * o), range(1, seen.ndim)
            group = seen[:, i * c:(i + 1) * c]
            out[(slice(None), mine, *at)] = np.tensordot(group, weight[mine], (axes, axes))
    return out


@given(problems())
@settings(max_examples=80, deadline=None)
def test_convolution_is_the_sum_written_out(problem):
    got = CONV[problem[0].ndim - 2](*problem[:2], None, *problem[2:])
    np.testing.assert_allclose(got.numpy(), written_out(*problem), atol=1e-12)


@given(problems())
@settings(max_examples=80, deadline=None)
def test_transposed_convolution_is_the_transpose(problem):
    x, weight, stride, pads, dilation, groups = problem
    y = CONV[x.ndim - 2](x, weight, None, stride, pads, dilation, groups).numpy()
    g = np.random.default_rng(1).standard_normal(y.shape)
    extra = [n + sum(p) - (d * (r - 1) + 1) - s * (q - 1)
             for n, p, d, r, s, q in zip(x.shape[2:], pads, dilation, weight.shape[2:], stride, y.shape[2:])]
    back = TRANSPOSED[x.ndim - 2](g, weight, None, stride, pads, extra, groups, dilation).numpy()
    assert back.shape == x.shape
    np.testing.assert_allclose((back * x).sum(), (g * y).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("op", [*CONV.values(), *TRANSPOSED.values()], ids=lambda op: op.op.name)
def test_all_layouts_and_blocks_agree_with_the_definition(op, layout):
    for inputs, params in samples(op.op):
        opcheck.check_rungs(op.op, inputs, params)


@pytest.mark.parametrize("n", [1, 40], ids=["one image", "a batch"])
def test_results_lie_as_the_next_convolution_wants_them(n):
    y = ops.conv2d(np.ones((n, 3, 9, 8)), np.ones((4, 3, 3, 3)), None, 1, 1).data
    assert conv.Layout(n, [conv.Axis(9, count=9), conv.Axis(8, count=8)], 1).arranged(y).flags.c_contiguous


def test_columns_are_never_there_as_a_whole():
    x = np.ones((1, 16, 256, 256), np.float32)
    weight = ml.tensor(np.ones((16, 16, 3, 3), np.float32), requires_grad=True)
    tracemalloc.start()
    try:
        y = ops.conv2d(x, weight, None, 1, 1)
        ml.gradients(y, [weight], y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < y.data.nbytes + 4 * conv.BLOCK < 9 * x.nbytes + conv.BLOCK


def test_same_keeps_the_size_and_puts_the_odd_one_behind():
    x = np.arange(5.0)[None, None]
    same = ops.conv1d(x, np.ones((1, 1, 4)), None, 1, "same")
    np.testing.assert_array_equal(same.numpy(), ops.conv1d(x, np.ones((1, 1, 4)), None, 1, ((1, 2),)).numpy())
    assert same.shape == x.shape


def test_costs_count_multiplications_and_additions():
    x, weight = np.ones((2, 4, 8, 8)), np.ones((6, 2, 3, 3))
    assert flops(ops.conv2d.op, (x, weight), {"padding": 1, "groups": 2}) == 2 * (2 * 8 * 8 * 6) * (2 * 9)
    x, weight = np.ones((2, 4, 8)), np.ones((4, 3, 5))
    assert flops(ops.conv_transpose1d.op, (x, weight), {}) == 2 * (2 * 8 * 4) * (3 * 5)


X, W, T = np.ones((2, 4, 5, 5)), np.ones((6, 2, 3, 3)), np.ones((4, 2, 3, 3))


@pytest.mark.parametrize("call, error, said", [
    (lambda: ops.conv2d(X, W), ShapeError, "weight: .*C = 4.*groups=1"),
    (lambda: ops.conv2d(X, W[:5], groups=2), ShapeError, "weight: .*divisible by groups = 2"),
    (lambda: ops.conv2d(X, W, groups=0), ArgumentError, "groups: expected a positive integer"),
    (lambda: ops.conv2d(X, np.ones((6, 4, 6, 3))), ShapeError, r"weight: .*\(5, 5\), got \(6, 3\).* Pad"),
    (lambda: ops.conv2d(X, W, np.ones(5), groups=2), ShapeError, r"bias: expected bias\(O\) with O=6"),
    (lambda: ops.conv2d(X, W, None, 0, groups=2), ArgumentError, "stride: expected an integer from 1 on"),
    (lambda: ops.conv2d(X, W, None, 1, (1, 2, 3), groups=2), ArgumentError, "padding: .* 2 pairs"),
    (lambda: ops.conv2d(X, W, None, 1, -1, groups=2), ArgumentError, "padding: .* got -1"),
    (lambda: ops.conv2d(X, W, None, 2, "same", groups=2), ArgumentError, "padding: .*as there is a stride"),
    (lambda: ops.conv2d(X[0], W), ShapeError, "x: expected 4 axes"),
    (lambda: ops.conv_transpose2d(X, T, np.ones(2), groups=2), ShapeError, "bias: expected B .* = 4"),
    (lambda: ops.conv_transpose2d(X, T, None, 2, 0, 2), ArgumentError, "output_padding: expected less"),
    (lambda: ops.conv_transpose2d(X, T, None, 1, 5), ShapeError, "x: .*padding=5"),
])
def test_what_does_not_fit_is_said(call, error, said):
    with pytest.raises(error, match=rf"\[conv(_transpose)?2d\] {said}"):
        call()


def test_gradients_of_gradients_are_convolutions_too():
    """No columns of windows, which take many times the image's memory, however often a gradient is differentiated."""
    x, weight = (ml.tensor(np.ones(shape), requires_grad=True) for shape in ((2, 3, 8, 8), (4, 3, 3, 3)))
    with ml.profile() as profile:
        slope, = ml.gradients((ops.conv2d(x, weight, None, 2, 1) ** 3).sum(), [x], create_graph=True)
        ml.gradients((slope ** 2).sum(), [x, weight])
    assert "conv_transpose2d" in profile.table() and "windows" not in profile.table()


@pytest.mark.parametrize("kernels", ["auto", "off"])
def test_what_follows_a_convolution_is_checked(kernels):
    """A residual is added, not spread; errors are named after the op that was called."""
    x, weight, rng = np.ones((1, 3, 4, 4), "f4"), np.ones((2, 3, 1, 1), "f4"), np.random.default_rng(0)
    with ml.use_kernels(kernels):
        for shape in ((1, 2, 4, 1), (1, 2, 1, 1), (1, 2, 5, 4)):
            with pytest.raises(ShapeError, match=r"\[conv2d_activation\] residual: expected \(1, 2, 4, 4\), as the"):
                ops.conv2d_activation(x, weight, None, None, rng.standard_normal(shape).astype("f4"))
        with pytest.raises(ArgumentError, match=r"\[squeeze_excite\] activation: expected one of none, relu"):
            ops.squeeze_excite(x, x[0, :2, 0, :3], None, x[0, :3, 0, :2], activation="tanh")
