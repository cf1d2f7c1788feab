"""Models by name, or from the directory of a checkpoint."""
import json
from pathlib import Path

from .. import nn
from ..data.labels import labels
from ..data.preprocess import ImagePreprocess
from ..errors import CheckpointError, message
from .features import FeaturePyramid
from .registry import find, model_classes
from .weights import load_weights


def create_model(name, weights=None, features_only=False, out_indices=None, **config):
    """Build a model of the zoo, with random weights or with those of a checkpoint.

    Args:
        name: as `list_models` gives it.
        weights: a file, a directory, or the name of a repository on the hub; None: drawn by the architecture's rule.
        features_only: a FeaturePyramid: image -> list of feature maps, without the head.
        out_indices: which maps of the pyramid, by position; None: all.
        config: fields of the model's config, as `num_classes=10`.  With weights of other classes the last layer is new.

    Returns:
        the model, in training mode.

    Raises:
        ArgumentError: no such model or field, each with similar names.
        CheckpointError: the weights cannot be read or are not this model's.
    """
    entry = find(name)
    made = entry.make_config().replace(**config)
    if weights is None:
        model = entry.model(made)
    else:
        model = _loaded(entry.model, made, weights, new_head="num_classes" in config)
    model.inputs = entry.inputs
    if entry.labels and len(labels(entry.labels)) == getattr(made, "num_classes", None):
        model.labels = labels(entry.labels)
    return FeaturePyramid(model, out_indices) if features_only else model


def _loaded(kind, config, weights, new_head=False):
    """A model with the weights of a checkpoint; no memory is spent on those that it replaces."""
    with nn.shapes_only():
        model = kind(config)
    load_weights(model, weights, new_head=new_head)
    if new_head and any(nn.parameter.is_placeholder(p.data) for p in model.get_classifier().parameters()):
        model.reset_head(config.num_classes)
    return model


def from_pretrained(directory, **config):
    """The model that a directory holds: ours, as `save_pretrained` writes it, or one in Hugging Face's layout.

    Args:
        directory: with config.json and weights; or the name of a repository on the hub.
        config: fields of the model's config that shall be others.

    Returns:
        the model, in evaluation mode.

    Raises:
        CheckpointError: there is no config.json that names a model of the zoo, or the weights are not its.
    """
    directory = _directory(directory)
    try:
        told = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as error:
        expected = f"a config.json in {directory}"
        raise CheckpointError(message("from_pretrained", "directory", expected, error)) from error
    kind, made = _from_config(told)
    model = _loaded(kind, made.replace(**config), directory, new_head="num_classes" in config).eval()
    model.inputs = _inputs(told.get("inputs"))
    if len(told.get("labels") or ()) == getattr(model.config, "num_classes", None):
        model.labels = tuple(told["labels"])
    return model


def _inputs(told):
    """How inputs are prepared, of config.json."""
    if told is None:
        return None
    known = {"ImagePreprocess": ImagePreprocess}
    told = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items()}
    if told.get("kind") not in known:
        raise CheckpointError(message("from_pretrained", "inputs", f"one of {', '.join(known)}", told.get("kind")))
    return known[told.pop("kind")](**told)


def _directory(path):
    if Path(path).is_dir():
        return Path(path)
    from ..io import hub
    return hub.download(str(path))


def _from_config(told):
    """(model class, config) of a config.json."""
    kinds = [kind for kind, _ in model_classes()]
    for kind in kinds:
        if told.get("model") == kind.__name__:
            return kind, kind.config_class.from_dict(told["config"])
    for kind in kinds:
        if set(told.get("architectures") or ()) & set(kind.architectures):
            return kind, kind.config_class.from_hf(told)
    known = [kind.__name__ for kind in kinds]
    raise CheckpointError(message("from_pretrained", "config.json", f"one of the models {', '.join(known)}",
                                  told.get("architectures") or told.get("model")))
