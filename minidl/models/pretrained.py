"""Models by name, or from the directory of a checkpoint."""
import json
from pathlib import Path

from .. import io, nn
from ..data.labels import labels
from ..data.preprocess import ImagePreprocess
from ..errors import ArgumentError, CheckpointError, message
from ..io import hub
from .config import near
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
            Some architectures take the rest from the shapes of the weights.

    Returns:
        the model, in training mode.

    Raises:
        ArgumentError: no such model or field, each with similar names.
        CheckpointError: the weights cannot be read or are not this model's.
    """
    entry = find(name)
    told = {} if weights is None or entry.model.sizes_of is None else entry.model.sizes_of(io.weights(weights))
    made = entry.make_config().replace(**{**told, **config})
    if weights is None:
        model = entry.model(made)
    else:
        new_head = "num_classes" in config and entry.model.head_name is not None
        model = _loaded(entry.model, made, weights, new_head)
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


def from_pretrained(directory, head=None, **config):
    """The model that a directory holds: ours, as `save_pretrained` writes it, or one in Hugging Face's layout.

    Args:
        directory: with config.json and weights; or the name of a repository on the hub.
        head: of language models, another than the directory's, on the same encoder: "SequenceClassification",
            "TokenClassification", "QuestionAnswering", "MaskedLM", ..., or "Model": none.
        config: fields of the model's config that shall be others; with another `num_labels` the last layer is new.

    Returns:
        the model, in evaluation mode.

    Raises:
        CheckpointError: there is no config.json that names a model of the zoo, or the weights are not its; or they
            lack the head's, and `num_labels` does not ask for a new one.
    """
    directory = _directory(directory)
    told = _json(directory / "config.json")
    kind, made = _from_config(told)
    chosen = kind if head is None else _with_head(kind, head)
    made, new_head = made.replace(**config), not config.keys().isdisjoint(("num_classes", "num_labels"))
    load = _loaded if chosen is kind and "num_labels" not in config else _on_encoder
    model = load(chosen, made, directory, new_head=new_head).eval()
    model.inputs = _inputs(told.get("inputs"))
    names = _labels(told)
    if len(names) == getattr(made, "num_classes", getattr(made, "num_labels", None)):
        model.labels = names
    if hasattr(model, "generation_config"):
        own = directory / "generation_config.json"
        model.generation_config = model.settings({**told, **(_json(own) if own.is_file() else {})})
    return model


def _json(path):
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        expected = f"a {path.name} in {path.parent}"
        raise CheckpointError(message("from_pretrained", "directory", expected, error)) from error
    if not isinstance(told, dict):
        raise CheckpointError(message("from_pretrained", path.name, "an object", type(told).__name__))
    return told


def _labels(told):
    """The names of classes, of config.json, by number."""
    try:
        numbered = {int(i): name for i, name in (told.get("id2label") or {}).items()}
        return tuple(told.get("labels") or [name for _, name in sorted(numbered.items())])
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(message("from_pretrained", "id2label", "names by number", error)) from error


def _with_head(kind, head):
    """The class of the same family that ends in this head's name."""
    family = getattr(kind.config_class, "model_type", None)
    kinds = [k for k, _ in model_classes() if k.architectures and getattr(k.config_class, "model_type", 0) == family]
    named = [(name, k) for k in kinds for name in k.architectures[1:]] + [(k.architectures[0], k) for k in kinds]
    heads = {name.partition("For")[2] or "Model": k for name, k in named}
    if head not in heads:
        expected = f"one of {', '.join(sorted(heads)) or 'none'}"
        raise ArgumentError(message("from_pretrained", "head", expected, repr(head), near(str(head), heads)))
    return heads[head]


def _on_encoder(kind, config, weights, new_head=False):
    """A model whose encoder is a checkpoint's, and whose head is it, too, if it is there; or, if asked for, new."""
    if new_head:
        model = kind(config)
    else:
        with nn.shapes_only():
            model = kind(config)
    replaced = new_head and kind.head_name is not None
    missing = load_weights(model, weights, strict=False, new_head=replaced).missing_keys
    lacking = [n for n in missing if not new_head or n.startswith(kind.base_prefix) and "pooler" not in n]
    if lacking:
        raise CheckpointError(message("from_pretrained", "weights", f"those of a {kind.__name__}",
                                      f"none for {', '.join(lacking)}",
                                      "" if new_head else "num_labels=N makes a new head, to be trained."))
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
    return Path(hub.download(path) if hub.is_name(path) else path)


def _from_config(told):
    """(model class, config) of a config.json."""
    kinds = [kind for kind, _ in model_classes()]
    for kind in kinds:
        if told.get("model") == kind.__name__:
            return kind, kind.config_class.from_dict(told["config"])
    named = set(told.get("architectures") or [told.get("_class_name")])        # (the latter in diffusers' files)
    for kind in kinds:
        if named & set(kind.architectures):
            return kind, kind.config_class.from_hf(told)
    known = [kind.__name__ for kind in kinds]
    raise CheckpointError(message("from_pretrained", "config.json", f"one of the models {', '.join(known)}",
                                  told.get("architectures") or told.get("model")))
