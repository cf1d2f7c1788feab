"""Launches compiled kernels on device "cuda". A caller names a kernel and a key; which maker's binary that is, for
which processor, on which stream, is settled behind it.

    launch("row_norm_forward", lambda c: (cdiv(rows, c["ROWS"]),), (x, weight, y, rows, columns, eps), dtype="float16")
    lacks("row_norm_forward", dtype="float64")         # why that cannot be, or None: for a kernel's `refuses`
"""
from contextlib import contextmanager
from typing import Any, Protocol

from .library import Entry


class Launcher(Protocol):
    """What finds compiled kernels and runs them: device.py, or minidl/testing/simulated.py."""

    unready: str | None                                # why it can run nothing
    multiprocessors: int                               # of the current device

    def find(self, kernel: str, key: dict) -> Entry | None:
        """The kernel's entry for a key."""

    def run(self, entry: Entry, grid: tuple, args: tuple) -> None:
        """Launch it; returns before it has run."""


_launcher: list = [None]                               # the one in use


def use(launcher):
    """From now on kernels go to it; None: all refuse."""
    _launcher[0] = launcher


def current():
    """The launcher in use, or None."""
    return _launcher[0]


@contextmanager
def launching(launcher):
    """`with launching(launcher):` kernels go to it inside the block; None: all refuse."""
    before = _launcher[0]
    use(launcher)
    try:
        yield launcher
    finally:
        use(before)


def cdiv(total, block):
    """How many blocks cover `total`."""
    return -(-total // block)


def unready():
    """Why no kernel can run, or None."""
    launcher: Any = _launcher[0]
    return "kernels for GPUs are switched off" if launcher is None else launcher.unready


def lacks(kernel, **key):
    """Why `launch` cannot run a kernel for a key, or None."""
    launcher: Any = _launcher[0]
    if reason := unready():
        return reason
    return None if launcher.find(kernel, key) else f"no {kernel} for {_said(key)}"


def constants(kernel, **key):
    """What the grids of an entry that `lacks` approves depend on."""
    launcher: Any = _launcher[0]
    return launcher.find(kernel, key).constants


def most_together():
    """How many blocks of a cooperative kernel may be launched: one for each multiprocessor of the current device."""
    launcher: Any = _launcher[0]
    return launcher.multiprocessors


def launch(kernel, grid, args, **key):
    """Run a compiled kernel; outputs are written when the stream gets there.

    Args:
        kernel: its name.
        grid: one to three numbers of blocks, or a function that gives them for the entry's constants.
        args: device arrays (None: a null pointer) and numbers, as its signature has them.
        key: which of its entries, dtype="float16", head=64.

    Raises:
        KeyError: there is no such entry; `lacks` would have said so.
        TypeError, ValueError: an argument is not as the signature says.
    """
    launcher: Any = _launcher[0]
    entry = launcher.find(kernel, key) if launcher else None
    if entry is None:
        raise KeyError(f"[{kernel}] key: expected one that `lacks` approves, got {_said(key)}.")
    grid = grid(entry.constants) if callable(grid) else grid
    if all(grid):                                      # (no blocks: nothing to do)
        launcher.run(entry, (*grid, 1, 1)[:3], args)


def _said(key):
    return ", ".join(f"{name}={value}" for name, value in key.items()) or "no key"
