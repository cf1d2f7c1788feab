"""The few forms of YAML that descriptions of data sets are written in: values, lists and tables by name.

    path: ../shapes            # comments
    names: [disc, "square"]    # or {0: disc, 1: square}; or below it, indented, `- disc` or `0: disc`

Source: yaml.org, YAML 1.2, chapters 6 to 8, of which this is a part.
"""
import re
from pathlib import Path

from ...errors import ArgumentError, message

_QUOTED = r"""(?:"[^"]*"|'[^']*')"""
_PLAIN = r"""[^\s#,\[\]{}"'][^,\[\]{}"'#]*?"""
_ITEM = re.compile(rf"\s*({_QUOTED}|{_PLAIN})\s*(?:,|$)")
_PAIR = re.compile(rf"\s*({_QUOTED}|[^\s:,]+)\s*:\s*({_QUOTED}|{_PLAIN})\s*(?:,|$)")
_LINE = re.compile(rf"(\s*)(?:-\s+({_QUOTED}|[^#]+?)|({_QUOTED}|[^\s:#]+)\s*:(?:\s+(.*?))?)\s*(?:\s#.*)?$")


def read_description(path):
    """{key: value} of such a file: values are numbers, texts, None, lists or dicts of them.

    Raises:
        ArgumentError: it cannot be read, or a line is none of these forms; the message names it.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ArgumentError(message("read_description", path, "a text file", error)) from error
    found: dict = {}
    last = None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = _LINE.match(line)
        try:
            if parts is None:
                raise ValueError
            indent, item, key, value = parts.groups()
            if item is None and not indent:
                last = _scalar(key)
                if last in found:
                    raise ValueError(f"{last} again")
                found[last] = _value(value)
            else:
                _below(found, last, item, key, value)
        except ValueError as error:
            expected = "key: value, - item, [a, b] or {key: value}"
            raise ArgumentError(message("read_description", f"{path}:{number}", expected,
                                        str(error) or repr(line))) from error
    return found


def _below(found, key, item, inner, value):
    """A line under a key that had no value of its own."""
    kind = list if item is not None else dict
    if found.get(key) is None and key in found:
        found[key] = kind()
    if not isinstance(found.get(key), kind):
        raise ValueError
    if item is not None:
        found[key].append(_scalar(item))
    elif _scalar(inner) in found[key]:
        raise ValueError(f"{inner} again")
    else:
        found[key][_scalar(inner)] = _scalar(value or "")


def _value(text):
    """Of what stands behind a key."""
    text = (text or "").strip()
    for (first, last), form in (("[]", _ITEM), ("{}", _PAIR)):
        if text.startswith(first):
            if not text.endswith(last):
                raise ValueError
            groups = _all(form, text[1:-1])
            return [_scalar(g[0]) for g in groups] if first == "[" else {_scalar(k): _scalar(v) for k, v in groups}
    return _scalar(text)


def _all(form, text):
    """The groups of a form, again and again until the text is used up."""
    found, place, text = [], 0, text.strip()
    while place < len(text):
        match = form.match(text, place)
        if match is None:
            raise ValueError
        found.append(match.groups())
        place = match.end()
    return found


def _scalar(text):
    if re.fullmatch(_QUOTED, text):
        return text[1:-1]
    if text in ("", "~", "null"):
        return None
    for kind in int, float:
        try:
            return kind(text)
        except ValueError:
            pass
    return text
