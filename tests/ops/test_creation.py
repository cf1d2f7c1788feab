"""New tensors: values, dtypes, whose memory they have, what they refuse; and the way to a device and back."""
import numpy as np
import pytest

import minidl as ml
from minidl import Tensor
from minidl.autograd import gradients
from minidl.errors import ArgumentError, DeviceError, DTypeError, OutOfMemoryError, ShapeError
from minidl.testing import cupy_double


@pytest.mark.parametrize("made, want", [
    (ml.zeros(2), np.zeros(2, "f4")),
    (ml.zeros((2, 0), "int8"), np.zeros((2, 0), "i1")),
    (ml.ones((), float), np.ones((), "f4")),
    (ml.full((2,), 7), np.array([7, 7])),
    (ml.full(2, True), np.array([True] * 2)),
    (ml.full(2, 1.5), np.array([1.5] * 2, "f4")),
    (ml.full_like(ml.zeros(2, "int32"), 3), np.array([3, 3], "i4")),
    (ml.ones_like(ml.zeros((1, 2)), "bool"), np.ones((1, 2), bool)),
    (ml.arange(3), np.arange(3)),
    (ml.arange(5, 0, -2), np.array([5, 3, 1])),
    (ml.arange(0, 1, 0.25), np.array([0, 0.25, 0.5, 0.75], "f4")),
    (ml.arange(3, 1), np.zeros(0, "i8")),
    (ml.linspace(0, 1, 5), np.array([0, 0.25, 0.5, 0.75, 1], "f4")),
    (ml.linspace(0, 1, 4, endpoint=False), np.array([0, 0.25, 0.5, 0.75], "f4")),
    (ml.eye(2, 3, 1), np.array([[0, 1, 0], [0, 0, 1]], "f4")),
    (ml.tensor([[1, 2]]), np.array([[1, 2]])),
    (ml.tensor(0.5), np.array(0.5, "f4")),
    (ml.tensor([True]), np.array([True])),
    (ml.tensor(np.float64([1, 2])), np.array([1.0, 2.0])),
    (ml.tensor([1, 2], "float16"), np.array([1, 2], "f2")),
    (ml.tensor([0.1], "float64"), np.array([0.1])),
    (ml.tensor(np.ones(2, ">f4")), np.ones(2, "<f4")),
])
def test_values_and_dtypes(made, want):
    assert made.dtype == want.dtype and made.dtype.isnative and made.shape == want.shape and made.is_leaf
    np.testing.assert_array_equal(made.numpy(), want)


def test_whose_memory():
    a = np.ones(3)
    assert not np.shares_memory(ml.tensor(a).data, a) and np.shares_memory(ml.asarray(a).data, a)
    t = Tensor(a, requires_grad=True)
    assert ml.asarray(t) is t is ml.asarray(t, "float64", "cpu") and ml.asarray(t, "float32").requires_grad
    assert not ml.tensor(t).requires_grad and ml.tensor(t, requires_grad=True).is_leaf
    shared = ml.from_dlpack(a)
    a[0] = 5
    assert shared.tolist() == [5, 1, 1] and np.shares_memory(ml.from_dlpack(Tensor(a)).data, a)
    wide = Tensor(np.ones((2, 3)).T, requires_grad=True)
    flat = wide.contiguous()
    assert flat.data.flags.c_contiguous and flat.contiguous() is flat
    assert not np.shares_memory(flat.clone().data, flat.data)
    assert gradients(flat.clone().sum(), [wide])[0].tolist() == [[1, 1]] * 3


def test_random_draws_depend_on_key_and_generator_alone():
    draws = {"rand": lambda **k: ml.rand((2, 3), **k), "randn": lambda **k: ml.randn(4, "float64", **k),
             "randint": lambda **k: ml.randint(-2, 5, 50, **k), "randperm": lambda **k: ml.randperm(9, **k),
             "bernoulli": lambda **k: ml.bernoulli(0.5, 40, "float32", **k)}
    for name, draw in draws.items():
        a, b, c = (draw(key=ml.random.key(n)).tolist() for n in (1, 1, 2))
        assert a == b != c, name
        assert draw(generator=ml.Generator(3)).tolist() == draw(generator=ml.Generator(3)).tolist()
        ml.seed(4)
        first, second = draw().tolist(), draw().tolist()
        ml.seed(4)
        assert draw().tolist() == first != second
    assert ml.rand(2).dtype == np.float32 and ml.randint(0, 2, 2, "uint8").dtype == np.uint8
    assert ml.bernoulli(1, 3).tolist() == [True] * 3 and sorted(ml.randperm(9).tolist()) == list(range(9))
    assert set(ml.randint(-2, 5, 500).tolist()) == set(range(-2, 5))


@pytest.mark.parametrize("call, error, match", [
    (lambda: ml.zeros(-1), ArgumentError, r"\[zeros\] arguments: .*negative dimensions"),
    (lambda: ml.zeros("a"), ArgumentError, r"\[zeros\] arguments"),
    (lambda: ml.zeros(2, 3), DTypeError, r"expected one of .*, got 3. A shape is one argument, as in zeros"),
    (lambda: ml.zeros((10**9, 10**9)), OutOfMemoryError, r"\[zeros\] memory: expected room for the array, got Unable"),
    (lambda: ml.tile(ml.zeros(10**6), (10**10,)), OutOfMemoryError, r"\[tile\] memory: expected room for the res"),
    (lambda: ml.zeros(2).astype(None), DTypeError, r"\[astype\] dtype: expected one of .*, got None"),
    (lambda: ml.zeros(2, device="tpu"), DeviceError, 'expected "cpu" or "cuda'),
    (lambda: ml.zeros(2, device="cpu:one"), DeviceError, "got 'cpu:one'"),
    (lambda: ml.zeros(2, "int64", requires_grad=True), DTypeError, r"\[requires_grad\]"),
    (lambda: ml.arange(0, 1, 0), ArgumentError, r"\[arange\] arguments"),
    (lambda: ml.linspace(0, 1, -2), ArgumentError, r"\[linspace\] arguments"),
    (lambda: ml.tensor([[1], [1, 2]]), ShapeError, r"\[tensor\] data: expected nested lists of equal"),
    (lambda: ml.tensor("text"), DTypeError, r"\[tensor\] dtype"),
    (lambda: ml.tensor(None), DTypeError, r"\[tensor\] dtype"),
    (lambda: ml.tensor(np.ones(2, complex)), DTypeError, r"\[tensor\] dtype: .* got 'complex128'"),
    (lambda: ml.from_dlpack([1]), ArgumentError, r"\[from_dlpack\] x: .*, got list"),
    (lambda: ml.randint(5, 5, 2), ArgumentError, r"\[integers\] high"),
    (lambda: ml.rand(2, key=3), ArgumentError, r"\[uniform\] key: expected a Key, got 3"),
    (lambda: ml.bernoulli(1.5, 2), ArgumentError, r"\[bernoulli\] p"),
])
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()


@pytest.fixture
def cuda():
    with cupy_double.installed():
        yield


def test_to_a_device_and_back(cuda):
    x = Tensor(np.array([1.0, 2.0], "f4"), requires_grad=True)
    y = x.to("cuda")
    assert y.device == "cuda:0" and y.to("cuda") is y and y.to_device("cuda:0") is y and x.to("cpu") is x
    g, = gradients((y * y).sum().to("cpu"), [x])
    assert g.device == "cpu" and g.tolist() == [2, 4]
    key = ml.random.key(1)
    there, here = ml.rand(3, device="cuda", key=key), ml.rand(3, key=key)
    for made in (ml.ones(2, device="cuda"), ml.tensor(x, device="cuda"), ml.ones_like(y), there):
        assert made.device == "cuda:0"
    assert there.tolist() == here.tolist()
    with pytest.raises(DeviceError, match=r"\[add\] b: expected an array on cpu as a, got one on cuda:0"):
        x + y
