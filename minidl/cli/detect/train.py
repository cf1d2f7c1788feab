"""`minidl detect train`: a detector on images of one's own."""
import json
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

import minidl as ml

from ... import optim
from ...data import DataLoader
from ...data.detection import DetectionView, WholeImage, collate, read_set
from ...errors import ArgumentError, message, number
from ...io import load
from ...train import CloseMosaic, CSVLogger, DetectionTrainer, ModelCheckpoint, ProgressBar
from ..settings import settings
from .keywords import keywords, usage
from .networks import network


@dataclass(frozen=True)
class Arguments:
    """Of the command; lr0 is the highest learning rate, None: the optimizer's usual one, lrf the share at the end."""

    model: str
    data: str
    weights: str | None = None
    epochs: int = 100
    batch: int = 16
    imgsz: int = 640
    optimizer: str = "adamw"
    lr0: float | None = None
    lrf: float = 0.01
    weight_decay: float | None = None
    warmup_epochs: float = 3.0
    multi_scale: float = 0.0
    mosaic: float = 1.0
    mixup: float = 0.0
    close_mosaic: int = 10
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    fliplr: float = 0.5
    flipud: float = 0.0
    scale: float = 0.5
    translate: float = 0.1
    degrees: float = 0.0
    shear: float = 0.0
    ema: float = 0.9999
    seed: int = 0
    workers: int = 0
    threads: int | None = None
    device: str = "cpu"
    resume: bool = False
    out: Path = Path("runs/detect/train")

    def view(self, dataset):
        """What training sees of a data set."""
        return DetectionView(dataset, self.imgsz, self.mosaic, self.mixup, (self.hsv_h, self.hsv_s, self.hsv_v),
                             self.fliplr, self.flipud, self.scale, self.translate, self.degrees, self.shear)


def train(arguments: list[str] = typer.Argument(None, metavar="KEY=VALUE...", help=usage(Arguments)),
          options: list[str] = typer.Option([], "--set", help="A field of the model's config: --set fpn_channels=128."),
          as_json: bool = typer.Option(False, "--json", help="One JSON object at the end, and nothing else.")):
    """Train or fine-tune a detector; the best model goes to OUT/model, a curve to OUT/history.csv."""
    given = keywords("train", Arguments, arguments)
    number("detect train", "epochs", given.epochs, 1, whole=True)
    console = Console(highlight=False, quiet=as_json)
    if given.threads:
        ml.set_num_threads(given.threads)
    ml.seed(given.seed)
    data, held_out = (read_set(given.data, split) for split in ("train", "val"))
    detector = network("train", given.model, given.weights, given.imgsz, data.classes,
                       **settings("detect train", options)).to(given.device)
    data, held_out = (part.with_masks(detector.has_masks) for part in (data, held_out))
    loader = DataLoader(data, given.batch, shuffle=True, drop_last=len(data) > given.batch, seed=given.seed,
                        transform=given.view(data), collate_fn=collate, num_workers=given.workers)
    validation = DataLoader(held_out, given.batch, transform=WholeImage(), collate_fn=collate,
                            num_workers=given.workers)
    stepper, schedule = _optimizer(detector, given, len(loader))
    checkpoint = ModelCheckpoint(given.out, monitor="val_map", mode="max")
    run = DetectionTrainer(detector, stepper, epochs=given.epochs, schedule=schedule, multi_scale=given.multi_scale,
                           clip_norm=10.0, ema=optim.EMA(detector, given.ema), device=given.device,
                           callbacks=[ProgressBar(console=console), checkpoint, CloseMosaic(given.close_mosaic),
                                      CSVLogger(given.out / "history.csv")])
    console.print(f"{len(data)} training, {len(held_out)} validation images, {len(data.classes)} classes; "
                  f"{detector.num_parameters():,} parameters; {given.epochs * len(loader)} steps")
    try:
        history = run.fit(loader, validation, resume="auto" if given.resume else None)
    except KeyboardInterrupt:
        console.print(f"interrupted at step {run.step}: resume=true out={given.out} goes on")
        raise
    _finish(detector, checkpoint, history, given, console, as_json)


def _optimizer(detector, given, steps):
    """(optimizer, schedule): a rise, then half a cosine; norms and biases do not decay.

    Source: Loshchilov, Hutter 2017, arXiv:1608.03983, for the schedule.
    """
    rates = {"sgd": (0.01, 5e-4), "adamw": (1e-3, 0.05)}
    if given.optimizer not in rates:
        raise ArgumentError(message("detect train", "optimizer", " or ".join(rates), repr(given.optimizer)))
    lr, decay = (mine if mine is not None else usual for mine, usual in
                 zip((given.lr0, given.weight_decay), rates[given.optimizer]))
    wanted = [p for p in detector.parameters() if p.requires_grad]
    groups = [{"params": [p for p in wanted if (p.ndim > 1) == many], "weight_decay": decay if many else 0.0}
              for many in (True, False)]
    made = optim.SGD(groups, lr, momentum=0.937, nesterov=True) if given.optimizer == "sgd" else \
        optim.AdamW(groups, lr)
    warmup = min(round(given.warmup_epochs * steps), given.epochs * steps // 2)
    return made, optim.CosineAnnealingLR(made, max(given.epochs * steps - warmup, 1), lr * given.lrf, warmup)


def _finish(detector, checkpoint, history, given, console, as_json):
    """The averages of the best epoch go to OUT/model."""
    detector.load_state_dict(load(checkpoint.best_path)["ema"]["shadow"])
    folder = given.out / "model"
    detector.to("cpu").save_pretrained(folder)
    if as_json:
        print(json.dumps({"best": checkpoint.best, "metric": "map", "history": history, "model": str(folder)}))
    console.print(f"best map {checkpoint.best:.4f}; {folder} holds the model: "
                  f"minidl detect predict model={folder} source=IMAGE")
