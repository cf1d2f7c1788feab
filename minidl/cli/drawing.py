"""`minidl generate image` with pipelines: from a text, from images and a text, or of a class."""
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from ..data.folder import read_image
from ..data.image import sheet, write_image
from ..errors import ArgumentError, message
from ..models import create_model, from_pretrained
from ..models.diffusion import schedulers
from ..pipelines import StableDiffusion, UnCLIP, image_pipeline
from ..pipelines.parts import INDEX

PROMPT = typer.Option(None, help="What to draw, of networks that read.")
NEGATIVE = typer.Option("", help="What not to draw.")
MASK = typer.Option(None, help="An image, white where the given one is to be drawn anew.")
STRENGTH = typer.Option(None, help="How far to go from a given image: 1 forgets it.")
STEPS = typer.Option(None, min=1, help="Of diffusion. Default: 50, of unCLIP's decoder 25.")
GUIDANCE = typer.Option(None, help="How much a prompt, or a class, is exaggerated; 1: not at all.")
SCHEDULER = typer.Option(None, help=f"Of diffusion: {', '.join(schedulers.SCHEDULERS)}.")
SIZE = typer.Option(None, min=1, help="Pixels a side of what is drawn.")
PREVIEW = typer.Option(None, min=1, help="Every so many steps, write the picture as it is: OUT-step-010.png, ...")


def load(model, weights=None):
    """A network of a folder or of the zoo, or what draws together of a folder with a model_index.json."""
    if weights is None and (Path(model) / INDEX).is_file():
        return image_pipeline(model)
    return (create_model(model, weights) if weights else from_pretrained(model)).eval()


def drawn(pipe, given, out, *, prompt, negative, mask, strength, steps, guidance, scheduler, size, preview, count, seed,
          columns):
    """Images (N, C, H, W), as an array in [-1, 1], of a pipeline other than DDPM."""
    images = [read_image(path) for path in given]
    told = {"num_images": count, "seed": seed, "steps": steps, "guidance": guidance}
    if isinstance(pipe, (StableDiffusion, UnCLIP)):
        if prompt is None:
            raise ArgumentError(message("generate", "--prompt", "what to draw", "none"))
        told["prompt"] = prompt
    if isinstance(pipe, StableDiffusion):
        told |= {"negative_prompt": negative, "strength": strength, "height": size, "width": size,
                 "image": images[0] if images else None, "mask": mask and read_image(mask, "L")}
        if scheduler is not None:
            pipe.scheduler = schedulers.create(scheduler).from_config(pipe.scheduler.to_dict())
    elif not isinstance(pipe, UnCLIP):
        if not images:
            raise ArgumentError(message("generate", "images", "one to make variations of", "none"))
        told["image"] = images[0]
    show = preview and isinstance(pipe, StableDiffusion) and Frames(pipe, out, preview, columns)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing")

        def behind(*where):
            *stage, step, total, latents = where
            bar.update(task, description=stage[0] if stage else "drawing", completed=step, total=total)
            if show:
                show(step, latents)
        found = pipe(callback=behind, **{name: value for name, value in told.items() if value is not None})
    return as_floats(found)


class Frames:
    """Writes what latents show, every so many steps."""

    def __init__(self, pipe, out, every, columns):
        self.pipe, self.out, self.every, self.columns = pipe, Path(out), every, columns

    def __call__(self, step, latents):
        """Write them, if it is time."""
        if step % self.every == 0:
            name = f"{self.out.stem}-step-{step:03}{self.out.suffix}"
            write_image(self.out.with_name(name), sheet(as_floats(self.pipe.decode(latents)), self.columns))


def as_floats(images):
    """(N, H, W, C), uint8, as (N, C, H, W) in [-1, 1]."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1


def of_classes(pipe, label, count, seed, steps, guidance, scheduler):
    """Images (N, C, H, W), as an array, of a DDPM."""
    if scheduler is not None:
        pipe.scheduler = schedulers.create(scheduler).from_config(pipe.scheduler.to_dict())
    options = {name: value for name, value in (("steps", steps), ("guidance", guidance)) if value is not None}
    return pipe.sample(count, seed, label, **options).numpy()
