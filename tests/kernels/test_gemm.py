"""Products of matrices at sizes where blocks, slices of K and their ragged ends matter; packed weights."""
import gc

import ml_dtypes
import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, ops
from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel
from minidl.testing.samples import samples

pytestmark = pytest.mark.skipif(cpu is None, reason="no compiled kernels")
RNG = np.random.default_rng(0)
SIZES = [(1, 1, 1), (1, 70, 900), (1, 900, 70), (2, 33, 401), (3, 12, 1500), (4, 5000, 3), (300, 1, 70),
         (90, 3, 500), (13, 17, 2), (65, 33, 401), (281, 40, 7), (29, 300, 385), (5, 40, 1100), (600, 130, 50),
         (9, 4200, 800), (4100, 33, 1600)]                         # (in several chunks)


@pytest.fixture(params=cpu.isas() if cpu else [])
def isa(request):
    before, threads = cpu.isa(), cpu.threads()
    cpu.set_isa(request.param)
    yield request.param
    cpu.set_isa(before)
    cpu.set_threads(threads)


def layouts(a):
    """The same matrix by rows, by columns, and with gaps backwards."""
    gaps = np.zeros((2 * a.shape[0], 3 * a.shape[1]), a.dtype)[::-2, ::3]
    gaps[:] = a
    return a, np.asfortranarray(a), gaps


def drawn(dtype, *shape):
    return RNG.integers(-128, 128, shape).astype(dtype) if dtype == "int8" else RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype, out, eps", [("float32", "float32", 2e-6), ("float64", "float64", 1e-14),
                                             ("int8", "int32", 0), (ml_dtypes.bfloat16, "float32", 2e-6),
                                             (ml_dtypes.bfloat16, ml_dtypes.bfloat16, 2e-2)])
def test_every_blocking_and_layout_at_any_thread_count(dtype, out, eps, isa):
    for m, n, k in SIZES:
        a, b = drawn(dtype, m, k), drawn(dtype, k, n)
        want = a.astype("float64") @ b.astype("float64")
        budget = eps * (np.abs(a.astype("float64")) @ np.abs(b.astype("float64"))).max()
        for left, right in zip(layouts(a) * 3, [y for y in layouts(b) for _ in range(3)]):
            found = []
            for threads in (1, 2, 3):
                cpu.set_threads(threads)
                found.append(np.full((m, n), 77, out))
                assert cpu.gemm.matmul(left, right, found[-1])
            assert np.abs(found[0].astype("float64") - want).max() <= budget, (m, n, k)
            assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_nan_and_infinity_pass():
    a, b = drawn("float32", 40, 50), drawn("float32", 50, 60)
    a[3, 4], a[7, 0], b[9, 9] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        want = np.isfinite(a @ b)
    np.testing.assert_array_equal(np.isfinite((Tensor(a) @ Tensor(b)).data), want)


def test_batches_broadcast_without_copies():
    a, b = drawn("float32", 3, 1, 40, 30), drawn("float32", 2, 50, 30)
    want = a @ b.swapaxes(-1, -2)
    np.testing.assert_allclose((Tensor(a) @ Tensor(b).mT).data, want, atol=1e-4)
    rows = np.broadcast_to(a[0, 0, :1], (70, 30))                  # (stride 0)
    np.testing.assert_allclose((Tensor(rows) @ Tensor(b[0]).mT).data, rows @ b[0].T, atol=1e-4)


@pytest.mark.parametrize("op", ["matmul", "linear"])
def test_bfloat16_within_its_budget(op, isa):
    kernel, = [k for k in TABLE[op, "cpu"] if k.name == f"{op}.cpu"]
    shapes = [(20, 30), (30, 9)] if op == "matmul" else [(2, 20, 30), (9, 30), (9,)]
    check_kernel(kernel, REGISTRY[op], [RNG.standard_normal(s) for s in shapes], {}, "bfloat16")


def test_elements_that_are_not_aligned_are_copied():
    a = np.zeros(4 * 600 + 1, "uint8")[1:].view("float32").reshape(20, 30)
    a[:] = drawn("float32", 20, 30)
    w = drawn("float32", 40, 30)
    for y in (Tensor(a) @ Tensor(w).mT, ops.linear(Tensor(a), Tensor(w), Tensor(w[:, 0]) * 0.0)):
        np.testing.assert_allclose(y.data, a.copy() @ w.T, atol=1e-4)


@pytest.mark.parametrize("name", cpu.gemm.activations if cpu else [])
def test_epilogues(name, isa):
    x, w, scale, bias = (drawn("float32", *s) for s in ((30, 500), (70, 500), (70,), (70,)))
    residual, y = drawn("float32", 30, 70), np.empty((30, 70), "float32")
    cpu.gemm.linear(x, w, None, scale, bias, residual, cpu.gemm.activations.index(name), y)
    z = Tensor(x.astype("float64") @ w.T.astype("float64") * scale + bias)
    activated = {"none": lambda z: z, "gelu_tanh": lambda z: ops.gelu(z, "tanh")}.get(name) or getattr(ops, name)
    np.testing.assert_allclose(y, activated(z).data + residual, atol=2e-4)


def test_a_weight_is_packed_while_it_lives_and_does_not_change(isa):
    from minidl.kernels.kept import _kept

    def packed():
        return [p for entry in _kept.values() for _, p in entry.views.values() if p is not None]

    gc.collect()
    before = len(packed())
    x, w = Tensor(drawn("float32", 9, 200)), Tensor(drawn("float32", 130, 200), requires_grad=True)
    for _ in range(2):
        ops.linear(x, w)
    assert len(packed()) == before                                 # gradients are wanted: w will change
    with ml.no_grad():
        for change in (None, Tensor(drawn("float32", 130, 200))):
            if change is not None:
                w.assign(change)
            for _ in range(3):
                np.testing.assert_allclose(ops.linear(x, w).data, x.data @ w.data.T, atol=1e-4)
            assert len(packed()) == before + 1
    del w
    gc.collect()
    assert len(packed()) == before


def test_packed_weights_have_a_limit_together(monkeypatch):
    from minidl.kernels import kept

    def held():
        return sum(entry.size for entry in kept._kept.values())

    gc.collect()
    assert held() == kept._total[0]
    monkeypatch.setattr(kept, "LIMIT", held() + 300_000)
    x, weights = Tensor(drawn("float32", 9, 200)), [Tensor(drawn("float32", 130, 200)) for _ in range(5)]
    with ml.no_grad():
        for w in weights * 3:
            np.testing.assert_allclose(ops.linear(x, w).data, x.data @ w.data.T, atol=1e-4)
        assert kept.LIMIT - 150_000 < held() == kept._total[0] <= kept.LIMIT
        weights[0].assign(weights[1])
        ops.linear(x, weights[0])                                  # what it was packed as counts no more
    del weights, w
    gc.collect()
    assert held() == kept._total[0] <= kept.LIMIT - 300_000


def test_epilogues_of_inference(isa):
    """Bias, scale, activation and residual, done to tiles in cache: as the definition, at the kernels' precision."""
    op, (kernel,) = REGISTRY["linear_activation"], TABLE["linear_activation", "cpu"]
    for inputs, params in samples(op):
        params = {**op.params, **params}
        narrow = [a if a is None else a.astype("float32") for a in inputs]
        with ml.no_grad():
            assert kernel.refuses(tuple(narrow), params) is None
            got, _ = kernel.forward(np, *narrow, **params)
            truth = op.fn(*[a if a is None else Tensor(a) for a in inputs], **params).numpy()
        assert np.abs(got - truth).max(initial=0) <= 1e-6 * (1 + np.abs(truth).max(initial=0))
