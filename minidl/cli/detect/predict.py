"""`minidl detect predict`: boxes, names and masks on images and videos."""
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import typer
from rich.console import Console
from rich.progress import Progress

import minidl as ml

from ...data.detection import RLE
from ...data.detection.views import as_input
from ...data.image import pillow
from ...data.video import video_writer
from .drawing import draw
from .keywords import keywords, usage
from .networks import class_name, network
from .sources import sources


@dataclass(frozen=True)
class Arguments:
    """Of the command; conf and iou are the thresholds of scores and overlaps, None: the model's own."""

    model: str
    source: str
    weights: str | None = None
    conf: float | None = None
    iou: float | None = None
    imgsz: int | None = None
    max_det: int | None = None
    classes: tuple | None = None
    agnostic_nms: bool | None = None
    device: str = "cpu"
    threads: int | None = None
    save: bool = True
    out: Path = Path("runs/detect/predict")

    @property
    def selection(self):
        """The arguments of the model's call."""
        given = {"score_threshold": self.conf, "iou_threshold": self.iou, "max_detections": self.max_det,
                 "class_agnostic": self.agnostic_nms}
        return {name: value for name, value in given.items() if value is not None}


def predict(arguments: list[str] = typer.Argument(None, metavar="KEY=VALUE...", help=usage(Arguments)),
            as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Find objects in images, folders, patterns and videos, and paint them."""
    given = keywords("predict", Arguments, arguments)
    if given.threads:
        ml.set_num_threads(given.threads)
    files = sources(given.source)
    detector = network("predict", given.model, given.weights, given.imgsz).to(given.device)
    console, told, count, seconds = Console(stderr=True, highlight=False, quiet=as_json), [], 0, 0.0
    with Progress(console=console, transient=True, disable=as_json or len(files) < 2) as bar:
        for source, painted in bar.track(list(zip(files, outputs(files, given.out))), description="files"):
            for result, spent in _found(detector, source, painted, given):
                count, seconds = count + 1, seconds + spent
                if as_json:
                    told.append(result)
                else:
                    print(line(result))
    rate, each = count / max(seconds, 1e-9), 1000 * seconds / max(count, 1)
    if as_json:
        print(json.dumps({"images": told, "frames_per_second": rate}))
    else:
        print(f"{count} images, {rate:.1f} frames a second ({each:.1f} ms each, reading and painting aside)")


def outputs(files, folder):
    """A path in a folder for what is painted of each Source: its name, with a number where that is taken."""
    found, taken = [], {source.path.resolve() for source in files}
    for source in files:
        stem, number = source.path.stem, 1
        while (path := folder / f"{stem}{f'-{number}' if number > 1 else ''}{source.kind}").resolve() in taken:
            number += 1
        taken.add(path.resolve())
        found.append(path)
    return found


def _found(detector, source, painted, given):
    """(result, seconds) of each frame of a file; they are painted on the way, into another."""
    with ExitStack() as stack:
        write = None
        for number, image in enumerate(source):
            started = perf_counter()
            found = detect(detector, image, given)
            spent = perf_counter() - started
            result = {"image": str(source.path), **({"frame": number} if source.frames is not None else {}),
                      "size": list(image.shape[:2]), "detections": listed(detector, found)}
            if given.save:
                write = write or _writer(source, painted, image.shape[:2], stack)
                write(draw(image, found, lambda label: class_name(detector, label)))
                result["painted"] = str(painted)
            yield result, spent


def _writer(source, path, size, stack):
    """A function that takes painted frames of a size; what it holds open is closed with the stack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if source.frames is None:
        return lambda image: pillow("predict").Image.fromarray(image).save(path)
    return stack.enter_context(video_writer(path, source.frames.rate, size))


def detect(detector, image, given):
    """What is on an image (H, W, 3), uint8: arrays on the host, masks bool."""
    with ml.no_grad():
        found, = detector([ml.tensor(as_input(image), device=given.device)], **given.selection)
    found = {name: part.numpy() for name, part in found.items()}
    if "masks" in found and found["masks"].dtype != bool:
        found["masks"] = found["masks"] > 0.5
    if given.classes is not None:
        wanted = [label in given.classes for label in found["labels"].tolist()]
        found = {name: part[wanted] for name, part in found.items()}
    return found


def listed(detector, found):
    """Detections for JSON: label, name, score, box, and a mask as compressed RLE."""
    rows = []
    for i, label in enumerate(found["labels"].tolist()):
        rows.append({"label": label, "name": class_name(detector, label), "score": float(found["scores"][i]),
                     "box": found["boxes"][i].tolist()})
        if "masks" in found:
            rows[-1]["mask"] = RLE.encode(found["masks"][i]).to_coco()
    return rows


def line(result):
    """One result as a line."""
    counts: dict = {}
    for one in result["detections"]:
        counts[one["name"]] = counts.get(one["name"], 0) + 1
    text = ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing"
    frame = f" frame {result['frame']}" if "frame" in result else ""
    return f"{result['image']}{frame}: {text}" + (f" -> {result['painted']}" if "painted" in result else "")
