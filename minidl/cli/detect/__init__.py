"""`minidl detect`: find objects in images and videos, train detectors, measure and export them.

    minidl detect predict model=yolov8n weights=FILE source=FOLDER conf=0.25 imgsz=640
"""
import typer

from .export import export
from .predict import predict
from .train import train
from .val import val

app = typer.Typer(no_args_is_help=True, help="Find objects: arguments are key=value, as in conf=0.25.")
for command in train, val, predict, export:
    app.command(command.__name__)(command)
