"""Steps of optimizers, and what is launched for an op."""
import numpy as np
import pytest

import minidl as ml
from minidl import backend
from minidl.dispatch import use_kernels

RNG = np.random.default_rng(0)


def test_launches_are_as_few_as_can_be(cuda):
    """Cross entropy of labels makes no array of the scores' size but their gradient."""
    x, target = RNG.standard_normal((6, 1040)).astype("float32"), RNG.integers(0, 1040, 6)
    scores = ml.tensor(x, device="cuda", requires_grad=True)
    with use_kernels("triton"):
        ml.ops.cross_entropy(scores, ml.tensor(target, device="cuda")).backward()
    assert [entry.kernel for entry, _ in cuda.results] == ["label_loss_forward", "label_loss_backward"]


RULES = ("Adam", dict(weight_decay=0.1, amsgrad=True)), ("AdamW", dict(betas=(0.8, 0.95), eps=1e-3))
SHAPES = (3,), (40, 33), (1025,)


def steps(rule, settings, dtype):
    """Parameters and state on the host after three steps."""
    arrays = [np.random.default_rng(1).standard_normal(shape) for shape in SHAPES]
    params = [ml.tensor(a, dtype=dtype, device="cuda", requires_grad=True) for a in arrays]
    optimizer = getattr(ml.optim, rule)(params, lr=0.1, **settings)
    for step in range(3):
        for p, a in zip(params, arrays):
            p.grad = ml.tensor(np.roll(a, step), dtype=dtype, device="cuda")
        optimizer.step()
    state = [v for s in optimizer.state_dict()["state"].values() for v in s.values()]
    return [p.numpy().astype("float32") for p in params] + [backend.to_host(v) for v in state if backend.is_array(v)]


def check_steps(rule, settings, dtype):
    """Are the kernel's steps those of the rule?"""
    with use_kernels("off"):
        wanted = steps(rule, settings, dtype)
    for a, b in zip(steps(rule, settings, dtype), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-2, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rule, settings", RULES, ids=str)
def test_steps_are_those_of_the_rule(rule, settings, dtype, cuda):
    check_steps(rule, settings, dtype)
    assert len(cuda.results) == 3 * len(SHAPES)
