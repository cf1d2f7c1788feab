"""Softmax and cross entropy kernels beyond the samples: long rows, blocks of columns, infinities, ignored labels."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

if not hasattr(cpu, "softmax"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

SHAPES = [(40, 1000), (3, 5001), (2, 70001), (2, 21, 1500), (2, 3000, 70), (3, 5, 7), (60, 1)]


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def check(name, *inputs, **params):
    op, (kernel,) = REGISTRY[name], TABLE[name, "cpu"]
    for each in check_kernel, check_threads:
        each(kernel, op, inputs, params)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(isa, name, shape):
    check(name, np.random.default_rng(1).standard_normal(shape) * 4 + 50, axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [True, False])
def test_cross_entropy(isa, shape, weighted):
    rng = np.random.default_rng(2)
    x, weight = rng.standard_normal(shape) * 4 + 50, np.abs(rng.standard_normal(shape[1])) + 0.1 if weighted else None
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    labels[1:2] = -7
    target = np.abs(rng.standard_normal(shape)) / shape[1]
    for smoothing in 0.0, 0.2:
        for reduction in "mean", "none":
            check("label_cross_entropy", x, labels, weight, ignore_index=-7, reduction=reduction,
                  label_smoothing=smoothing)
        check("soft_cross_entropy", x, target, weight, label_smoothing=smoothing)


@pytest.mark.parametrize("count", [5, 4000])
@pytest.mark.parametrize("inner", [(), (19,)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_infinities_and_nan_go_where_the_reference_takes_them(isa, name, count, inner):
    x = np.random.default_rng(3).standard_normal((6, count, *inner)).astype("float32")
    x[0, :3], x[1, 3], x[2], x[3, -1], x[4, :count // 2 + 1] = -np.inf, np.inf, -np.inf, np.nan, -np.inf
    op = getattr(ml.ops, name)
    with use_kernels("off"), np.errstate(invalid="ignore"):
        expected = op(ml.tensor(x), 1).numpy()
    np.testing.assert_allclose(op(ml.tensor(x), 1).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_streamed_outputs_are_those_of_smaller_arrays(isa):
    rng = np.random.default_rng(4)
    x, labels = ml.tensor(rng.standard_normal((700, 3001), dtype="float32")), ml.tensor(rng.integers(0, 3001, 700))
    for axis, part in (1, slice(0, 300)), (0, (slice(None), slice(0, 1024))):
        whole, few = [t.softmax(axis).numpy() for t in (x, ml.tensor(x.numpy()[part]))]
        assert whole.nbytes > 8 << 20 > few.nbytes
        np.testing.assert_array_equal(whole[part], few)
    gradients = []
    for n in 700, 300:
        scores = ml.tensor(x.numpy()[:n], requires_grad=True)
        loss = ml.ops.cross_entropy(scores, ml.tensor(labels.numpy()[:n]), reduction="sum")
        gradients.append(ml.gradients(loss, scores)[0].numpy())
    np.testing.assert_array_equal(gradients[0][:300], gradients[1])


def test_labels_out_of_range_are_the_references_error(isa):
    scores = ml.tensor(np.zeros((4, 3), "float32"))
    for labels, said in ([0, 1, 3, 0], "3 at"), ([-100] * 4, "an example to average"):
        with pytest.raises(ml.errors.ArgumentError, match=said):
            ml.ops.cross_entropy(scores, ml.tensor(np.array(labels)))
