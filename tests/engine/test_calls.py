"""What a call accepts, what it refuses, and in which words."""
import subprocess
import sys
import traceback
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, gradients, ops
from minidl.errors import ArgumentError, DTypeError, GradError, ShapeError
from minidl.op import REGISTRY, primitive

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def leaf(*shape, dtype=np.float64):
    return Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("call", [
    lambda x: x * 2.0, lambda x: 2.0 * x, lambda x: x + 1, lambda x: 1 - x, lambda x: 3 / x, lambda x: x * True,
    lambda x: x * np.float64(2), lambda x: np.float64(2) * x, lambda x: x / np.sqrt(64), lambda x: x ** 2,
    lambda x: x - np.int64(1)])
def test_numbers_are_weak(call, dtype):
    x = leaf(3, dtype=ml.dtypes.as_dtype(dtype))
    y = call(x)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.dtype == dtype


def test_numbers_alone_take_the_default_dtype():
    assert ops.exp(2.0).dtype == np.float32 and ops.add(2, 3).dtype == np.int64
    with pytest.raises(DTypeError, match=r"\[add\] b: expected int64 as a, got the number 2.5. Convert the array"):
        Tensor([1, 2]) + 2.5
    with pytest.raises(DTypeError, match=r"\[exp\] x: expected a dtype of kind float, got int64. Convert it"):
        ops.exp(Tensor([1, 2]))


def test_zero_axes_stay_arrays():
    x = Tensor(np.float32(3), requires_grad=True)
    (x * x).backward()
    assert isinstance((x * x).data, np.ndarray) and isinstance(x.grad.data, np.ndarray) and x.grad.data == 6


def test_half_types_are_computed_in_float32():
    x = np.full(4096, 1 + 2**-7, ml_dtypes.bfloat16)         # a bfloat16 running sum would stick at 256
    t = Tensor(x, requires_grad=True)
    y = ops.softmax(t * t).sum() + t.sum()
    assert y.dtype == x.dtype and float(y.item()) == pytest.approx(float(x.astype("f4").sum()) + 1, rel=2**-8)
    y.backward()
    assert t.grad.dtype == x.dtype


def test_arrays_of_two_dtypes_are_refused():
    with pytest.raises(DTypeError, match=r"\[add\] b: expected float32 as a, got float64. Convert"):
        leaf(3, dtype=np.float32) + leaf(3)
    with pytest.raises(DTypeError, match=r"\[take_along_axis\] \w+: expected a dtype of kind int, got float64"):
        ops.take_along_axis(leaf(2, 3), leaf(2, 3))


def test_broadcasting_is_undone():
    a, b = leaf(2, 1, 3), leaf(4, 1)
    (a * b + b).sum().backward()
    assert a.grad.shape == a.shape and b.grad.shape == b.shape
    np.testing.assert_allclose(b.grad.data, (np.broadcast_to(a.data, (2, 4, 3)).sum((0, 2))[:, None] + 6))


def test_a_seed_must_fit():
    with pytest.raises(GradError, match=r"expected float64 \(3,\) as the output, got float64 \(1, 3\)"):
        (leaf(3) * 2.0).backward(np.ones((1, 3)))
    with pytest.raises(GradError, match=r"\[backward\] gradient: expected an array \(3,\) for a non-scalar"):
        (leaf(3) * 2.0).backward()
    with pytest.raises(GradError, match=r"\[backward\] self: expected a tensor that depends on a leaf"):
        Tensor([1.0]).backward()


def test_tracebacks_show_the_written_source():
    try:
        leaf(2, 3).reshape((4, 4))
    except ArgumentError as error:
        text = "".join(traceback.format_exception(error))
    assert "_y = forward(_xp, x_, shape)" in text


def test_refusals_name_op_argument_and_fact():
    with pytest.raises(ShapeError,
                       match=r"\[add\] b: expected leading axes that broadcast with a=\(2, 3\), got \(4,\)"):
        leaf(2, 3) + leaf(4)
    with pytest.raises(ShapeError, match=r"\[matmul\] b: expected b\(...,K,N\) with K=3"):
        leaf(2, 3) @ leaf(4, 2)
    with pytest.raises(ArgumentError, match=r"\[sum\].*axis=7.*axis 7 is out of bounds"):
        leaf(2, 3).sum(7)
    with pytest.raises(ShapeError, match=r"\[concat\] xs: expected a sequence of arrays"):
        ops.concat(leaf(2, 3))
    with pytest.raises(ShapeError, match=r"\[exp\] x: expected an array"):
        ops.exp(None)


def test_an_op_from_outside():
    @primitive("x(*) -> (*)", methods=["_cube"])
    def _cube(xp, x, /, *, scale=1.0):
        """scale * x cubed."""
        return x * x * x * scale

    @_cube.vjp
    def _(g, x, scale):
        return g * x * x * (3 * scale)

    x = leaf(3)
    y = x._cube(scale=2.0)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, 6 * x.data ** 2)
    assert "x_.data" not in _cube.op.source and "def _cube(x, *, scale=default_scale):" in _cube.op.source
    with pytest.raises(TypeError, match=r"\[_cube\] op: expected a new name"):
        primitive("x(*) -> (*)")(_cube.op.fn)
    with pytest.raises(TypeError, match=r"\[_bad\] contract: expected inputs"):
        primitive("y(*) -> (*)")(_named("_bad"))


def _named(name):
    def fn(xp, x, /):
        return x
    fn.__name__ = name
    return fn


def test_a_forward_gives_arrays(monkeypatch):
    def _gives_a_list(xp, x, /):
        return x.tolist()
    monkeypatch.delitem(REGISTRY, "_gives_a_list", raising=False)      # (nor does it stay there)
    op = primitive("x(*) -> (*)", differentiable=False)(_gives_a_list)
    with pytest.raises(DTypeError, match=r"\[_gives_a_list\] out: expected an array, got list"):
        op(leaf(3))


def test_without_assertions():
    """`python -O` leaves them out: nothing may depend on one."""
    code = "import minidl as ml; x = ml.ones(2, requires_grad=True); x.exp().sum().backward(); print(x.grad)"
    run = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.stdout.startswith("tensor([2.71"), run.stderr


def test_a_tensor_in_python():
    x = ml.tensor([[1.5, 2.0], [3.0, 4.0]])
    assert x.tolist() == [[1.5, 2.0], [3.0, 4.0]] and len(x) == 2 and [float(r.sum()) for r in x] == [3.5, 7.0]
    assert np.asarray(x).dtype == np.float32 and hash(x) != hash(x.detach()) and bool(ml.tensor(True))
    with pytest.raises(ValueError, match="read-only"):
        x.numpy()[0, 0] = 1
    with pytest.raises(ShapeError, match=r"\[item\] self: expected a tensor of one element, got \(2, 2\)"):
        x.item()
    with pytest.raises(ShapeError, match=r"\[tensor\] data: expected nested lists of equal lengths"):
        ml.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(DTypeError, match=r"\[tensor\] dtype: expected one of"):
        ml.tensor(["a"])
    with pytest.raises(DTypeError, match=r"\[requires_grad\] self: expected a floating dtype, got int64"):
        Tensor([1, 2], requires_grad=True)
    with pytest.raises(DTypeError, match=r"\[tensor\] dtype: expected one of"):
        ml.tensor([None, 1.0], dtype="float32")
    assert f"{ml.tensor(1.25):.1f} {ml.tensor(2)}" == "1.2 tensor(2)"
    assert repr(ml.tensor([1.0, 2.0])) == "tensor([1., 2.])" and "requires_grad=True" in repr(leaf(2))
    assert repr(leaf(1) * 2.0).endswith("from=multiply)") and x.to("float64").dtype == np.float64


def test_a_rule_may_be_a_lambda_and_be_declared_anew():
    @primitive("a(...) b(...) -> (...)")
    def _declared_anew(xp, a, b, /):
        return a * b

    x, y = leaf(3), leaf(3)
    for rule, want in ((lambda g, a, b: (g * b, g * a), y.data), (lambda g, a: (g.exp(), None), np.full(3, np.e))):
        _declared_anew.vjp(rule)
        gx, _ = gradients(_declared_anew(x, y).sum(), [x, y])
        np.testing.assert_allclose(gx.data, want)
