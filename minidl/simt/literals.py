"""The smallest pieces of PTX text: names, numbers, lists."""
import re

from .syntax import Immediate

NAME = r"[%$A-Za-z_][\w$]*"
_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?$")
_DECIMAL = re.compile(r"-?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][+-]?\d+)?$")


def split(text):
    """Split at commas outside brackets: '{a, b}, [c]' -> ['{a, b}', '[c]']."""
    if "{" not in text and "(" not in text and "[" not in text:
        return [part.strip() for part in text.split(",")] if text.strip() else []
    found, depth, start = [], 0, 0
    for m in re.finditer(r"[{}\[\](),]", text):
        if m[0] in "{[(":
            depth += 1
        elif m[0] in "}])":
            depth -= 1
        elif not depth:
            found.append(text[start:m.start()].strip())
            start = m.end()
    last = text[start:].strip()
    return [*found, last] if last or found else []


def integer(text):
    """A PTX integer literal: decimal, 0x, 0b, octal with a leading 0, an optional U behind."""
    digits = text.replace(" ", "").rstrip("U")
    octal = re.fullmatch(r"-?0[0-7]+", digits)
    return int(digits, 8 if octal else 0)


def literal(text):
    """The Immediate that `text` is, or None."""
    if text[:2] in ("0f", "0F", "0d", "0D"):
        return Immediate(int(text[2:], 16), 32 if text[1] in "fF" else 64)
    if _INTEGER.match(text):
        return Immediate(integer(text))
    if text == "WARP_SZ":
        return Immediate(32)
    return Immediate(float(text)) if _DECIMAL.match(text) else None
