"""`minidl detect val`: COCO's twelve numbers of a detector."""
import json
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

import minidl as ml

from ...data import DataLoader
from ...data.detection import WholeImage, collate, read_set
from ...errors import ArgumentError, message
from ...train import CocoMetric
from .keywords import keywords, usage
from .networks import class_name, network


@dataclass(frozen=True)
class Arguments:
    """Of the command; multi_label: may a box stand for several classes, as in figures that are published of YOLO?"""

    model: str
    data: str
    weights: str | None = None
    split: str = "val"
    batch: int = 8
    conf: float = 0.001
    iou: float | None = None
    imgsz: int | None = None
    max_det: int = 100
    multi_label: bool | None = None
    device: str = "cpu"
    threads: int | None = None
    workers: int = 0


def val(arguments: list[str] = typer.Argument(None, metavar="KEY=VALUE...", help=usage(Arguments)),
        as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Measure a detector on a data set: mean average precision and recall, as COCO has them."""
    given = keywords("val", Arguments, arguments)
    if given.threads:
        ml.set_num_threads(given.threads)
    detector = network("val", given.model, given.weights, given.imgsz).to(given.device)
    console, dataset = Console(stderr=True, quiet=as_json), read_set(given.data, given.split)
    masks = detector.has_masks and dataset.has_masks
    if masks != detector.has_masks:
        console.print("boxes alone are measured: there are objects without masks")
    dataset = dataset.with_masks(masks)
    labels = labels_of(detector, dataset.classes)
    kinds = ["boxes", "masks"] if masks else ["boxes"]
    metrics, rate = measure(detector, dataset, labels, given, kinds, console)
    told = {kind: metric.summary() for kind, metric in zip(kinds, metrics)}
    classes = {class_name(detector, label): row for label, row in metrics[0].by_class().items()}
    if as_json:
        print(json.dumps({**told, "classes": classes, "images": len(dataset), "frames_per_second": rate}))
        return
    for name, row in classes.items():
        print(f"{name:20} map {row['map']:.4f}  map50 {row['map50']:.4f}")
    for kind, numbers in told.items():
        print(f"{kind}: " + "  ".join(f"{name} {value:.4f}" for name, value in numbers.items()))
    print(f"{len(dataset)} images, {rate:.1f} frames a second")


def measure(detector, dataset, labels, given, kinds, console):
    """(CocoMetrics of these kinds, images per second) of a detector on a data set; labels: the detector's, by class."""
    loader = DataLoader(dataset, given.batch, transform=WholeImage(), collate_fn=collate, num_workers=given.workers)
    metrics, seconds = [CocoMetric(kind) for kind in kinds], 0.0
    selection = {"score_threshold": given.conf, "max_detections": given.max_det, "iou_threshold": given.iou,
                 "multi_label": given.multi_label}
    selection = {name: value for name, value in selection.items() if value is not None}
    for images, targets in track(loader, "batches", console=console, transient=True, total=len(loader)):
        started = perf_counter()
        with ml.no_grad():
            found = detector([ml.tensor(image, device=given.device) for image in images], **selection)
        seconds += perf_counter() - started
        for metric in metrics:
            metric.update(found, [{**target, "labels": labels[target["labels"]]} for target in targets])
    return metrics, len(dataset) / max(seconds, 1e-9)


def labels_of(detector, classes):
    """The detector's labels of a set's classes, by their names where it has names, else in their order.

    Raises:
        ArgumentError: it does not know them.
    """
    if set(classes) <= set(detector.labels):
        return np.array([detector.labels.index(name) for name in classes])
    first = detector.first_label
    known = detector.config.num_classes - first
    if detector.labels or known != len(classes):
        expected = f"classes that the model knows, {', '.join(detector.labels[first:][:6]) or known}"
        raise ArgumentError(message("detect val", "data", expected, f"{len(classes)}: {', '.join(classes[:6])}"))
    return np.arange(len(classes)) + first
