"""The loop: learning, stopping and going on bit for bit, big batches from small ones."""
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import minidl as ml
from minidl import nn, optim
from minidl.data import DataLoader, TensorDataset
from minidl.errors import ArgumentError, CheckpointError, DeviceError, DTypeError, MinidlError, ShapeError
from minidl.train import (
    F1,
    Accuracy,
    Callback,
    ConfusionMatrix,
    CSVLogger,
    EarlyStopping,
    ModelCheckpoint,
    ProgressBar,
    TerminateOnNaN,
    Trainer,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 5)).astype("f4")
Y = (X[:, :3].argmax(1)).astype("i8")


def trainer(tmp_path=None, epochs=4, batch=8, **settings):
    """A small run whose result depends on everything: order, dropout, momentum, schedule, averages."""
    ml.seed(3)
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = optim.AdamW(model.parameters(), lr=0.02)
    settings.setdefault("callbacks", [ModelCheckpoint(tmp_path, every_steps=3)] if tmp_path else [])
    run = Trainer(model, optimizer, nn.CrossEntropyLoss(), epochs=epochs, metrics=[Accuracy(), Accuracy(2)],
                  schedule=optim.CosineAnnealingLR(optimizer, 40), ema=optim.EMA(model, 0.9), clip_norm=1.0, **settings)
    return run, DataLoader(TensorDataset(X, Y), batch_size=batch, shuffle=True, seed=5)


class StopAt(Callback):
    """Plays Ctrl-C at a step."""

    def __init__(self, step):
        self.at = step

    def on_step_end(self, trainer):
        if trainer.step == self.at:
            raise KeyboardInterrupt


def state(run):
    return {**{n: t.numpy() for n, t in run.model.state_dict().items()},
            **{f"ema.{n}": a for n, a in run.ema.shadow.items()}}


def test_learns_and_keeps_a_history(tmp_path):
    run, loader = trainer(epochs=15, callbacks=[CSVLogger(tmp_path / "log.csv")])
    history = run.fit(loader, validation=loader)
    assert history[-1]["val_accuracy"] > 0.9 and history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_top2"] >= history[-1]["val_accuracy"] and [r["epoch"]
                                                                       for r in history] == list(range(1, 16))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 16


@pytest.mark.parametrize("step", [1, 4, 8, 13])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, step):
    straight, loader = trainer()
    straight.fit(loader, validation=loader)
    stopped, loader = trainer(tmp_path)
    stopped.callbacks.append(StopAt(step))
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(loader, validation=loader)
    again, loader = trainer(tmp_path)
    again.callbacks.append(StopAt(-1))
    again.fit(loader, validation=loader, resume="auto")
    assert again.history == straight.history
    for name, value in state(straight).items():
        np.testing.assert_array_equal(state(again)[name], value, err_msg=name)


def test_a_loader_without_a_state_is_passed_over(tmp_path):
    batches = [(X[i:i + 10], Y[i:i + 10]) for i in range(0, 60, 10)]
    straight = trainer(epochs=2)[0]
    straight.fit(batches)
    stopped = trainer(tmp_path, epochs=2)[0]
    stopped.callbacks.append(StopAt(10))
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(batches)
    again = trainer(tmp_path, epochs=2)[0]
    assert again.fit(batches, resume="auto") == straight.history
    np.testing.assert_array_equal(again.model[0].weight.numpy(), straight.model[0].weight.numpy())


@pytest.mark.parametrize("sizes", [(20, 20, 20), (7, 7, 7, 7, 7, 7, 7, 7, 4), (25, 25, 10)])
def test_accumulation_is_the_big_batch(sizes):
    def weights(chunks, accumulate):
        ml.seed(0)
        model = nn.Linear(5, 3)
        run = Trainer(model, optim.SGD(model.parameters(), lr=0.5), nn.CrossEntropyLoss(), accumulate=accumulate)
        edges = np.cumsum([0, *chunks])
        run.fit([(X[a:b], Y[a:b]) for a, b in zip(edges, edges[1:])])
        return model.weight.numpy()
    np.testing.assert_allclose(weights(sizes, len(sizes)), weights((60,), 1), rtol=2e-5, atol=1e-7)


def test_every_epoch_accumulates_alike():
    """Five batches are steps of two, two and one, in each epoch."""
    class Rates(Callback):
        found = ()

        def on_step_end(self, trainer):
            self.found += (trainer.schedule.last_step,)

    rates = Rates()
    run = trainer(callbacks=[rates], accumulate=2, epochs=2)[0]
    run.fit([(X[i:i + 12], Y[i:i + 12]) for i in range(0, 60, 12)])
    assert rates.found == (0, 1, 1, 2, 2, 3, 4, 4, 5, 5) and run.schedule.last_step == 6


def test_stops_early_and_on_nan():
    run, loader = trainer(epochs=50, callbacks=[EarlyStopping("loss", patience=2, min_delta=10.0)])
    assert len(run.fit(loader)) == 3
    run, loader = trainer(callbacks=[TerminateOnNaN()])
    run.model[0].weight.assign(np.nan)
    with pytest.raises(MinidlError,
                       match=r"\[Trainer\] loss: expected a finite number, got nan at step 1. Find its source"):
        run.fit(loader)
    run, loader = trainer(callbacks=[EarlyStopping("speed")])
    with pytest.raises(ArgumentError, match=r"\[EarlyStopping\] monitor: expected one of epoch, loss"):
        run.fit(loader)
    with pytest.raises(ArgumentError, match=r"\[Trainer\] batch: expected at least one item"):
        run.fit([(X[:0], Y[:0])])


def test_metrics_by_hand():
    scores = np.eye(3, dtype="f4")[[0, 1, 2, 2, 1]] + 0.1 * np.eye(3, dtype="f4")[[1, 1, 0, 0, 0]]
    labels = np.array([0, 1, 2, 0, 0])
    for metric, want in ((Accuracy(), 3 / 5), (Accuracy(2), 1.0), (F1(3, "micro"), 3 / 5),
                         (F1(3), (2 / 4 + 2 / 3 + 2 / 3) / 3)):
        for part in (slice(0, 2), slice(2, 5)):
            metric.update(ml.tensor(scores[part]), ml.tensor(labels[part]))
        assert metric.compute() == pytest.approx(want), metric.name
        metric.reset()
    matrix = ConfusionMatrix(3)
    matrix.update(scores, labels)
    np.testing.assert_array_equal(matrix.compute(), [[1, 1, 1], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ShapeError,
                       match=r"\[accuracy\] targets: expected labels \(5,\) for outputs \(5, 3\), got \(4,\)"):
        Accuracy().update(scores, labels[:4])


def test_metrics_count_what_is_to_count():
    scores = np.eye(3, dtype="f4")[[0, 1, 2, 2, 1]]
    labels = np.array([0, -1, 2, 0, -1])
    for metric, want in ((Accuracy(ignore_index=-1), 2 / 3), (Accuracy(2, ignore_index=-1), 1.0),
                         (F1(3, "micro", ignore_index=-1), 2 / 3)):
        for part in (slice(0, 2), slice(2, 5)):
            metric.update(scores[part], labels[part])
        assert metric.compute() == pytest.approx(want), metric.name
    matrix = ConfusionMatrix(3, ignore_index=-1)
    matrix.update(scores, labels)
    np.testing.assert_array_equal(matrix.compute(), [[1, 0, 1], [0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("metric", [Accuracy(), Accuracy(2), ConfusionMatrix(3), F1(3)], ids=lambda m: m.name)
def test_metrics_refuse_labels_that_are_none(metric, device):
    scores = ml.tensor(np.eye(3, dtype="f4"), device=device)
    for labels, error, text in (([0, 1, 3], ArgumentError, r"targets: expected classes in \[0, 3\), .*got 3 at \(2,\)"),
                                ([0, -1, 2], ArgumentError, r"got -1 at \(1,\)"),
                                ([0.0, 1.0, 2.0], DTypeError, "targets: expected integers, got float32")):
        metric.reset()
        with pytest.raises(error, match=rf"\[{metric.name}\] .*{text}"):
            metric.update(scores, ml.tensor(labels, device=device))
            metric.compute()


def test_saving_comes_last_and_callbacks_are_known_by_name(tmp_path):
    """What a callback has counted is in the checkpoint of the same step, wherever it stands in the list."""
    class Count(Callback):
        steps = 0

        def on_step_end(self, trainer):
            self.steps += 1

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, saved):
            self.steps = saved["steps"]

    run, loader = trainer(callbacks=[ModelCheckpoint(tmp_path, 1), Count(), Count(), StopAt(-1)], epochs=1)
    run.fit(loader)
    again, loader = trainer(callbacks=[EarlyStopping("loss"), Count(), ModelCheckpoint(tmp_path), Count()], epochs=1)
    again.fit(loader, resume="auto")
    assert [c.steps for c in again.callbacks if isinstance(c, Count)] == [8, 8] and again.step == run.step == 8


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    def build(patience):
        return trainer(callbacks=[ModelCheckpoint(tmp_path), EarlyStopping("loss", patience, min_delta=10.0)])
    run, loader = build(2)
    assert len(run.fit(loader)) == 3
    again, loader = build(2)
    assert len(again.fit(loader, resume="auto")) == 3
    patient, loader = build(9)
    assert len(patient.fit(loader, resume="auto")) == 4


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_leaves_the_terminal_as_it_was(terminal):
    screen = Console(file=StringIO(), force_terminal=terminal, highlight=False, width=200)
    bar = ProgressBar(every=1, console=screen)
    run, loader = trainer(callbacks=[bar, StopAt(11)])
    with pytest.raises(KeyboardInterrupt):
        run.fit(loader)
    text = screen.file.getvalue()
    assert "epoch 1/4  loss" in text and " s left" in text
    assert bar.bar is None and text.count("\x1b[?25l") == text.count("\x1b[?25h") == terminal      # the cursor
    screen.file.seek(0)
    screen.file.truncate()
    trainer(callbacks=[bar], epochs=1)[0].fit(iter([(X, Y)]))                       # (without a length)
    assert "epoch 1/1  loss" in screen.file.getvalue() and " s left" not in screen.file.getvalue()


def test_nan_is_never_the_best():
    stop, run = EarlyStopping("loss"), trainer()[0]
    for value in (float("nan"), 2.0, 1.0):
        run.history = [{"loss": value}]
        stop.on_epoch_end(run)
    assert stop.best == 1.0 and stop.waited == 0


@pytest.mark.parametrize("call, error, text", [
    (lambda path: trainer(accumulate=0), ArgumentError, r"\[Trainer\] accumulate: expected an integer, at least 1"),
    (lambda path: trainer(epochs=1.5), ArgumentError, r"\[Trainer\] epochs: expected an integer, at least 0, got 1.5"),
    (lambda path: trainer(callbacks=[3]), ArgumentError, r"\[Trainer\] callbacks: expected a list of Callbacks, got 3"),
    (lambda path: trainer(device="tpu"), DeviceError, r"\[device\] device: .*got 'tpu'"),
    (lambda path: trainer()[0].fit([]), ArgumentError, r"\[Trainer\] loader: expected at least one batch"),
    (lambda path: trainer()[0].fit([X]), ArgumentError, r"\[Trainer\] batch: expected \(inputs, targets\), .*ndarray"),
    (lambda path: trainer()[0].fit([(X, X, Y)]), ArgumentError, r"\[Trainer\] batch: .*got tuple of 3"),
    (lambda path: Trainer(nn.Linear(2, 2), optim.SGD(nn.Linear(2, 2).parameters()), nn.MSELoss()), ArgumentError,
     r"\[Trainer\] optimizer: expected one over the model's parameters"),
    (lambda path: trainer()[0].load_state_dict({}), CheckpointError, r"\[Trainer\] state: expected values for model"),
    (lambda path: ModelCheckpoint(path, every_steps=0), ArgumentError, r"\[ModelCheckpoint\] every_steps"),
    (lambda path: trainer(path / "file" / "runs")[0].fit([(X, Y)]), CheckpointError,
     r"\[ModelCheckpoint\] path: expected to write .*, got Not a directory"),
    (lambda path: trainer(callbacks=[CSVLogger(path / "file" / "log.csv")])[0].fit([(X, Y)]), CheckpointError,
     r"\[CSVLogger\] path: expected to write"),
])
def test_refusals(call, error, text, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=text):
        call(tmp_path)


def test_a_run_with_other_metrics_is_another_run(tmp_path):
    run, loader = trainer(tmp_path, epochs=1)
    run.fit(loader)
    run.metrics.pop()
    with pytest.raises(CheckpointError, match=r"\[Trainer\] metrics: expected mean, accuracy, top2, got mean"):
        run.fit(loader, resume="auto")
