"""Callbacks: what a Trainer tells, and who listens."""
import csv
import math
from contextlib import contextmanager
from pathlib import Path

from ..errors import ArgumentError, CheckpointError, MinidlError, fields, message
from ..io import save
from ..optim.optimizer import positive


class Callback:
    """Base: override what you want to hear of. `state_dict` is saved with the run, under `name`."""

    saves = False              # one that saves the run is told last
    name = property(lambda self: type(self).__name__)

    def on_fit_start(self, trainer):
        """Training begins, or goes on."""

    def on_epoch_start(self, trainer):
        """An epoch begins, or goes on."""

    def on_step_end(self, trainer):
        """A batch has been learnt."""

    def on_epoch_end(self, trainer):
        """An epoch is over: `trainer.history[-1]` has its numbers."""

    def on_fit_end(self, trainer):
        """Training is over."""

    def on_abort(self, trainer):
        """Training ends by an error, or by Ctrl-C."""

    def state_dict(self):
        """What a resumed run needs to know."""
        return {}

    def load_state_dict(self, saved):
        """Go on from there."""


class _Best(Callback):
    """Follows one number of the history."""

    def __init__(self, monitor, mode):
        if mode not in ("min", "max"):
            raise ArgumentError(message(self.name, "mode", "min or max", repr(mode)))
        self.monitor, self.mode, self.best = monitor, mode, None

    def improved(self, trainer, least=0.0):
        """Is the last epoch the best so far, by at least `least`?"""
        row = trainer.history[-1]
        if self.monitor not in row:
            raise ArgumentError(message(self.name, "monitor", f"one of {', '.join(row)}", repr(self.monitor)))
        sign = 1 if self.mode == "min" else -1
        value = row[self.monitor]
        better = value == value and (self.best is None or sign * value < sign * self.best - least)     # (nan never is)
        if better:
            self.best = value
        return better

    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, saved):
        self.best, = fields(self.name, saved, "best")


class ModelCheckpoint(_Best):
    """Saves the whole run: `last.safetensors` every epoch and every `every_steps`, `best.safetensors` when
    `monitor` got better.

    Each file is written aside and renamed, so that there is a good one at any moment.

    Raises:
        ArgumentError: `every_steps` is no number of steps; `monitor` is not measured.
        CheckpointError: the directory cannot be written to.
    """

    saves = True

    def __init__(self, directory, every_steps=None, monitor="loss", mode="min"):
        super().__init__(monitor, mode)
        if every_steps is not None:
            positive(self.name, every_steps=every_steps)
        self.directory, self.every_steps = Path(directory), every_steps
        self.last, self.best_path = self.directory / "last.safetensors", self.directory / "best.safetensors"

    def on_fit_start(self, trainer):
        with _writing(self.name, self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)

    def on_step_end(self, trainer):
        if self.every_steps and trainer.step % self.every_steps == 0:
            save(trainer.state_dict(), self.last)

    def on_epoch_end(self, trainer):
        improved, state = self.improved(trainer), trainer.state_dict()
        save(state, self.last)
        if improved:
            save(state, self.best_path)


class EarlyStopping(_Best):
    """Stops when `monitor` has not got better, by `min_delta`, for `patience` epochs."""

    def __init__(self, monitor="val_loss", patience=3, min_delta=0.0, mode="min"):
        super().__init__(monitor, mode)
        self.patience, self.min_delta, self.waited = patience, min_delta, 0

    def on_fit_start(self, trainer):
        trainer.should_stop |= self.waited >= self.patience        # (a run that had stopped is resumed)

    def on_epoch_end(self, trainer):
        self.waited = 0 if self.improved(trainer, self.min_delta) else self.waited + 1
        if self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self):
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, saved):
        super().load_state_dict(saved)
        self.waited, = fields(self.name, saved, "waited")


class TerminateOnNaN(Callback):
    """Raises as soon as the loss is nan or inf (a transfer each step)."""

    def on_step_end(self, trainer):
        loss = trainer.mean_loss.compute()
        if not math.isfinite(loss):
            raise MinidlError(message("Trainer", "loss", "a finite number", f"{loss} at step {trainer.step}",
                                      "Find its source under ml.detect_anomaly()."))


class CSVLogger(Callback):
    """Writes the history to a CSV file, a row per epoch."""

    def __init__(self, path):
        self.path = Path(path)

    def on_epoch_end(self, trainer):
        names = list(dict.fromkeys(name for row in trainer.history for name in row))
        with _writing(self.name, self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "w", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(trainer.history)


@contextmanager
def _writing(name, path):
    """The system's refusals as errors of ours."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(message(name, "path", f"to write {path}", error.strerror)) from error
