"""COCO's JSON: images, categories and annotations in one file.

Source: cocodataset.org, "Data format", object detection.
"""
import json
import os
from pathlib import Path

from ...errors import ArgumentError, message
from .dataset import AnnotatedImage, Annotation, DetectionDataset, check_box, check_classes
from .rle import check_segmentation


def read_coco(path, folder=None, masks=False):
    """The images and objects of a COCO file.  Labels are categories in the order of their ids, counted from 0.

    Args:
        path: of the JSON file.
        folder: with the images; None: that of the file, or, for annotations/instances_NAME.json, NAME beside it.
        masks: do targets have masks?

    Returns:
        a DetectionDataset; images come by their ids.

    Raises:
        ArgumentError: an image is missing, a box is outside, counts do not make up a mask, an id comes twice or
            belongs to nothing, ...; the message names the file and the entry.
    """
    path = Path(path)
    told = _parsed(path)
    categories = _by_id(path, told, "categories", name=str)
    order = sorted(categories)
    classes = check_classes(f"{path}: categories", [categories[i]["name"] for i in order])
    labels = {i: label for label, i in enumerate(order)}
    images = _by_id(path, told, "images", file_name=str, height=int, width=int)
    objects: dict = {i: [] for i in images}
    for i, entry in enumerate(_by_id(path, told, "annotations", image_id=int, category_id=int, bbox=list).values()):
        where = f"{path}: annotations[{i}] (id {entry['id']})"
        for key, known in (("image_id", images), ("category_id", categories)):
            if entry[key] not in known:
                raise _wrong(f"{where}: {key}", f"one of {len(known)} known", entry[key])
        image = images[entry["image_id"]]
        objects[entry["image_id"]].append(_annotation(where, entry, (image["height"], image["width"]), labels))
    root = Path(folder) if folder is not None else _image_folder(path)
    found = [AnnotatedImage(_there(f"{path}: image {i}", root / one["file_name"]), (one["height"], one["width"]),
                            tuple(objects[i]), i) for i, one in sorted(images.items())]
    return DetectionDataset(classes, found, masks)


def _parsed(path):
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:       # (decoding errors are ValueErrors)
        raise _wrong(path, "a JSON file", error) from error
    if not isinstance(told, dict):
        raise _wrong(path, "an object with images, annotations and categories", type(told).__name__)
    return told


def _by_id(path, told, section, **kinds):
    """{id: entry} of a list of objects that have these keys, of these types."""
    entries = told.get(section)
    if not isinstance(entries, list):
        raise _wrong(f"{path}: {section}", "a list", "nothing" if entries is None else type(entries).__name__)
    found: dict = {}
    for i, entry in enumerate(entries):
        where = f"{path}: {section}[{i}]"
        if not isinstance(entry, dict):
            raise _wrong(where, "an object", type(entry).__name__)
        for key, kind in {"id": int, **kinds}.items():
            value = entry.get(key)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise _wrong(f"{where}: {key}", f"{kind.__name__}", repr(value))
        if entry["id"] in found:
            raise _wrong(f"{where}: id", "a new one", f"{entry['id']} again")
        if section == "images" and min(entry["height"], entry["width"]) < 1:
            raise _wrong(where, "height and width of at least 1 pixel", f"{entry['height']} x {entry['width']}")
        found[entry["id"]] = entry
    return found


def _annotation(where, entry, size, labels):
    box = entry["bbox"]
    if len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        raise _wrong(f"{where}: bbox", "x, y, width, height", box)
    x, y, width, height = box
    box = check_box(f"{where}: bbox", (x, y, x + width, y + height), size)
    shape = entry.get("segmentation") or None
    if shape is not None:
        try:
            check_segmentation(shape, size)
        except ArgumentError as error:
            raise _wrong(f"{where}: segmentation", "a mask", error) from error
    area = entry.get("area")
    if area is not None and not (isinstance(area, (int, float)) and area >= 0):
        raise _wrong(f"{where}: area", "a number of pixels", repr(area))
    return Annotation(box, labels[entry["category_id"]], shape, bool(entry.get("iscrowd", 0)), area)


def _image_folder(path):
    """Where the images of a file are, by COCO's own layout or beside it."""
    usual = path.parent.parent / path.stem.removeprefix("instances_")
    return usual if path.parent.name == "annotations" and usual.is_dir() else path.parent


def _there(where, file):
    if not file.is_file():
        raise _wrong(f"{where}: file_name", "an image file", f"{file}, which is not there")
    return file


def write_coco(dataset, path):
    """Write a DetectionDataset as COCO's JSON; ids of categories count from 1, file names are relative to the file.

    Raises:
        OSError: the file cannot be written.
    """
    path, annotations = Path(path), []
    for one in dataset.images:
        for thing in one.objects:
            x1, y1, x2, y2 = thing.box
            annotations.append({
                "id": len(annotations) + 1, "image_id": one.id, "category_id": thing.label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(thing.crowd),
                "area": (x2 - x1) * (y2 - y1) if thing.area is None else thing.area,
                "segmentation": [] if thing.segmentation is None else thing.segmentation})
    told = {"images": [{"id": one.id, "file_name": os.path.relpath(one.file, path.parent), "height": one.size[0],
                        "width": one.size[1]} for one in dataset.images],
            "annotations": annotations,
            "categories": [{"id": i, "name": name} for i, name in enumerate(dataset.classes, 1)]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told), encoding="utf-8")


def _wrong(argument, expected, got):
    return ArgumentError(message("read_coco", argument, expected, got))
