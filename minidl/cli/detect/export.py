"""`minidl detect export`: a detector under official names, as safetensors."""
import json
from dataclasses import dataclass
from pathlib import Path

import typer

from .keywords import keywords
from .networks import network

HELP = "model=NAME|FOLDER [weights= layout= out=]"


@dataclass(frozen=True)
class Arguments:
    """Of the command; layout: whose names, None: the first that the model reads."""

    model: str
    weights: str | None = None
    layout: str | None = None
    out: Path = Path("runs/detect/export")


def export(arguments: list[str] = typer.Argument(None, metavar="KEY=VALUE...", help=HELP),
           as_json: bool = typer.Option(False, "--json", help="One JSON object, and nothing else.")):
    """Write model.safetensors under official names, and config.json."""
    given = keywords("export", Arguments, arguments)
    detector = network("export", given.model, given.weights)
    detector.save_pretrained(given.out, given.layout)
    told = {"out": str(given.out), "layout": given.layout or next(iter(detector.layouts)),
            "parameters": detector.num_parameters()}
    print(json.dumps(told) if as_json else "{out}: {parameters:,} parameters, named as in {layout}".format(**told))
