"""Awkward shapes for the kernels in CUDA C++: tails, one row, blocks that see nothing, several blocks each way.

Where they need none of Triton's kernels they run without them, as in an installation that has none.
"""
import numpy as np
import pytest
from sizes import CASES as CASES_OF_SIZES
from sizes import cell

from minidl.backend import random
from minidl.dispatch import TABLE
from minidl.op import REGISTRY
from minidl.testing.cupy_double import installed
from minidl.testing.kernelcheck import bits, check_kernel, reason
from minidl.testing.simulated import simulated

RANDOM = np.random.default_rng(0)


def _attention(h, g, t, s, d, e, *planes):
    shapes = (1, h, t, d), (1, g, s, d), (1, g, s, e)
    return [*[RANDOM.normal(size=shape) for shape in shapes], *planes, None, None, None][:6]


def _padded(*lengths):
    shapes = (len(lengths), 2, 70, 64), (len(lengths), 1, 131, 64), (len(lengths), 1, 131, 33)
    return [*[RANDOM.normal(size=shape) for shape in shapes], None, None, np.array(lengths)]


def _packed(queries, keys, h=2, g=1, d=64):
    shapes = (sum(queries), h, d), (sum(keys), g, d), (sum(keys), g, d)
    return [*[RANDOM.normal(size=shape) for shape in shapes], np.cumsum([0, *queries]), np.cumsum([0, *keys])]


def _cache(lengths, h, g, t, size, d, e, pages=None):
    caches = pages * len(lengths) + 1 if pages else len(lengths)
    shapes = (len(lengths), h, t, d), (caches, g, size, d), (caches, g, size, e)
    table = pages and RANDOM.permutation(caches)[:-1].reshape(-1, pages)
    return [*[RANDOM.normal(size=shape) for shape in shapes], np.array(lengths), table]


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
    "attention lengths": ("attention", _padded(131, 0, 66), {"window_size": (90, 5)}),
    "attention lengths, last with last": ("attention", _padded(1, 70, 129), {"is_causal": True, "offset": None}),
    "packed": ("attention_packed", _packed((1, 0, 130, 70), (1, 0, 130, 70)), {"is_causal": True}),
    "packed, others of keys": ("attention_packed", _packed((5, 66, 0, 64), (70, 0, 3, 129)),
                               {"is_causal": True, "offset": None, "softcap": 3.0}),
    "packed dropout": ("attention_packed", _packed((66, 40), (30, 67)), {
        "dropout_p": 0.3, "dropout_key": random.key(5)}),
    "decode": ("decode_attention", _cache((300, 0, 129), 4, 2, 1, 300, 64, 64), {}),
    "decode shared heads": ("decode_attention", _cache((70, 40), 20, 1, 1, 70, 128, 100), {"softcap": 3.0}),
    "decode wide": ("decode_attention", _cache((66,), 2, 2, 1, 70, 256, 250), {"window_size": (40, 0)}),
    "decode several": ("decode_attention", _cache((260, 2), 12, 2, 3, 270, 32, 40), {"window_size": (90, 0)}),
    "decode pages": ("decode_attention", _cache((301, 16, 0, 17), 8, 2, 1, 16, 64, 64, pages=19), {}),
    "decode odd pages": ("decode_attention", _cache((60, 7), 2, 1, 2, 7, 37, 29, pages=9), {}),
    "conv several blocks": ("conv2d", _conv(2, 20, 9, 8, 130, 1, 3, 3), {"padding": 1}),
    "conv dilated": ("conv2d", _conv(1, 20, 15, 14, 66, 2, 3, 2), {"dilation": (3, 2), "padding": 2, "groups": 2}),
    "conv overhang": ("conv2d", _conv(1, 4, 3, 3, 5, 1, 3, 3), {"padding": 5, "stride": 3}),
    "depthwise strided": ("conv2d", _conv(2, 70, 9, 10, 70, 70, 3, 3), {"padding": 1, "groups": 70, "stride": 2}),
    "depthwise multiplied": ("conv2d", _conv(1, 5, 7, 8, 15, 5, 3, 2), {"groups": 5, "dilation": (2, 1)})}


def _lstm(*sizes, lengths=None):
    *arrays, _ = cell(4, *sizes)
    return [*arrays, None, lengths]


RECURRENT = {                                          # and how many multiprocessors there are
    "lstm one sequence": ("lstm", _lstm(3, 1, 1, 1), {}, 1),
    "lstm as many as rows": ("lstm", _lstm(2, 16, 3, 16), {"reverse": True}, 8),
    "lstm parts of unequal size": ("lstm", _lstm(2, 50, 3, 24, lengths=RANDOM.integers(0, 3, 50)), {}, 6),
    "lstm all have ended": ("lstm", _lstm(2, 3, 2, 9, lengths=np.zeros(3, "int64")), {}, 8),
    "gru whose depth takes several turns": ("gru", cell(3, 2, 2, 1, 345)[:6] + (None,), {}, 22),
    "gru parts": ("gru", cell(3, 3, 33, 5, 17), {"reverse": True}, 9)}


def kernel_of(op):
    """The one in CUDA C++."""
    kernel, = [k for k in TABLE[op, "cuda"] if k.maker == "cuda"]
    return kernel


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_shape(case, dtype, cuda):
    op, inputs, params = CASES[case]
    cuda.makers = ["cuda"]                             # (those of a wheel without Triton's)
    check_kernel(kernel_of(op), REGISTRY[op], inputs, params, dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("case", RECURRENT)
def test_recurrent_shape(case, dtype):
    op, inputs, params, multiprocessors = RECURRENT[case]
    with installed(), simulated() as launcher:
        launcher.multiprocessors = multiprocessors
        check_kernel(kernel_of(op), REGISTRY[op], inputs, params, dtype, again=launcher.unchecked)


@pytest.mark.parametrize("case", ["lstm parts of unequal size", "gru parts"])
def test_blocks_out_of_step_wait_for_each_other(case):
    op, inputs, params, multiprocessors = RECURRENT[case]
    with installed(), simulated(seed=1) as launcher:
        launcher.multiprocessors = multiprocessors
        check_kernel(kernel_of(op), REGISTRY[op], inputs, params, "float16", again=launcher.unchecked)


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_bits_of_sequences_do_not_depend_on_the_device_s_size(op):
    case, found, entries = CASES_OF_SIZES[op][0], [], set()
    with installed(), simulated(races=False, uninit=False) as launcher:
        for launcher.multiprocessors in (5, 9, 30):    # blocks of 16 units, of 8, and these by parts of the sequences
            found.append(bits(kernel_of(op), REGISTRY[op], *case, "float16"))
            entries |= {(e.kernel, e.key["units"]) for e, _ in launcher.results if "units" in e.key}
        launcher.multiprocessors = 4
        why_not = reason(kernel_of(op), REGISTRY[op], *case, "float16")
    assert found[0] == found[1] == found[2] and len(entries) == 4
    assert why_not == "recurrent weights of 70 units in float16: more than the registers of 4 multiprocessors hold"
