"""A folder in diffusers' layout: model_index.json, and a folder for each part.

    folder/model_index.json -> {"unet": ["diffusers", "UNet2DConditionModel"], ...} -> folder/unet -> a model
"""
import json
from pathlib import Path

from ..errors import CheckpointError, message
from ..io import hub
from ..models import from_pretrained
from ..models.diffusion import schedulers
from ..text import load_tokenizer

INDEX = "model_index.json"
LIBRARIES = {"UnCLIPTextProjModel": "unclip"}          # of diffusers' classes that belong to one pipeline


def folder(path, wanted):
    """The directory, downloaded if it is the name of a repository on the hub.

    Args:
        path: of the directory, or the name.
        wanted: a function: the pipeline's class name -> the names of the parts to download.

    Raises:
        CheckpointError: there is none.
    """
    found = Path(path)
    if found.is_dir():
        return found
    if hub.is_name(path):
        return hub.download_parts(path, INDEX, lambda directory: wanted(index(directory)[0]))
    raise CheckpointError(message("pipeline", "model", f"a folder with {INDEX}, or a repository on the hub", str(path)))


def read(path, name):
    """The object in a JSON file of a folder.

    Raises:
        CheckpointError: it is not there, or no such object.
    """
    try:
        told = json.loads((path / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(message("pipeline", "model", f"{name} in {path}", error)) from error
    if not isinstance(told, dict):
        raise CheckpointError(message("pipeline", name, "an object", type(told).__name__))
    return told


def index(path):
    """(pipeline's class name, {part: class name}) of a folder, without parts that are empty."""
    told = read(path, INDEX)
    there = {name: value[1] for name, value in told.items() if isinstance(value, list) and len(value) == 2 and value[1]}
    return told.get("_class_name"), there


def load(path, kinds, names):
    """The parts of a folder: models in evaluation mode, schedulers, tokenizers.

    Args:
        path: of the folder, or the name of a repository on the hub.
        kinds: of pipelines that it may be of.
        names: of the parts.

    Returns:
        {name: part}.

    Raises:
        CheckpointError: it is no such folder, or of another kind; a part is missing, or its files are; or cannot be
            read, or are more than data.
    """
    path = folder(path, lambda kind: names if kind in kinds else ())
    kind, there = index(path)
    if kind not in kinds:
        raise CheckpointError(message("pipeline", "model", f"a folder of a {' or '.join(kinds)}", kind))
    there = [name for name in there if (path / name).is_dir()]
    if lacking := [name for name in names if name not in there]:
        raise CheckpointError(message("pipeline", "model", f"the parts {', '.join(names)} in {path}",
                                      ", ".join(there) or "none", f"Missing: {', '.join(lacking)}."))
    return {name: _part(path / name) for name in names}


def _part(path):
    if path.name.endswith("scheduler"):
        name = "scheduler_config.json" if (path / "scheduler_config.json").is_file() else "config.json"
        return schedulers.from_config(read(path, name))
    return load_tokenizer(path) if path.name.startswith("tokenizer") else from_pretrained(path)


def save(path, kind, parts):
    """Write a folder: what `load` and diffusers read.

    Args:
        path: of the folder; made if it is not there.
        kind: the pipeline's class name.
        parts: {name: model, scheduler or tokenizer}.
    """
    path = Path(path)
    told = {"_class_name": kind, "_diffusers_version": "0.21.0"}
    for name, part in parts.items():
        target = path / name
        if isinstance(part, schedulers.Scheduler):
            target.mkdir(parents=True, exist_ok=True)
            (target / "scheduler_config.json").write_text(json.dumps(part.to_dict(), indent=2))
            told[name] = ["diffusers", type(part).__name__]
            continue
        part.save_pretrained(target)
        if not hasattr(part, "parameters"):
            told[name] = ["transformers", part.saved_as]
            continue
        twin = part.architectures[0]
        if not twin.startswith("CLIP"):                # (diffusers' readers want this name)
            (target / "model.safetensors").rename(target / "diffusion_pytorch_model.safetensors")
        told[name] = ["transformers" if twin.startswith("CLIP") else LIBRARIES.get(twin, "diffusers"), twin]
    (path / INDEX).write_text(json.dumps(told, indent=2))
