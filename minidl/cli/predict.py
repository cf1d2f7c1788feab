"""`minidl predict`: what a model sees in images."""
import json
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import minidl as ml

from ..data.folder import image_files, read_image
from ..data.image import resize
from ..errors import ArgumentError, message
from ..models import create_model, from_pretrained
from ..models.model import Classifier, Segmenter


def predict(model: str = typer.Argument(..., help="A name of the zoo, or a folder that `save_pretrained` wrote."),
            images: list[Path] = typer.Argument(..., help="Image files, or folders of them."),
            weights: str = typer.Option(None, help="A checkpoint file, a folder, or a repository on the hub."),
            top: int = typer.Option(5, min=1, help="How many classes to name."),
            size: int = typer.Option(None, min=1, help="Pixels a side that the model sees, if not its usual ones."),
            out: Path = typer.Option(Path("runs/predict"), help="Where overlays of segmentations go."),
            as_json: bool = typer.Option(False, "--json", help="A JSON list, an object an image.")):
    """Classify images, or colour their parts by class."""
    network = load(model, weights, size)
    files = [f for path in images for f in (image_files(path) if path.is_dir() else [path])]
    run = {Classifier: classify, Segmenter: segment}
    handle = next((run[kind] for kind in run if isinstance(network, kind)), None)
    if handle is None:
        raise ArgumentError(message("predict", "model", "one that classifies images or pixels", model))
    found = []
    with ml.no_grad():
        for path in track(files, "images", console=Console(stderr=True), disable=len(files) < 2, transient=True):
            found.append({"image": str(path), **handle(network, path, top, out)})
            if not as_json:
                print(text(found[-1]))
    if as_json:
        print(json.dumps(found))


def load(model, weights, size=None):
    """The network in evaluation mode, by name and weights, or from a folder."""
    sized = {"image_size": size} if size else {}
    if Path(model).is_dir():
        network = from_pretrained(model)
    else:
        if weights is None:
            hint = "--weights FILE; without them the answer is chance."
            raise ArgumentError(message("predict", "weights", "a checkpoint", "none", hint))
        kind = ml.models.registry.find(model).model.config_class
        network = create_model(model, weights, **{k: v for k, v in sized.items() if hasattr(kind, k)})
    if network.inputs is None:
        network.inputs = ml.data.ImagePreprocess(size or 224)
    elif size:
        network.inputs = network.inputs.sized(size)
    return network.eval()


def _name(network, label):
    return network.labels[label].split(",")[0] if network.labels else f"class {label}"


def classify(network, path, top, out):
    """{"classes": the `top` most likely, with probabilities}."""
    scores = ml.ops.softmax(network(ml.tensor(network.inputs(read_image(path))[None])), -1).numpy()[0]
    best = np.argsort(-scores, kind="stable")[:top]
    return {"classes": [{"label": int(i), "name": _name(network, i), "probability": float(scores[i])} for i in best]}


def segment(network, path, top, out):
    """{"overlay": path of a picture, "classes": the shares of pixels}."""
    image = read_image(path)
    labels = network(ml.tensor(network.inputs(image)[None])).numpy()[0].argmax(0)
    colours = palette(network.config.num_classes)[labels]
    if colours.shape != image.shape:
        image = resize(image, colours.shape[:2])
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{path.stem}.png"
    blended = np.where(labels[..., None] > 0, (image.astype(np.uint16) + colours) // 2, image).astype(np.uint8)
    ml.data.image.pillow("predict").Image.fromarray(blended).save(target)
    shares = np.bincount(labels.ravel(), minlength=network.config.num_classes) / labels.size
    best = [i for i in np.argsort(-shares, kind="stable")[:top] if shares[i] > 0]
    return {"overlay": str(target),
            "classes": [{"label": int(i), "name": _name(network, i), "share": float(shares[i])} for i in best]}


def palette(n):
    """A colour (3), uint8, for each of n classes, class 0 black: the bits of the number, dealt to the channels.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", development kit.
    """
    numbers = np.arange(n)
    return np.stack([sum(((numbers >> (3 * j + c)) & 1) << (7 - j) for j in range(8)) for c in range(3)],
                    -1).astype(np.uint8)


def text(found):
    """One result as a line."""
    classes = ", ".join(f"{c['name']} {c.get('probability', c.get('share')):.1%}" for c in found["classes"])
    return f"{found['image']}: {classes}" + (f" -> {found['overlay']}" if "overlay" in found else "")
