"""The errors minidl raises, and the single format of their messages.

    [op] argument: expected <contract>, got <fact>. <what to do about it> (in ViT.blocks.3.norm1)
"""
import math
from collections.abc import Mapping
from contextlib import contextmanager
from numbers import Integral, Real


class MinidlError(Exception):
    """Base class: everything minidl raises on purpose."""

    where: tuple = ()          # the modules the call was inside, innermost first

    def leaves(self, module):
        """A module lets the error pass and signs it; nothing is paid before one happens."""
        self.where = (*self.where, module)

    def __str__(self):
        text = self.args[0] if self.args else ""       # (KeyError would show its repr)
        return f"{text} (in {module_path(self.where[::-1])})" if self.where else text


class ArgumentError(MinidlError, ValueError, IndexError):
    """An argument's value is not one the op accepts. (An IndexError too, so that `for x in tensor` ends.)"""


class ShapeError(MinidlError, ValueError):
    """An argument's shape breaks the op's shape contract."""


class DTypeError(MinidlError, TypeError):
    """An argument's dtype is not one the op accepts."""


class DeviceError(MinidlError, RuntimeError):
    """Arguments live on different devices, or a device is not there."""


class GradError(MinidlError, RuntimeError):
    """A gradient was asked for where none can exist."""


class OutOfMemoryError(MinidlError, MemoryError):
    """An array does not fit into memory."""


class CheckpointError(MinidlError, KeyError):
    """A file of weights cannot be written or read, or does not fit the model."""


class WorkerError(MinidlError, RuntimeError):
    """A worker process of a data loader failed."""


def message(op, argument, expected, got, hint=""):
    """`[op] argument: expected ..., got .... Hint.`"""
    text = f"[{op}] {argument}: expected {expected}, got {got}."
    return f"{text} {hint}" if hint else text


def number(op, argument, value, least=-math.inf, most=math.inf, whole=False):
    """`value`, which must be a number in [least, most] and, if `whole`, an integer.

    Raises:
        ArgumentError: it is not.
    """
    kind, expected = (Integral, "an integer") if whole else (Real, "a number")
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= most:
        bounds = f" in [{least}, {most}]" if most < math.inf else f", at least {least}" if least > -math.inf else ""
        raise ArgumentError(message(op, argument, expected + bounds, repr(value)))
    return value


@contextmanager
def memory_for(op, what):
    """Where memory is short, says for what.

    Raises:
        OutOfMemoryError: it is.
    """
    try:
        yield
    except MemoryError as error:
        raise OutOfMemoryError(message(op, "memory", f"room for {what}", f"{error}")) from error


def fields(op, saved, *names):
    """The values that a saved state has under `names`, in their order.

    Raises:
        CheckpointError: it is not a dict, or lacks one of them.
    """
    if not isinstance(saved, Mapping):
        raise CheckpointError(message(op, "state", f"a dict of {', '.join(names)}", type(saved).__name__))
    if lacking := [name for name in names if name not in saved]:
        raise CheckpointError(message(op, "state", f"values for {', '.join(names)}", f"none for {', '.join(lacking)}"))
    return [saved[name] for name in names]


def module_path(modules):
    """"ViT.blocks.3.norm1" from [ViT, Block, LayerNorm], outermost first."""
    if not modules:
        return ""
    names = [type(modules[0]).__name__]
    for outer, inner in zip(modules, modules[1:]):
        names.append(next((n for n, m in outer.named_modules() if m is inner and n), type(inner).__name__))
    return ".".join(names)
