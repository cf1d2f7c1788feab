"""What the tape keeps alive, what it notices, and that it lets go without the garbage collector."""
import copy
import gc
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from minidl import Tensor, checkpoint, enable_grad, grad, gradients, nn, no_grad, ops, optim
from minidl.errors import ArgumentError, DTypeError, GradError, ShapeError
from minidl.nn import Buffer, Parameter
from minidl.op import REGISTRY, primitive
from minidl.tape import recording

RNG = np.random.default_rng(0)


class Watched(np.ndarray):
    """An ndarray that can be weakly referenced."""


def leaf(*shape, dtype=np.float64):
    return Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True)


def watched(*shape):
    return Tensor(RNG.standard_normal(shape).view(Watched), requires_grad=True)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_add_keeps_neither_input(no_collector):
    h = watched(3) + 1.0
    watch = weakref.ref(h.data)
    y = h + 1.0
    del h
    assert watch() is None, "add's rule names no input, yet one is alive"
    y.sum().backward()


def test_dead_graphs_need_no_collector(no_collector):
    x, w, b = leaf(3, 4), leaf(4), leaf(4)
    y = checkpoint(lambda t: ops.layer_norm(t, w, b).softmax(), x).exp()
    a, c = y.split((1, 2))
    z = (a * c).sum()
    alive = [weakref.ref(t.data) for t in (y, a, c, z)]
    z.backward(retain_graph=True)
    del y, a, c, z
    assert [r() for r in alive] == [None] * 4


def test_a_training_loop_does_not_grow(no_collector):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 3))
    optimizer, loss = optim.AdamW(model.parameters()), nn.CrossEntropyLoss()
    x, y = Tensor(np.ones((4, 6), "f4")), Tensor([0, 1, 2, 0])

    def grown(steps):
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(steps):
            optimizer.zero_grad()
            loss(checkpoint(model, x) + model(x), y).backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        grown(20)
        assert grown(300) < 30_000                                     # (a tensor kept in each step: 100 kB)
    finally:
        tracemalloc.stop()


def test_saved_arrays_go_during_the_walk():
    x = leaf(3)
    h = x * 2.0
    alive = weakref.ref(h.data)
    y = (h * h).exp()
    seen = []
    h.hook(lambda g: seen.append(alive() is None))
    del h
    y.sum().backward()
    assert seen == [True], "h was still alive when the walk arrived at it"
    s = (x * x).sum()
    s.backward()
    with pytest.raises(GradError,
                       match=r"\[sum\] backward: expected a graph that was not walked yet.*retain_graph=True"):
        s.backward()


def test_retaining_allows_a_second_walk():
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.data, 4 * x.data)


def test_fifty_thousand_deep():
    x = leaf(2)
    y = x
    for _ in range(50_000):
        y = y * 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [1, 1])
    x = Tensor(np.ones(2), requires_grad=True)
    z = x
    for _ in range(50_000):
        z = z * x                             # (each node keeps a tensor that keeps the node below)
    del y, z                                  # never walked: freed without overflowing the stack


# -- mutation -----------------------------------------------------------------

def test_a_changed_saved_array_is_refused():
    x, w = leaf(3), leaf(3)
    y = (x * w).sum()
    w.assign(w.data * 2)
    with pytest.raises(GradError, match=r"\[multiply\] b: expected the values that were saved for backward, "
                                        r"got a tensor changed since, at .*test_tape.py:\d+"):
        y.backward()


def test_a_change_is_seen_through_views_and_in_outputs():
    w, x = leaf(2, 3), leaf(4, 3)
    y = (x @ w.permute_dims((1, 0))).sum()    # matmul saved a view: the same memory
    w.assign(np.zeros((2, 3)))
    with pytest.raises(GradError, match=r"\[matmul\] b: .*test_tape.py"):
        y.backward()
    h = leaf(3).exp()
    y = h.sum()
    h.writable()[...] = 0                     # exp's rule names its output
    with pytest.raises(GradError, match=r"\[exp\] out: .*test_tape.py"):
        y.backward()


@pytest.mark.parametrize("value, error, text", [
    (None, DTypeError, r"\[tensor\] dtype: expected one of .*got dtype\('O'\)"),
    ("a", DTypeError, r"\[tensor\] dtype"), ([[1.0], [2.0, 3.0]], ShapeError, "nested lists of equal lengths"),
    (np.array(1j), DTypeError, r"\[assign\] value: expected numbers that int64 can hold, got complex128"),
    (1.5, DTypeError, r"\[assign\] value: expected numbers that int64 can hold, got float32"),
    (np.ones(2, "bool").astype("f4"), DTypeError, r"\[assign\] value"),
    (np.ones(3, int), ShapeError, r"\[assign\] value: expected a shape that broadcasts to \(2,\), got \(3,\)")])
def test_what_cannot_be_assigned(value, error, text):
    x = Tensor(np.arange(2))
    with pytest.raises(error, match=text):
        x.assign(value)
    assert x.tolist() == [0, 1]


def test_assigning_converts():
    for dtype in ("float64", "float32", "bfloat16"):
        x = Tensor([0.0, 0.0]).astype(dtype)
        for value, want in ((0.1, [0.1, 0.1]), ([1, 2], [1, 2]), (np.float32(3), [3, 3]), (Tensor([4, 5]), [4, 5])):
            x.assign(value)
            np.testing.assert_array_equal(x.numpy(), np.array(want).astype(x.dtype))


def test_a_gradient_that_is_set_must_fit():
    x = leaf(3)
    x.grad = np.ones(3)
    assert isinstance(x.grad, Tensor)
    with pytest.raises(GradError, match=r"\[grad\] value: expected float64 \(3,\) on cpu, got float64 \(1,\) on cpu"):
        x.grad = np.ones(1)


def test_a_change_that_nobody_saved_is_fine():
    x, w = leaf(3), leaf(3)
    w.assign(np.ones(3))                      # before the call
    y = (x * w + w).sum()
    leaf(3).writable()[...] = 0               # another tensor, after it
    y.backward()
    z = (x + w).sum()
    w.assign(np.zeros(3))                     # add saves nothing
    z.backward()


# -- the walk -----------------------------------------------------------------

def test_gradients_in_the_middle_and_twice():
    x = leaf(3)
    w = x * 2.0
    np.testing.assert_allclose(gradients((w * w).sum(), [w])[0].data, 2 * w.data)
    (x * x + x).sum().backward()
    np.testing.assert_allclose(x.grad.data, 2 * x.data + 1)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_leaves_share_no_memory(create_graph):
    a, b, c, seed = leaf(3), leaf(3), leaf(3), Tensor(np.ones(3))
    (a + b + c).backward(seed, create_graph=create_graph)
    for x in (a, b, c):
        x.grad.assign(x.grad.detach() * 2.0)                           # as when someone clips by hand
    assert [x.grad.tolist() for x in (a, b, c)] == [[2.0] * 3] * 3 and seed.tolist() == [1.0] * 3
    x = leaf(2, 3)
    x.sum().backward()                                                 # one number, shown six times
    x.grad.assign(np.arange(6.0).reshape(2, 3))
    assert x.grad.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_gradients_are_asked_for_in_words():
    x = leaf(3)
    y = (x * x).sum()
    np.testing.assert_array_equal(gradients(y, x, retain_graph=True)[0].data, 2 * x.data)  # (no list of rows)
    for call, text in ((lambda: gradients(y, [x, 1.0]), r"inputs\[1\]: expected a tensor with a gradient, got a float"),
                       (lambda: gradients(1.0, [x]), r"output: expected a tensor that depends on a leaf"),
                       (lambda: grad(lambda a: a.sum(), argnums=1)(x), r"argnums: expected positions of the 1 arg"),
                       (lambda: checkpoint(lambda a: {"a": a}, x), r"function: .* a tensor, or a tuple .*got dict")):
        with pytest.raises((GradError, ArgumentError), match=text):
            call()


@pytest.mark.parametrize("name, rule, text", [
    ("few", lambda g: g.exp(), "expected 2 gradients, one for each input, got 1"),
    ("many", lambda g: (g, g, g), "expected 2 gradients, one for each input, got 3"),
    ("turned", lambda g: (g.T, g), r"expected a gradient that sums to \(2, 3\), got \(3, 2\)"),
    ("small", lambda g: (g.sum(), g), r"expected a gradient that sums to \(2, 3\), got \(\)"),
    ("none", None, r"expected one, as a gradient is wanted, got none. Attach it by `@_rule_none.vjp`")])
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_wrong_rule_is_refused(name, rule, text, create_graph, monkeypatch):
    def forward(xp, a, b, /):
        return a + b
    forward.__name__ = f"_rule_{name}"
    monkeypatch.delitem(REGISTRY, forward.__name__, raising=False)
    op = primitive("a(...) b(...) -> (...)")(forward)
    if rule:
        op.vjp(rule)
    with pytest.raises(GradError, match=rf"\[_rule_{name}\] rule: {text}"):
        op(leaf(2, 3), leaf(2, 3)).sum().backward(create_graph=create_graph)


def test_outputs_may_go_unused_and_integers_have_no_gradient():
    x = leaf(5, 2)
    a, b, c = x.split((1, 2, 2))
    (b * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.data[:, 0], [0, 3, 3, 0, 0])
    values, index = leaf(3, 5).topk(2)
    assert values.requires_grad and not index.requires_grad


def test_gradient_at_one_of_several_outputs():
    x = leaf(4)
    a, b = x.split((2, 2))
    ga, gx = gradients((a * a * b).sum(), [a, x])
    np.testing.assert_allclose(ga.data, 2 * a.data * b.data)
    np.testing.assert_allclose(gx.data, np.concatenate([2 * a.data * b.data, a.data ** 2]))


def test_third_derivative():
    x = leaf(3)
    y = (x * x * x * x).sum()
    for _ in range(3):
        y = gradients(y, [x], create_graph=True)[0].sum()
    np.testing.assert_allclose(y.data, 24 * x.data.sum())


def test_gradient_penalty_through_a_fused_op():
    x, w, b = leaf(4, 5), leaf(5), leaf(5)
    g, = gradients(ops.layer_norm(x, w, b).exp().sum(), [x], create_graph=True)
    (g * g).sum().backward()
    assert all(np.isfinite(t.grad.data).all() and np.any(t.grad.data) for t in (x, w, b))


def test_hooks_and_their_handles():
    x, seen = leaf(3), []
    h = x * 2.0
    y = (h * h).sum()
    h.hook(lambda g: seen.append(g.data.copy()))
    x.hook(lambda g: g * 10.0)                # after the uses: still fires
    handle = x.hook(lambda g: g * 100.0)
    handle.remove()
    y.backward()
    np.testing.assert_allclose(seen[0], 2 * h.data)
    np.testing.assert_allclose(x.grad.data, 10 * 4 * h.data)
    x.hook(lambda g: g.sum())
    with pytest.raises(GradError, match=r"\[hook\] result: expected float64 \(3,\) as the gradient, got float64 \(\)"):
        (x * 1.0).sum().backward()
    h = leaf(3) * 1.0
    h.hook(lambda g: 1.0)
    with pytest.raises(GradError, match=r"\[hook\] result: expected float64 \(3,\) as the gradient, got float32 \(\)"):
        h.sum().backward()
    with pytest.raises(ArgumentError, match=r"\[hook\] function: expected a function, got 3"):
        h.hook(3)


def test_sums_of_large_gradients_are_ours_to_add_into():
    """Three uses of one large tensor: the running sum is added into in place, what rules returned is not."""
    x, given = leaf(2000), []
    h = x + 0.0
    a, b, c = h + 0.0, h + 0.0, h + 0.0
    for t in (a, b, c):
        t.hook(lambda g: given.append((g.data, g.data.copy())))
    (a + b + c).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full(2000, 3.0))
    assert all((now == then).all() for now, then in given)


# -- checkpoint, no_grad --------------------------------------------------------

def test_checkpoint_recomputes_exactly():
    w, x, runs, taped = leaf(4, 4), leaf(3, 4), [], []

    def block(t):
        runs.append(1)
        taped.append(recording())
        u = (t @ w).softmax()
        return u.exp(), t * u

    for call in (block, lambda t: checkpoint(block, t)):
        a, b = call(x * 1.5)
        g = gradients((a * b).sum(), [x, w], create_graph=True)
        g2 = gradients((g[0] * g[0]).sum() + (g[1] * g[1]).sum(), [x, w])
        runs.append([t.data for t in (*g, *g2)])
    plain, recomputed = [r for r in runs if isinstance(r, list)]
    for p, q in zip(plain, recomputed):
        np.testing.assert_allclose(p, q)
    assert runs.count(1) == 4                 # plainly once; without a tape; again in backward, again in its backward
    assert taped == [True, False, True, True]


def test_checkpoint_reaches_what_it_closes_over():
    w, x = leaf(4, 4), Tensor(RNG.standard_normal((2, 4)))
    y = checkpoint(lambda t: t @ w, checkpoint(lambda t: t @ w, x * 1.0))         # nothing in sight wants a gradient
    only, = gradients(y.sum(), [w], retain_graph=True)
    y.sum().backward()
    got, w.grad = w.grad.data.copy(), None
    ((x @ w) @ w).sum().backward()
    np.testing.assert_allclose(got, w.grad.data, rtol=1e-6)
    np.testing.assert_allclose(only.data, got, rtol=1e-6)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
                         ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize("make", [lambda: leaf(3), lambda: Parameter(np.ones(3)),
                                  lambda: Buffer(np.ones(3), persistent=False)], ids=["Tensor", "Parameter", "Buffer"])
def test_copies_have_places_of_their_own_on_the_tape(again, make):
    x = make()
    y = again(x)
    assert type(y) is type(x) and y.requires_grad == x.requires_grad and np.array_equal(y.numpy(), x.numpy())
    assert getattr(y, "persistent", None) == getattr(x, "persistent", None)
    if x.requires_grad:
        (x * 2.0 + y * 3.0).sum().backward()
        assert (x.grad.numpy() == 2).all() and (y.grad.numpy() == 3).all()
        with pytest.raises(GradError, match=r"\[copy\] self: expected a leaf, got the result of multiply"):
            again(x * 2.0)


def test_no_grad_is_per_thread():
    x, seen = leaf(3), []
    with no_grad():
        worker = threading.Thread(target=lambda: seen.append((x * 2.0).requires_grad))
        worker.start()
        worker.join()
        assert not (x * 2.0).requires_grad
        with enable_grad():
            assert (x * 2.0).requires_grad
    assert seen == [True] and (x * 2.0).requires_grad


def test_only_wanted_gradients_are_computed():
    from minidl.op import REGISTRY, primitive
    calls = []

    @primitive("a(...) b(...) -> (...)")
    def _spied(xp, a, b, /):
        return a * b

    @_spied.vjp
    def _(g, a, b):
        return (lambda: calls.append("a") or g * b), (lambda: calls.append("b") or g * a)

    w, x = leaf(3), leaf(3)                   # x is younger than w: cutting by age alone would do
    _spied(Tensor(np.ones(3)), x).sum().backward()
    assert calls == ["b"]
    gradients(_spied(w, x).sum(), [x])
    gradients(_spied(w, x).sum(), [w])        # w is older than x: needs the path search
    assert calls == ["b", "b", "a"]
    del REGISTRY["_spied"]
