"""`minidl models`: what is in the zoo."""
import json
from dataclasses import asdict

import typer

from ..models import describe, list_models
from ..models.registry import find

app = typer.Typer(no_args_is_help=True, help="List and describe the models of the zoo.")


@app.command("list")
def listed(pattern: str = typer.Argument("*", help="With wildcards: '*resnet*'."),
           task: str = typer.Option(None, help="Only models for this task."),
           as_json: bool = typer.Option(False, "--json", help="A JSON list of names.")):
    """The names of models."""
    names = list_models(pattern, task)
    if as_json:
        return print(json.dumps(names))
    width = max(map(len, names), default=0)
    print("\n".join(f"{name:{width}}  {find(name).task:20}  {find(name).paper}" for name in names))


@app.command()
def show(name: str = typer.Argument(..., help="As `minidl models list` gives it."),
         as_json: bool = typer.Option(False, "--json", help="One JSON object.")):
    """Paper, parameters, input and the checkpoints that a model reads."""
    told = describe(name)
    print(json.dumps(asdict(told)) if as_json else told)
