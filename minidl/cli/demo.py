"""`minidl demo`: trains a small ResNet on Fashion-MNIST, checks it in a new process, draws its mistakes."""
import json
import math
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import typer
from rich.console import Console

import minidl as ml

from .. import kernels, nn, optim
from ..data import DataLoader, TensorDataset, fashion_mnist
from ..data.image import pillow
from ..errors import fields
from ..io import load
from ..models.vision.small_resnet import SmallResNet, SmallResNetConfig
from ..train import Accuracy, ConfusionMatrix, ModelCheckpoint, ProgressBar, Trainer

SEEN = 78_000                      # training images in all, unless --epochs says otherwise: 6 epochs of the subset
BATCH = 128


DATA = """A folder with the IDX files, or "subset" for what minidl ships. Default: the whole data set where Debian's
dataset-fashion-mnist is installed, else the subset."""


def demo(data: str = typer.Option(None, help=DATA),
         out: Path = typer.Option(Path("runs/demo"), help="Where checkpoints and the picture go."),
         epochs: int = typer.Option(None, min=1, help="How often to go through the training images."),
         seed: int = typer.Option(0, min=0, help="The same seed gives the same bits."),
         threads: int = typer.Option(None, help="Threads of the kernels; the bits are the same at any number. Default: "
                                                "one per core, or one where the references run."),
         resume: bool = typer.Option(False, "--resume", help="Go on where the last run in this folder stopped."),
         evaluate: Path = typer.Option(None, hidden=True),
         as_json: bool = typer.Option(False, "--json", help="One JSON object at the end, and nothing else.")):
    """Train a small ResNet on Fashion-MNIST, load it again in a new process, show what it gets wrong."""
    console = Console(highlight=False, quiet=as_json)
    if evaluate is not None:
        return report(evaluate, out, as_json)
    pillow("demo")                                     # (before training, not after it)
    if threads is not None or kernels.cpu is None:     # (NumPy's BLAS waits by spinning: one thread is safe)
        ml.set_num_threads(1 if threads is None else threads)
    last = out / "last.safetensors"
    settings = {"data": data, "epochs": epochs, "seed": seed}
    if resume and last.exists():
        settings = _load(last)[1]
    train_model(settings, out, resume, console)
    console.print(f"saved {last}; loading it in a new process")
    command = [sys.executable, "-P", "-m", "minidl", "demo", "--evaluate", last, "--out", out, *["--json"] * as_json]
    raise typer.Exit(subprocess.run(command).returncode)


def _load(path):
    """(model state, settings, model config) of a run of the demo."""
    state, info = fields("demo", load(path), "model", "info")
    return state, *fields("demo", info, "settings", "model")


def arrays(dataset, like):
    """images (N, 1, 28, 28), float32, such that those of `like` have mean 0 and variance 1; labels (N)."""
    images, labels = dataset.arrays
    mean, std = np.float32(like.arrays[0].mean()), np.float32(like.arrays[0].std())
    return (images[:, None] - mean) / std, labels


def train_model(settings, out, resume, console):
    """Train, saving on the way; Ctrl-C leaves the last checkpoint."""
    train, test = fashion_mnist(settings["data"])
    settings = {**settings, "epochs": settings["epochs"] or max(1, round(SEEN / len(train)))}
    ml.seed(settings["seed"])
    config = SmallResNetConfig(channels=1, width=24, blocks=1, stem_stride=2)
    model = SmallResNet(config)
    loader = DataLoader(TensorDataset(*arrays(train, like=train)), BATCH, shuffle=True, drop_last=True,
                        seed=settings["seed"])
    steps = settings["epochs"] * len(loader)
    optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = optim.OneCycleLR(optimizer, 0.2, steps, pct_start=0.25, cycle_momentum=False)
    callbacks = [ProgressBar(console=console), ModelCheckpoint(out, every_steps=25)]
    run = Trainer(model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.05), epochs=settings["epochs"],
                  schedule=schedule, metrics=[Accuracy()], callbacks=callbacks,
                  info={"settings": settings, "model": vars(config)})
    console.print(f"{len(train)} training, {len(test)} test images; {model.num_parameters()} parameters; {steps} steps")
    started = perf_counter()
    try:
        run.fit(loader, resume="auto" if resume else None)
    except KeyboardInterrupt:
        console.print(f"interrupted at step {run.step}: `minidl demo --resume --out {out}` goes on")
        raise
    console.print(f"trained in {perf_counter() - started:.0f} s")


def report(path, out, as_json):
    """Load the checkpoint, measure it on the test images, print accuracies by class, draw the picture."""
    state, settings, config = _load(path)
    model = SmallResNet(SmallResNetConfig(**config))
    model.load_state_dict(state)
    model.eval()
    train, test = fashion_mnist(settings["data"])
    images, labels = arrays(test, like=train)
    counts, scores = ConfusionMatrix(len(test.classes)), []
    with ml.no_grad():
        for i in range(0, len(images), 250):
            scores.append(ml.ops.softmax(model(ml.tensor(images[i:i + 250]))).numpy())
    scores = np.concatenate(scores)
    counts.update(scores, labels)
    matrix = counts.compute()
    accuracy = matrix.trace() / matrix.sum()
    by_class = dict(zip(test.classes, (matrix.diagonal() / matrix.sum(1)).tolist()))
    picture = out / "predictions.png"
    draw(test.arrays[0], labels, scores, test.classes).save(picture)
    if as_json:
        print(json.dumps({"accuracy": accuracy, "classes": by_class, "checkpoint": str(path), "picture": str(picture)}))
        return
    print("\n".join(f"{name:12} {share:.4f}" for name, share in by_class.items()))
    print(f"predictions of {min(len(labels), 64)} test images, mistakes framed in red: {picture}")
    print(f"test accuracy: {accuracy:.4f}")


def draw(images, labels, scores, classes, rows=8, columns=8, size=56):
    """A grid of test images, half of it mistakes, each with what it was called; mistakes in red, the truth below."""
    from PIL import Image, ImageDraw
    called = scores.argmax(1)
    wrong, right = np.flatnonzero(called != labels), np.flatnonzero(called == labels)
    half = min(rows * columns // 2, len(wrong))
    chosen = np.sort(np.concatenate([wrong[:half], right[:rows * columns - half]]))
    cell = size + 40
    sheet = Image.new("RGB", (columns * cell, math.ceil(len(chosen) / columns) * cell), "white")
    pen = ImageDraw.Draw(sheet)
    for place, i in enumerate(chosen):
        x, y = place % columns * cell, place // columns * cell
        mistake = bool(called[i] != labels[i])
        colour = (200, 0, 0) if mistake else (0, 110, 0)
        sheet.paste(Image.fromarray(255 - images[i]).resize((size, size)), (x + 20, y + 4))
        pen.rectangle((x + 18, y + 2, x + 21 + size, y + 5 + size), outline=colour, width=2 + mistake)
        lines = [f"{classes[called[i]]} {scores[i].max():.0%}"] + [f"is {classes[labels[i]]}"] * mistake
        for n, line in enumerate(lines):
            pen.text((x + 20 + size / 2, y + size + 8 + 12 * n), line, fill=colour, anchor="ma", font_size=11)
    return sheet
