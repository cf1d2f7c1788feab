"""Arguments in the form key=value."""
import dataclasses
import math
import re
from pathlib import Path

from ...errors import ArgumentError, message
from ...models.config import near


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


def usage(kind):
    """What `keywords` takes for a dataclass, as a line: needed keys, then the others with their defaults."""
    fields = dataclasses.fields(kind)
    needed = [f"{f.name}=..." for f in fields if f.default is dataclasses.MISSING]
    others = [f"{f.name}={str(f.default).lower()}" for f in fields if f.default is not dataclasses.MISSING]
    return f"{' '.join(needed)}; by default {' '.join(others)}"


def _bool(text):
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _numbers(text):
    return tuple([int(number) for number in text.strip("[]()").split(",")])


KINDS = {"bool": (_bool, "true or false"), "int": (int, "a whole number"), "float": (float, "a number"),
         "tuple": (_numbers, "whole numbers, as 0,2"), "Path": (Path, "a path"), "str": (str, "a text")}


def _value(command, key, kind, text):
    """A text as what the field is."""
    name = next(name for name in KINDS if re.search(rf"\b{name}\b", str(kind)))
    if "None" in str(kind) and text.lower() == "none":
        return None
    make, expected = KINDS[name]
    try:
        value = make(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        return value
    except (ValueError, KeyError):
        raise _wrong(command, key, expected, repr(text)) from None


def _wrong(command, key, expected, got, hint=""):
    return ArgumentError(message(f"detect {command}", key, expected, got, hint))
