"""Attention's kernel at sizes beyond the op's samples: several blocks of keys and queries, ragged ends, every way."""
import numpy as np
import pytest

from minidl.backend.memory import memory, reset_peak_memory
from minidl.backend.random import Key
from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_layout, check_threads

if not hasattr(cpu, "attention"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

OP, (KERNEL,) = REGISTRY["attention"], TABLE["attention", "cpu"]
RNG = np.random.default_rng(0)


def seen(*shape, share=0.7):
    return RNG.random(shape) < share


# (B, H, G, T, S, D, E), shape of the bias, mask, parameters
CASES = {
    "ragged": ((1, 2, 2, 150, 270, 33, 17), None, None, {}),
    "causal": ((1, 2, 1, 300, 300, 16, 16), None, None, {"is_causal": True}),
    "offset": ((1, 2, 2, 45, 333, 8, 40), None, None, {"is_causal": True, "offset": 288}),
    "queries that see nothing": ((1, 2, 2, 200, 77, 8, 8), None, None, {"is_causal": True, "offset": -100}),
    "window": ((1, 2, 2, 400, 400, 20, 20), None, None, {"window_size": (50, 30)}),
    "padding": ((2, 4, 2, 70, 270, 16, 16), None, seen(2, 1, 1, 270), {}),
    "mask": ((2, 2, 2, 140, 270, 16, 16), None, seen(2, 2, 140, 270, share=0.02), {}),
    "bias": ((2, 2, 2, 140, 270, 8, 8), (2, 2, 140, 270), None, {"is_causal": True}),
    "bias of heads": ((2, 4, 2, 70, 270, 8, 8), (4, 70, 270), seen(70, 1), {"softcap": 5.0}),
    "bias of keys": ((2, 2, 2, 140, 140, 8, 8), (2, 1, 1, 140), seen(140, 140), {"is_causal": True}),
    "softcap": ((1, 2, 2, 140, 270, 33, 17), None, None, {"softcap": 2.0, "scale": 0.7, "is_causal": True}),
    "dropout": ((2, 2, 1, 70, 271, 8, 8), None, None, {"dropout_p": 0.3, "dropout_key": Key(7, 2**40 + 5)}),
    "dropout and all": ((1, 2, 2, 170, 300, 8, 8), (170, 300), None, {"dropout_p": 0.1, "dropout_key": Key(2**60),
                                                                      "is_causal": True, "softcap": 9.0}),
    "many heads": ((2, 64, 32, 40, 40, 8, 8), None, None, {"is_causal": True}),
    "gradients in parts": ((1, 1, 1, 700, 700, 40, 40), None, None, {"is_causal": True}),
    "lengths": ((4, 4, 2, 70, 270, 16, 8), None, None, {"lengths": np.array([270, 0, 1, 131]), "is_causal": True,
                                                        "offset": None}),
    "lengths and all": ((3, 2, 2, 140, 150, 8, 8), (2, 1, 150), seen(3, 1, 140, 150), {
        "lengths": np.array([150, 133, 7], "uint8"), "window_size": (90, 3), "softcap": 3.0, "dropout_p": 0.2,
        "dropout_key": Key(3)}),
    "lengths, few queries": ((3, 8, 2, 2, 600, 64, 40), None, None, {"lengths": np.array([600, 20, 511]),
                                                                     "is_causal": True, "offset": None}),
    "few queries": ((2, 4, 2, 3, 600, 24, 40), None, None, {"is_causal": True, "offset": 597}),
    "few of them see": ((2, 4, 1, 1, 600, 64, 64), (4, 1, 600), seen(2, 1, 1, 600, share=0.02), {"softcap": 5.0}),
    "few see nothing": ((1, 8, 2, 2, 300, 80, 80), None, np.array([[True], [False]]), {}),
}


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def draw(b, h, g, t, s, d, e, bias=None):
    shapes = (b, h, t, d), (b, g, s, d), (b, g, s, e), bias
    return [shape and RNG.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_agrees(isa, case):
    sizes, bias, mask, params = case
    inputs = *draw(*sizes, bias), mask, params.get("lengths")
    params = {name: value for name, value in params.items() if name != "lengths"}
    for check in check_kernel, check_threads, check_layout:
        check(KERNEL, OP, inputs, params)


def run(q, k, v, **params):
    params = {**OP.params, **params}
    out, kept = KERNEL.forward(np, q, k, v, None, None, None, *params.values())
    return out, KERNEL.backward(np, out, kept, q, k, v, None, None, None, **params)


def test_heads_of_one_projection_are_read_in_place_and_gradients_lie_as_they_do():
    projected = RNG.standard_normal((2, 50, 3, 4, 16)).astype("f4")
    q, k, v = projected.transpose(2, 0, 3, 1, 4)
    out, gradients = run(q, k, v)
    assert out.swapaxes(1, 2).flags.c_contiguous and all(g.swapaxes(1, 2).flags.c_contiguous for g in gradients[:3])
    again, others = run(*map(np.ascontiguousarray, (q, k, v)))
    assert out.tobytes() == again.tobytes() and all(a.tobytes() == b.tobytes() for a, b in zip(gradients[:3], others))


@pytest.mark.parametrize("length", [9, 200])
def test_a_nan_stays_in_its_row_and_infinity_is_not_lost(length):
    q, k, v, _ = draw(1, 1, 1, length, length, 8, 8)
    q, k, v = (a.astype("f4") for a in (q, k, v))
    q[0, 0, 3, 2] = np.nan
    v[0, 0, 5, 1] = np.inf
    out, _ = run(q, k, v)
    assert np.isnan(out[0, 0, 3]).all() and np.isfinite(np.delete(np.delete(out[0, 0], 3, 0), 1, 1)).all()
    assert np.isinf(np.delete(out[0, 0, :, 1], 3)).all()


def test_no_array_of_scores():
    q, k, v, _ = draw(1, 1, 1, 4096, 4096, 8, 8)
    inputs = [a.astype("f4") for a in (q, k, v)]
    reset_peak_memory()
    before = memory().in_use
    run(*inputs)
    assert 0 < memory().peak - before < 4096 * 4096


@pytest.mark.parametrize("params, why", [({"offset": 2**50}, "unusual"), ({"scale": np.float32(1)}, "unusual"),
                                         ({"dropout_p": 0.5}, "dropout"), ({"window_size": (1.5, 2)}, "unusual")])
def test_refuses_with_a_reason(params, why):
    inputs = [a if a is None else a.astype("f4") for a in (*draw(1, 3, 1, 2, 2, 4, 4), None, None)]
    assert why in KERNEL.refuses(inputs, {**OP.params, **params})


# -- packed sequences, and a cache -----------------------------------------------------------------------------------

def edges(*lengths):
    return np.cumsum([0, *lengths])


# sequences of queries, of keys, (H, G, D, E), parameters
PACKED = {
    "of any length": ((1, 0, 130, 70, 3), None, (4, 2, 33, 17), {"is_causal": True, "window_size": (60, -1)}),
    "others of keys": ((5, 40, 0, 9), (300, 3, 8, 0), (2, 2, 16, 16), {"softcap": 4.0, "offset": -2}),
    "last with last": ((1, 1, 20), (300, 5, 33), (8, 1, 64, 64), {"is_causal": True, "offset": None}),
    "dropout": ((70, 41), (131, 40), (2, 1, 8, 8), {"dropout_p": 0.3, "dropout_key": Key(7, 5)})}


@pytest.mark.parametrize("case", PACKED.values(), ids=PACKED)
def test_packed(isa, case):
    queries, keys, (h, g, d, e), params = case
    t, s = sum(queries), sum(keys or queries)
    rng = np.random.default_rng(0)
    q, k, v = [rng.standard_normal(shape) for shape in ((t, h, d), (s, g, d), (s, g, e))]
    inputs = q, k, v, edges(*queries), keys and edges(*keys)
    for check in check_kernel, check_threads, check_layout:
        check(TABLE["attention_packed", "cpu"][0], REGISTRY["attention_packed"], inputs, params)


# (H, G, T, D, E), caches, keys of each, lengths, pages of each sequence (or none), parameters
CACHES = {
    "one query": ((4, 4, 1, 64, 64), 3, 600, (600, 9, 257), None, {}),
    "shared heads": ((8, 2, 1, 128, 80), 2, 300, (33, 300), None, {"window_size": (40, -1)}),
    "several queries": ((6, 2, 3, 33, 17), 4, 270, (2, 0, 270, 99), None, {"softcap": 3.0, "scale": 0.3}),
    "pages": ((8, 2, 1, 64, 64), 50, 16, (301, 16, 0, 17), 19, {}),
    "odd pages": ((4, 1, 2, 40, 24), 40, 7, (60, 7, 1), 9, {"window_size": (30, 0)}),
    "large pages": ((2, 1, 1, 32, 32), 5, 260, (519, 300), 2, {})}


@pytest.mark.parametrize("case", CACHES.values(), ids=CACHES)
def test_cache(isa, case):
    (h, g, t, d, e), caches, size, lengths, pages, params = case
    rng = np.random.default_rng(0)
    q, k, v = [rng.standard_normal(shape) for shape in ((len(lengths), h, t, d), (caches, g, size, d),
                                                        (caches, g, size, e))]
    table = pages and rng.permuted(np.arange(caches)[None].repeat(len(lengths), 0), axis=1)[:, :pages]
    inputs = q, k, v, np.array(lengths), table
    for check in check_kernel, check_threads, check_layout:
        check(TABLE["decode_attention", "cpu"][0], REGISTRY["decode_attention"], inputs, params)
