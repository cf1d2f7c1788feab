"""Shape contracts, written once and used three times.

    "x(*,D) weight(D) bias(D)? -> (*,D)"

The same line is the documentation, the run-time check and the generator of
the property tests.  Grammar, left of the arrow:  NAME "(" dims ")" [":" kind] ["?" | "+"]
    dim   a symbol, an integer, a multiple such as 4H, or first of all
          "*"   any leading axes, the same wherever it stands in the contract
          "..." any leading axes, which broadcast (the engine undoes that in backward)
          "_"   any leading axes, without relation to any others; or, last of all, any trailing axes
    kind  int, bool, any: a dtype of its own; without one the array shares the dtype of its neighbours;
          float: it shares it, and that must be floating
    ?     the argument may be None
    +     the argument is a sequence of such arrays (the op's only input)
Right of it, one "(dims)" per output; a last "+" means "and as many more as the op likes".
A symbol that occurs only there is computed by the op: unchecked.
"""
import re
from dataclasses import dataclass
from math import prod

from .errors import ArgumentError, ShapeError, message

INPUT = r"(\w+)\(([^()]*)\)(?::(\w+))?([?+])?"
KINDS = ("same", "float", "int", "bool", "any")


@dataclass(frozen=True)
class Slot:
    """One array of a contract: its name, axes and kind."""

    name: str
    dims: tuple
    kind: str = "same"
    optional: bool = False
    many: bool = False

    def __str__(self):
        return f"{self.name}({','.join(self.dims)})"

    def split(self):
        """("*" | "..." | "_" | None, the named axes)."""
        lead = self.dims[:1] if self.dims[:1] in (("*",), ("...",), ("_",)) else ()
        return (lead[0] if lead else None), self.dims[len(lead):]


@dataclass(frozen=True)
class Contract:
    """A contract line, parsed."""

    inputs: tuple
    outputs: tuple
    several: bool              # the op returns a tuple

    def bind(self, op, shapes):
        """Check `shapes` (name -> tuple) and return the symbols' values: slow, and explains."""
        env, origin = {}, {}
        for slot in self.inputs:
            shape = shapes.get(slot.name)
            if shape is None:
                if not slot.optional:
                    raise ShapeError(message(op, slot.name, f"an array {slot}", "None"))
                continue
            for one in shape if slot.many else (shape,):
                _match(op, slot, one, env, origin)
        return env

    def tests(self):
        """The same check as source lines: fast, and only says no. Arrays are called `<name>_`.

        A sequence of arrays is not checked here: the op's own forward, or NumPy, says no.
        """
        if any(s.many for s in self.inputs):
            return []
        counts = [d for s in self.inputs for d in s.dims]
        known, lines = set(), []

        def settled(d):
            return d.isdigit() or d.lstrip("0123456789") in known and d != "_"

        for slot in self.inputs:
            lead, tail = slot.split()
            array, mine, before = f"{slot.name}_", [], set(known)
            if lead is None and all(map(settled, tail)):
                mine.append(f"if {array}.shape != ({''.join(_code(d) + ', ' for d in tail)}): raise Mismatch")
            elif lead is None:                                    # new symbols: unpacking checks the rank
                names = []
                for i, d in enumerate(tail):
                    names.append("*_rest" if d == "_" else f"_axis{i}" if settled(d) else d)
                    known.add(d)
                mine.append(f"{', '.join(names)}{',' * (len(tail) == 1)} = {array}.shape")
                clash = [f"{n} != {_code(d)}" for n, d in zip(names, tail) if n.startswith("_axis")]
                mine += [f"if {' or '.join(clash)}: raise Mismatch"] if clash else []
            elif tail or lead == "*" and counts.count("*") > 1:
                mine.append(f"_shape = {array}.shape")
                for i, d in enumerate(tail, -len(tail)):
                    mine.append(f"if _shape[{i}] != {_code(d)}: raise Mismatch" if settled(d) else f"{d} = _shape[{i}]")
                    known.add(d)
                rest = f"_shape[:-{len(tail)}]" if tail else "_shape"
                if lead == "*" and counts.count("*") > 1:
                    mine.append(f"if {rest} != _star: raise Mismatch" if "*" in known else f"_star = {rest}")
            known = before if slot.optional else known | {lead}       # (None tells nothing of what comes after)
            lines += [f"if {array} is not None:", *("    " + m for m in mine)] if slot.optional and mine else mine
        return lines


def parse(text):
    """Parse a contract line into a `Contract`.

    Raises:
        ArgumentError: it is not of the form above, or names a kind that there is not.
    """
    left, _, right = text.partition("->")

    def dims(d):
        return tuple(d.replace(" ", "").split(",")) if d.strip() else ()

    slots = [Slot(n, dims(d), kind or "same", mark == "?", mark == "+")
             for n, d, kind, mark in re.findall(INPUT, left)]
    wrong = re.sub(INPUT, "", left).strip() or next((s.kind for s in slots if s.kind not in KINDS), None)
    if wrong:
        raise ArgumentError(message("contract", "text", f"NAME(dims):kind, a kind of {', '.join(KINDS)}",
                                    f"{wrong!r} in {text!r}"))
    outs = [Slot("out", dims(d)) for d in re.findall(r"\(([^)]*)\)", right)]
    return Contract(tuple(slots), tuple(outs), len(outs) > 1 or right.rstrip().endswith("+"))


def _code(dim):
    """4H as an expression: 4*H."""
    return re.sub(r"^(\d+)(?=[A-Za-z])", r"\1*", dim)


def _match(op, slot, whole, env, origin):
    lead, tail = slot.split()
    tail, shape = (tail[:-1], whole[:len(tail) - 1]) if tail[-1:] == ("_",) else (tail, whole)
    extra = len(shape) - len(tail)
    if extra < 0 or extra and lead is None:
        least = "at least " if "_" in slot.dims or lead else ""
        raise ShapeError(message(op, slot.name, f"{least}{len(tail)} axes {slot}", tuple(whole)))
    batch = tuple(shape[:extra])
    if lead == "*" and env.setdefault("*", batch) != batch:
        raise ShapeError(message(op, slot.name, f"leading axes {env['*']} as in {origin['*']}", tuple(whole)))
    if lead == "...":
        before = env.get("...", ())
        env["..."] = broadcast(before, batch)
        if env["..."] is None:
            raise ShapeError(message(op, slot.name, f"leading axes that broadcast with {origin['...']}", tuple(whole)))
    if lead:
        origin.setdefault(lead, f"{slot.name}={tuple(whole)}")
    for symbol, size in zip(tail, shape[extra:]):
        want = env.setdefault(symbol, size) if not symbol[0].isdigit() else eval(_code(symbol), {}, env)
        if want != size:
            source = f" (from {origin[symbol]})" if symbol in origin else ""
            raise ShapeError(message(op, slot.name, f"{slot} with {symbol}={want}{source}", tuple(whole)))
        origin.setdefault(symbol, f"{slot}={tuple(whole)}")


def broadcast(a, b):
    """The shape that two shapes broadcast to, or None where there is none."""
    n = max(len(a), len(b))
    pairs = list(zip((1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b))
    return None if any(p != q and 1 not in (p, q) for p, q in pairs) else tuple(q if p == 1 else p for p, q in pairs)


def unbroadcast_axes(shape, target):
    """Axes over which a gradient of `shape` is summed to fit `target`.

    Raises:
        ShapeError: `target` does not broadcast to `shape`.
    """
    lead = len(shape) - len(target)
    axes = list(range(lead))
    for i, n in enumerate(target, lead):
        if lead < 0 or n != shape[i]:
            if lead < 0 or n != 1:
                raise ShapeError(message("sum_to", "shape", f"one that broadcasts to {tuple(shape)}", tuple(target)))
            axes.append(i)
    return tuple(axes)


def row_size(shape, normalized_shape, *affine):
    """How many elements a row that is normalised has; 0 where the shapes do not agree on the last axes.

    Args:
        shape: of the array.
        normalized_shape: its last axes as an int or a sequence; None: those of the first of `affine`, or the last one.
        affine: shapes of weights and biases; None: left out.
    """
    given = [a for a in affine if a is not None]
    row = (given or [shape[-1:]])[0] if normalized_shape is None else normalized_shape
    row = (row,) if isinstance(row, int) else tuple(row)
    fits = row and shape[len(shape) - len(row):] == row and all(a == row for a in given)
    return prod(row) if fits else 0
