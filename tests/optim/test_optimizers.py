"""Every optimizer and schedule: the rule by hand, state that resumes, groups, refusals."""
import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, nn, optim
from minidl.errors import ArgumentError, CheckpointError, ShapeError

RNG = np.random.default_rng(0)
ALL = list(optim.OPTIMIZERS)


def leaf(*shape, dtype="float32"):
    return Tensor(RNG.standard_normal(shape).astype(dtype), requires_grad=True)


def bowl(p):
    """Any smooth loss with its least value 0 at p = 1."""
    d = p - 1.0
    return (d * d).sum()


def descend(optimizer, params, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        sum((bowl(p) for p in params[1:]), bowl(params[0])).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ALL)
def test_goes_down_and_leaves_gradients_alone(name):
    p = leaf(4, 6)
    # (its steps have units of their own)
    optimizer = optim.OPTIMIZERS[name]([p], lr=1.0 if name == "Adadelta" else 0.05)
    first = float(bowl(p))
    descend(optimizer, [p], 100)
    assert float(bowl(p)) < 0.9 * first and p.dtype == np.float32
    bowl(p).backward()
    before = p.grad.numpy().copy()
    optimizer.step()
    np.testing.assert_array_equal(p.grad.numpy(), before)


@pytest.mark.parametrize("name", ALL)
def test_resumes_bit_for_bit(name):
    start = RNG.standard_normal((3, 5)).astype("f4")
    straight = Tensor(start.copy(), requires_grad=True)
    descend(optim.OPTIMIZERS[name]([straight]), [straight], 9)
    p = Tensor(start.copy(), requires_grad=True)
    first = optim.OPTIMIZERS[name]([p])
    descend(first, [p], 4)
    second = optim.OPTIMIZERS[name]([p], lr=123.0)
    second.load_state_dict(first.state_dict())
    descend(second, [p], 5)
    np.testing.assert_array_equal(p.numpy(), straight.numpy())


@pytest.mark.parametrize("name", ALL)
def test_half_types_follow_float32(name):
    start = RNG.standard_normal((4, 4)).astype("f2")
    wide, half = Tensor(start.astype("f4"), requires_grad=True), Tensor(start.copy(), requires_grad=True)
    for p in (wide, half):
        descend(optim.OPTIMIZERS[name]([p], lr=0.01), [p], 3)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.numpy().astype("f4"), wide.numpy(), atol=6e-3)


def test_groups_have_their_own_settings():
    a, b = leaf(3), leaf(3)
    was = a.numpy().copy(), b.numpy().copy()
    optimizer = optim.SGD([{"params": [a]}, {"params": [("b", b)], "lr": 0.0}], lr=0.5)
    descend(optimizer, [a, b], 1)
    np.testing.assert_allclose(a.numpy(), was[0] - 0.5 * 2 * (was[0] - 1), rtol=1e-6)
    np.testing.assert_array_equal(b.numpy(), was[1])


@pytest.mark.parametrize("call, error, text", [
    (lambda: optim.SGD([]), ArgumentError, r"\[SGD\] params: expected at least one parameter"),
    (lambda: optim.Adam([leaf(2)], lr=-1), ArgumentError, r"\[Adam\] lr: expected at least 0, got -1"),
    (lambda: optim.Adam([leaf(2)], betas=(0.9, 1.0)), ArgumentError, r"\[Adam\] betas\[1\]: expected 0 <= beta < 1"),
    (lambda: optim.Adam([leaf(2) * 2.0]), ArgumentError, r"\[Adam\] params: expected leaf tensors"),
    (lambda: optim.Adam([{"params": [leaf(2)], "speed": 3}]), ArgumentError,
     r"\[Adam\] group: expected settings among lr"),
    (lambda: optim.Adam([p := leaf(2), p]), ArgumentError, r"each parameter once"),
    (lambda: optim.Muon([leaf(2)]), ShapeError,
     r"\[Muon\] params: expected matrices .* Give vectors to another optimizer"),
    (lambda: optim.Adam([leaf(2)]).load_state_dict(optim.Adam([leaf(2), leaf(2)]).state_dict()), CheckpointError,
     r"\[Adam\] param_groups"),
    (lambda: optim.clip_grad_norm_([leaf(2)], 0), ArgumentError, r"\[clip_grad_norm_\] max_norm: expected more than 0"),
    (lambda: optim.StepLR(optim.SGD([leaf(2)]), 0), ArgumentError, r"\[StepLR\] step_size"),
    (lambda: optim.SGD(nn.Linear(2, 2)), ArgumentError, r"\[SGD\] params: .*got a Linear. Pass model.parameters\(\)"),
    (lambda: optim.SGD(leaf(2, 2)), ArgumentError, r"\[SGD\] params: expected an iterable of tensors, got a Tensor"),
    (lambda: optim.SGD([{"lr": 1.0}]), ArgumentError, r'\[SGD\] group: expected a dict with "params"'),
    (lambda: optim.SGD([leaf(2)], lr="0.1"), ArgumentError, r"\[SGD\] lr: expected at least 0, got '0.1'"),
    (lambda: optim.SGD([leaf(2)], lr=np.float32("nan")), ArgumentError, r"\[SGD\] lr: expected at least 0"),
    (lambda: optim.SGD([leaf(2)], nesterov=True), ArgumentError, r"\[SGD\] nesterov: expected momentum above 0"),
    (lambda: optim.Adam([leaf(2)], betas=0.9), ArgumentError, r"\[Adam\] betas: expected 2 numbers, got 0.9"),
    (lambda: optim.Adam([leaf(2)]).load_state_dict({}), CheckpointError,
     r"\[Adam\] state: .*none for state, param_groups"),
    (lambda: optim.Adam([leaf(2)]).load_state_dict(optim.SGD([leaf(2)]).state_dict()), CheckpointError,
     r"\[Adam\] param_groups: expected settings among .*got dampening, momentum, nesterov"),
    (lambda: optim.Adam([leaf(2)]).load_state_dict({**optim.Adam([leaf(2)]).state_dict(), "state": {"x": {}}}),
     CheckpointError, r"\[Adam\] state: expected numbers of 1 parameters, got 'x'"),
    (lambda: optim.clip_grad_norm_(nn.Linear(2, 2), 1.0), ArgumentError, r"\[clip_grad_norm_\] parameters: .*a Linear"),
    (lambda: optim.StepLR(nn.Linear(2, 2), 1), ArgumentError, r"\[StepLR\] optimizer: .*an Optimizer, got Linear"),
    (lambda: optim.StepLR(optim.SGD([leaf(2)]), 1).load_state_dict([]), CheckpointError, r"\[StepLR\] .*got list"),
    (lambda: optim.CosineAnnealingWarmRestarts(optim.SGD([leaf(2)]), 4, 0.5), ArgumentError, r"T_mult: .*at least 1"),
    (lambda: optim.OneCycleLR(optim.SGD([leaf(2)]), 1.0, 9, anneal_strategy="up"), ArgumentError, "cos or linear"),
    (lambda: optim.CyclicLR(optim.SGD([leaf(2)]), 0.1, 0.2, 0), ArgumentError, r"\[CyclicLR\] step_size_up"),
    (lambda: optim.EMA(nn.Linear(2, 2)).load_state_dict(optim.EMA(nn.Linear(3, 2)).state_dict()), CheckpointError,
     r"\[EMA\] shadow: .*a difference in weight"),
])
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_numbers_of_numpy_are_numbers():
    """NumPy's own would make float64 of what they meet, and come back from a file as arrays."""
    a, b = leaf(3), leaf(3)
    b.assign(a)
    for p, number in ((a, float), (b, np.float64)):
        optimizer = optim.AdamW([p], lr=number(0.5), betas=(number(0.5), number(0.75)))
        descend(optimizer, [p], 3)
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert all(type(v) in (float, bool, tuple, list) for v in optimizer.param_groups[0].values())


def test_a_model_and_its_optimizer_are_copied_together():
    model = nn.Linear(2, 2)
    optimizer = optim.AdamW(model.parameters(), lr=0.1)
    descend(optimizer, list(model.parameters()), 2)
    twin, follower = copy.deepcopy((model, optimizer))
    for m, o in ((model, optimizer), (twin, follower)):
        descend(o, list(m.parameters()), 2)
    assert all(np.array_equal(p.numpy(), q.numpy()) for p, q in zip(model.parameters(), twin.parameters()))


def test_a_plateau_outlives_nan():
    schedule = optim.ReduceLROnPlateau(optim.SGD([leaf(2)], lr=1.0), patience=1)
    for metric in (float("nan"), 3.0, 2.0, 1.0, 0.5):
        schedule.step(metric)
    assert schedule.get_last_lr() == [1.0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.floats(0.01, 10))
def test_clipping(sizes, max_norm):
    params = [leaf(n) for n in sizes]
    sum((bowl(p) for p in params[1:]), bowl(params[0])).backward()
    before = [p.grad.numpy().copy() for p in params]
    norm = np.sqrt(sum((g.astype("f8") ** 2).sum() for g in before))
    np.testing.assert_allclose(optim.clip_grad_norm_(params, max_norm).item(), norm, rtol=1e-5)
    for p, g in zip(params, before):
        np.testing.assert_allclose(p.grad.numpy(), g * min(1, max_norm / (norm + 1e-6)), rtol=1e-5, atol=1e-7)


def schedules(total):
    """One of each kind, over `total` steps."""
    return [lambda o: optim.LambdaLR(o, lambda s: 1 / (1 + s)), lambda o: optim.StepLR(o, 3, 0.5),
            lambda o: optim.MultiStepLR(o, [2, 5]),
            lambda o: optim.ExponentialLR(o, 0.8), lambda o: optim.LinearLR(o, 0.2, total_iters=5),
            lambda o: optim.PolynomialLR(o, total, 2.0, warmup_steps=3), lambda o: optim.WarmupLinear(o, 3, total),
            lambda o: optim.CosineAnnealingLR(o, total, warmup_steps=2),
            lambda o: optim.CosineAnnealingWarmRestarts(o, 4, 2),
            lambda o: optim.OneCycleLR(o, 0.3, total), lambda o: optim.CyclicLR(o, 0.01, 0.1, 3)]


@pytest.mark.parametrize("make", schedules(12))
def test_schedules_resume(make):
    a, b = (optim.SGD([leaf(2)], lr=0.1, momentum=0.9) for _ in range(2))
    one, rates = make(a), []
    for i in range(11):
        rates.append(one.get_last_lr())
        if i == 4:
            saved, optimizer_state = one.state_dict(), a.state_dict()
        one.step()
    b.load_state_dict(optimizer_state)
    two = make(b)
    two.load_state_dict(saved)
    again = []
    for _ in range(4, 11):
        again.append(two.get_last_lr())
        two.step()
    assert again == rates[4:] and len({r[0] for r in rates}) > 1


def test_known_rates():
    def rates(make, n):
        s = make(optim.SGD([leaf(1)], lr=1.0))
        return [(s.get_last_lr()[0], s.step())[0] for _ in range(n)]

    np.testing.assert_allclose(rates(lambda o: optim.WarmupLinear(o, 2, 6), 7), [0, 0.5, 1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(rates(lambda o: optim.CosineAnnealingLR(o, 2), 3), [1, 0.5, 0], atol=1e-15)
    one = rates(lambda o: optim.OneCycleLR(o, 1.0, 20, div_factor=10, final_div_factor=10), 20)
    assert one[0] == pytest.approx(0.1) and one[5] == pytest.approx(1.0) and one[-1] == pytest.approx(0.01)
    with pytest.raises(ArgumentError, match=r"\[OneCycleLR\] step: expected at most 11 steps"):
        rates(lambda o: optim.OneCycleLR(o, 1.0, 11), 13)
    plateau = optim.ReduceLROnPlateau(optim.SGD([leaf(1)], lr=1.0), patience=1, factor=0.5)
    seen = []
    for metric in (3, 2, 2, 2, 2, 2, 1):
        plateau.step(metric)
        seen.append(plateau.get_last_lr()[0])
    assert seen == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_ema_follows_and_gives_back():
    from minidl import nn
    model = nn.Linear(3, 2)
    ema = optim.EMA(model, decay=0.5, warmup=False)
    start = model.weight.numpy().copy()
    model.weight.assign(start + 1)
    ema.update()
    with ema.average_parameters():
        np.testing.assert_allclose(model.weight.numpy(), start + 0.5, rtol=1e-6)
    np.testing.assert_array_equal(model.weight.numpy(), start + 1)
    other = optim.EMA(model)
    other.load_state_dict(ema.state_dict())
    np.testing.assert_array_equal(other.shadow["weight"], ema.shadow["weight"])


def test_averages_of_half_types_are_kept_in_float32():
    from minidl import nn
    model = nn.Linear(3, 2).to("bfloat16")
    ema, start = optim.EMA(model, decay=0.999, warmup=False), model.weight.numpy().astype("f4")
    model.weight.assign(np.zeros((2, 3), model.weight.dtype))
    for _ in range(100):
        ema.update()
    np.testing.assert_allclose(ema.shadow["weight"], start * 0.999 ** 100, rtol=1e-4)
    with ema.average_parameters():
        assert model.weight.dtype == "bfloat16" and model.weight.numpy().any()
