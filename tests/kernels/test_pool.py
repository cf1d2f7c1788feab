"""Pooling where samples are too small to go: several blocks of rows, ragged vectors, ties, NaN and infinities."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

pytestmark = pytest.mark.skipif(not hasattr(cpu, "pool"), reason="the extension is not built")
SLIDES = [dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1), dict(kernel_size=3, stride=1, padding=1),
          dict(kernel_size=(2, 5), stride=(3, 1), padding=((1, 0), (0, 2))),
          dict(kernel_size=17, stride=16, ceil_mode=True)]


@pytest.mark.parametrize("slide", SLIDES, ids=str)
@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
def test_large_images(op, slide):
    x = np.random.default_rng(0).integers(-99, 99, (3, 150, 113)) / 8          # (with ties)
    for check in (check_kernel, check_threads):
        check(TABLE[op, "cpu"][0], REGISTRY[op], (x,), slide)


@pytest.mark.parametrize("parts", [1, (7, 50), (64, 113), (1, 5)], ids=str)
def test_large_images_in_parts(parts):
    x = np.random.default_rng(0).normal(size=(5, 128, 113))
    for check in (check_kernel, check_threads):
        check(TABLE["adaptive_avg_pool", "cpu"][0], REGISTRY["adaptive_avg_pool"], (x,), {"output_size": parts})


@pytest.mark.parametrize("slide", SLIDES, ids=str)
def test_infinities_and_nans_are_pooled_as_the_reference_does(slide):
    rng = np.random.default_rng(0)
    odd = np.array([np.nan, np.inf, 1, 0, -0.0, *[-np.inf] * 5], "float32")
    x, found = rng.choice(odd, (4, 19, 20)), []
    for policy in ("off", "cpu"):
        with use_kernels(policy):
            t = ml.tensor(x, requires_grad=True)
            y = ml.ops.max_pool(t, **slide)
            y.backward(ml.tensor(np.arange(y.data.size, dtype="float32").reshape(y.shape)))
            found.append((y.data, t.grad.data))
    for reference, got in zip(*found):
        np.testing.assert_array_equal(got, reference)                          # (sums of whole numbers are exact)
