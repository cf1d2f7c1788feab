"""The few forms of YAML that descriptions of data sets are written in: values, lists and tables by name.

    path: ../shapes            # comments
    names: [disc, "square"]    # or {0: disc, 1: square}, over several lines; or below it `- disc`, or `  0: disc`
    download: |                # text of several lines, indented: passed over

Source: yaml.org, YAML 1.2, chapters 6 to 8, of which this is a part.
"""
import re
from pathlib import Path

from ...errors import ArgumentError, message

_QUOTED = r"""(?:"[^"]*"|'[^']*')"""
_WORD = r"""[^\s#,\[\]{}"']+"""
_PLAIN = rf"{_WORD}(?:\s+{_WORD})*"
_ITEM = re.compile(rf"\s*({_QUOTED}|{_PLAIN})\s*(?:,|$)")
_PAIR = re.compile(rf"\s*({_QUOTED}|[^\s:,]+)\s*:\s*({_QUOTED}|{_PLAIN})\s*(?:,|$)")
_LINE = re.compile(rf"(\s*)(?:-\s+(\S.*)|({_QUOTED}|[^\s:#]+)\s*:(?:\s+(.+))?)$")
_BARE = re.compile(rf"(?:(?<![^\s,:\[{{]){_QUOTED}|\S|\s+(?=[^\s#]))*")       # (a # behind a space begins a comment)
_OPEN, _BLOCK = re.compile(r"[^\s#:]+\s*:\s+[\[{]"), re.compile(r"[|>][+-]?")


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
    last, in_block = None, False
    for number, line in _whole(lines):
        in_block = in_block and line[0].isspace()
        if in_block:
            continue
        parts = _LINE.match(line)
        try:
            if parts is None:
                raise ValueError
            indent, item, key, value = parts.groups()
            if item is None and not indent:
                last, in_block = _scalar(key), bool(_BLOCK.fullmatch(value or ""))
                if last in found:
                    raise ValueError(f"{last} again")
                found[last] = None if in_block else _value(value)
            else:
                _below(found, last, item, key, value)
        except ValueError as error:
            expected = "key: value, - item, [a, b] or {key: value}"
            raise ArgumentError(message("read_description", f"{path}:{number}", expected,
                                        str(error) or repr(line))) from error
    return found


def _whole(lines):
    """(number, line) of those that say something, without comments; one goes on until its bracket is closed."""
    whole, parts = 0, []
    for number, line in enumerate(lines, 1):
        line = "" if line.lstrip().startswith("#") else _BARE.match(line).group()
        if line in ("", "---"):
            continue
        whole = whole if parts else number
        parts.append(line)
        if not _OPEN.match(parts[0]) or line.endswith(("]", "}")):
            yield whole, " ".join(parts)
            parts = []
    if parts:
        yield whole, " ".join(parts)


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
