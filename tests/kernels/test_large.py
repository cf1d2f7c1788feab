"""Offsets beyond 2**31 bytes."""
import os

import numpy as np
import pytest

import minidl as ml
from minidl.kernels import cpu

NEEDED = 12 * 2**30
free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(cpu is None, reason="no compiled kernels in this installation")
@pytest.mark.skipif(free < NEEDED, reason=f"needs {NEEDED // 2**30} GiB of free memory")
def test_the_end_of_an_array_of_more_than_2_to_the_31_bytes_is_as_when_it_is_alone():
    rows, few = 2**31 // 4096 + 64, 40
    x = np.empty((rows, 1024), "float32")
    x[:] = np.random.default_rng(0).standard_normal((few, 1024)).astype("float32")[:1]
    x[-few:] = np.random.default_rng(1).standard_normal((few, 1024))
    assert x.nbytes > 2**31
    weight = np.random.default_rng(2).standard_normal((8, 1024)).astype("float32")
    filters = np.random.default_rng(3).standard_normal((2, 1, 3, 3)).astype("float32")
    images = lambda t: t.reshape((-1, 1, 32, 32))
    for name, op in {"relu": ml.relu, "gelu": ml.gelu, "softmax": ml.softmax, "layer_norm": ml.layer_norm,
                     "rms_norm": ml.rms_norm, "linear": lambda t: ml.linear(t, weight), "sum": lambda t: t.sum(-1),
                     "conv2d": lambda t: ml.conv2d(images(t), filters, padding=1),
                     "max_pool": lambda t: ml.max_pool(images(t), 2), "add": lambda t: t + t}.items():
        whole, end = ml.Tensor(x, requires_grad=True), ml.Tensor(x[-few:].copy(), requires_grad=True)
        found = []
        for t in whole, end:
            y = op(t)
            y.backward(ml.ones_like(y))
            found.append((y.data[-few:].copy(), t.grad.data[-few:].copy()))
            del y
            t.grad = None
        for a, b in zip(*found):
            np.testing.assert_array_equal(a, b, name)
    del x, whole
    ml.empty_cache()
