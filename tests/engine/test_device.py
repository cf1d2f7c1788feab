"""Everything again on the strict double of CuPy: the same numbers, and no transfer that nobody asked for."""
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import Tensor, backend, nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.errors import ArgumentError, GradError
from minidl.testing.cupy_double import REAL, counting, installed
from minidl.train import F1, Accuracy, Trainer

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((24, 2, 6, 6)).astype("f4"), RNG.integers(0, 3, 24)


# -- the double is at least as strict as CuPy ------------------------------------------------------

def on(xp, text):
    """What a text does with an array `x` on the device."""
    return eval(text, {"xp": xp, "np": np, "Tensor": Tensor, "x": xp.asarray(np.ones(3))})


@pytest.mark.parametrize("text", [
    "xp.add(x, np.ones(3))", "x + np.ones(3)", "np.ones(3) * x", "xp.exp(np.array(1.0))", "np.exp(x)",
    "np.sum(x)", "np.asarray(x)", "xp.concatenate([x, np.ones(3)])", "x[np.arange(2)]", "x.flat",
    "xp.sum(Tensor([1.0]))", "x.__setitem__(0, np.ones(1))", "xp.add(x, x, out=np.ones(3))",
    "xp.where(x > 0, x, np.ones(3))"])
def test_host_and_device_do_not_mix(double, text):
    with pytest.raises(TypeError):
        on(double, text)


@pytest.mark.parametrize("text", [
    "xp.errstate", "xp.vecdot", "xp.add.at", "xp.random.Philox", "xp.linalg.eig_banded", "x.flags.writeable",
    "x.__index__()", "xp.add(x, x, where=x > 0)", "xp.exp(x, order='C')", "x.sum(where=x > 0)",
    "x.max(initial=0.0)", "xp.clip(x, max=1.0)", "xp.sort(x, kind='quicksort')",
    "xp.full(3, 1.0, device='cpu')"])
def test_what_cupy_lacks_is_missing(double, text):
    assert REAL, "the CuPy that is installed (the `test` extra has it) is asked what it lacks"
    with pytest.raises((AttributeError, TypeError, ValueError)):
        on(double, text)


@pytest.mark.parametrize("texts, to_host, to_device", [
    (["float(x.sum())", "bool(x[0] > 0)", "int(x.argmax())", "x.sum().item()", "x.tolist()", "repr(x)",
      "xp.asnumpy(x)", "x[x > 0]", "xp.nonzero(x)", "xp.where(x > 0)", "xp.unique(x)",
      "xp.bincount(x.astype(int))"], 1, 0),
    (["x[[0, 1]]", "xp.asarray([1.0])", "xp.array(2.0)"], 0, 1),
    (["xp.where(x > 0, x, 0)", "xp.zeros(3) + xp.arange(3) * np.float32(2)", "x[1:].reshape(2, 1).T",
      "[part for part in x]", "xp.asarray(x)", "x.astype('i8')[xp.arange(2)]"], 0, 0)])
def test_transfers_are_counted(double, texts, to_host, to_device):
    for text in texts:
        with counting() as moved:
            on(double, text)
        assert (moved.to_host, moved.to_device) == (to_host, to_device + 1), text      # (1 makes x)


def test_results_stay_on_the_device_and_views_know_their_owner(double):
    x = double.asarray(np.arange(6.0).reshape(2, 3))
    results = x.sum(), x[0, 0], x.T, double.exp(x), -x, x > 1, *double.split(x, 2)
    assert all(type(y) is double.ndarray for y in results)
    assert x.T.base is x[1:].base is double.broadcast_to(x[0], (4, 3)).base is x and (x + 1).base is None
    same = x
    x += 1
    assert x is same and double.multiply(x, 2.0, out=x) is same and float(x[0, 0]) == 2


# -- the backend of CuPy ---------------------------------------------------------------------------

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=30), st.sampled_from(["float64", "float32", "int64"]), st.data())
def test_scatter_add_is_numpys(places, dtype, data):
    """Also where one place takes in inf, nan or 1e20: no other is touched."""
    numbers = st.sampled_from([1, -2, 5] if dtype == "int64" else [0.5, -3, 7, 1e20, np.inf, np.nan])
    rows = data.draw(st.lists(st.tuples(numbers, numbers), min_size=len(places), max_size=len(places)))
    values = np.array(rows, dtype).reshape(-1, 2)
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
    rows = np.array([2, 0, 2])
    for index in ((0, slice(None)), (slice(None), rows), (rows[:, None], np.array([3, 3])), ()):
        into = np.zeros((4, 3)).T
        values = RNG.standard_normal(into[index].shape)
        want, array = into.copy(), double.asarray(into.T.copy()).T
        np.add.at(want, index, values)
        index = tuple([double.asarray(i) if isinstance(i, np.ndarray) else i for i in index])
        backend.scatter_add(array, index, double.asarray(values))
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


# -- optimizers and training (layers: tests/nn/test_every_layer.py) --------------------------------

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
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                          nn.Dropout(0.3), nn.Linear(144, 3)).to(device)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    schedule, ema = optim.CosineAnnealingLR(optimizer, steps), optim.EMA(model, 0.9)
    loss_of, losses, transfers = nn.CrossEntropyLoss(label_smoothing=0.1), [], []
    for i in range(steps):
        with counting() as moved:
            batch = IMAGES[4 * i:4 * i + 4], LABELS[4 * i:4 * i + 4]
            images, labels = (ml.tensor(part).to(device) for part in batch)        # in: 2
            loss = loss_of(model(images), labels)
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            ema.update()
            losses.append(loss.item())                     # out: 1, and 1 that answers the demands on labels
        transfers.append((moved.to_device, moved.to_host))
    return {**{n: t.numpy() for n, t in model.state_dict().items()}, "losses": losses}, transfers


def test_a_training_step_moves_the_batch_in_and_the_loss_out(double):
    with ml.use_kernels("off"):                            # (what is compared is the engine; rounding differs)
        want, none = trained("cpu")
    got, transfers = trained("cuda")
    assert none == [(0, 0)] * 6 and transfers == [(2, 2)] * 6
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-6, atol=1e-7, err_msg=name)


def test_the_trainer(double):
    """What is measured is summed on the device, and comes back once an epoch, with the answers to demands."""
    histories = {}
    batches = [(IMAGES[i:i + 8].reshape(8, -1), LABELS[i:i + 8]) for i in range(0, 24, 8)]
    for device in ("cpu", "cuda"):
        ml.seed(0)
        model = nn.Sequential(nn.Linear(72, 8), nn.ReLU(), nn.Linear(8, 3)).to(device)
        metrics = [Accuracy(), Accuracy(2), F1(3)]
        run = Trainer(model, optim.SGD(model.parameters(), lr=0.1), nn.CrossEntropyLoss(), epochs=2,
                      metrics=metrics, clip_norm=1.0, ema=optim.EMA(model), device=device)
        with counting() as moved:
            histories[device] = run.fit(batches, validation=batches)
    assert (moved.to_device, moved.to_host) == (2 * 2 * 2 * 3, 2 * 2 * (1 + 1 + len(metrics))), moved
    for a, b in zip(*histories.values(), strict=True):
        assert a.keys() == b.keys() and [a[k] for k in a] == pytest.approx([b[k] for k in a])


def test_a_stopped_run_goes_on_bit_for_bit(device, tmp_path):
    def fit(epochs, resume=None):
        ml.seed(0)
        model = nn.Sequential(nn.Linear(72, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3))
        optimizer = optim.AdamW(model.to(device).parameters(), lr=0.01)
        run = Trainer(model, optimizer, nn.CrossEntropyLoss(), epochs=epochs, ema=optim.EMA(model, 0.9),
                      schedule=optim.CosineAnnealingLR(optimizer, 12), metrics=[Accuracy()], device=device)
        items = ArrayDataset(IMAGES.reshape(24, -1), LABELS)
        run.fit(DataLoader(items, batch_size=6, shuffle=True, seed=1), resume=resume)
        return run

    straight = fit(3)
    ml.save(fit(1).state_dict(), tmp_path / "stopped")
    again = fit(3, resume=tmp_path / "stopped")
    assert again.history == straight.history
    want, got = straight.model.state_dict(), again.model.state_dict()
    assert all(t.device.startswith(device) for t in got.values())
    for name in want:
        np.testing.assert_array_equal(got[name].numpy(), want[name].numpy(), err_msg=name)
    for name, average in straight.ema.shadow.items():
        found = backend.to_host(again.ema.shadow[name])
        np.testing.assert_array_equal(found, backend.to_host(average), err_msg=name)
