"""What a model is built from: a frozen dataclass of sizes, cheap to make, to compare, to change and to write down."""
import dataclasses
import difflib

from ..errors import ArgumentError, message


class ModelConfig:
    """Base of the configs. A subclass is a frozen dataclass and has `tiny()`, the smallest with every part in it."""

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        raise NotImplementedError(message(cls.__name__, "tiny", "a classmethod of this name", "none"))

    def replace(self, **changes):
        """This config with other values for some fields.

        Raises:
            ArgumentError: it has no such field; similar ones are named.
        """
        names = [f.name for f in dataclasses.fields(self)]
        for wrong in (name for name in changes if name not in names):
            raise ArgumentError(message(type(self).__name__, "field", f"one of {', '.join(names)}", repr(wrong),
                                        near(wrong, names)))
        return dataclasses.replace(self, **changes)

    def to_dict(self):
        """{field: value}, of numbers, strings, lists and dicts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values):
        """The config that `to_dict` gave `values` for; lists, as JSON has them, become tuples.

        Raises:
            ArgumentError: it has no such field.
        """
        return cls().replace(**{name: frozen(value) for name, value in values.items()})


def frozen(value):
    """Lists, as JSON has them, as tuples, those in them too."""
    return tuple(map(frozen, value)) if isinstance(value, (list, tuple)) else value


def near(word, words):
    """"Did you mean ...?" with the words that look like this one, or nothing."""
    found = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(found)}?" if found else ""
