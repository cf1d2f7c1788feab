"""`minidl judge`: how good the images are that a model makes, by a classifier's eyes."""
import json

import numpy as np
import typer

from ..data.image import center_crop, resize
from ..errors import ArgumentError, message
from ..models import from_pretrained
from ..models.generative.generator import Generator
from ..models.generative.vae import M2, VariationalAutoencoder
from ..ops import tensor
from ..pipelines import DDPM
from ..tape import no_grad
from ..train.frechet import frechet_distance, seen
from ..train.images import image_task
from ..train.pictures import Picture
from . import drawing

BATCH = 100


def judge(model: str = typer.Argument(..., help="A folder, as `minidl train` leaves one."),
          data: str = typer.Argument(..., help="As of minidl train: its validation images."),
          classifier: str = typer.Option(..., help="The folder of a classifier that was trained on the data."),
          count: int = typer.Option(5000, min=2, help="How many images are made, and compared with as many."),
          seed: int = typer.Option(0, min=0), truncation: float = typer.Option(None, help="Of styles."),
          as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Compare images that a model makes with real ones: the Fréchet distance of what a classifier sees in them, the
    share whose class it recognises, and, of autoencoders, how well images are rebuilt."""
    network, eye = drawing.load(model), from_pretrained(classifier)
    if not isinstance(network, (Generator, DDPM)):
        raise ArgumentError(message("judge", "model", "one that makes images of noise", type(network).__name__))
    if truncation is not None and not isinstance(network, Generator):
        raise ArgumentError(message("judge", "--truncation", "a model with styles", type(network).__name__))
    task = image_task(data, eye.inputs)
    real = [task.validation[i] for i in range(min(count, len(task.validation)))]
    images, labels = [image for image, _ in real], np.asarray([label for _, label in real])
    options = {} if truncation is None else {"truncation": truncation}
    made = [image for i in range(0, count, BATCH)
            for image in _levels(network, network.sample(min(BATCH, count - i), seed, first=i, **options).numpy(),
                                 images[0].shape)]
    features, classes = seen(eye, made)
    own, known = seen(eye, images)
    found = {"frechet": frechet_distance(features, own), "images": count, "classes_made": len(np.unique(classes)),
             "accuracy_of_classifier": float((known == labels).mean())}
    if network.num_classes:
        found["recognised"] = float((classes == np.arange(count) % network.num_classes).mean())
    if isinstance(network, VariationalAutoencoder):
        found.update(_rebuilt(network.eval(), images, labels))
    print(json.dumps(found) if as_json else "\n".join(f"{name:24} {value:.4g}" for name, value in found.items()))


def _levels(network, images, shape):
    """Images (N, C, H, W) as arrays of a shape (H, W, C), uint8; a border that training had put around them goes."""
    low, high = network.pixel_range
    levels = np.clip(np.round((images - low) * (255 / (high - low))), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    for image in levels:
        if shape[0] < image.shape[0] <= shape[0] * 8 // 7:
            image = center_crop(image, shape[:2])
        elif image.shape[:2] != shape[:2]:
            image = resize(image.squeeze(), shape[:2]).reshape(*shape[:2], -1)
        yield np.repeat(image, shape[2], 2) if image.shape[2] < shape[2] else image


def _rebuilt(network, images, labels):
    """Mean squared error of pixels in [0, 1], the bound in nats; of M2 the share of right classes."""
    errors, bounds, right = [], [], []
    picture = Picture(network.config.image_size, network.config.in_channels, *network.pixel_range)
    with no_grad():
        for i in range(0, len(images), BATCH):
            given = tensor(np.stack([picture.made(image, None) for image in images[i:i + BATCH]]))
            output = network(given)
            errors.append(float(((output.reconstruction - given) ** 2).mean().item()))
            if isinstance(network, M2):
                bounds.append(float(network.unlabelled_bound(given).mean().item()))
                right += (output.logits.numpy().argmax(1) == labels[i:i + BATCH]).tolist()
            else:
                bounds.append(float(network.bound(given).mean().item()))
    found = {"squared_error": float(np.mean(errors)), "bound": float(np.mean(bounds))}
    return {**found, "accuracy": float(np.mean(right))} if right else found
