"""`minidl detect export`: a detector under official names."""
import json
from dataclasses import dataclass
from pathlib import Path

import typer

from ...errors import ArgumentError, message
from .keywords import keywords, usage
from .networks import network


@dataclass(frozen=True)
class Arguments:
    """Of the command; layout: whose names, None: the first that the model reads; deploy: without what only training
    wants (YOLOv7's branches and implicit layers); format: model.safetensors and config.json, or .cfg and .weights."""

    model: str
    weights: str | None = None
    layout: str | None = None
    deploy: bool = False
    format: str = "safetensors"
    out: Path = Path("runs/detect/export")


def export(arguments: list[str] = typer.Argument(None, metavar="KEY=VALUE...", help=usage(Arguments)),
           as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Write a detector's weights under official names."""
    given = keywords("export", Arguments, arguments)
    detector = network("export", given.model, given.weights)
    if given.deploy:
        detector = _able(detector, "deployed", "deploy", "a model with a form for use, as YOLOv7")()
    if given.format == "darknet":
        given.out.mkdir(parents=True, exist_ok=True)
        _able(detector, "write_files", "format", "a darknet network, to be written as one")(given.out / "model")
    elif given.format == "safetensors":
        detector.save_pretrained(given.out, given.layout)
    else:
        raise ArgumentError(message("detect export", "format", "safetensors or darknet", repr(given.format)))
    layout = "darknet" if given.format == "darknet" else given.layout or next(iter(detector.layouts))
    told = {"out": str(given.out), "layout": layout, "parameters": detector.num_parameters()}
    print(json.dumps(told) if as_json else "{out}: {parameters:,} parameters, named as in {layout}".format(**told))


def _able(detector, method, argument, expected):
    """A method that not every detector has.

    Raises:
        ArgumentError: this one has it not.
    """
    if not hasattr(detector, method):
        raise ArgumentError(message("detect export", argument, expected, type(detector).__name__))
    return getattr(detector, method)
