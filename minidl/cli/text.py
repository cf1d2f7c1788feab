"""`minidl pipeline`, `minidl generate`, `minidl search`: models of text, on text."""
import json
import re
import sys
from pathlib import Path

import typer

from .. import pipelines
from ..errors import ArgumentError, message
from .settings import settings as given

MODEL = typer.Argument(..., help="A folder in Hugging Face's layout, or a repository on the hub.")
JSON = typer.Option(False, "--json", help="JSON, and nothing else.")
SETTINGS = typer.Option([], "--set", help="An option of the task: --set top_k=3.")


def pipeline(task: str = typer.Argument(..., help=f"One of {', '.join(pipelines.TASKS)}."), model: str = MODEL,
             texts: list[str] = typer.Argument(None, help="Texts (questions); none: a text a line of the input."),
             context: str = typer.Option(None, help="Of questions: a text, or a file, that has the answers."),
             settings: list[str] = SETTINGS, as_json: bool = JSON):
    """Classify, label, answer, fill in, summarise or translate texts."""
    options = given("pipeline", settings)
    texts = texts or [line.rstrip("\n") for line in sys.stdin]
    pipe = pipelines.pipeline(task, model)
    inputs: list = texts
    if isinstance(pipe, pipelines.QuestionAnswering):
        if context is None:
            raise ArgumentError(message("pipeline", "--context", "a text, or a file", "none"))
        answers = _text(context)
        inputs = [{"question": question, "context": answers} for question in texts]
    if isinstance(pipe, pipelines.Generation) and len(texts) == 1 and not as_json and _one(options):
        return _show(pipe.stream(texts[0], **options))
    for text, result in zip(texts, pipe(inputs, **options)):
        result = result.tolist() if hasattr(result, "tolist") else result
        print(json.dumps(result) if as_json else _told(text, result))


def generate(model: str = MODEL, prompt: str = typer.Argument(..., help="What to go on from; - reads it."),
             tokens: int = typer.Option(50, min=1, help="How many tokens to write, at most."),
             sample: bool = typer.Option(False, "--sample", help="Draw tokens; otherwise the likeliest is taken."),
             temperature: float = typer.Option(None, help="Of drawing: below 1 more cautious, above 1 bolder."),
             top_k: int = typer.Option(None, help="Draw from so many of the likeliest."),
             top_p: float = typer.Option(None, help="Draw from the fewest that have this probability."),
             beams: int = typer.Option(1, min=1, help="Sequences that are followed at once."),
             seed: int = typer.Option(None, help="Of drawing."), settings: list[str] = SETTINGS, as_json: bool = JSON):
    """Write on from a text, and show it as it comes."""
    drawn = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    drawn = {name: value for name, value in drawn.items() if value is not None}
    options = {"max_new_tokens": tokens, "do_sample": sample or bool(drawn.keys() - {"seed"}), "num_beams": beams,
               **drawn, **given("generate", settings)}
    prompt = sys.stdin.read() if prompt == "-" else prompt
    pipe = pipelines.pipeline("text-generation", model)
    if not as_json and _one(options):
        print(prompt, end="")
        return _show(pipe.stream(prompt, **options))
    found = pipe(prompt, **options)
    print(json.dumps(found) if as_json else "\n\n".join(one["generated_text"] for one in found))


def search(model: str = MODEL, file: Path = typer.Argument(..., help="A text file."),
           queries: list[str] = typer.Argument(..., help="What to look for."),
           top: int = typer.Option(5, min=1, help="How many passages to show."),
           by: str = typer.Option("line", help="What a passage is: line, or paragraph (up to an empty line)."),
           as_json: bool = JSON):
    """Find the passages of a text file that mean what is asked for, whatever their words."""
    if by not in ("line", "paragraph"):
        raise ArgumentError(message("search", "--by", "line or paragraph", repr(by)))
    parts = re.split(r"\n" if by == "line" else r"\n\s*\n", file.read_text(encoding="utf-8"))
    passages = [" ".join(part.split()) for part in parts if part.strip()]
    find = pipelines.Search(pipelines.pipeline("feature-extraction", model, batch_size=32), passages)
    for query in queries:
        found = find(query, top)
        print(json.dumps({"query": query, "found": found}) if as_json else "\n".join(
            [*[query] * (len(queries) > 1), *(f"{one['score']:.3f}  {one['text']}" for one in found)]))


def _text(text):
    """A file's text, or the text itself."""
    path = Path(text)
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else text
    except OSError:                                    # (too long for a name)
        return text


def _one(options):
    """Is one sequence written, step by step, so that it can be shown as it comes?"""
    return options.get("num_beams", 1) == options.get("num_return_sequences", 1) == 1


def _show(pieces):
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _told(text, result):
    """A result, as a line or several."""
    rows = result if isinstance(result, list) and result and isinstance(result[0], dict) else [result]
    lines = [", ".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values())
             if isinstance(row, dict) else json.dumps(row) for row in rows]
    return f"{text}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{text}:", *lines])
