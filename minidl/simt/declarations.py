"""Declarations of variables, parameters and registers."""
import re

from .kinds import BITS
from .literals import NAME, integer, literal, split
from .syntax import Immediate, Symbol, Variable

DECLARATION = re.compile(rf"""(?P<linkage>(?:\.(?:visible|extern|weak|common)\s+)*)
    \.(?P<space>reg|global|const|shared|local|param)
    (?P<attributes>(?:\s*\.(?:attribute\s*\([^)]*\)|align\s+\d+|\w+))*)\s+(?P<declared>{NAME}.*)""", re.X | re.S)
DECLARED = re.compile(rf"""(?P<name>{NAME})\s*(?:<(?P<count>\d+)>)?(?P<lengths>(?:\s*\[\s*\d*\s*\])*)\s*
    (?:=\s*(?P<initial>.*))?$""", re.X | re.S)


def declare(text, error):
    """The Variables that a declaration makes: one for each name, `x<3>` stands for x0, x1 and x2.

    Args:
        text: the declaration without its semicolon.
        error: message -> PtxError.
    """
    m = DECLARATION.match(text.strip())
    kinds = [word for word in re.findall(r"\.(\w+)", m["attributes"]) if word in BITS] if m else []
    if not kinds:
        raise error(f"cannot read the declaration `{text.strip()[:60]}`")
    align, vector = re.search(r"\.align\s+(\d+)", m["attributes"]), re.search(r"\.v([248])\b", m["attributes"])
    element = max(BITS[kinds[-1]] // 8, 1)
    size, found = element * int(vector[1] if vector else 1), []
    for item in [m["declared"]] if "=" in m["declared"] else split(m["declared"]):
        d = DECLARED.match(item)
        if d is None:
            raise error(f"cannot read the declaration `{item[:60]}`")
        total, (initial, relocations) = size, _initial(d["initial"], element, error)
        for length in re.findall(r"\[\s*(\d*)\s*\]", d["lengths"]):
            total = None if length == "" or total is None else total * int(length)
        total = len(initial) if total is None and initial else total
        for name in [f"{d['name']}{k}" for k in range(int(d["count"]))] if d["count"] else [d["name"]]:
            found.append(Variable(name, m["space"], kinds[-1], total, int(align[1]) if align else size, initial,
                                  relocations, ".extern" not in m["linkage"]))
    return found


def _initial(text, size, error):
    """(bytes, relocations) of an initialiser whose elements have `size` bytes."""
    if text is None:
        return b"", ()
    blob, relocations = bytearray(), []
    for item in split(text.replace("{", " ").replace("}", " ")):
        value = literal(item)
        if value is None:                                # generic(x)+4, or the name of a function or variable
            m = re.match(rf"(?:generic\s*\(\s*)?({NAME})\s*\)?\s*(?:\+\s*(\w+))?$", item)
            if m is None:
                raise error(f"cannot read the initialiser `{item[:60]}`")
            relocations.append((len(blob), Symbol(m[1], integer(m[2] or "0"))))
            value = Immediate(0)
        if isinstance(value.value, float):
            raise error(f"an initialiser written as a decimal float: {item}")
        blob += (value.value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(blob), tuple(relocations)
