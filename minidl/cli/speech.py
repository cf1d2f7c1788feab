"""`minidl transcribe`: what is said in files of sound."""
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import ArgumentError, message
from ..models.audio.subtitles import FORMATS, written
from ..pipelines import pipeline
from .settings import settings as given

KINDS = *FORMATS, "json"


def transcribe(files: list[Path] = typer.Argument(..., help="Files of sound: wav, flac, ogg, mp3, ..."),
               model: str = typer.Option(..., help="A folder, OpenAI's .pt, CTranslate2's model.bin, or a hub name."),
               language: str = typer.Option(None, help="en, German, ...; none: what it sounds like."),
               task: str = typer.Option("transcribe", help="transcribe, or translate (into English)."),
               kind: str = typer.Option("txt", "--format", help=f"One of {', '.join(KINDS)}."),
               beam_size: int = typer.Option(1, min=1, help="Sequences that are followed at once."),
               word_timestamps: bool = typer.Option(False, "--word-timestamps", help="Find when each word is said."),
               prompt: str = typer.Option(None, help="A text that might come before: names, terms, a style."),
               out: Path = typer.Option(None, help="A folder for the texts; none: they are shown as they come."),
               options: list[str] = typer.Option([], "--set", help="Another option: --set seed=1."),
               as_json: bool = typer.Option(False, "--json", help="As --format json.")):
    """Write down what is said in files of sound, with times as subtitles or JSON."""
    kind = "json" if as_json else kind
    if kind not in KINDS:
        raise ArgumentError(message("transcribe", "--format", f"one of {', '.join(KINDS)}", repr(kind)))
    asked = {"language": language, "initial_prompt": prompt, "task": None if task == "transcribe" else task}
    hear = pipeline("automatic-speech-recognition", model).transcriber(
        beam_size=beam_size, word_timestamps=word_timestamps, **given("transcribe", options),
        **{name: value for name, value in asked.items() if value is not None})
    if out is not None and len({path.stem for path in files}) < len(files):
        raise ArgumentError(message("transcribe", "files", "a name of its own each, for the texts in --out",
                                    " ".join(map(str, files))))
    for path in files:
        started = perf_counter()
        with _progress(path) as progress:
            heard = hear.stream(path, progress)        # (before its text is opened: it may be no sound)
            with _target(path, out, kind) as file:
                _write(heard, path, kind, file)
        took = perf_counter() - started
        print(f"{path}: {heard.duration:.1f} s of sound in {took:.1f} s", file=sys.stderr)


def _write(heard, path, kind, file):
    """A text as it comes; JSON at the end."""
    if kind == "json":
        print(json.dumps({"file": str(path), **heard.rest().to_dict()}, ensure_ascii=False), file=file)
        return
    for piece in written(heard, kind):
        print(piece, end="", file=file, flush=True)


@contextmanager
def _progress(path):
    """What shows how far it is, on a terminal."""
    console = Console(stderr=True)
    with Progress(TextColumn(path.name), BarColumn(), TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _target(path, out, kind):
    """Where a file's text goes."""
    if out is None:
        yield sys.stdout
        return
    out.mkdir(parents=True, exist_ok=True)
    with open(out / f"{path.stem}.{kind}", "w", encoding="utf-8") as file:
        yield file
