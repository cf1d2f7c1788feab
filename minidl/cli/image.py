"""`minidl generate image`: images of what was trained to make them, as one picture."""
from pathlib import Path

import numpy as np
import typer

from ..data.folder import read_image
from ..data.image import sheet, write_image
from ..errors import ArgumentError, message
from ..models.generative.generator import Generator, between
from ..ops import tensor
from ..pipelines import DDPM, ImagePipeline
from ..tape import no_grad
from ..train.pictures import Picture
from . import drawing

MODEL = typer.Argument(..., help="A folder, as `minidl train` leaves one, or of a pipeline of diffusers' (Stable "
                                 "Diffusion, unCLIP, DDPM); or, with --weights, a name of the zoo.")


def image(model: str = MODEL, given: list[Path] = typer.Argument(None, help="Images to translate, or to begin from."),
          weights: Path = typer.Option(None, help="A checkpoint."),
          label: str = typer.Option(None, "--class", help="Of what class, a name or a number. Default: all, in turn."),
          count: int = typer.Option(None, min=1, help="How many. Default: 16; of a prompt, 1."),
          columns: int = typer.Option(None, min=1, help="Images a row."),
          seed: int = typer.Option(0, min=0, help="The same seed gives the same images."),
          truncation: float = typer.Option(None, help="Of styles: below 1 more usual images, and more alike."),
          interpolate: bool = typer.Option(False, "--interpolate", help="From one image to another, in equal steps."),
          prompt: str = drawing.PROMPT, negative: str = drawing.NEGATIVE, mask: Path = drawing.MASK,
          strength: float = drawing.STRENGTH, steps: int = drawing.STEPS, guidance: float = drawing.GUIDANCE,
          scheduler: str = drawing.SCHEDULER, size: int = drawing.SIZE, preview: int = drawing.PREVIEW,
          out: Path = typer.Option(Path("image.png"), help="The picture.")):
    """Draw images, or translate some, and lay them side by side."""
    network, span = drawing.load(model, weights), (-1.0, 1.0)
    if interpolate and not isinstance(network, Generator):
        raise ArgumentError(message("generate", "--interpolate", "a model that draws from latents", model))
    if isinstance(network, (Generator, DDPM)) and (given or prompt):
        raise ArgumentError(message("generate", "images, --prompt", f"none, as {model} draws from noise",
                                    prompt or ", ".join(map(str, given))))
    if isinstance(network, Generator):
        options = {} if truncation is None else {"truncation": truncation}
        images = _drawn(network, _number(network, label), count or 16, seed, interpolate, options)
        span = network.pixel_range
    elif isinstance(network, DDPM):
        images = drawing.of_classes(network, _number(network, label), count or 16, seed, steps, guidance, scheduler)
    elif isinstance(network, ImagePipeline):
        images = drawing.drawn(network, given or (), out, prompt=prompt, negative=negative, mask=mask,
                               strength=strength, steps=steps, guidance=guidance, scheduler=scheduler, size=size,
                               preview=preview, count=count or 1, seed=seed, columns=columns)
    else:
        images = _translated(network, model, given or ())
    write_image(out, sheet(images, columns, *span))
    print(out)


def _drawn(network, label, count, seed, interpolate, options):
    """Images (N, C, H, W), as an array."""
    if not interpolate:
        return network.sample(count, seed, label, **options).numpy()
    labels = network.classes(count, label or 0) if network.num_classes else None
    return network.draw(between(*network.latents(2, seed), count), labels, **options).numpy()


def _number(network, label):
    """The number of a class."""
    if label is None or label.isdecimal():
        return label and int(label)
    if label not in network.labels:
        raise ArgumentError(message("generate", "--class", f"one of {', '.join(network.labels) or 'numbers'}", label))
    return network.labels.index(label)


def _translated(network, name, paths):
    """Each image beside what becomes of it, as an array."""
    channels = getattr(network.config, "in_channels", None)
    if not hasattr(network, "adversary") or channels not in (1, 3):
        raise ArgumentError(message("generate", "model", "one that makes images", name))
    if not paths:
        raise ArgumentError(message("generate", "images", f"some, as {name} translates", "none"))
    step = 2 ** getattr(network.config, "num_downs", 2)
    found = []
    for path in paths:
        pixels = read_image(path)
        size = max(step, min(pixels.shape[:2]) // step * step)
        shown = Picture(size, channels).made(pixels, None)
        with no_grad():
            found += [shown, network(tensor(shown[None])).numpy()[0]]
    if len({pair.shape for pair in found}) > 1:
        raise ArgumentError(message("generate", "images", "images of one size, into as many channels",
                                    ", ".join(str(pair.shape) for pair in found)))
    return np.stack(found)
