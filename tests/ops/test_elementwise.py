"""Elementwise ops against Python's own mathematics, one number at a time; kinks, poles, operators, dtypes."""
import math
import operator

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minidl as ml
from minidl import Tensor, ops
from minidl.autograd import gradients
from minidl.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
ALL, POSITIVE, UNIT = np.linspace(-7, 7, 99), np.geomspace(1e-6, 1e6, 99), np.linspace(-0.999, 0.999, 99)
UNARY = {
    "abs": (abs, ALL), "sign": (lambda x: (x > 0) - (x < 0), ALL), "square": (lambda x: x * x, ALL),
    "negative": (operator.neg, ALL), "reciprocal": (lambda x: 1 / x, POSITIVE), "sqrt": (math.sqrt, POSITIVE),
    "rsqrt": (lambda x: 1 / math.sqrt(x), POSITIVE), "exp": (math.exp, ALL),
    "exp2": (lambda x: 2**x, ALL), "expm1": (math.expm1, ALL), "log": (math.log, POSITIVE),
    "log1p": (math.log1p, POSITIVE), "log2": (math.log2, POSITIVE), "log10": (math.log10, POSITIVE),
    "sin": (math.sin, ALL), "cos": (math.cos, ALL), "tan": (math.tan, UNIT),
    "asin": (math.asin, UNIT), "acos": (math.acos, UNIT),
    "atan": (math.atan, ALL),
    "sinh": (math.sinh, ALL), "cosh": (math.cosh, ALL), "tanh": (math.tanh, ALL), "asinh": (math.asinh, ALL),
    "acosh": (math.acosh, POSITIVE + 1), "atanh": (math.atanh, UNIT), "erf": (math.erf, ALL),
    "erfc": (math.erfc, ALL), "floor": (math.floor, ALL), "ceil": (math.ceil, ALL),
    "trunc": (math.trunc, ALL), "round": (round, ALL),
}
BINARY = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv,
    "floor_divide": operator.floordiv, "remainder": operator.mod, "pow": lambda a, b: abs(a) ** b,
    "maximum": max, "minimum": min, "atan2": math.atan2,
    "logaddexp": lambda a, b: math.log(math.exp(a) + math.exp(b)),
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "logical_and": lambda a, b: bool(a and b),
    "logical_or": lambda a, b: bool(a or b), "logical_xor": lambda a, b: bool(a) != bool(b),
}


def leaf(values, dtype=np.float64):
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def slopes(function, *values):
    """The gradients of sum(function), at numbers."""
    leaves = [leaf(v) for v in values]
    return [g.tolist() for g in gradients(function(*leaves).sum(), leaves)]


# -- values ---------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, ulps", [("float64", 8), ("float32", 4)])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_number(name, dtype, ulps):
    function, x = UNARY[name]
    x = x.astype(dtype)
    want = np.array([function(float(v)) for v in x])
    got = getattr(ops, name)(Tensor(x))
    assert got.dtype == dtype
    size = np.maximum(abs(want), 1 if name in ("sin", "cos", "acos", "erf") else 0)      # (they have zeros)
    assert np.all(abs(got.numpy() - want) <= ulps * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_numbers(name):
    a, b = np.round(RNG.standard_normal((2, 60)) * 3, 1)
    a[a == 0] = b[b == 0] = 0.5
    a[:5] = b[:5]
    got = getattr(ops, name)(Tensor(abs(a) if name == "pow" else a), Tensor(b)).numpy()
    want = np.array([BINARY[name](float(x), float(y)) for x, y in zip(a, b)])
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_error_function_far_out_and_close_in():
    x = np.linspace(0.5, 26, 400)
    np.testing.assert_allclose(ops.erfc(Tensor(x)).numpy(), [math.erfc(v) for v in x], rtol=2e-14)
    x = np.geomspace(1e-300, 0.5, 300)
    np.testing.assert_allclose(ops.erf(Tensor(x)).numpy(), [math.erf(v) for v in x], rtol=1e-15)
    for dtype in ("float32", "float64"):
        x = Tensor(np.array([np.inf, -np.inf, np.nan, 1e30, -1e30, -0.0], dtype))
        np.testing.assert_array_equal(ops.erf(x).numpy(), [1, -1, np.nan, 1, -1, 0])
        np.testing.assert_array_equal(ops.erfc(x).numpy(), [0, 2, np.nan, 0, 2, 1])
    x = np.linspace(-6, 6, 200_001).astype("float32")
    y = ops.erf(Tensor(x)).numpy()
    assert np.all(np.diff(y) >= 0) and np.array_equal(y, -y[::-1])
    assert abs(y[::100] - [math.erf(v) for v in x[::100]]).max() < 1.5e-7


@given(mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3, min_side=0))
def test_broadcasting_and_its_gradient(shapes):
    a, b, c = (leaf(RNG.standard_normal(s)) for s in shapes.input_shapes)
    y = ops.where(c > 0, a * b, a + b)
    assert y.shape == shapes.result_shape
    picked, (A, B) = np.broadcast_to(c.numpy() > 0, y.shape), np.broadcast_arrays(a.numpy(), b.numpy())
    for t, g, other in zip((a, b), gradients(y.sum(), [a, b]), (B, A)):
        part = np.where(picked, np.broadcast_to(other, y.shape), 1.0)
        lead = y.ndim - t.ndim
        axes = tuple(range(lead)) + tuple(i + lead for i, n in enumerate(t.shape) if n == 1)
        np.testing.assert_allclose(g.numpy(), part.sum(axes).reshape(t.shape), atol=1e-12)


@given(st.integers(-4, 20), st.floats(0.01, 3), st.sampled_from([-1, 1]))
def test_whole_powers(n, size, sign):
    x = size * sign
    np.testing.assert_allclose((leaf([x]) ** n).numpy(), [x**n], rtol=1e-14)
    np.testing.assert_allclose(slopes(lambda t: t ** n, [x])[0], [n * x ** (n - 1)], rtol=1e-13)
    assert (Tensor([3, -2]) ** 5).tolist() == [243, -32]


# -- kinks, poles, what is not a number -----------------------------------------------

def test_gradients_at_kinks():
    assert slopes(ops.abs, [-2.0, 0.0, 2.0]) == [[-1, 0, 1]]
    assert slopes(ops.maximum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [[0, 0.5, 1], [1, 0.5, 0]]
    assert slopes(ops.minimum, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == [[1, 0.5, 0], [0, 0.5, 1]]
    assert slopes(lambda x: x.clip(-1.0, 1.0), [-2.0, -1.0, 0.0, 1.0, 2.0]) == [[0, 1, 1, 1, 0]]
    assert slopes(ops.clip, [-2.0, 0.0, 2.0], -1.0, 1.0) == [[0, 1, 0], 1, 1]
    assert slopes(ops.nan_to_num, [1.0, math.nan, math.inf]) == [[1, 0, 0]]


def test_powers_at_zero():
    assert slopes(lambda x: x ** 0, [0.0, 2.0]) == [[0, 0]] and slopes(lambda x: x ** 1, [0.0]) == [[1]]
    assert slopes(lambda x: 0.0 ** x, [1.0, 2.0]) == [[0, 0]]
    base, exponent = slopes(ops.pow, [0.0, 0.0, 0.0, 2.0], [0.0, 1.0, 2.0, 0.0])
    assert base == [0, 1, 0, 0] and exponent == [0, 0, 0, math.log(2)]
    assert slopes(lambda x: 2.0 ** x, [3.0])[0][0] == pytest.approx(8 * math.log(2))
    a, b = leaf([0.0]), leaf([2.0])
    first, = gradients(ops.pow(a, b).sum(), [a], create_graph=True)
    assert gradients(first.sum(), [a])[0].tolist() == [2]


def test_not_a_number():
    nan = Tensor([math.nan, 1.0])
    assert ops.isnan(nan).tolist() == [True, False] and ops.isfinite(nan).tolist() == [False, True]
    assert ops.isinf(Tensor([math.inf, -math.inf, 0.0])).tolist() == [True, True, False]
    assert (nan == nan).tolist() == [False, True] and (nan != nan).tolist() == [True, False]
    for op in (ops.maximum, ops.minimum, ops.add):
        assert ops.isnan(op(nan, 0.0)).tolist() == [True, False] == ops.isnan(op(0.0, nan)).tolist()
    filled = ops.nan_to_num(Tensor(np.array([math.nan, math.inf, -math.inf, 2], "float32")), 7.0, neginf=-8.0)
    assert filled.tolist() == [7, float(np.finfo("float32").max), -8, 2]


# -- operators and dtypes -------------------------------------------------------------

@pytest.mark.parametrize("op", [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
@pytest.mark.parametrize("a, b", [((2, 3), (3,)), ((2, 3), 2.5), (2.5, (2, 3)), ((3,), 2), (3, (3,))])
def test_operators(op, a, b):
    a, b = (RNG.uniform(1, 4, v).astype("float32") if isinstance(v, tuple) else v for v in (a, b))
    got = op(*[Tensor(v) if isinstance(v, np.ndarray) else v for v in (a, b)])
    want = op(a, b)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_operators_of_bits():
    a, b, yes, no = Tensor([12, 10]), Tensor([10, 3]), Tensor([True, True]), Tensor([True, False])
    assert [t.tolist() for t in (a & b, a | b, a ^ b, ~a)] == [[8, 2], [14, 11], [6, 9], [-13, -11]]
    assert [t.tolist() for t in (6 & a, 1 | a, 1 ^ a)] == [[4, 2], [13, 11], [13, 11]]
    assert [t.tolist() for t in (yes & no, ~no, yes ^ no)] == [[True, False], [False, True], [False, True]]
    assert ops.logical_and(a, no).tolist() == [True, False] == ops.logical_not(Tensor([0.0, 2.0])).tolist()
    for call in (lambda: Tensor([1.0]) & Tensor([2.0]), lambda: yes - no, lambda: -yes):
        with pytest.raises(DTypeError, match=r"\[\w+\] arguments"):
            call()


def test_integers_are_not_silently_made_floats():
    x = Tensor([1, 2])
    for call in (lambda x: x / 2, lambda x: x / x, ops.exp, ops.sqrt, ops.erf, ops.log, ops.floor):
        with pytest.raises(DTypeError, match="float"):
            call(x)
    for y in (x // 2, x % 2, -x, abs(x), ops.sign(x), ops.square(x), x.clip(0, 1), x ** 2, ops.maximum(x, 2)):
        assert y.dtype == np.int64
    with pytest.raises(ArgumentError, match=r"\[pow\].*negative integer powers"):
        x ** -1


def test_where_and_clip_take_numbers():
    mask, x = Tensor([True, False]), Tensor(np.array([1, 2], "float32"))
    assert ops.where(mask, 1.0, 0).dtype == np.float32 and ops.where(mask, 1, 0).dtype == np.int64
    assert ops.where(mask, x, 0.5).dtype == np.float32 == ops.where(mask, 0, x).dtype
    assert x.where(mask, 9.0).tolist() == [1, 9] and x.clip(max=1.5).tolist() == [1, 1.5]
    assert x.half().clamp(min=1.5).dtype == np.float16
    with pytest.raises(DTypeError, match=r"\[where\] condition: expected a dtype of kind bool, got float32"):
        ops.where(x, x, x)
    with pytest.raises(DTypeError, match=r"\[clip\] min: expected int64 as x, got the number 0.5"):
        Tensor([1, 2]).clip(0.5)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"\[add\] b: expected leading axes that broadcast with a=\(2, 3\)"):
        leaf(np.ones((2, 3))) + leaf(np.ones(2))


def test_astype():
    x = leaf([1.5, -2.7], np.float32)
    assert x.astype("float32") is x and x.astype(np.float32) is x and x.float() is x
    for dtype in (ml.float16, ml.bfloat16, ml.float64):
        y = x.astype(dtype)
        assert y.dtype == dtype
        assert not any(isinstance(kept, Tensor) for kept in y.node.saved)          # x may be freed
        g, = gradients(y, [x], Tensor(np.array([2, 3], dtype)))
        assert g.dtype == np.float32 and g.tolist() == [2, 3]
    assert x.long().tolist() == [1, -2] and not x.long().requires_grad and not (x > 0).requires_grad
    assert [getattr(x, n)().dtype for n in ("half", "double", "bfloat16", "int", "long", "bool")] == [
        np.float16, np.float64, ml_dtypes.bfloat16, np.int32, np.int64, np.bool_]
    with pytest.raises(DTypeError, match=r"\[astype\] dtype: expected one of .*, got 'complex64'"):
        x.astype("complex64")
