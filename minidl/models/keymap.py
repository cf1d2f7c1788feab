"""The names of an official checkpoint beside ours: a table, read both ways.

    KeyMap([("vit.encoder.layer.{i}.attention.attention.[query|key|value].*", "blocks.{i}.attn.qkv.*"),
            ("transformer.h.{i}.attn.c_attn.weight", "blocks.{i}.attn.qkv.weight", "T"),
            ("vit.embeddings.position_ids", None)])

A row is (official, ours) or (official, ours, how).  `{i}` stands for a number, `*` at the end for the rest of the name.
`[a|b|c]`, on one side, for tensors that the other side holds as one, joined along the first axis; `[a|0|c]`: what the
middle one is has no effect, this side does not hold it, and the other holds zeros.  How: "T", the matrix is
transposed; a pair of functions, official array -> ours and back; "old", a name that is read, but not written.  Ours
None: checkpoints may hold it, we do not; official None: we do, they do not.  Two rows with the same name of ours:
checkpoints hold the tensor twice.  What no row matches keeps its name.
"""
import re
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..errors import ArgumentError, message

_NUMBER = re.compile(r"\d+")
_SLOT = re.compile(r"\{(\w+)\}")
_PARTS = re.compile(r"\[([^\]]+)\]")
NOTHING = "0"


def _outline(name):
    """A name without its numbers."""
    return _NUMBER.sub("#", name)


class _Source(NamedTuple):
    """Where a tensor of one side comes from on the other."""

    names: tuple                   # several: joined; None among them: zeros
    part: tuple = (0, 1)           # (index, number of parts) of a tensor that is to be split
    change: object = None          # a function on arrays


class _Side:
    """One side's template: matches names, and writes them."""

    def __init__(self, template):
        parts = _PARTS.search(template)
        self.words = tuple(parts[1].split("|")) if parts else (None,)
        self.template = _PARTS.sub("[]", template)
        self.rest = template.endswith("*")
        self.patterns = [self._pattern(word) for word in self.words]
        outlines = [re.escape(_outline(_SLOT.sub("0", self.template.removesuffix("*").replace("[]", word or ""))))
                    for word in self.words if word != NOTHING]
        self.outline = re.compile("(?:" + "|".join(outlines) + ")" + ".+" * self.rest)

    def _pattern(self, word):
        if word == NOTHING:
            return re.compile(r"(?!)")
        text = re.escape(self.template).replace(re.escape("[]"), re.escape(word or ""))
        text = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>\\d+)", text)
        return re.compile(text.removesuffix(r"\*") + "(?P<rest>.+)" if self.rest else text)

    def match(self, name):
        """(index of the word in brackets, {slot: text}), or None."""
        for index, pattern in enumerate(self.patterns):
            if found := pattern.fullmatch(name):
                return index, found.groupdict()
        return None

    def names(self, values):
        """The names, one per word in brackets; None for a tensor that this side does not hold."""
        text = _SLOT.sub(lambda m: values[m[1]], self.template)
        text = text.removesuffix("*") + values["rest"] if self.rest else text
        return tuple([None if word == NOTHING else text.replace("[]", word or "") for word in self.words])


def _transposed(array):
    return np.swapaxes(array, -1, -2)


CHANGES = {"": (None, None), "old": (None, None), "T": (_transposed, _transposed)}


class _Row:
    def __init__(self, official, ours, how=""):
        self.official, self.ours = (None if name is None else _Side(name) for name in (official, ours))
        self.written = ours is not None and how != "old"
        sides, changes = (self.official, self.ours), CHANGES.get(how, how)
        slots = [set(_SLOT.findall(t)) for t in (official or ours, ours or official)]
        if len(changes) != 2 or isinstance(changes, str) or slots[0] != slots[1] or None not in sides and (
                self.official.rest != self.ours.rest or min(len(s.words) for s in sides) > 1):
            expected = "the same slots on both sides, brackets on one, and T, old, two functions or nothing"
            raise ArgumentError(message("KeyMap", "row", expected, (official, ours, how)))
        self.read, self.write = changes

    def across(self, name, side):
        """[(name on the other side, its _Source)] of a tensor on a side; None: this row is another's."""
        here, there, change = (self.official, self.ours, self.read) if side == "official" else (
            self.ours, self.official, self.write)
        found = here.match(name)
        if found is None:
            return None
        index, values = found
        if there is None:
            return []
        names, others = here.names(values), there.names(values)
        if len(others) > 1:
            return [(o, _Source((name,), (i, len(others)), change)) for i, o in enumerate(others) if o is not None]
        return [(others[0], _Source(names, (0, 1), change))]


class KeyMap:
    """A table of official names and ours. See the module's docstring.

    Args:
        rows: of (official, ours) or (official, ours, how); the first that matches counts.

    Raises:
        ArgumentError: a row that cannot be read both ways.
    """

    def __init__(self, rows=()):
        self.rows = [_Row(*row) for row in rows]
        self._by_outline: dict = {}

    def _rows_for(self, name, side):
        """The rows whose template on a side fits the name, numbers aside: few, and the same for every layer."""
        key = side, _outline(name)
        if key not in self._by_outline:
            rows = [row for row in self.rows if (row.official if side == "official" else row.written)]
            self._by_outline[key] = [row for row in rows if getattr(row, side).outline.fullmatch(key[1])]
        return self._by_outline[key]

    def _plan(self, names, side):
        plan: dict = {}
        for name in names:
            found = (row.across(name, side) for row in self._rows_for(name, side))
            matches = [targets for targets in found if targets is not None]
            matches = matches if side == "ours" else matches[:1]
            for target, source in chain(*(matches or [[(name, _Source((name,)))]])):
                plan.setdefault(target, source)
        return plan

    def read(self, official):
        """The tensors of an official checkpoint under our names: a Mapping; each is made when it is asked for.

        One that needs several, of which some are not there, is not there.
        """
        return _Renamed(official, self._plan(official, "official"))

    def write(self, ours):
        """Our tensors under the official names, likewise."""
        return _Renamed(ours, self._plan(ours, "ours"))

    def official_name(self, name):
        """The official name, or names, of a tensor of ours; for messages."""
        return " + ".join(self._plan([name], "ours")) or name


class _Renamed(Mapping):
    def __init__(self, tensors, plan):
        self._tensors = tensors
        self._plan = {name: source for name, source in plan.items()
                      if all(n is None or n in tensors for n in source.names)}

    def __getitem__(self, name):
        source = self._plan[name]
        parts = [None if n is None else self._tensors[n] for n in source.names]
        like = next(p for p in parts if p is not None)
        parts = [np.zeros_like(like) if p is None else p for p in parts]
        index, count = source.part
        array = parts[0]
        if len(parts) == 1 and count == 1 and source.change is None:
            return array
        parts = [np.asarray(p) for p in parts]
        array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        array = array if source.change is None else source.change(array)
        if count == 1:
            return array
        size = len(array) // count
        return array[index * size:(index + 1) * size]

    def release(self, name):
        """Let the memory of what a tensor is made of go, where the other side can."""
        if hasattr(self._tensors, "release"):
            for source in self.sources(name):
                self._tensors.release(source)

    def sources(self, name):
        """The names, on the other side, of what a tensor is made of."""
        return tuple([n for n in self._plan[name].names if n is not None])

    def __contains__(self, name):
        return name in self._plan

    def __iter__(self):
        return iter(self._plan)

    def __len__(self):
        return len(self._plan)
