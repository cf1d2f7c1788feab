"""Depthwise and Winograd convolution where samples are too small to go."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.errors import ArgumentError
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

pytestmark = pytest.mark.skipif(not hasattr(cpu, "conv"), reason="the extension is not built")


@pytest.fixture(params=cpu.isas() if cpu else [])
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2)])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (3, 5)], ids=str)
def test_depthwise(kernel, stride, isa):
    rng, op = np.random.default_rng(0), REGISTRY["conv2d"]
    for size, padding, dilation, multiplier in [((7, 7), (3, 2), 1, 1), ((14, 14), 2, 1, 1), ((33, 9), 1, 1, 2),
                                                ((19, 30), (0, 4), (1, 2), 1), ((130, 57), 3, 1, 1)]:
        x, weight = rng.normal(size=(2, 3, *size)), rng.normal(size=(3 * multiplier, 1, *kernel))
        params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 3}
        for check in (check_kernel, check_threads):
            check(TABLE["conv2d", "cpu"][0], op, (x, weight, rng.normal(size=3 * multiplier)), params)


@pytest.mark.parametrize("n, c, o, size, padding", [(1, 16, 19, (30, 70), 0), (2, 17, 23, (13, 15), 1),
                                                    (3, 24, 16, (12, 12), 2), (1, 400, 30, (14, 14), 1)])
def test_fast_convolution(n, c, o, size, padding, isa):
    rng, found = np.random.default_rng(0), []
    arrays = [rng.normal(size=s).astype("float32") for s in ((n, c, *size), (o, c, 3, 3), (o,))]
    seed = rng.normal(size=(n, o, *[s + 2 * padding - 2 for s in size])).astype("float32")
    for policy, level, threads in ("off", "full", 1), ("cpu", "fast", 1), ("cpu", "fast", 3):
        if cpu:
            cpu.set_threads(threads)
        tensors = [ml.tensor(a, requires_grad=True) for a in arrays]
        with use_kernels(policy), ml.precision(level):
            y = ml.ops.conv2d(*tensors, 1, padding)
            y.backward(ml.tensor(seed))
        found.append([y.data, *[t.grad.data for t in tensors]])
    for reference, fast, again in zip(*found):
        error = np.abs(fast - reference).max() / reference.std()
        assert error < 2e-4 and fast.tobytes() == again.tobytes()
    assert found[0][0].tobytes() != found[1][0].tobytes(), "the fast way did not run"


def test_filters_that_are_kept_change_with_their_weight():
    rng = np.random.default_rng(0)
    x, weight = [ml.tensor(rng.normal(size=s).astype("float32")) for s in ((1, 16, 16, 16), (16, 16, 3, 3))]
    with ml.no_grad(), ml.precision("fast"):
        first, *same = [ml.ops.conv2d(x, weight, None, 1, 1).data for _ in range(3)]
        weight.assign(weight * 2)
        twice = ml.ops.conv2d(x, weight, None, 1, 1).data
    assert all(y.tobytes() == first.tobytes() for y in same) and twice.tobytes() == (2 * first).tobytes()


def test_precision_has_three_levels():
    x, weight = ml.ones((1, 16, 16, 16)), ml.ones((16, 16, 3, 3))
    x.data[0, 0, 4, 4] = np.inf
    with ml.precision("strict"):                       # an infinity is seen by the 9 outputs around it
        y = ml.ops.conv2d(x, weight, None, 1, 1).data
        assert np.isinf(y[0, 0, 3:6, 3:6]).all() and np.isfinite(y).sum() == 16 * (256 - 9)
    with pytest.raises(ArgumentError, match=r"\[precision\] level: expected one of strict, full, fast, got 'half'"):
        with ml.precision("half"):
            pass
