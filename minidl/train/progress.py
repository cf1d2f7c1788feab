"""A live display of training: epoch, loss, accuracy, images per second, time left."""
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .callbacks import Callback


class ProgressBar(Callback):
    """Shows a bar on a terminal (redrawn a few times a second), and a line per epoch anywhere.

    Args:
        every: steps between looks at the loss and the metrics (each a transfer from the device).
        unit: what the items are called.
    """

    def __init__(self, every=5, unit="images", console=None):
        self.every, self.unit = every, unit
        self.console = console or Console(highlight=False)
        self.bar = self.task = None

    def on_fit_start(self, trainer):
        self.started, self.start_step, self.items = perf_counter(), trainer.step, 0
        steps = len(trainer.loader)
        if self.console.is_terminal:
            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                TextColumn("{task.fields[rate]}"),
                                TimeRemainingColumn(), console=self.console, refresh_per_second=4)
            self.task = self.bar.add_task("", total=trainer.epochs * steps, completed=trainer.step, rate="")
            self.bar.start()
        self.epoch_started = perf_counter(), trainer.step

    def on_epoch_start(self, trainer):
        self.epoch_started = perf_counter(), trainer.step

    def on_step_end(self, trainer):
        if self.bar is None or trainer.step % self.every:
            return
        text = f"epoch {trainer.epoch + 1}/{trainer.epochs}  " + "  ".join(f"{k} {v:.4f}" for k,
                                                                           v in trainer.measured().items())
        self.bar.update(self.task, completed=trainer.step, description=text,
                        rate=f"{self._rate(trainer):.0f} {self.unit}/s")

    def _rate(self, trainer):
        started, step = self.epoch_started
        batches = trainer.step - trainer.epoch * len(trainer.loader)       # of this epoch, resumed ones too
        items = trainer.mean_loss.count * (trainer.step - step) / max(batches, 1)
        return items / max(perf_counter() - started, 1e-9)

    def on_epoch_end(self, trainer):
        row = dict(trainer.history[-1])
        started, step = self.epoch_started
        seconds = perf_counter() - started
        done = trainer.step - self.start_step
        left = (perf_counter() - self.started) / max(done, 1) * (trainer.epochs * len(trainer.loader) - trainer.step)
        text = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k != "epoch")
        self.console.print(f"epoch {row['epoch']}/{trainer.epochs}  {text}  {seconds:.1f} s, {max(left, 0):.0f} s left")

    def on_fit_end(self, trainer):
        self.close()

    def close(self):
        """Put the terminal back in order; safe to call twice."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
