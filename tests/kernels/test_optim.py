"""Fused optimizer steps against the rules as they are written, on tensors of many sizes and orders of memory."""
import numpy as np
import pytest

import minidl as ml
from minidl.dispatch import use_kernels
from minidl.kernels import cpu

if not hasattr(cpu, "optim"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

SHAPES = (3,), (1,), (40, 33), (70_001,), (8, 3, 3, 16), (16384,)
RULES = [("SGD", {}), ("SGD", dict(momentum=0.9)), ("SGD", dict(momentum=0.9, nesterov=True, weight_decay=0.1)),
         ("SGD", dict(momentum=0.5, dampening=0.3)), ("Adam", {}), ("Adam", dict(weight_decay=0.1, amsgrad=True)),
         ("AdamW", dict(betas=(0.8, 0.95), eps=1e-3))]


def gradients(step):
    rng = np.random.default_rng(step)
    arrays = [rng.normal(size=shape).astype("float32") for shape in SHAPES]
    arrays[4] = arrays[4].transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1)       # in another order than its parameter
    return arrays


def train(policy, rule, settings, threads=1, steps=3):
    before = cpu.threads()
    cpu.set_threads(threads)
    with use_kernels(policy):
        params = [ml.tensor(a, requires_grad=True) for a in gradients(99)]
        optimizer = getattr(ml.optim, rule)(params, lr=0.1, **settings)
        for step in range(steps):
            for i, (p, g) in enumerate(zip(params, gradients(step))):
                p.grad = None if step == 1 and i == 2 else ml.tensor(g)            # its count of steps falls behind
            optimizer.step()
    cpu.set_threads(before)
    return [p.numpy() for p in params], optimizer.state_dict()["state"]


@pytest.mark.parametrize("rule, settings", RULES, ids=str)
def test_steps_are_those_of_the_rule(rule, settings):
    (expected, states), (got, own), (again, _) = (train(policy, rule, settings, n)
                                                  for policy, n in (("off", 1), ("cpu", 1), ("cpu", 3)))
    for a, b, c in zip(expected, got, again):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
        assert b.tobytes() == c.tobytes()
    for i, state in states.items():
        assert state.keys() == own[i].keys()
        for name, value in state.items():
            np.testing.assert_allclose(own[i][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most", [1.0, 1e6])
def test_clipping_by_the_norm(most):
    norms, clipped = [], []
    for policy in ("off", "cpu"):
        params = [ml.tensor(np.zeros(shape, "float32"), requires_grad=True) for shape in SHAPES]
        given = [ml.tensor(g) for g in gradients(0)]
        for p, g in zip(params, given):
            p.grad = g
        with use_kernels(policy):
            norms.append(ml.optim.clip_grad_norm_(params, most).numpy())
        clipped.append([p.grad.numpy() for p in params])
        assert all((g.numpy() == own).all() for g, own in zip(given, gradients(0)))
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-6)
    for a, b in zip(*clipped):
        np.testing.assert_allclose(b, a, rtol=2e-6)


def test_half_and_wide_parameters_go_one_by_one():
    for dtype in ("float16", "float64"):
        p = ml.tensor(np.ones(3, dtype), requires_grad=True)
        p.grad = ml.tensor(np.ones(3, dtype))
        ml.optim.Adam([p], lr=0.5).step()
        np.testing.assert_allclose(p.numpy(), 0.5, rtol=1e-3)
