"""Kernels on each element where samples are too small to go: several tasks, streamed outputs, layouts, odd values."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

if not hasattr(cpu, "elementwise"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

FUNCTIONS = sorted(set(cpu.elementwise.UNARY) - {"negative", "gelu_tanh"})
LARGE = 2_200_003                      # elements: output past the caches, and a ragged end


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
