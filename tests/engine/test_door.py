"""The one door and its guests; kernels that come and go."""
import json
import re
import threading

import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, door, nn, ops
from minidl.dispatch import TABLE, Kernel, reasons, register, unregister, use_kernels
from minidl.errors import ArgumentError, GradError, ShapeError
from minidl.guests import Trace, Where
from minidl.op import REGISTRY

RNG = np.random.default_rng(0)


def leaf(*shape, dtype=np.float32):
    return Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True)


class Block(nn.Module):
    def __init__(self):
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(x)


class Net(nn.Module):
    def __init__(self):
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_errors_name_op_argument_and_module():
    net = Net()
    net.blocks[1].norm.weight = nn.LayerNorm(5).weight
    with pytest.raises(ShapeError,
                       match=r"\[layer_norm\] weight: expected .*4.*, got \(5,\)\. .*\(in Net.blocks.1.norm\)$"):
        net(leaf(3, 4))


def test_the_door_leaves_no_trace():
    x = leaf(2, 3)
    (x * 2.0 + x).softmax().sum().backward()
    ops.layer_norm(x, leaf(3), leaf(3), eps=1e-3)
    bodies = {n: op.function.__code__ for n, op in REGISTRY.items()}
    call = nn.Module.__call__
    with ml.profile() as profile, door.attach(Trace()) as trace:
        y = (x * 2.0 + x).softmax()
        ops.layer_norm(x, leaf(3), leaf(3), eps=1e-3)
        y.sum().backward()
    assert trace.lines[:3] == ["t1 = multiply(t0, 2.0)", "t2 = add(t1, t0)", "t3 = softmax(t2, axis=-1)"]
    rows = {name: calls for name, calls, *_ in profile.rows()}
    assert rows["layer_norm"] == 1 and rows["softmax backward"] == 1
    assert {n: op.function.__code__ for n, op in REGISTRY.items()} == bodies and nn.Module.__call__ is call
    assert "through" not in ops.add.__code__.co_names


def test_guests_see_their_own_thread():
    """Two threads profile at once, a third one works beside them: nobody's calls or modules mix."""
    net, barrier, seen = Net(), threading.Barrier(3), {}

    def work(name):
        barrier.wait()
        if name == "bare":
            for _ in range(40):
                net(leaf(3, 4)).sum().backward()
            return
        with ml.profile() as profile:
            for _ in range(20):
                net.blocks[name](leaf(3, 4)).sum().backward()
        seen[name] = {key: calls for key, calls, *_ in profile.rows(by_module=True)}

    threads = [threading.Thread(target=work, args=(name,)) for name in (0, 1, "bare")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(seen[name]["layer_norm", "Block.norm"] == 20 and seen[name]["sum", ""] == 20 for name in (0, 1))
    assert not door.is_open() and not door.here.guests


def test_an_op_first_called_while_the_door_is_open():
    op = REGISTRY["expm1"]
    op.rebuild()
    with ml.profile() as profile:
        leaf(2).expm1()
    assert [r[0] for r in profile.rows()] == ["expm1"] and op.function.__code__ is op.run.__code__


def test_the_profiler_counts(tmp_path):
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    with ml.profile() as profile:
        net(leaf(32, 8)).sum().backward()
    rows = {key: rest for key, *rest in profile.rows(by_module=True)}
    first = next(v for (name, where), v in rows.items() if where == "Sequential.0" and v[3])
    assert first[3] == pytest.approx(2 * 32 * 8 * 16, rel=0.1), "FLOPs of a linear layer"
    assert sum(r[2] for r in profile.rows()) > 0 and "total" in profile.table()
    assert any(name.endswith("backward") and where == "Sequential.2" for name, where in rows)
    assert next(v for (name, where), v in rows.items() if name == "linear backward" and where == "Sequential.2")[2] > 0
    header, *lines = profile.table(by_module=True).splitlines()
    assert len({re.search(r"\.\d{3} ?", line).start() for line in lines}) == 1, "milliseconds are out of line"
    profile.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == len(profile.events) and all(e["ph"] == "X" and e["dur"] >= 0 for e in events)


def test_the_anomaly_finder_names_the_module():
    net = Net()
    net.blocks[1].norm.weight.assign([1, np.nan, 1, 1])
    with ml.detect_anomaly(), pytest.raises(GradError) as e:
        net(leaf(3, 4))
    assert str(e.value) == "[layer_norm] out: expected finite numbers, got nan or inf. (in Net.blocks.1.norm)"
    with ml.detect_anomaly(), pytest.raises(GradError, match="nan or inf"):
        Tensor([np.inf]) * 1.0                             # (NumPy has nothing to warn of)
    x = Tensor(np.zeros(2, "f4"), requires_grad=True)
    with ml.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(GradError,
                                                                       match=r"\[sqrt backward\] gradient 0"):
        x.sqrt().sum().backward()


def test_where_tells_the_module_in_backward():
    net, x = Net(), leaf(3, 4)
    with door.attach(Where()):
        y = net(x).sum()
        net.blocks[1].norm.weight.assign(np.zeros(4))
        with pytest.raises(GradError, match=r"\[layer_norm\] weight:.*\(in Net.blocks.1.norm\)"):
            y.backward()


@pytest.fixture
def no_kernel_yet():
    """layer_norm and softmax as if no kernels had been written for them."""
    ours = [k for (op, _), kernels in TABLE.items() if op in ("layer_norm", "softmax") for k in kernels]
    for k in ours:
        unregister(k)
    yield
    for k in ours:
        register(k)


def test_a_primitive_s_kernel_turns_arrays_and_its_rule_tensors(no_kernel_yet):
    calls = []

    def backward(xp, g, out, axis):
        calls.append(axis)
        return out * (g - (g * out).sum(axis, keepdims=True))

    k = register(Kernel("softmax.spy", "softmax", "cpu", lambda *args: REGISTRY["softmax"].fn(*args), backward,
                        lambda *_: None, least=6), first=True)
    try:
        x = leaf(2, 3)
        y = ops.softmax(x)
        y.backward(Tensor(np.ones((2, 3), "float32")), retain_graph=True)
        assert calls == [-1] and y.node.name == "softmax"
        first, = ml.gradients(y.square().sum(), [x], create_graph=True)
        assert calls == [-1]                                         # (gradients that have gradients: the rule)
        ml.gradients(first.sum(), [x])
        assert calls == [-1] * 2
        ops.softmax(leaf(1, 3)).sum().backward()                     # smaller than `least`: not asked
        assert calls == [-1] * 2
    finally:
        unregister(k)


def test_kernels_come_and_go(no_kernel_yet):
    op, x, w, b = REGISTRY["layer_norm"], leaf(2, 3), leaf(3), leaf(3)
    held, want = ops.layer_norm, ops.layer_norm(x, w, b).data        # whoever holds the function gets the new body
    calls = []

    def spy(xp, *args, **params):
        calls.append(args[0].dtype)
        return op.closed_form(xp, *args, **params)

    k = register(Kernel("layer_norm.spy", "layer_norm", "cpu", spy, op.rule,
                        lambda arrays, params: "too small" if arrays[0].shape[0] < 2 else
                        "half type" if arrays[0].dtype == np.float16 else None))
    try:
        y = held(x, w, b)
        np.testing.assert_array_equal(y.data, want)
        y.sum().backward()
        held(leaf(1, 3), w, b)
        held(*(Tensor(t.data.astype("f2")) for t in (leaf(1, 3), w, b)))            # refused: the reference, in float32
        with use_kernels("off"):
            held(x, w, b)
        with use_kernels("cuda"):
            held(x, w, b)
        with use_kernels("spy"):
            held(x, w, b)
        assert calls == [np.float32] * 2
        assert "too small" in reasons("layer_norm", "cpu", (leaf(1, 3).data,), {})
        with pytest.raises(ArgumentError, match=r"\[use_kernels\] policy: expected auto, off, or one of"):
            with use_kernels("magic"):
                pass
    finally:
        unregister(k)
    assert "choose" not in op.source
