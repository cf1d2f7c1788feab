"""`minidl train`: any classifier or segmentation network of the zoo, on images of one's own."""
import json
from pathlib import Path

import typer
from rich.console import Console

import minidl as ml

from .. import optim
from ..data import DataLoader
from ..errors import ArgumentError, message
from ..io import load
from ..models import create_model
from ..models.registry import find
from ..train import CSVLogger, ModelCheckpoint, ProgressBar, Trainer
from ..train.images import image_task
from .settings import settings as given

DATA = """"fashion-mnist"; or a folder with a folder per class, with `images` and `masks` (levels 0, 1, ... are
classes), or with `train` and `val` of either kind."""


def train(model: str = typer.Argument(..., help="A classifier or segmentation network of the zoo."),
          data: str = typer.Argument(..., help=DATA),
          weights: str = typer.Option(None, help="A checkpoint to start from; its last layer is replaced."),
          settings: list[str] = typer.Option([], "--set", help="A field of the model's config: --set stem=small."),
          epochs: int = typer.Option(10, min=1), batch: int = typer.Option(32, min=1, help="Images per step."),
          lr: float = typer.Option(None, help="The highest learning rate. Default: 0.1 of SGD, 1e-3 of AdamW; with "
                                              "weights a tenth."),
          optimizer: str = typer.Option("adamw", help="adamw or sgd."),
          weight_decay: float = typer.Option(None, help="Default: 5e-4 of SGD, 0.05 of AdamW."),
          size: int = typer.Option(None, min=1, help="Pixels a side while training."),
          freeze: bool = typer.Option(False, "--freeze", help="Train the last layer only."),
          out: Path = typer.Option(Path("runs/train"), help="Where the run and the model go."),
          seed: int = typer.Option(0, min=0), workers: int = typer.Option(0, min=0, help="Processes that load."),
          threads: int = typer.Option(None, min=1), device: str = typer.Option("cpu"),
          resume: bool = typer.Option(False, "--resume", help="Go on where the run in this folder stopped."),
          as_json: bool = typer.Option(False, "--json", help="One JSON object at the end, and nothing else.")):
    """Train or fine-tune on images; the best model goes to OUT/model, a curve to OUT/history.csv."""
    console = Console(highlight=False, quiet=as_json)
    if threads:
        ml.set_num_threads(threads)
    ml.seed(seed)
    task = image_task(data, find(model).inputs, size, seed)
    network = build(model, weights, task, settings, size)
    if freeze:
        network.freeze()
        network.get_classifier().unfreeze()
    network.to(device)
    shared = dict(num_workers=workers, seed=seed, persistent_workers=bool(workers))
    loader = DataLoader(task.train, batch, shuffle=True, drop_last=len(task.train) > batch, transform=task.augment,
                        **shared)
    held_out = DataLoader(task.validation, task.validation_batch or batch, transform=task.prepare, **shared)
    stepper, schedule = _optimizer(network, optimizer, lr, weight_decay, epochs * len(loader), bool(weights))
    checkpoint = ModelCheckpoint(out, monitor=f"val_{task.metric.name}", mode="max")
    run = Trainer(network, stepper, task.loss, epochs=epochs, schedule=schedule, metrics=[task.metric], device=device,
                  clip_norm=None if optimizer == "sgd" else 1.0,
                  callbacks=[ProgressBar(console=console), checkpoint, CSVLogger(out / "history.csv")])
    console.print(f"{len(task.train)} training, {len(task.validation)} validation images, {len(task.classes)} classes; "
                  f"{network.num_parameters():,} parameters; {epochs * len(loader)} steps")
    try:
        history = run.fit(loader, held_out, resume="auto" if resume else None)
    except KeyboardInterrupt:
        console.print(f"interrupted at step {run.step}: --resume --out {out} goes on")
        raise
    _finish(network, task, checkpoint, history, out, console, as_json)


def build(name, weights, task, settings, size):
    """The network for a task's classes, with the fields that were set."""
    kind = find(name).model.config_class
    fields = {"num_classes": len(task.classes), "in_channels": task.channels}
    if size and hasattr(kind, "image_size"):
        fields["image_size"] = size
    network = create_model(name, weights, **fields, **given("train", settings))
    network.inputs, network.labels = task.inputs, tuple(task.classes)
    return network


def _optimizer(network, name, lr, weight_decay, steps, fine):
    """(optimizer, schedule): one cycle up to the highest rate and down to nothing; norms and biases do not decay."""
    rates = {"sgd": (0.1, 5e-4), "adamw": (1e-3, 0.05)}
    if name not in rates:
        raise ArgumentError(message("train", "--optimizer", " or ".join(rates), repr(name)))
    usual, decay = rates[name]
    lr = lr or usual * (0.1 if fine else 1)
    decay = decay if weight_decay is None else weight_decay
    wanted = [p for p in network.parameters() if p.requires_grad]
    groups = [{"params": [p for p in wanted if p.ndim > 1], "weight_decay": decay},
              {"params": [p for p in wanted if p.ndim <= 1], "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    made = optim.SGD(groups, lr, momentum=0.9, nesterov=True) if name == "sgd" else optim.AdamW(groups, lr)
    return made, optim.OneCycleLR(made, lr, max(steps, 2), pct_start=0.25, cycle_momentum=False)


def _finish(network, task, checkpoint, history, out, console, as_json):
    """The best epoch's model goes to OUT/model."""
    network.load_state_dict(load(checkpoint.best_path)["model"])
    network.to("cpu").save_pretrained(out / "model")
    best = checkpoint.best
    if as_json:
        print(json.dumps({"best": best, "metric": task.metric.name, "history": history, "model": str(out / "model")}))
    console.print(f"best {task.metric.name} {best:.4f}; {out / 'model'} holds the model: "
                  f"minidl predict {out / 'model'} IMAGE")
