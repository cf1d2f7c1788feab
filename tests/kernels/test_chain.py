"""Chains of elementwise steps where samples are too small to go: ragged ends, several tasks, what is no chain."""
from types import SimpleNamespace

import numpy as np
import pytest

import minidl as ml
from minidl.chain import Plan, Unfit
from minidl.dispatch import TABLE
from minidl.errors import ArgumentError
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_engine, check_kernel, check_threads

if not hasattr(cpu, "elementwise"):
    pytest.skip("the extension is not there, or without this family", allow_module_level=True)

CASES = [("binary_cross_entropy_with_logits", {}), ("sigmoid_focal_loss", {"reduction": "sum"}), ("tanhshrink", {}),
         ("smooth_l1_loss", {"reduction": "none", "beta": 0.5}), ("kl_div", {"log_target": True})]


@pytest.mark.parametrize("size", [2, 4097, 16384, 70_003])
@pytest.mark.parametrize("name, params", CASES, ids=[name for name, _ in CASES])
def test_every_length(name, params, size):
    op, make = REGISTRY[name], np.random.default_rng(0)
    given = [make.normal(size=size) * 3, make.uniform(size=size), None, None]
    inputs = tuple(given[:len(op.inputs)])
    for check in (check_kernel, check_threads, check_engine):
        check(TABLE[name, "cpu"][0], op, inputs, params)


def test_the_definition_speaks_where_values_are_wrong():
    x, y = ml.zeros(9000), np.zeros(9000, "float32")
    y[8000] = np.nan
    found = []
    for policy in ("off", "auto"):
        with ml.use_kernels(policy), pytest.raises(ArgumentError) as error:
            ml.ops.mse_loss(x, ml.tensor(y))
        found.append(str(error.value))
    assert found[0] == found[1] and "(8000,)" in found[0]


def test_what_is_no_chain_says_why():
    def shifted(x):
        return x - ml.ops.roll(x, 1)

    def drawn(x):
        return x * ml.ops.ones_like(x)

    with pytest.raises(Unfit, match="multiply takes what is no step"):
        Plan(SimpleNamespace(fn=drawn), [np.ones(3, "float32")], {})
    moved = Plan(SimpleNamespace(fn=shifted), [np.ones(3, "float32")], {})
    assert "roll" in [function for function, *_ in moved.value.steps] and "roll" not in cpu.elementwise.STEPS
    assert "depends on a shape" in ml.explain("kl_div", ml.zeros((64, 100)), ml.zeros((64, 100)), reduction="batchmean")


def test_bindings_check_programs():
    x = np.zeros(8, "float32")
    add = (cpu.elementwise.STEPS["add"], 0, (0, 0, 0), (0, 0, 0))
    for step, inputs, y in (((99, *add[1:]), [x], x), ((add[0], 20, *add[2:]), [x], x),
                            ((*add[:2], (40, 0, 0), add[3]), [x], x), (add, [x, x[:3]], x), (add, [x], x[:4]),
                            (add, [x[::2]], x[:4]), (add, [], x)):
        with pytest.raises(ValueError, match=r"\[chain.cpu\]"):
            cpu.elementwise.chain([step], [], inputs, y.copy(), 0.0)
