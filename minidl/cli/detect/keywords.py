"""Arguments in the form key=value."""
import ast
import dataclasses
from pathlib import Path
from typing import Any

from ...errors import ArgumentError, message
from ...models.config import near

WORDS = {"true": True, "false": False, "none": None}


def keywords(command, kind, texts):
    """A dataclass of "key=value" texts; values are made what the fields are.

    Args:
        command: whose arguments they are, for messages.
        kind: a dataclass, its fields bool, int, float, str, tuple or Path; one without a default is required.
        texts: such texts.

    Raises:
        ArgumentError: a text is no pair, a key is unknown, double or lacking, or a value is of another type.
    """
    known, found = {f.name: f for f in dataclasses.fields(kind)}, {}
    for text in texts or ():
        key, is_there, value = text.partition("=")
        if not is_there:
            raise _wrong(command, repr(text), "key=value", "no =")
        if key not in known:
            raise _wrong(command, key, f"one of {', '.join(known)}", f"{key}=", near(key, known))
        if key in found:
            raise _wrong(command, key, "a key once", f"{text} as well")
        found[key] = _value(command, key, known[key].type, value)
    for name, one in known.items():
        if name not in found and one.default is dataclasses.MISSING:
            raise _wrong(command, name, f"{name}=VALUE", "none")
    return kind(**found)


def _value(command, key, kind, text):
    """A text as what the field is."""
    optional = "None" in str(kind)
    kind = next(k for k in (bool, int, float, tuple, Path, str) if k.__name__ in str(kind))
    value: Any = WORDS.get(text.lower(), text)
    if value is text and kind in (int, float, tuple):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            pass
    if kind is tuple and isinstance(value, (int, list)):
        value = tuple(value) if isinstance(value, list) else (value,)
    if kind in (Path, str):
        value = None if value is None and optional else kind(text)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is bool and value in ("0", "1"):
        value = value == "1"
    if not (isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) or value is None and optional):
        raise _wrong(command, key, {"bool": "true or false"}.get(kind.__name__, f"a value of type {kind.__name__}"),
                     repr(text))
    return value


def _wrong(command, key, expected, got, hint=""):
    return ArgumentError(message(f"detect {command}", key, expected, got, hint))
