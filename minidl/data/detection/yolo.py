"""YOLO's text files: one beside each image, a line an object, all lengths in shares of the image's.

    0 0.5 0.5 0.2 0.1                class, centre x, centre y, width, height
    0 0.4 0.45 0.6 0.45 0.5 0.55     class, x, y of at least three corners of its outline

    root/data.yaml   root/images/train/1.jpg   root/labels/train/1.txt

Source: the darknet repository's README, "How to train YOLO", for boxes; the format of outlines as data sets have it.
"""
import os
import shutil
from pathlib import Path

import numpy as np

from ...errors import ArgumentError, message
from ..folder import image_files
from .dataset import AnnotatedImage, Annotation, DetectionDataset, check_box, check_classes, image_size
from .description import read_description


def read_yolo(path, split="train", masks=False):
    """The images of a split of a data set in YOLO's layout.

    Args:
        path: of its description: `path` (the root; else the file's folder), `train`, `val`, ... (a folder of images, a
            list of folders, or a .txt file with a line for each image), `names` (a list, or a table by label), `nc`.
        split: which of them.
        masks: do targets have masks?

    Returns:
        a DetectionDataset; an image without a text file has no objects.

    Raises:
        ArgumentError: an image is missing, a box is outside, a line is double, names do not fit `nc`, ...; the message
            names the file and the line.
    """
    path = Path(path)
    told = read_description(path)
    classes = _names(path, told)
    if told.get(split) is None:
        raise _wrong(f"{path}: {split}", "a folder of images", "nothing")
    root = path.parent / str(told.get("path") or ".")
    places = told[split] if isinstance(told[split], list) else [told[split]]
    files = [file for place in places for file in _images(root / str(place), root)]
    images = [AnnotatedImage(file, *_read(file, len(classes)), i) for i, file in enumerate(files, 1)]
    return DetectionDataset(classes, images, masks)


def _names(path, told):
    names = told.get("names")
    if isinstance(names, dict):
        by_label, labels = {str(label): name for label, name in names.items()}, [str(i) for i in range(len(names))]
        if by_label.keys() != set(labels):
            raise _wrong(f"{path}: names", f"labels 0 to {len(names) - 1}", ", ".join(map(str, names)))
        names = [by_label[label] for label in labels]
    if not isinstance(names, list):
        raise _wrong(f"{path}: names", "a list of classes, or a table by label", repr(names))
    names = check_classes(f"{path}: names", [name if name is None else str(name) for name in names])
    if told.get("nc", len(names)) != len(names):
        raise _wrong(f"{path}: nc", f"{len(names)}, which is how many names there are", told["nc"])
    return names


def _images(place, root):
    """The files of a folder, or those that a text file lists."""
    if place.suffix != ".txt":
        return image_files(place)
    try:
        lines = place.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise _wrong(place, "a list of images", error) from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            file = root / line.strip()
            if not file.is_file() or file in found:
                raise _wrong(f"{place}:{number}", "an image file, listed once", f"{file}{' again' * (file in found)}")
            found.append(file)
    return found


def labels_of(file):
    """The text file of an image: "labels" instead of the last "images" in its path."""
    parts = list(file.with_suffix(".txt").parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts)


def _read(file, classes):
    """((height, width), Annotations) of an image."""
    size, path, found, seen = image_size(file), labels_of(file), [], {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, ValueError) as error:
        raise _wrong(path, "a text file", error) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, key = f"{path}:{number}", tuple(line.split())
        if key in seen:
            raise _wrong(where, "an object once", f"line {seen[key]} again")
        seen[key] = number
        found.append(_parse(where, key, size, classes))
    return size, tuple(found)


def _parse(where, words, size, classes):
    """An Annotation of a line."""
    try:
        numbers = np.array(words, np.float64)
    except ValueError:
        numbers = np.zeros(0)
    if len(numbers) != 5 and (len(numbers) < 7 or len(numbers) % 2 == 0) or not np.isfinite(numbers).all():
        raise _wrong(where, "a class and x, y, width, height, or x, y of three or more corners", " ".join(words)[:60])
    label = int(numbers[0])
    if label != numbers[0] or not 0 <= label < classes:
        raise _wrong(where, f"a class in [0, {classes})", words[0])
    height, width = size
    if len(numbers) == 5:
        x, y, w, h = numbers[1:] * np.tile([width, height], 2)
        return Annotation(check_box(where, (x - w / 2, y - h / 2, x + w / 2, y + h / 2), size), label)
    corners = numbers[1:].reshape(-1, 2) * [width, height]
    box = check_box(where, (*corners.min(0), *corners.max(0)), size)
    return Annotation(box, label, [np.clip(corners, 0, [width, height]).ravel().tolist()])


def write_yolo(splits, folder, outlines=False):
    """Write data sets in YOLO's layout: copies of the images, text files and data.yaml.  Crowds are left out.

    Args:
        splits: {"train": DetectionDataset, ...}, all with the same classes.
        folder: made if it is not there.
        outlines: write polygons? Each object must have one; else boxes.

    Raises:
        ArgumentError: an object has not just one polygon, two images have one name, or the classes differ.
        OSError: a file cannot be written.
    """
    folder, classes = Path(folder), next(iter(splits.values())).classes
    for name, dataset in splits.items():
        if dataset.classes != classes:
            raise _wrong("splits", f"the classes {', '.join(classes)}", ", ".join(dataset.classes))
        written = set()
        for one in dataset.images:
            copy = folder / "images" / name / one.file.name
            if labels_of(copy) in written:                       # (of a.png and a.jpg it would be the same)
                raise _wrong(copy, "images with names of their own", f"{one.file} as well")
            written.add(labels_of(copy))
            lines = [_line(one, thing, outlines) + "\n" for thing in one.objects if not thing.crowd]
            for path in copy, labels_of(copy):
                path.parent.mkdir(parents=True, exist_ok=True)
            if not (copy.exists() and os.path.samefile(copy, one.file)):
                shutil.copyfile(one.file, copy)
            labels_of(copy).write_text("".join(lines))
    lines = [*(f"{name}: images/{name}" for name in splits), f"nc: {len(classes)}", "names:",
             *(f"  {i}: {_quoted(name)}" for i, name in enumerate(classes))]
    (folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _line(one, thing, outlines):
    height, width = one.size
    if outlines:
        shape = thing.segmentation
        if not isinstance(shape, list) or len(shape) != 1:
            raise _wrong(f"outlines of {one.file}", "one polygon of each object", "another mask")
        numbers = np.reshape(shape[0], (-1, 2)) / [width, height]
    else:
        x1, y1, x2, y2 = thing.box
        numbers = np.array([(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height])
    return " ".join([str(thing.label), *(f"{v:.10g}" for v in numbers.ravel())])


def _quoted(name):
    return f"'{name}'" if '"' in name else f'"{name}"'


def _wrong(argument, expected, got):
    return ArgumentError(message("read_yolo", argument, expected, got))
