"""`minidl train`: any classifier or segmentation network of the zoo, on images or texts of one's own."""
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import typer
from rich.console import Console

import minidl as ml

from .. import optim
from ..data import DataLoader
from ..errors import ArgumentError, message
from ..io import hub, load
from ..models import create_model, from_pretrained
from ..models.registry import find
from ..text import load_tokenizer
from ..train import CSVLogger, ModelCheckpoint, ProgressBar, TextTrainer, Trainer
from ..train.images import image_task
from ..train.texts import text_task
from .generative import train_generative
from .settings import settings as given

MODEL = """A classifier, a segmentation network, or what makes images (dcgan, stylegan2, vae, pix2pix, ...); for
texts, a folder in Hugging Face's layout, with its tokenizer, or a repository on the hub."""
DATA = """"fashion-mnist"; a folder with a folder per class (images, or text files), or with `images` and `masks`
(levels 0, 1, ... are classes); a .csv, .tsv, .jsonl of `text` and `label`; `train` and `val` of any of these in a
folder. To make images: any folder of them, or "fashion-mnist"; to translate, a folder with A and B."""


def train(model: str = typer.Argument(..., help=MODEL),
          data: str = typer.Argument(..., help=DATA),
          weights: str = typer.Option(None, help="A checkpoint to start from; its last layer is replaced."),
          settings: list[str] = typer.Option([], "--set", help="A field of the model's config: --set stem=small."),
          loss: list[str] = typer.Option([], "--loss", help="Of what makes images, a setting of its loss: --loss r1=1, "
                                                            "kind=hinge, augment=True, beta=4, cycle=5, ..."),
          epochs: int = typer.Option(10, min=1), batch: int = typer.Option(32, min=1, help="Images per step."),
          lr: float = typer.Option(None, help="The highest learning rate. Default: 0.1 of SGD, 1e-3 of AdamW; with "
                                              "weights a tenth; of texts 5e-5."),
          optimizer: str = typer.Option("adamw", help="adamw or sgd."),
          weight_decay: float = typer.Option(None, help="Default: 5e-4 of SGD, 0.05 of AdamW."),
          size: int = typer.Option(None, min=1, help="Pixels a side while training; tokens of a text."),
          freeze: bool = typer.Option(False, "--freeze", help="Train the last layer only."),
          out: Path = typer.Option(Path("runs/train"), help="Where the run and the model go."),
          seed: int = typer.Option(0, min=0), workers: int = typer.Option(0, min=0, help="Processes that load."),
          threads: int = typer.Option(None, min=1), device: str = typer.Option("cpu"),
          resume: bool = typer.Option(False, "--resume", help="Go on where the run in this folder stopped."),
          as_json: bool = typer.Option(False, "--json", help="One JSON object at the end, and nothing else.")):
    """Train or fine-tune on images or texts; the best model goes to OUT/model, a curve to OUT/history.csv."""
    console = Console(highlight=False, quiet=as_json)
    if threads:
        ml.set_num_threads(threads)
    ml.seed(seed)
    shared = dict(batch_size=batch, num_workers=workers, seed=seed, persistent_workers=bool(workers))
    of_texts = Path(model).is_dir() or hub.is_name(model)
    if not of_texts and find(model).task == "image-generation":
        return train_generative(model, data, weights=weights, settings=given("train", settings),
                                loss=given("train", loss, "--loss"), epochs=epochs, lr=lr, size=size, out=out,
                                shared=shared, device=device, resume=resume, console=console, as_json=as_json)
    if loss:
        raise ArgumentError(message("train", "--loss", "a model that makes images", model))
    if of_texts and weights:
        raise ArgumentError(message("train", "--weights", "none: a folder holds its own", weights))
    if of_texts:
        job = _texts(model, data, settings, size, shared)
    else:
        job = _images(model, data, weights, settings, size, shared)
    network, loader = job.network, job.loader
    if freeze:
        network.freeze()
        network.get_classifier().unfreeze()
    network.to(device)
    stepper, schedule = _optimizer(network, optimizer, lr or job.lr, weight_decay, epochs * len(loader), bool(weights))
    checkpoint = ModelCheckpoint(out, monitor=f"val_{job.metric.name}", mode="max")
    run = job.trainer(network, stepper, epochs=epochs, schedule=schedule, metrics=[job.metric], device=device,
                      clip_norm=None if optimizer == "sgd" else 1.0,
                      callbacks=[ProgressBar(console=console), checkpoint, CSVLogger(out / "history.csv")])
    console.print(f"{len(loader.dataset)} training, {len(job.held_out.dataset)} validation items, "
                  f"{len(network.labels)} classes; {network.num_parameters():,} parameters; "
                  f"{epochs * len(loader)} steps")
    try:
        history = run.fit(loader, job.held_out, resume="auto" if resume else None)
    except KeyboardInterrupt:
        console.print(f"interrupted at step {run.step}: --resume --out {out} goes on")
        raise
    _finish(job, checkpoint, history, out, console, as_json)


class Job(NamedTuple):
    """What is trained, on what, and how."""

    network: Any
    loader: DataLoader
    held_out: DataLoader
    trainer: Callable              # (network, optimizer, **options) -> Trainer
    metric: Any
    use: str                       # the command that uses the model
    lr: float | None = None        # what this kind is usually trained with
    tokenizer: Any = None


def _images(model, data, weights, settings, size, shared):
    task = image_task(data, find(model).inputs, size, shared["seed"])
    network = build(model, weights, task, settings, size)
    loader = DataLoader(task.train, shuffle=True, drop_last=len(task.train) > shared["batch_size"],
                        transform=task.augment, **shared)
    held_out = DataLoader(task.validation, transform=task.prepare,
                          **{**shared, "batch_size": task.validation_batch or shared["batch_size"]})
    return Job(network, loader, held_out, partial(Trainer, loss=task.loss), task.metric, "predict {} IMAGE")


def _texts(model, data, settings, size, shared):
    tokenizer = load_tokenizer(model)
    task = text_task(data, tokenizer, size, shared["seed"])
    network = from_pretrained(model, "SequenceClassification", num_labels=len(task.classes), **given("train", settings))
    network.labels = task.classes
    loader = DataLoader(task.train, shuffle=True, drop_last=len(task.train) > shared["batch_size"],
                        collate_fn=task.collate, **shared)
    return Job(network, loader, DataLoader(task.validation, collate_fn=task.collate, **shared), TextTrainer,
               task.metric, "pipeline text-classification {} TEXT", 5e-5, tokenizer)


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


def _finish(job, checkpoint, history, out, console, as_json):
    """The best epoch's model goes to OUT/model."""
    job.network.load_state_dict(load(checkpoint.best_path)["model"])
    job.network.to("cpu").save_pretrained(out / "model")
    if job.tokenizer:
        job.tokenizer.save_pretrained(out / "model")
    best = checkpoint.best
    if as_json:
        print(json.dumps({"best": best, "metric": job.metric.name, "history": history, "model": str(out / "model")}))
    console.print(f"best {job.metric.name} {best:.4f}; {out / 'model'} holds the model: "
                  f"minidl {job.use.format(out / 'model')}")
