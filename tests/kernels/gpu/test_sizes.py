"""Triton kernels at sizes beyond the ops' samples: several blocks each way, sums in parts, ragged ends."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import TABLE, use_kernels
from minidl.op import REGISTRY
from minidl.testing import kernelcheck
from minidl.testing.cupy_double import installed
from minidl.testing.simulated import simulated

RNG = np.random.default_rng(0)


def draw(*shapes):
    return [None if s is None else RNG.standard_normal(s) for s in shapes]


def affine(*shape):
    """A mean that E[x^2] - E[x]^2 would feel, weights, biases."""
    x, weight, bias = draw(shape, shape[1:2], shape[1:2])
    return x * 2 + 5, weight, bias


def labels(*shape, classes):
    found = RNG.integers(0, classes, shape)
    found.flat[0] = -100
    return found


def cell(gates, steps, rows, inputs, hidden):
    """x, states, weights, biases and lengths of sequences."""
    states = draw(*[(rows, hidden)] * (gates - 2 if gates == 3 else 2))
    parameters = draw((gates * hidden, inputs), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,))
    lengths = RNG.integers(0, steps + 1, rows)
    return *draw((steps, rows, inputs)), *states, *[p / hidden ** 0.5 for p in parameters], lengths


CASES = {
    "layer_norm": [(affine(5, 1040), {}), (affine(300, 33), {})],
    "rms_norm": [(affine(9, 513)[:2], {})],
    "group_norm": [(affine(2, 6, 1000), {"num_groups": 2}), (affine(3, 4, 7, 7), {"num_groups": 4})],
    "softmax": [(draw((5, 1100)), {}), (draw((2, 33, 70)), {"axis": 1})],
    "log_softmax": [(draw((5, 520)), {}), (draw((3, 17, 5)), {"axis": 1})],
    "label_cross_entropy": [
        ((*draw((6, 1040)), labels(6, classes=1040), None), {}),
        ((*draw((2, 21, 9, 8)), labels(2, 9, 8, classes=21), RNG.random(21) + 0.5), {"label_smoothing": 0.1})],
    "geglu": [(draw((3, 700), (3, 700)), {"approximate": "tanh"})],
    "matmul": [(draw((2, 130, 72), (2, 72, 136)), {}), (draw((5, 1100), (1100, 7)), {}),
               (draw((3, 1, 4, 9), (2, 9, 5)), {})],
    "linear": [(draw((2, 100, 200), (137, 200), (137,)), {}), (draw((1100, 40), (24, 40), (24,)), {})],
    "int8_linear": [((*draw((70, 200)), RNG.integers(-128, 128, (33, 200)).astype("int8"), RNG.random(33) / 100,
                      *draw((33,))), {})],
    "conv2d": [(draw((8, 24, 12, 13), (136, 24, 3, 3), (136,)), {"padding": 1}),
               (draw((2, 32, 11, 9), (48, 16, 3, 2), (48,)), {"stride": (3, 2), "dilation": (1, 2), "groups": 2})],
    "lstm": [(([*(s := cell(4, 2, 20, 40, 70))[:7], None, s[7]]), {})],
    "gru": [(cell(3, 2, 20, 40, 70), {"reverse": True})]}


@pytest.fixture
def cuda():
    with installed(), simulated() as launcher:
        yield launcher


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_sizes(name, dtype, cuda):
    kernel = next(k for k in TABLE[name, "cuda"] if k.maker == "triton")
    for inputs, params in CASES[name]:
        kernelcheck.check_kernel(kernel, REGISTRY[name], inputs, params, dtype, again=cuda.unchecked)


def test_launches_are_as_few_as_can_be(cuda):
    """Cross entropy of labels makes no array of the scores' size but their gradient."""
    x, target = draw((6, 1040))[0].astype("float32"), RNG.integers(0, 1040, 6)
    scores = ml.tensor(x, device="cuda", requires_grad=True)
    with use_kernels("triton"):
        ml.ops.cross_entropy(scores, ml.tensor(target, device="cuda")).backward()
    assert [entry.kernel for entry, _ in cuda.results] == ["label_loss_forward", "label_loss_backward"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rule, settings", [("Adam", dict(weight_decay=0.1, amsgrad=True)),
                                            ("AdamW", dict(betas=(0.8, 0.95), eps=1e-3))], ids=str)
def test_steps_of_adam_are_those_of_the_rule(rule, settings, dtype, cuda):
    arrays, found = draw((3,), (40, 33), (1025,)), []
    for policy in "off", "triton":
        params = [ml.tensor(a, dtype=dtype, device="cuda", requires_grad=True) for a in arrays]
        optimizer = getattr(ml.optim, rule)(params, lr=0.1, **settings)
        with use_kernels(policy):
            for step in range(3):
                for p, a in zip(params, arrays):
                    p.grad = ml.tensor(np.roll(a, step), dtype=dtype, device="cuda")
                optimizer.step()
        found.append([p.numpy().astype("float32") for p in params]
                     + [v for s in optimizer.state_dict()["state"].values() for v in s.values() if hasattr(v, "get")])
    assert len(cuda.results) == 9
    for a, b in zip(*found):
        a, b = [x.get() if hasattr(x, "get") else x for x in (a, b)]
        np.testing.assert_allclose(b, a, rtol=1e-5 if dtype == "float32" else 1e-2, atol=1e-6)
