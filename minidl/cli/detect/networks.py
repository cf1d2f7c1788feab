"""The detector that key=value arguments ask for."""
from functools import partial
from pathlib import Path

from ...errors import ArgumentError, message
from ...models import create_model, from_pretrained
from ...models.detection.darknet import DarknetNetwork
from ...models.registry import find, model_classes

STRIDE = 32                        # of the coarsest map of each detector
CHECKPOINTS = {".pt", ".pth", ".safetensors", ".bin", ".npz", ".weights"}


def network(command, model, weights=None, imgsz=None, classes=None, **fields):
    """A detector in evaluation mode.

    Args:
        command: that wants it, for messages.
        model: a name of the zoo; a folder that `save_pretrained` wrote; darknet's .cfg; or a checkpoint named after its
            model.
        weights: a checkpoint, a folder or a repository on the hub.
        imgsz: the longer side of a frame, of R-CNNs the shorter side of an image, in pixels.
        classes: names that it is to learn; None: those that it knows, by its weights.
        fields: of the config.

    Raises:
        ArgumentError: there is no such model, it is no detector, or it has no weights.
        CheckpointError: the weights cannot be read or are not this model's.
    """
    path = Path(model)
    if path.suffix in CHECKPOINTS and weights is None:
        model, weights = path.stem, str(path)
    if path.is_dir():
        kind, build = type(from_pretrained(path)), partial(from_pretrained, path)
    elif path.suffix == ".cfg":
        kind, build = DarknetNetwork, partial(DarknetNetwork.from_files, path, weights)
    else:
        kind, build = find(model).model, partial(create_model, model, weights)
    if kind not in detectors():
        raise ArgumentError(message(f"detect {command}", "model", "a detector", model,
                                    "minidl models list --task object-detection gives all."))
    if weights is None and classes is None and not path.is_dir():
        raise ArgumentError(message(f"detect {command}", "weights", "a checkpoint", "none",
                                    "weights=FILE; without them the answer is chance."))
    if classes is not None:
        fields["num_classes"] = len(classes) + kind.first_label
    made = build(**fields, **_sized(command, kind.config_class, imgsz)).eval()
    if classes is not None:
        made.labels = ("background",) * kind.first_label + tuple(classes)
    return made


def detectors():
    """The classes of detectors."""
    return {kind for kind, task in model_classes() if task == "object-detection"}


def _sized(command, kind, imgsz):
    """The field of a config that is the size of images."""
    if imgsz is None:
        return {}
    if imgsz < STRIDE or imgsz % STRIDE:
        raise ArgumentError(message(f"detect {command}", "imgsz", f"a multiple of {STRIDE} pixels", imgsz))
    return {"image_size" if "image_size" in kind.__dataclass_fields__ else "min_size": imgsz}


def class_name(detector, label):
    """The name of a label, or its number."""
    return detector.labels[label].split(",")[0] if label < len(detector.labels) else f"class {label}"
