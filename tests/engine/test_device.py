"""Everything again on the strict double of CuPy: the same numbers, and no transfer that nobody asked for."""
from pathlib import Path
from runpy import run_path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import Tensor, backend, nn, optim
from minidl.errors import ArgumentError, GradError
from minidl.testing.cupy_double import REAL, counting, installed
from minidl.train import F1, Accuracy, Trainer

LAYERS = run_path(str(Path(__file__).parents[1] / "nn" / "test_every_layer.py"))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((24, 2, 6, 6)).astype("f4"), RNG.integers(0, 3, 24)


# -- the double is at least as strict as CuPy -----------------------------------------------

@pytest.mark.parametrize("call", [
    lambda xp, x: xp.add(x, np.ones(3)), lambda xp, x: x + np.ones(3), lambda xp, x: np.ones(3) * x,
    lambda xp, x: xp.exp(np.array(1.0)), lambda xp, x: np.exp(x), lambda xp, x: np.asarray(x), lambda xp, x: np.sum(x),
    lambda xp, x: xp.concatenate([x, np.ones(3)]), lambda xp, x: x[np.arange(2)], lambda xp, x: xp.sum(Tensor([1.0])),
    lambda xp, x: x.__setitem__(0, np.float32([1])), lambda xp, x: xp.add(x, x, out=np.ones(3)), lambda xp, x: x.flat,
    lambda xp, x: xp.where(x > 0, x, np.ones(3)),
], ids=str)
def test_host_and_device_do_not_mix(double, call):
    with pytest.raises(TypeError):
        call(double, double.asarray(np.ones(3)))


@pytest.mark.skipif(REAL is None, reason="what CuPy lacks is asked of the CuPy that is installed")
@pytest.mark.parametrize("call", [
    lambda xp, x: xp.errstate, lambda xp, x: xp.vecdot, lambda xp, x: xp.add.at, lambda xp, x: xp.random.Philox,
    lambda xp, x: xp.linalg.eig_banded, lambda xp, x: x.flags.writeable,
    lambda xp, x: xp.add(x, x, where=x > 0), lambda xp, x: xp.exp(x, order="C"), lambda xp, x: x.sum(where=x > 0),
    lambda xp, x: x.max(initial=0.0), lambda xp, x: xp.clip(x, max=1.0), lambda xp, x: xp.sort(x, kind="quicksort"),
    lambda xp, x: xp.full(3, 1.0, device="cpu"), lambda xp, x: x.__index__(),
], ids=str)
def test_what_cupy_lacks_is_missing(double, call):
    with pytest.raises((AttributeError, TypeError, ValueError)):
        call(double, double.asarray(np.ones(3)))


@pytest.mark.parametrize("call, to_host, to_device", [
    (lambda xp, x: float(x.sum()), 1, 0), (lambda xp, x: bool(x[0] > 0), 1, 0), (lambda xp, x: int(x.argmax()), 1, 0),
    (lambda xp, x: x.sum().item(), 1, 0), (lambda xp, x: x.tolist(), 1, 0), (lambda xp, x: repr(x), 1, 0),
    (lambda xp, x: xp.asnumpy(x), 1, 0), (lambda xp, x: x[x > 0], 1, 0), (lambda xp, x: xp.nonzero(x), 1, 0),
    (lambda xp, x: xp.where(x > 0), 1, 0), (lambda xp, x: xp.unique(x), 1, 0), (lambda xp, x: max(x), 2, 0),
    (lambda xp, x: x[[0, 1]], 0, 1), (lambda xp, x: xp.asarray([1.0]), 0, 1), (lambda xp, x: xp.array(2.0), 0, 1),
    (lambda xp, x: xp.where(x > 0, x, 0), 0, 0), (lambda xp, x: xp.zeros(3) + xp.arange(3) * np.float32(2), 0, 0),
    (lambda xp, x: x[1:].reshape(2, 1).astype("f4").T.shape, 0, 0), (lambda xp, x: [part for part in x], 0, 0),
    (lambda xp, x: xp.asarray(x), 0, 0),
], ids=str)
def test_transfers_are_counted(double, call, to_host, to_device):
    x = double.asarray(np.ones(3))
    with counting() as moved:
        call(double, x)
    assert (moved.to_host, moved.to_device) == (to_host, to_device)


def test_results_stay_on_the_device_and_views_know_their_owner(double):
    x = double.asarray(np.arange(6.0).reshape(2, 3))
    assert all(type(y) is double.ndarray for y in (x.sum(), x[0, 0], x.T, double.exp(x), -x, x > 1, *double.split(x, 2)))
    assert x.T.base is x[1:].base is double.broadcast_to(x[0], (4, 3)).base is x and (x + 1).base is None
    same = x
    x += 1
    assert x is same and double.multiply(x, 2.0, out=x) is same and float(x[0, 0]) == 2


# -- the backend of CuPy ---------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30), st.sampled_from(["float64", "float32", "int64"]), st.data())
def test_scatter_add_is_numpys(places, dtype, data):
    """Also where one place takes in inf, nan or 1e20: no other is touched."""
    values = np.array(data.draw(st.lists(st.sampled_from([0.5, -3, 7, 1e20, np.inf, np.nan] if dtype != "int64" else [1, -2, 5]),
                                         min_size=2 * len(places), max_size=2 * len(places)))).reshape(-1, 2).astype(dtype)
    into = np.ones((5, 2), dtype)
    want, index = into.copy(), np.array(places, "int64")
    with np.errstate(invalid="ignore"), installed() as xp:
        np.add.at(want, index, values)
        array, index, values = xp.asarray(into), xp.asarray(index), xp.asarray(values)
        with counting() as moved:
            backend.scatter_add(array, index, values)
        assert not moved.total
        np.testing.assert_allclose(array.get(), want, rtol=1e-6)


def test_scatter_add_takes_any_index_and_layout(double):
    for index in ((0, slice(None)), (slice(None), np.array([2, 0, 2])), (np.array([[0, 1], [1, 1]]), np.array([3])), ()):
        into = np.zeros((4, 3)).T
        values = RNG.standard_normal(into[index].shape)
        want, array = into.copy(), double.asarray(into.T.copy()).T
        np.add.at(want, index, values)
        backend.scatter_add(array, tuple([double.asarray(i) if isinstance(i, np.ndarray) else i for i in index]), double.asarray(values))
        np.testing.assert_allclose(array.get(), want)


def test_demands_wait_for_a_transfer(double):
    x, wrong = ml.tensor([1.0, 2.0]).to("cuda"), ml.tensor([5]).to("cuda")
    with counting() as moved:
        y = x.take(wrong, 0)
    assert not moved.total
    with pytest.raises(ArgumentError, match=r"\[take\] index: expected integers in \[-2, 2\).*, got 5 to 5"):
        y.numpy()
    x.numpy()                                              # and it was said once


def test_a_changed_saved_array_is_seen_on_the_device(double):
    w, x = (Tensor(double.asarray(RNG.standard_normal((3, 3))), requires_grad=True) for _ in range(2))
    y = (x @ w.permute_dims((1, 0))).sum()
    w.assign(double.zeros((3, 3)))
    with pytest.raises(GradError, match=r"\[matmul\] b: .*a tensor changed since, at .*test_device.py"):
        y.backward()


# -- layers, optimizers, training --------------------------------------------------------------

def moved_to(device, inputs):
    return tuple([moved_to(device, a) if isinstance(a, tuple) else backend.to_device(a, device) for a in inputs])


@pytest.mark.parametrize("call, inputs", [pytest.param(call, arrays, id=call) for call, *arrays in LAYERS["CASES"]])
def test_layers(double, call, inputs):
    """Forward and backward, with the random numbers and running statistics of training."""
    found = []
    for device in ("cpu", "cuda"):
        layer, given = LAYERS["build"](call).to(device), moved_to(device, inputs)
        with counting() as moved:
            outs, leaves = LAYERS["run"](layer, given)
            grads = [g for y in outs for g in ml.gradients(y, [t for t in (*leaves, *layer.parameters()) if t.requires_grad],
                                                           backend.namespace(y.data).ones_like(y.data), retain_graph=True)]
        assert not moved.total, moved
        found.append([t.numpy() for t in (*outs, *grads, *layer.buffers()) if t is not None])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", list(optim.OPTIMIZERS))
@pytest.mark.parametrize("dtype", ["float32", ml_dtypes.bfloat16], ids=str)
def test_optimizers(double, name, dtype):
    start, gradient = (RNG.standard_normal((4, 3)).astype(dtype) for _ in range(2))
    found = []
    for device in ("cpu", "cuda"):
        p, g = (Tensor(backend.to_device(a.copy(), device)) for a in (start, gradient))
        p.requires_grad = True
        optimizer = optim.OPTIMIZERS[name]([p])
        with counting() as moved:
            for _ in range(3):
                p.grad = g
                optimizer.step()
        assert not moved.total, moved
        found.append(p.numpy().astype("f4"))
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-7)


def trained(device, steps=6):
    """(weights, buffers and losses, transfers by step) of a model with everything in it."""
    ml.seed(3)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
                          nn.Linear(144, 3)).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    schedule, ema = optim.CosineAnnealingLR(optimizer, steps), optim.EMA(model, 0.9)
    loss_of, losses, transfers = nn.CrossEntropyLoss(label_smoothing=0.1), [], []
    for i in range(steps):
        with counting() as moved:
            batch = slice(4 * i, 4 * i + 4)
            images, labels = ml.tensor(IMAGES[batch]).to(device), ml.tensor(LABELS[batch]).to(device)      # in: 2
            loss = loss_of(model(images), labels)
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            ema.update()
            losses.append(loss.item())                     # out: 1, and with it 1 that answers the demands on labels
        transfers.append((moved.to_device, moved.to_host))
    return {**{n: t.numpy() for n, t in model.state_dict().items()}, "losses": losses}, transfers


def test_a_training_step_moves_the_batch_in_and_the_loss_out(double):
    want, none = trained("cpu")
    got, transfers = trained("cuda")
    assert none == [(0, 0)] * 6 and transfers == [(2, 2)] * 6
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-6, atol=1e-7, err_msg=name)


def test_the_trainer(double):
    """What is measured is summed on the device: it comes back once an epoch, and with it what answers the demands."""
    histories = {}
    batches = [(IMAGES[i:i + 8].reshape(8, -1), LABELS[i:i + 8]) for i in range(0, 24, 8)]
    for device in ("cpu", "cuda"):
        ml.seed(0)
        model = nn.Sequential(nn.Linear(72, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
        metrics = [Accuracy(), Accuracy(2), F1(3)]
        run = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), epochs=2, metrics=metrics,
                      clip_norm=1.0, ema=optim.EMA(model), device=device)
        with counting() as moved:
            histories[device] = run.fit(batches, validation=batches)
    assert (moved.to_device, moved.to_host) == (2 * 2 * 2 * 3, 2 * 2 * (1 + 1 + len(metrics))), moved
    for a, b in zip(*histories.values(), strict=True):
        assert a.keys() == b.keys() and [a[k] for k in a] == pytest.approx([b[k] for k in a])
