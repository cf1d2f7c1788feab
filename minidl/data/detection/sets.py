"""Detection sets by a path, whichever format they are in."""
from pathlib import Path

from ...errors import ArgumentError, message
from .coco import read_coco
from .yolo import read_yolo


def read_set(data, split="train", masks=False):
    """A split of a detection set.

    Args:
        data: a YAML description of a set in YOLO's layout; a COCO file, which is every split; or a folder with
            SPLIT.json, with annotations/instances_SPLIT*.json, or with data.yaml.
        split: which.
        masks: do targets have masks?

    Returns:
        a DetectionDataset.

    Raises:
        ArgumentError: it is none of these; or something in it is wrong: the message names the file and the entry.
    """
    path = Path(data)
    if path.is_dir():
        usual = [path / f"{split}.json", *sorted((path / "annotations").glob(f"instances_{split}*.json")),
                 path / "data.yaml"]
        path = next((file for file in usual if file.is_file()), path)
    if path.suffix == ".json":
        return read_coco(path, masks=masks)
    if path.suffix in (".yaml", ".yml"):
        return read_yolo(path, split, masks)
    expected = f"a .yaml description, a COCO .json, or a folder with {split}.json or data.yaml"
    raise ArgumentError(message("read_set", "data", expected, data))
