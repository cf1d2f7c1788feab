"""Pooling, dropout and batch norm on GPUs where a budget of roundings says too little: their bits are known."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import use_kernels
from minidl.kernels.gpu import chain

RNG = np.random.default_rng(0)


def by(policy, function, *arrays):
    """(result, gradients) on "cuda", gradients of whole numbers."""
    with use_kernels(policy):
        tensors = [ml.tensor(a, device="cuda", requires_grad=True) for a in arrays]
        y = function(*tensors)
        y.backward(ml.tensor(np.arange(y.size, dtype="float32").reshape(y.shape), device="cuda"))
    return [y.numpy(), *[t.grad.numpy() for t in tensors]]


@pytest.mark.parametrize("last", [False, True], ids=["rows", "channels last"])
@pytest.mark.parametrize("slide", [dict(kernel_size=2), dict(kernel_size=3, stride=2, padding=1),
                                   dict(kernel_size=(2, 5), stride=(3, 1), padding=((1, 0), (0, 2)), ceil_mode=True)])
def test_infinities_nans_and_ties_are_pooled_as_the_reference_does(slide, last, cuda):
    x = RNG.choice(np.array([np.nan, np.inf, 1, 0, -0.0, *[-np.inf] * 5], "float32"), (2, 9, 11, 3))

    def pool(x):
        return ml.ops.max_pool2d(x.permute((0, 3, 1, 2)) if last else x, **slide)

    for got, wanted in zip(by("triton", pool, x), by("off", pool, x), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [entry.kernel for entry, _ in cuda.results] == ["max_pool_forward", "max_pool_backward"]


@pytest.mark.parametrize("p", [0.0, 0.1, 0.75, 1.0])
@pytest.mark.parametrize("seed", [3, 2**64 - 1])
def test_dropout_drops_what_the_reference_drops(p, seed, cuda):
    key = ml.backend.random.fold_in(ml.backend.random.key(seed), 5)
    x = RNG.standard_normal((5, 421)).astype("float32")
    for got, wanted in zip(by("triton", lambda x: ml.ops.dropout(x, p, key), x),
                           by("off", lambda x: ml.ops.dropout(x, p, key), x), strict=True):
        assert got.tobytes() == wanted.tobytes()


def test_long_sums_are_cut_into_few_parts(cuda, monkeypatch):
    monkeypatch.setattr(chain, "PROGRAMS", 2)
    x, y = RNG.standard_normal((2, 3, 431)).astype("float32")
    for got, wanted in zip(by("cuda", ml.ops.huber_loss, x, y), by("off", ml.ops.huber_loss, x, y), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)
    assert [entry.kernel for entry, _ in cuda.results] == ["chain_cuda", "column_sum", "chain_cuda", "chain_cuda"]


ODD = np.array([np.inf, -np.inf, 0, -0.0, 1, -200, 200, np.nan], "float32")


@pytest.mark.parametrize("op, x", [
    (ml.ops.tanhshrink, ODD), (lambda x: ml.ops.smooth_l1_loss(x, x * 0.5, reduction="none"), ODD[2:7]),
    (lambda x: ml.ops.binary_cross_entropy_with_logits(x, x * 0 + 0.5, reduction="none"), ODD[2:7])])
def test_chains_know_extremes(op, x, cuda):
    with np.errstate(all="ignore"):
        found = [by(policy, op, x) for policy in ("cuda", "off")]
    for got, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert cuda.results


def test_images_from_a_convolution_are_normalised_and_pooled_as_they_lie(cuda):
    """No launch copies: channels stay last from the first convolution to the last gradient."""
    net = ml.nn.Sequential(ml.nn.Conv2d(8, 16, 3, padding=1), ml.nn.BatchNorm2d(16), ml.nn.MaxPool2d(2)).to("cuda")
    x = ml.tensor(RNG.standard_normal((2, 8, 6, 6)).astype("float32"), device="cuda")
    with use_kernels("triton"):
        y = net(x)
        assert y.data.transpose(0, 2, 3, 1).flags.c_contiguous
        y.backward(y.detach())
    kinds = [entry.kernel for entry, _ in cuda.results]
    assert kinds[:7] == ["correlate", "batch_norm_parts", "batch_norm_statistics", "batch_norm_forward",
                         "max_pool_forward", "max_pool_backward", "batch_norm_sums"]
