"""The tree of modules: names, state, modes, hooks, text, errors."""
import copy

import ml_dtypes
import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, door, nn
from minidl.backend import random
from minidl.errors import ArgumentError, CheckpointError, DTypeError, GradError, OutOfMemoryError, ShapeError
from minidl.guests import Trace

RNG = np.random.default_rng(0)


def leaf(*shape):
    return Tensor(RNG.standard_normal(shape).astype(np.float32), requires_grad=True)


class Block(nn.Module):
    def __init__(self, n, bias=True):
        self.down = nn.Linear(n, n)                    # before the parameters, but after them in the state dict
        self.scale = nn.Parameter(nn.init.ones(), n)
        self.register_buffer("seen", np.zeros((), np.int64))
        self.cache = nn.Buffer(np.zeros(n, np.float32), persistent=False)
        self.bias = nn.Parameter(nn.init.zeros(), n) if bias else None
        self.note = "plain"

    def forward(self, x):
        return self.down(x) * self.scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(4, 4, bias=False)
        self.blocks = nn.ModuleList([Block(4), Block(4, bias=False)])
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight           # tied

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


OFFICIAL = ["embed.weight",
            "blocks.0.scale", "blocks.0.bias", "blocks.0.seen", "blocks.0.down.weight", "blocks.0.down.bias",
            "blocks.1.scale", "blocks.1.seen", "blocks.1.down.weight", "blocks.1.down.bias", "head.weight"]


def test_names_come_in_official_order():
    net = Net()
    assert list(net.state_dict()) == OFFICIAL
    assert [n for n, _ in net.named_parameters()] == [n for n in OFFICIAL if "seen" not in n][:-1]      # tied: once
    assert [n for n, _ in net.named_parameters("net", remove_duplicate=False)][-1] == "net.head.weight"
    assert [n for n, _ in net.blocks[0].named_parameters(recurse=False)] == ["scale", "bias"]
    assert [n for n, _ in net.named_buffers()] == [f"blocks.{i}.{n}" for i in (0, 1) for n in ("seen", "cache")]
    assert [n for n, _ in net.named_modules()] == ["", "embed", "blocks", "blocks.0", "blocks.0.down", "blocks.1",
                                                   "blocks.1.down", "head"]
    assert [n for n, _ in net.named_children()] == ["embed", "blocks", "head"]
    assert net.num_parameters() == sum(p.size for p in net.parameters()) == 16 + (4 + 4 + 20) + (4 + 20)
    assert net.get_submodule("blocks.1.down") is net.blocks[1].down and net.get_submodule("") is net
    with pytest.raises(ArgumentError, match=r"\[Net\] path: expected one of 0, 1, got '7' in 'blocks.7.down'"):
        net.get_submodule("blocks.7.down")


def test_a_shared_module_is_counted_once_and_saved_twice():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.Sequential(layer))
    assert len(list(net.parameters())) == 2 and len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.0.weight", "1.0.bias"]


class Foreign:
    """Another library's tensor."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __array__(self, dtype=None, copy=None):
        return self.tensor.numpy()


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.numpy(), lambda t: t.numpy().astype(np.float64), Foreign])
def test_state_goes_round(convert):
    source, net = Net(), Net()
    before = {n: id(p) for n, p in net.named_parameters()}
    result = net.load_state_dict({n: convert(t) for n, t in source.state_dict().items()})
    assert result == ([], [])
    for (name, a), b in zip(net.state_dict().items(), source.state_dict().values()):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.data, b.data, err_msg=name)
    assert {n: id(p) for n, p in net.named_parameters()} == before and net.head.weight is net.embed.weight


def test_loading_lists_all_that_does_not_fit_and_changes_nothing():
    net = Net()
    before = {n: t.numpy().copy() for n, t in net.state_dict().items()}
    given = {n: np.ones(t.shape) for n, t in net.state_dict().items()}
    del given["blocks.0.scale"], given["head.weight"]                   # (the latter is there as embed.weight)
    given.update({"blocks.1.scale": np.ones(5), "blocks.0.bias": None, "extra": np.ones(1), 7: np.ones(1)})
    with pytest.raises(CheckpointError) as refusal:
        net.load_state_dict(given)
    assert str(refusal.value) == (
        "[load_state_dict] state_dict: expected the names and shapes of Net, got 1 missing: blocks.0.scale; "
        "2 unexpected: extra, 7; 2 of another kind: blocks.0.bias NoneType, expected an array (4,), "
        "blocks.1.scale (5,), expected (4,). Nothing was changed.")
    del given["blocks.1.scale"], given["blocks.0.bias"]
    given["embed.weight"] = np.full(net.embed.weight.shape, "a")
    with pytest.raises(CheckpointError, match="1 of another kind: embed.weight <U1, expected float32"):
        net.load_state_dict(given)
    given["embed.weight"] = np.ones(net.embed.weight.shape)
    with pytest.raises(CheckpointError, match=r"\[load_state_dict\] state_dict: expected a dict .*, got list"):
        net.load_state_dict([1])
    with pytest.raises(CheckpointError, match="3 missing"):
        net.load_state_dict(given)
    for name, tensor in net.state_dict().items():
        np.testing.assert_array_equal(tensor.data, before[name])
    missing = ["blocks.0.scale", "blocks.0.bias", "blocks.1.scale"]
    assert net.load_state_dict(given, strict=False) == (missing, ["extra", 7])
    assert (net.embed.weight.data == 1).all()


def test_backward_notices_a_load():
    net = nn.Linear(2, 2)
    y = net(leaf(3, 2)).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(GradError, match="a tensor changed since"):
        y.backward()


def test_shapes_only_takes_no_memory_until_weights_come():
    with nn.shapes_only():
        huge, net = nn.Linear(10**6, 10**6), Net()
        nn.init.normal_(huge.weight)                                    # leaves it alone
    assert huge.num_parameters() == 10**12 + 10**6 and not any(huge.weight.data.strides)
    twin = copy.deepcopy(huge)
    assert twin.weight.data is huge.weight.data and twin.weight is not huge.weight
    assert list(net.state_dict()) == OFFICIAL
    net.load_state_dict({n: RNG.standard_normal(t.shape) for n, t in net.state_dict().items()})
    net(leaf(2, 4)).sum().backward()
    net.embed.weight.assign(0)
    assert net.embed.weight.grad is not None and not net.head.weight.data.any()


def test_what_would_be_lost_is_refused():
    class Hidden(nn.Module):
        def __init__(self, layers):
            self.layers = layers

        def forward(self, x):
            return x @ x

    for layers, kind in (([nn.Linear(1, 1)], "ModuleList"), ({"a": nn.Linear(1, 1)}, "ModuleDict"),
                         ((nn.Parameter([1.0]),), "ParameterList")):
        with pytest.raises(ArgumentError, match=rf"\[Hidden\] layers: expected a {kind}, got a (list|dict|tuple)"):
            list(Hidden(layers).parameters())
        with pytest.raises(ShapeError, match=r"\(in Hidden\)$"):                 # other errors keep their own text
            Hidden(layers)(leaf(2, 3))
    assert not list(Hidden([1, "a", {}]).parameters())
    net = Block(3)
    with pytest.raises(ArgumentError, match=r"\[Block\] scale: expected a Parameter, as it is one, got Tensor"):
        net.scale = Tensor([1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match=r"\[Block\] seen: expected a Buffer"):
        net.seen = net.scale
    net.scale = None
    assert "scale" not in net.state_dict()
    net.inner = net
    with pytest.raises(ArgumentError, match=r"\[Block\] inner: expected a tree of modules, got one that lies inside"):
        net.state_dict()
    for name in ("", "a.b", "down", "training", "forward", 3):
        with pytest.raises(ArgumentError, match="expected a new name without dots"):
            Block(1).register_parameter(name, nn.Parameter([1.0]))


def test_parameters_are_made_of_data_or_drawn():
    assert nn.Parameter([[1, 2.5]]).dtype == np.float32 and nn.Parameter(np.ones(2)).dtype == np.float64
    assert nn.Parameter(nn.init.zeros(), 2, 0).shape == nn.Parameter(nn.init.zeros(), np.int64(2), 0).shape == (2, 0)
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    data = np.zeros(3, "f4")
    for given in (data, Tensor(data), Tensor(data).numpy(), np.broadcast_to(data, (2, 3))):
        parameter = nn.Parameter(given)
        parameter.assign(1)                                             # (a view for reading may be given, too)
        assert not data.any() and parameter.numpy().all()
    before = ml.set_default_dtype("float64")
    try:
        assert nn.Linear(2, 3).weight.dtype == np.float64
    finally:
        ml.set_default_dtype(before)
    for shape in ((2.0,), (-1,), ((2, 3),), (True,)):
        with pytest.raises(ShapeError, match=r"\[Parameter\] shape: expected axes' lengths"):
            nn.Parameter(nn.init.zeros(), *shape)
    with pytest.raises(ShapeError, match=r"\[Parameter\] data: expected an array \(3,\), got \(2,\)"):
        nn.Parameter([1.0, 2.0], 3)
    with pytest.raises(DTypeError):
        nn.Parameter([1, 2])


def test_copies_share_nothing():
    net = Net()
    twin = copy.deepcopy(net)
    assert twin.head.weight is twin.embed.weight and list(twin.state_dict()) == OFFICIAL
    net(leaf(2, 4)).sum().backward()
    assert twin.embed.weight.grad is None
    twin.embed.weight.assign(0)
    assert net.embed.weight.data.any()
    (net(leaf(2, 4)) + twin(leaf(2, 4))).sum().backward()               # one walk over the leaves of both
    assert twin.blocks[0].scale.grad is not None
    assert not copy.deepcopy(nn.Linear(2, 2).freeze()).weight.requires_grad


def test_modes_freezing_and_apply():
    net = Net()
    assert all(not m.training for m in net.eval().modules()) and all(m.training for m in net.train().modules())
    net.blocks[0].freeze()
    assert net.num_parameters(trainable_only=True) == net.num_parameters() - 28
    net(leaf(2, 4)).sum().backward()
    assert net.blocks[1].scale.grad is not None and net.blocks[0].scale.grad is None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.unfreeze()
    assert all(p.requires_grad for p in net.parameters())
    order = []
    assert net.apply(order.append) is net and order[-1] is net and order.index(net.blocks) > order.index(net.blocks[1])


def test_to_converts_in_place():
    net = Net()
    net(leaf(2, 4)).sum().backward()
    y, held = net(leaf(2, 4)).sum(), list(net.parameters())
    assert net.to("cpu", "bfloat16") is net and all(a is b for a, b in zip(net.parameters(), held))
    grads = [p.grad for p in held if p.grad is not None]
    assert grads and {t.dtype for t in (*held, *grads)} == {np.dtype(ml_dtypes.bfloat16)}
    assert net.blocks[0].seen.dtype == np.int64 and net.blocks[0].cache.dtype == net.embed.weight.dtype
    with pytest.raises(GradError, match="a tensor changed since, at .*test_module.py"):
        y.backward()
    with pytest.raises(DTypeError, match=r"\[to\] target: expected a device or a floating dtype, got 'int64'"):
        net.to("int64")


# -- hooks ------------------------------------------------------------------------------

def test_forward_hooks_see_and_change():
    net, seen = nn.Linear(2, 2), []
    handles = [net.register_forward_pre_hook(lambda m, args: seen.append((m, args))),
               net.register_forward_pre_hook(lambda m, args: args[0] * 2.0),
               net.register_forward_hook(lambda m, args, out: seen.append((args, out))),
               net.register_forward_hook(lambda m, args, out: out + 1.0)]
    x = leaf(3, 2)
    y = net(x)
    (module, (first,)), ((second,), out) = seen
    assert module is net and first is x
    np.testing.assert_array_equal(second.data, x.data * 2)
    np.testing.assert_array_equal(y.data, out.data + 1)
    for handle in handles:
        handle.remove()
        handle.remove()
    np.testing.assert_array_equal(net(x).data, net.forward(x).data)
    assert len(seen) == 2


class Two(nn.Module):
    """Two inputs, one unused output, and an input that is used outside too."""

    def forward(self, x, y, factor=2.0):
        return x * y, y * factor


def test_backward_hooks_see_this_modules_gradients_only():
    net, seen = Two(), []
    net.register_full_backward_hook(lambda m, gx, gy: seen.append((gx, gy)))
    x, y = leaf(3), leaf(3)
    first, _ = net(x, y, factor=3.0)
    (first + x * 10.0).sum().backward()
    ((gx, gy), (g1, g2)), = seen
    np.testing.assert_array_equal(gx.data, y.data)
    np.testing.assert_array_equal(gy.data, x.data)
    assert (g1.data == 1).all() and (g2.data == 0).all()
    np.testing.assert_allclose(x.grad.data, y.data + 10)


def test_backward_hooks_change_gradients_also_of_gradients():
    net = nn.Linear(2, 2, bias=False)
    x = leaf(3, 2)
    plain, = ml.gradients((net(x) * net(x)).sum(), [x])
    handle = net.register_full_backward_hook(lambda m, gx, gy: (gx[0] * 3.0,))
    changed, = ml.gradients((net(x) * net(x)).sum(), [x], create_graph=True)
    np.testing.assert_allclose(changed.data, 3 * plain.data, rtol=1e-6)
    assert changed.requires_grad
    handle.remove()
    calls = []
    net.register_full_backward_hook(lambda m, gx, gy: calls.append(gx))
    net(x.detach()).sum().backward()
    assert calls == [(None,)]


# -- text, errors, the door ----------------------------------------------------------------

def test_text_is_a_tree():
    assert repr(Net()) == """Net(
  (embed): Linear(in_features=4, out_features=4, bias=False)
  (blocks): ModuleList(
    (0): Block(
      (down): Linear(in_features=4, out_features=4)
    )
    (1): Block(
      bias=False
      (down): Linear(in_features=4, out_features=4)
    )
  )
  (head): Linear(in_features=4, out_features=4, bias=False)
)"""
    assert repr(nn.ModuleList([nn.Identity(), *[nn.Linear(1, 2) for _ in range(3)]])) == """ModuleList(
  (0): Identity()
  (1-3): 3 x Linear(in_features=1, out_features=2)
)"""


def test_errors_and_guests_know_the_path():
    net = Net()
    net.blocks[1].down = nn.Linear(5, 4)
    with pytest.raises(ShapeError, match=r"\[linear\] .*\(in Net.blocks.1.down\)$"):
        net(leaf(2, 4))
    with door.attach(Trace()), pytest.raises(ShapeError, match=r"\(in Net.blocks.1.down\)$"):
        net(leaf(2, 4))
    assert not door.here.modules
    with pytest.raises(NotImplementedError, match=r"\[Module\] forward: expected a method"):
        nn.Module()(1)
    net.blocks[1].down = nn.BatchNorm1d(4)
    with pytest.raises(ArgumentError, match=r"\[BatchNorm1d\] x: .* what has .ndim, got None. \(in BatchNorm1d\)"):
        net.blocks[1].down(None)
    with pytest.raises(OutOfMemoryError, match=r"\[Parameter\] memory: expected room for \(1000000000, 1000000000\)"):
        nn.Linear(10**9, 10**9)


def test_the_default_generator_decides():
    ml.seed(5)
    first = nn.Linear(3, 2).state_dict()
    ml.seed(5)
    again, other = nn.Linear(3, 2).state_dict(), nn.Linear(3, 2).state_dict()
    for name in first:
        np.testing.assert_array_equal(first[name].data, again[name].data)
        assert (first[name].data != other[name].data).any()
    a, b = (nn.Parameter(nn.init.normal(generator=random.Generator(1)), 3) for _ in range(2))
    np.testing.assert_array_equal(a.data, b.data)
