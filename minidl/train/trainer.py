"""Trainer: the loop from batches to a trained model, that can stop and go on at any step.

    trainer = Trainer(model, optimizer, nn.CrossEntropyLoss(), epochs=8, metrics=[Accuracy()], callbacks=[...])
    trainer.fit(train_loader, validation=test_loader, resume="auto")

What makes the rest of a run, bit for bit, is in `state_dict()`: the model, the
optimizer, the schedule, the random generator, the loader's place, the epoch's sums.
"""
from itertools import islice

from .. import backend, tape
from ..backend import random
from ..errors import ArgumentError, CheckpointError, fields, message, number
from ..io import load
from ..optim import clip_grad_norm_
from ..optim.optimizer import positive
from ..tensor import Tensor
from .callbacks import Callback
from .metrics import Mean, Metric

PROGRESS = "epoch", "batches", "step", "seen", "history"


class Trainer:
    """Trains a model.

    Args:
        model: a Module.
        optimizer: over its parameters.
        loss: (outputs, targets) -> scalar tensor, the mean over the batch.
        epochs: how many times to go through the data.
        schedule: stepped after each optimizer step.
        metrics: measured on training and validation batches.
        callbacks: see minidl/train/callbacks.py.
        accumulate: batches per optimizer step; the step is that of one big batch, also where sizes differ. The last
            step of an epoch may have fewer.
        clip_norm: the largest gradient norm.
        ema: an optim.EMA, updated after each step and used in validation.
        device: where batches are sent.
        info: saved with the run: what it takes to build the model again.

    Raises:
        ArgumentError: an argument is not of that kind, or out of its range.
        DeviceError: there is no such device.
    """

    def __init__(self, model, optimizer, loss, *, epochs=1, schedule=None, metrics=(), callbacks=(), accumulate=1,
                 clip_norm=None, ema=None, device="cpu", info=None):
        number("Trainer", "accumulate", accumulate, 1, whole=True)
        number("Trainer", "epochs", epochs, 0, whole=True)
        metrics, callbacks = list(metrics), list(callbacks)
        for name, values, kind in (("metrics", metrics, Metric), ("callbacks", callbacks, Callback)):
            if wrong := [value for value in values if not isinstance(value, kind)]:
                raise ArgumentError(message("Trainer", name, f"a list of {kind.__name__}s", repr(wrong[0])))
        own = {id(p) for p in model.parameters()}
        if own.isdisjoint([id(p) for group in optimizer.param_groups for p in group["params"]]):
            raise ArgumentError(message("Trainer", "optimizer", "one over the model's parameters", "one over others"))
        if clip_norm is not None:
            positive("Trainer", clip_norm=clip_norm)
        backend.find(device)                           # (raises where there is none)
        self.model, self.optimizer, self.loss, self.schedule, self.ema = model, optimizer, loss, schedule, ema
        self.epochs, self.accumulate, self.clip_norm, self.device = epochs, accumulate, clip_norm, device
        self.metrics, self.callbacks, self.info = metrics, callbacks, info
        self.epoch, self.batches, self.step, self.seen = 0, 0, 0, 0    # batches: of the epoch; seen: items since a step
        self.history, self.should_stop = [], False
        self.mean_loss, self.loader = Mean(), None

    def fit(self, loader, validation=None, resume=None):
        """Train for the epochs that are left.

        Args:
            loader: an iterable of batches (inputs, targets). A resumed run goes on in the middle of an epoch, by the
                loader's own state, as a DataLoader has one, or by passing over as many batches.
            validation: yields the same, measured after each epoch.
            resume: a checkpoint file; "auto": the last one that a ModelCheckpoint wrote, if there is any.

        Returns:
            the history: a dict per epoch with epoch, loss, each metric, and val_loss, val_<metric>.
        """
        self.loader, self.should_stop = loader, False
        path = self._resume_path(resume)
        if path is not None:
            self.load_state_dict(load(path))
        try:
            self._tell("on_fit_start")
            while self.epoch < self.epochs and not self.should_stop:
                self._run_epoch(loader, validation)
        except BaseException:
            self._tell("on_abort")
            raise
        self._tell("on_fit_end")
        return self.history

    def _resume_path(self, resume):
        if resume != "auto":
            return resume
        return next((c.last for c in self.callbacks if hasattr(c, "last") and c.last.exists()), None)

    def _run_epoch(self, loader, validation):
        self.model.train()
        self._tell("on_epoch_start")
        for batch in islice(loader, 0 if hasattr(loader, "load_state_dict") else self.batches, None):
            self.train_batch(batch)
            self._tell("on_step_end")
            if self.should_stop:
                return
        if not self.mean_loss.count:
            raise ArgumentError(message("Trainer", "loader", "at least one batch in an epoch", "none"))
        self._update()                                     # what an uneven accumulation left over
        row = {"epoch": self.epoch + 1, **self.measured()}
        if validation is not None:
            row.update({f"val_{k}": v for k, v in self.evaluate(validation).items()})
        self.history.append(row)
        self.epoch, self.batches = self.epoch + 1, 0
        for metric in (self.mean_loss, *self.metrics):
            metric.reset()
        self._tell("on_epoch_end")

    def batch(self, batch):
        """(inputs, targets) as tensors on the device; override for other structures."""
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise ArgumentError(message("Trainer", "batch", "(inputs, targets)", f"{type(batch).__name__}{size}",
                                        "Override Trainer.batch for other structures."))
        return [(b if isinstance(b, Tensor) else Tensor(b)).to_device(self.device) for b in batch]

    def forward(self, batch):
        """(loss, outputs, targets, number of items) of a batch; override for models with other calls."""
        inputs, targets = self.batch(batch)
        if not inputs.shape[0]:
            raise ArgumentError(message("Trainer", "batch", "at least one item", f"inputs {inputs.shape}"))
        outputs = self.model(inputs)
        return self.loss(outputs, targets), outputs, targets, inputs.shape[0]

    def train_batch(self, batch):
        """Forward and backward of one batch, and an optimizer step when enough have come."""
        loss, outputs, targets, n = self.forward(batch)
        (loss if self.accumulate == 1 else loss * float(n)).backward()
        self.seen, self.step, self.batches = self.seen + n, self.step + 1, self.batches + 1
        with tape.no_grad():
            self.mean_loss.update(loss, n)
            for metric in self.metrics:
                metric.update(outputs, targets)
        if self.batches % self.accumulate == 0:
            self._update()

    def _update(self):
        """One step of the optimizer, from the gradients gathered so far."""
        if not self.seen:
            return
        if self.accumulate > 1:
            for p in self.model.parameters():
                if p.grad is not None:
                    p.grad = p.grad * (1 / self.seen)
        if self.clip_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seen = 0
        if self.schedule is not None:
            self.schedule.step()
        if self.ema is not None:
            self.ema.update()

    def evaluate(self, loader):
        """{loss, each metric} of the model in evaluation mode (of its averages, with an EMA)."""
        if self.ema is not None:
            with self.ema.average_parameters():
                return self._evaluate(loader)
        return self._evaluate(loader)

    def _evaluate(self, loader):
        training, mean_loss = self.model.training, Mean()
        kept = [m.state_dict() for m in self.metrics]
        for metric in self.metrics:
            metric.reset()
        self.model.eval()
        with tape.no_grad():
            for batch in loader:
                loss, outputs, targets, n = self.forward(batch)
                mean_loss.update(loss, n)
                for metric in self.metrics:
                    metric.update(outputs, targets)
        self.model.train(training)
        result = {"loss": mean_loss.compute(), **{m.name: m.compute() for m in self.metrics}}
        for metric, state in zip(self.metrics, kept):
            metric.load_state_dict(state)
        return result

    def measured(self):
        """{loss, each metric} of the epoch so far: a transfer from the device each."""
        return {"loss": self.mean_loss.compute(), **{m.name: m.compute() for m in self.metrics}}

    def _tell(self, event):
        for callback in sorted(self.callbacks, key=lambda c: c.saves):     # what is saved is up to date
            getattr(callback, event)(self)

    def state_dict(self):
        """All that the rest of the run depends on."""
        gradients = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule and self.schedule.state_dict(), "ema": self.ema and self.ema.state_dict(),
                "random": random.default().state(),
                "loader": self.loader.state_dict() if hasattr(self.loader, "state_dict") else None,
                "metrics": {name: m.state_dict() for name, m in self._sums().items()}, "gradients": gradients,
                "callbacks": {name: c.state_dict() for name, c in _by_name(self.callbacks).items()}, "info": self.info,
                "progress": {name: getattr(self, name) for name in PROGRESS}}

    def load_state_dict(self, saved):
        """Go on from there: same model, optimizer, loader and metrics as when it was saved.

        Callbacks are known by their classes; one that was not there starts anew.

        Raises:
            CheckpointError: it is no run's state, or another run's.
        """
        model, optimizer, schedule, ema, loader, metrics, gradients, callbacks, progress = fields(
            "Trainer", saved, "model", "optimizer", "schedule", "ema", "loader", "metrics", "gradients", "callbacks",
            "progress")
        sums, listeners = self._sums(), _by_name(self.callbacks)
        if metrics.keys() != sums.keys():
            raise CheckpointError(message("Trainer", "metrics", ", ".join(metrics), ", ".join(sums)))
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        random.default().set_state(saved["random"])
        parts = [(self.schedule, schedule), (self.ema, ema), (self.loader, loader),
                 *[(sums[name], metrics[name]) for name in sums],
                 *[(listeners[name], callbacks.get(name)) for name in listeners]]
        for part, state in parts:
            if part is not None and state is not None:
                part.load_state_dict(state)
        for name, p in self.model.named_parameters():
            p.grad = Tensor(gradients[name]).to_device(p.device) if name in gradients else None
        for name, value in zip(PROGRESS, fields("Trainer", progress, *PROGRESS)):
            setattr(self, name, value)

    def _sums(self):
        return _by_name([self.mean_loss, *self.metrics])


def _by_name(parts):
    """{name: part}; the second of a name has a number."""
    named: dict = {}
    for part in parts:
        same = sum(p.name == part.name for p in named.values())
        named[f"{part.name} {same + 1}" if same else part.name] = part
    return named
