"""Callbacks: what a Trainer tells, and who listens."""
import csv
import math
from pathlib import Path

from ..errors import ArgumentError, MinidlError, message
from ..io import save


class Callback:
    """Base: override what you want to hear of. `state_dict` is saved with the run."""

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

    def state_dict(self):
        """What a resumed run needs to know."""
        return {}

    def load_state_dict(self, saved):
        """Go on from there."""


class _Best(Callback):
    """Follows one number of the history."""

    def __init__(self, monitor, mode):
        if mode not in ("min", "max"):
            raise ArgumentError(message(type(self).__name__, "mode", "min or max", repr(mode)))
        self.monitor, self.mode, self.best = monitor, mode, None

    def improved(self, trainer, least=0.0):
        """Is the last epoch the best so far, by at least `least`?"""
        row = trainer.history[-1]
        if self.monitor not in row:
            raise ArgumentError(message(type(self).__name__, "monitor", f"one of {', '.join(row)}", repr(self.monitor)))
        sign = 1 if self.mode == "min" else -1
        value = row[self.monitor]
        better = self.best is None or sign * value < sign * self.best - least
        if better:
            self.best = value
        return better

    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, saved):
        self.best = saved["best"]


class ModelCheckpoint(_Best):
    """Saves the whole run: `last.safetensors` every epoch and every `every_steps`, `best.safetensors` when
    `monitor` got better.

    Each file is written aside and renamed, so that there is a good one at any moment.
    """

    def __init__(self, directory, every_steps=None, monitor="loss", mode="min"):
        super().__init__(monitor, mode)
        self.directory, self.every_steps = Path(directory), every_steps
        self.last, self.best_path = self.directory / "last.safetensors", self.directory / "best.safetensors"

    def on_fit_start(self, trainer):
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

    def on_epoch_end(self, trainer):
        self.waited = 0 if self.improved(trainer, self.min_delta) else self.waited + 1
        if self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self):
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, saved):
        super().load_state_dict(saved)
        self.waited = saved["waited"]


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(trainer.history[-1]))
            writer.writeheader()
            writer.writerows(trainer.history)
