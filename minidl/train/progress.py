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
        self.started, self.start_step = perf_counter(), trainer.step
        self.total = trainer.epochs * len(trainer.loader) if hasattr(trainer.loader, "__len__") else None
        if self.console.is_terminal:
            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
                                console=self.console, refresh_per_second=4)
            self.task = self.bar.add_task("", total=self.total, completed=trainer.step, rate="")
            self.bar.start()

    def on_epoch_start(self, trainer):
        self.epoch_started, self.items = perf_counter(), trainer.mean_loss.count       # (not 0 where it is resumed)

    def on_step_end(self, trainer):
        if self.bar is None or trainer.step % self.every:
            return
        measured = "  ".join([f"{name} {value:.4f}" for name, value in trainer.measured().items()])
        rate = (trainer.mean_loss.count - self.items) / max(perf_counter() - self.epoch_started, 1e-9)
        self.bar.update(self.task, completed=trainer.step, rate=f"{rate:.0f} {self.unit}/s",
                        description=f"epoch {trainer.epoch + 1}/{trainer.epochs}  {measured}")

    def on_epoch_end(self, trainer):
        now, row = perf_counter(), trainer.history[-1]
        text = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "epoch")
        text = f"epoch {row['epoch']}/{trainer.epochs}  {text}  {now - self.epoch_started:.1f} s"
        if self.total is not None:
            per_step = (now - self.started) / max(trainer.step - self.start_step, 1)
            text += f", {max(per_step * (self.total - trainer.step), 0):.0f} s left"
        self.console.print(text)

    def on_fit_end(self, trainer):
        if self.bar is not None:
            self.bar.stop()                            # (it puts the terminal back in order)
            self.bar = None

    on_abort = on_fit_end
