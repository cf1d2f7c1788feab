"""Awkward shapes for the kernels in CUDA C++: tails, one row, blocks that see nothing, several blocks each way."""
import numpy as np
import pytest

from minidl.backend import random
from minidl.dispatch import TABLE
from minidl.op import REGISTRY
from minidl.testing.cupy_double import installed
from minidl.testing.kernelcheck import check_kernel
from minidl.testing.simulated import simulated

RANDOM = np.random.default_rng(0)


def _attention(h, g, t, s, d, e, *planes):
    shapes = (1, h, t, d), (1, g, s, d), (1, g, s, e)
    return [*[RANDOM.normal(size=shape) for shape in shapes], *planes, None, None][:5]


def _conv(n, c, h, w, o, groups, r, s):
    return [RANDOM.normal(size=(n, c, h, w)), RANDOM.normal(size=(o, c // groups, r, s)), RANDOM.normal(size=o)]


CASES = {
    "attention tails": ("attention", _attention(2, 1, 130, 70, 64, 64), {}),
    "attention causal": ("attention", _attention(2, 1, 70, 70, 128, 128), {"is_causal": True}),
    "attention one query": ("attention", _attention(2, 2, 1, 200, 32, 32), {}),
    "attention odd widths": ("attention", _attention(1, 1, 65, 129, 100, 41), {"is_causal": True, "offset": 64}),
    "attention sees nothing": ("attention", _attention(1, 1, 200, 40, 32, 32), {"is_causal": True, "offset": -150}),
    "attention bias": ("attention", _attention(2, 1, 67, 66, 32, 32, RANDOM.normal(size=(2, 67, 66))),
                       {"softcap": 3.0}),
    "attention dropout": ("attention", _attention(2, 2, 66, 67, 64, 64),
                          {"dropout_p": 0.3, "dropout_key": random.key(5)}),
    "conv several blocks": ("conv2d", _conv(2, 20, 9, 8, 130, 1, 3, 3), {"padding": 1}),
    "conv dilated": ("conv2d", _conv(1, 20, 15, 14, 66, 2, 3, 2), {"dilation": (3, 2), "padding": 2, "groups": 2}),
    "conv overhang": ("conv2d", _conv(1, 4, 3, 3, 5, 1, 3, 3), {"padding": 5, "stride": 3}),
    "depthwise strided": ("conv2d", _conv(2, 70, 9, 10, 70, 70, 3, 3), {"padding": 1, "groups": 70, "stride": 2}),
    "depthwise multiplied": ("conv2d", _conv(1, 5, 7, 8, 15, 5, 3, 2), {"groups": 5, "dilation": (2, 1)})}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_shape(case, dtype):
    op, inputs, params = CASES[case]
    with installed(), simulated():
        kernel, = [k for k in TABLE[op, "cuda"] if k.maker == "cuda"]
        check_kernel(kernel, REGISTRY[op], inputs, params, dtype)
