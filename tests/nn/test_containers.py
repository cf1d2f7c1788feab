"""Containers against Python's own lists and dicts; initialisers against their distributions; the table of a model."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, nn
from minidl.errors import ArgumentError, CheckpointError, ShapeError
from minidl.nn import init

RNG = np.random.default_rng(0)


def linear(n=2):
    return nn.Linear(n, n)


def parameter(n=2):
    return nn.Parameter(init.ones(), n)


INDEX = st.integers(-5, 5)
SLICE = st.builds(slice, *[st.none() | INDEX] * 2)
ACTIONS = {"insert": lambda x, i, cut, new: x.insert(i, new[0]), "append": lambda x, i, cut, new: x.append(new[0]),
           "extend": lambda x, i, cut, new: x.extend(new), "set": lambda x, i, cut, new: x.__setitem__(i, new[0]),
           "set slice": lambda x, i, cut, new: x.__setitem__(cut, new), "pop": lambda x, i, cut, new: x.pop(),
           "delete": lambda x, i, cut, new: x.__delitem__(i), "get": lambda x, i, cut, new: x[i],
           "delete slice": lambda x, i, cut, new: x.__delitem__(cut)}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), INDEX, SLICE))


@pytest.mark.parametrize("kind, item", [(nn.ModuleList, linear), (nn.ParameterList, parameter),
                                        (lambda items: nn.Sequential(*items), linear)])
@settings(deadline=None, max_examples=50)
@given(st.integers(0, 4), STEPS)
def test_a_list_does_what_a_list_does(kind, item, n, steps):
    mine = [item() for _ in range(n)]
    held = kind(list(mine))
    for step, index, cut in steps:
        new, results = [item(), item()], []
        for x in (mine, held):
            try:
                results.append(ACTIONS[step](x, index, cut, new))
            except IndexError:
                results.append(IndexError)
        assert step in ("append", "extend") or results[0] is results[1]
        last = item()
        mine, held = mine + [last], held + [last]
        assert held.index(last) == len(mine) - 1
        assert [id(i) for i in held] == [id(i) for i in mine] and len(held) == len(mine)
        assert [id(i) for i in held[cut]] == [id(i) for i in mine[cut]] and type(held[cut]) is type(held)
        ends = [".weight", ".bias"] if item is linear else [""]
        assert list(nn.ModuleList([held]).state_dict()) == [f"0.{i}{end}" for i in range(len(mine)) for end in ends]


def test_sequences_run_in_order_under_their_names():
    first, second = linear(), linear()
    net = nn.Sequential({"first": first, "second": second})
    x = Tensor(RNG.standard_normal((3, 2)).astype("f4"))
    np.testing.assert_array_equal(net(x).data, second(first(x)).data)
    assert list(net[1:].state_dict()) == ["second.weight", "second.bias"] and net.first is net[0] is net[-2]
    assert first in net and linear() not in net and nn.Sequential()(x) is x
    assert len({net, nn.Sequential(first, second)}) == 2, "compared as objects"
    for bad in (nn.Sequential, lambda item: nn.ModuleList([item]), lambda item: net.append(item)):
        with pytest.raises(ArgumentError, match=r"\[(Sequential|ModuleList)\] item: expected a Module, got int"):
            bad(3)
    with pytest.raises(ArgumentError, match=r"\[Sequential\] index: expected a slice, or an integer below 2, got 2"):
        net[2]
    with pytest.raises(ArgumentError, match=r"\[ModuleList\] index: expected .*, got 'a'"):
        nn.ModuleList([first])["a"]


def test_a_dict_does_what_a_dict_does():
    layers = {"relu": nn.Identity(), "fc": linear()}
    held = nn.ModuleDict(layers)
    assert dict(held) == layers and list(held.values()) == list(layers.values()) and held.fc is held["fc"]
    assert "fc" in held and "training" not in held and held.pop("relu") is layers["relu"] and len(held) == 1
    held.update(fc=linear(), last=linear(3))
    assert held["fc"] is not layers["fc"] and list(held.state_dict())[2] == "last.weight"
    del held["last"]
    with pytest.raises(ArgumentError, match=r"\[ModuleDict\] name: expected one of fc, got 'last'"):
        held["last"]
    for name in ("forward", "a.b", 3):
        with pytest.raises(ArgumentError, match="a new name without dots"):
            held[name] = linear()
    weights = nn.ParameterDict({"w": Tensor([1.0, 2.0]), "b": parameter()})
    assert type(weights["w"]) is nn.Parameter and list(weights.state_dict()) == ["w", "b"]
    assert repr(weights) == "ParameterDict(\n  (w): Parameter of float32 (2,)\n  (b): Parameter of float32 (2,)\n)"
    with pytest.raises(ArgumentError, match="expected a Parameter, got list"):
        weights["c"] = [1.0]


def test_containers_refuse_foreign_states():
    with pytest.raises(CheckpointError, match="1 unexpected: 2.weight"):
        nn.Sequential(linear()).load_state_dict({**nn.Sequential(linear()).state_dict(), "2.weight": np.ones(1)})


# -- initialisers -----------------------------------------------------------------------

SHAPE = (60, 50, 3, 3)                                 # inputs 450, outputs 540 of one weight
FAN_IN, FAN_OUT = 450, 540


@pytest.mark.parametrize("draw, mean, std, bound", [
    (init.uniform(-1, 3), 1, 4 / math.sqrt(12), (-1, 3)),
    (init.normal(2, 0.5), 2, 0.5, None),
    (init.trunc_normal(1, 2, -3, 5), 1, 2 * math.sqrt(0.7737), (-3, 5)),
    (init.xavier_uniform(2.0), 0, 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)), None),
    (init.xavier_normal(), 0, math.sqrt(2 / (FAN_IN + FAN_OUT)), None),
    (init.kaiming_uniform(math.sqrt(5)), 0, 1 / math.sqrt(3 * FAN_IN), (-1 / math.sqrt(FAN_IN), 1 / math.sqrt(FAN_IN))),
    (init.kaiming_normal(mode="fan_out", nonlinearity="relu"), 0, math.sqrt(2 / FAN_OUT), None),
    (init.constant(0.25), 0.25, 0, None)])
def test_draws_have_their_moments(draw, mean, std, bound):
    x = nn.Parameter(draw, *SHAPE).data
    assert x.dtype == np.float32 and x.mean() == pytest.approx(mean, abs=4 * std / math.sqrt(x.size))
    assert x.std() == pytest.approx(std, rel=0.02)
    if bound:
        assert bound[0] <= x.min() < bound[0] + 0.01 * std and bound[1] - 0.01 * std < x.max() <= bound[1]


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (6, 2, 2)])
def test_orthogonal_rows_or_columns(shape):
    x = nn.Parameter(init.orthogonal(2.0), *shape).data.reshape(shape[0], -1)
    product = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


@pytest.mark.parametrize("name", [n for n in init.__all__ if n.endswith("_")])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_filling_keeps_the_tensor(name, dtype):
    tensor = nn.Parameter(Tensor(np.full((3, 4), 7.0)).astype(dtype))
    array = tensor.data
    arguments = (7.5,) if name == "constant_" else ()
    assert getattr(init, name)(tensor, *arguments) is tensor and tensor.data is array and (array != 7).any()
    same = getattr(init, name[:-1])(*arguments)(np, (3, 4), tensor.dtype)
    assert same.dtype == tensor.dtype and getattr(init, name).__doc__ == getattr(init, name[:-1]).__doc__


def test_initialisers_refuse():
    vector = parameter()
    for name in ("xavier_normal", "xavier_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal"):
        with pytest.raises(ShapeError, match=rf"\[{name}\] shape: expected at least 2 axes, got \(2,\)"):
            getattr(init, f"{name}_")(vector)
    with pytest.raises(ShapeError, match=r"\[eye\] shape: expected 2 axes"):
        init.eye_(vector)
    with pytest.raises(ArgumentError, match=r"\[kaiming_normal\] mode: expected fan_in or fan_out, got 'fan'"):
        init.kaiming_normal_(linear().weight, mode="fan")
    with pytest.raises(ArgumentError, match=r"\[calculate_gain\] nonlinearity: expected one of linear"):
        init.calculate_gain("cubic")
    for call, words in ((lambda: init.normal_(np.ones(2)), r"\[normal_\] tensor: expected a Tensor, got ndarray"),
                        (lambda: init.normal_(vector, std=-1), r"\[normal\] std: expected a number, at least 0"),
                        (lambda: init.constant_(vector, "a"), r"\[constant\] value: expected a number, got 'a'")):
        with pytest.raises(ArgumentError, match=words):
            call()


# -- summary ----------------------------------------------------------------------------

class Twice(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(linear(4), linear(4))
        self.tied = self.inner[0]
        self.unused = linear(1)

    def forward(self, x, scale=1.0):
        assert not self.training
        return self.tied(self.inner(x)) * scale


def test_summary_counts_shapes_parameters_and_flops():
    net = Twice()
    net.inner[0].train(False)
    table = net.summary((3, 4), col_names=("input_size", "output_size", "num_params", "flops", "trainable"))
    one = 2 * 3 * 4 * 4 + 3 * 4                        # a linear layer: products and sums, and the bias
    assert table.total_params == net.num_parameters() == 42 and table.total_flops == 3 * one
    assert {r.name: (r.output_size, r.num_params, r.flops) for r in table.rows} == {
        "": ((3, 4), 42, 3 * one), "inner": ((3, 4), 40, 2 * one), "0": ((3, 4), 20, 2 * one), "1": ((3, 4), 20, one),
        "tied": ((3, 4), 20, 2 * one), "unused": (None, 2, 0)}
    assert net.training and not net.inner[0].training, "modes are put back"
    lines = str(table).splitlines()
    assert lines[0].split() == "Layer Input shape Output shape Parameters FLOPs Trainable".split()
    assert "    Linear (0)" in lines[4] and "(shared)" in str(table) and lines[-1] == f"FLOPs: {3 * one:,}"
    assert "(0)" not in str(nn.summary(net, depth=1)) and nn.summary(net).total_flops == 0
    assert nn.summary(net, input_data={"x": Tensor(np.ones((2, 4), "f4")), "scale": 2.0}).rows[0].output_size == (2, 4)
    with pytest.raises(ArgumentError, match=r"\[summary\] col_names: expected some of input_size.*, got 'colour'"):
        nn.summary(net, col_names=("colour",))
    for arguments, words in (((3,), "model: expected a Module, got int"), ((net, "a"), r"\[zeros\]"),
                             ((net, (-1, 4)), "negative dimensions")):
        with pytest.raises(ArgumentError, match=words):
            nn.summary(*arguments)
    with pytest.raises(ShapeError, match=r"\(in Twice.inner.0\)"):
        nn.summary(net, (3, 5))
