"""What it takes to train a classifier of texts: where they are, and how they become batches."""
import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from ..data import random_split
from ..errors import ArgumentError, message
from ..text import PadBatch
from .metrics import Accuracy


@dataclass(frozen=True)
class TextTask:
    """Training and validation texts with what belongs to them.

    Args:
        train, validation: datasets of {"input_ids", "attention_mask", "labels"}.
        classes: names, in the order of the labels.
        collate: makes a batch of items.
        metric: of logits and labels.
    """

    train: object
    validation: object
    classes: tuple
    collate: PadBatch
    metric: Accuracy


def text_task(data, tokenizer, max_length=None, seed=0, share=0.2):
    """The TextTask of a file or a folder of texts, each with its class.

    Args:
        data: a .csv, .tsv, .jsonl file with the columns `text` and `label`; a folder with a folder per class, a file
            per text; or a folder with `train` and `val` of either kind (`train/`, `train.csv`, ...).
        tokenizer: makes tokens of a text.
        max_length: tokens that are kept of it; None: as many as the model reads.
        seed: which texts are held out, where there is no `val`.
        share: how many of them.

    Raises:
        ArgumentError: it is none of these; a row lacks a column, a text cannot be read, there are fewer than two
            classes, or none to hold out. The message names the file and the line.
    """
    root = Path(data)
    parts = [part for name in ("train", "val") for part in sorted(root.glob(f"{name}*")) if part.stem == name]
    sets = [list(_texts(part)) for part in (parts if len(parts) == 2 else [root])]
    classes = sorted({label for _, label in sets[0]})
    if len(classes) < 2:
        raise ArgumentError(message("text_task", "data", "texts of at least two classes", f"{len(classes)} in {data}"))
    strange = sorted({label for texts in sets for _, label in texts}.difference(classes))
    if strange:
        raise ArgumentError(message("text_task", "val", f"the classes of train, {', '.join(classes)}", strange[0]))
    number = {name: i for i, name in enumerate(classes)}
    made = [_tokens([text for text, _ in texts], [number[label] for _, label in texts], tokenizer, max_length)
            for texts in sets]
    train, validation = made if len(made) == 2 else random_split(made[0], [1.0 - share, share], seed)
    if not len(validation):
        expected = "texts enough to hold some out"
        raise ArgumentError(message("text_task", "data", expected, f"{len(train)} in {data}", "Or give a `val`."))
    return TextTask(train, validation, tuple(classes), PadBatch(tokenizer), Accuracy())


def _tokens(texts, labels, tokenizer, max_length):
    told = tokenizer(texts, truncation=True, max_length=max_length)
    return [{**{name: rows[i] for name, rows in told.items()}, "labels": label} for i, label in enumerate(labels)]


def _texts(path):
    """Yields (text, label) of a file with columns, or of a folder with a folder per class."""
    readers = {".csv": _columns, ".tsv": _columns, ".jsonl": _lines}
    if path.is_dir():
        for file in sorted(path.glob("[!.]*/[!.]*")):  # (.DS_Store and its like are no texts)
            yield _read(file), file.parent.name
    elif path.suffix in readers and path.is_file():
        for line, row in readers[path.suffix](path):
            if not isinstance(row, dict) or not all(isinstance(row.get(c), str | int) for c in ("text", "label")):
                expected = "a `text` and a `label`"
                raise ArgumentError(message("text_task", f"{path}, line {line}", expected, repr(row)[:80]))
            yield str(row["text"]), str(row["label"])
    else:
        expected = "a .csv, .tsv or .jsonl file, or a folder with a folder per class"
        raise ArgumentError(message("text_task", "data", expected, str(path)))


def _read(path):
    """A text file's; bytes that are not UTF-8 are replaced, as old mails need it."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise ArgumentError(message("text_task", "data", f"to read {path}", error)) from error


def _columns(path):
    rows = csv.DictReader(io.StringIO(_read(path), newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        expected = f"cells of at most {csv.field_size_limit()} characters, without NUL"
        raise ArgumentError(message("text_task", f"{path}, behind line {rows.line_num}", expected, error)) from error


def _lines(path):
    for line, text in enumerate(_read(path).split("\n"), 1):            # (a text may hold other ends of lines)
        if text.strip():
            try:
                yield line, json.loads(text)
            except ValueError as error:
                raise ArgumentError(message("text_task", f"{path}, line {line}", "a JSON object", error)) from error
