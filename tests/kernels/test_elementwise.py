"""Kernels on each element where samples are too small to go: several tasks, streamed outputs, layouts, odd values."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import data, integers, lists, permutations, sampled_from

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.kernels import cpu
from minidl.kernels.arrays import dense
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

if not hasattr(cpu, "elementwise"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

FUNCTIONS = sorted(set(cpu.elementwise.UNARY) - {"negative", "gelu_tanh"})
LARGE = 2_200_003                      # elements: output past the caches, and a ragged end


@pytest.fixture(params=cpu.isas())
def isa(request):
    before, threads = cpu.isa(), cpu.threads()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)
    cpu.set_threads(threads)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 16384, 16385, 70_001])
@pytest.mark.parametrize("name", ["relu", "gelu", "softplus"])
def test_every_length(name, size):
    x = np.random.default_rng(0).normal(size=size) * 3
    for check in (check_kernel, check_threads):
        check(TABLE[name, "cpu"][0], REGISTRY[name], (x,), {})


def test_streamed_outputs():
    x = np.random.default_rng(0).normal(size=LARGE)
    check_kernel(TABLE["silu", "cpu"][0], REGISTRY["silu"], (x,), {})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinities_and_nans_are_as_in_the_reference(name):
    x = np.resize([np.nan, np.inf, 0.5, 1e30, -np.inf, -1e30], 6 << 13).astype("float32")
    found = []
    for policy in ("off", "cpu"):
        with use_kernels(policy), np.errstate(all="ignore"):
            t = ml.tensor(x, requires_grad=True)
            y = getattr(ml.ops, name)(t)
            y.backward(ml.ops.ones_like(y))
            found.append((y.numpy()[:6], t.grad.numpy()[:6]))
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_memory_in_another_order_of_axes_stays_so():
    x = ml.tensor(np.random.default_rng(0).normal(size=(8, 32, 32, 16)).astype("float32"))
    x = ml.ops.permute_dims(x, (0, 3, 1, 2))
    y = ml.ops.relu(x)
    assert y.data.strides == x.data.strides and (y.numpy() == np.maximum(x.numpy(), 0)).all()


@pytest.mark.parametrize("name", ["sigmoid", "silu", "relu"])
def test_the_stride_of_an_axis_of_length_one_leads_nowhere(name):
    """(1, C, N) with its last axes swapped: the gradient, and what NumPy makes like it, have other strides there."""
    x = np.random.default_rng(0).normal(size=(1, 80, 400)).astype("float32")
    found = []
    for swap in lambda t: ml.ops.swapaxes(t, 1, 2), lambda t: t:
        t = ml.tensor(x, requires_grad=True)
        y = swap(getattr(ml.ops, name)(swap(t)))
        y.backward(ml.tensor(x))
        found.append((y.numpy(), t.grad.numpy()))
    for a, b in zip(*found):
        assert (a == b).all()


@settings(max_examples=60, deadline=None)
@given(data())
def test_copies_of_any_strides(data):
    shape = data.draw(lists(integers(1, 40), min_size=1, max_size=4))
    x = np.arange(np.prod(shape), dtype=data.draw(sampled_from(["float32", "int32"]))).reshape(shape)
    x = x.transpose(data.draw(permutations(range(x.ndim))))
    x = x[tuple([slice(None, None, data.draw(sampled_from([1, 1, 2, -1]))) for _ in shape])]
    y = np.empty(x.shape, x.dtype)
    assert cpu.elementwise.copy(y, x) and (y == x).all()


@pytest.mark.parametrize("shape, axes", [((1700, 1300), (1, 0)), ((3, 130, 65, 100), (0, 2, 3, 1)),
                                         ((70_001, 2), (1, 0))], ids=str)
def test_large_copies(isa, shape, axes):
    x = np.random.default_rng(0).normal(size=shape).astype("float32").transpose(axes)
    for n in (1, 3):
        cpu.set_threads(n)
        assert (dense(x) == x).all()


def test_what_copies_do_not_take_goes_to_numpy():
    wide = np.broadcast_to(np.arange(9000.0), (2, 9000))
    many = np.zeros((2,) * 14, "float32")[::-1, :, ::-1, :, ::-1, :, ::-1, :, ::-1, :, ::-1, :, ::-1]
    for x in (wide, many):
        assert not cpu.elementwise.copy(np.empty(x.shape, x.dtype), x)
        assert dense(x).flags.c_contiguous and (dense(x) == x).all()


@pytest.mark.parametrize("shape, axis", [((70_003,), None), ((300, 700), 0), ((300, 700), 1),
                                         ((5, 70, 9, 11), (0, 2, 3)), ((40_000, 3), 0), ((2, 90_001), 1),
                                         ((7, 33, 2049), 1)], ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_large_reductions(name, shape, axis, isa):
    x = np.random.default_rng(0).normal(size=shape)
    for check in (check_kernel, check_threads):
        check(TABLE[name, "cpu"][0], REGISTRY[name], (x,), {"axis": axis})
    x.flat[x.size // 3] = np.nan
    found = []
    for policy in ("off", "cpu"):
        with use_kernels(policy):
            found.append(getattr(ml.ops, name)(ml.tensor(x.astype("float32")), axis).numpy())
    assert (np.isnan(found[0]) == np.isnan(found[1])).all()
