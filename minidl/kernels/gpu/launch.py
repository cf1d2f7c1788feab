"""Launches compiled kernels on device "cuda". A caller names a kernel and a key; which maker's binary that is, for
which processor, on which stream, is settled here.

    launch("row_norm_forward", lambda c: (cdiv(rows, c["ROWS"]),), (x, weight, y, rows, columns, eps), dtype="float16")
    lacks("row_norm_forward", dtype="float64")         # why that cannot be, or None: for a kernel's `refuses`
"""
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Entry:
    """A compiled kernel, as the manifest has it."""

    kernel: str
    key: dict                                          # {"dtype": "float16", "head": 64}
    signature: dict                                    # its arguments -> "*fp16", "i32", "fp32", …, in order
    constants: dict                                    # what grids depend on: {"BLOCK_M": 128}
    divisible: tuple                                   # arguments (addresses, integers) that must be multiples of 16
    maker: str                                         # "triton" or "cuda"
    targets: dict = field(default_factory=dict)        # "sm_80" -> {"symbol", "block", "shared", "file"}


class Launcher(Protocol):
    """What finds compiled kernels and runs them: a device, or minidl/testing/simulated.py."""

    def unready(self) -> str | None:
        """Why it can run nothing, or None."""

    def find(self, kernel: str, key: dict) -> Entry | None:
        """The kernel's entry for a key."""

    def run(self, entry: Entry, grid: tuple, args: tuple) -> None:
        """Launch it; returns before it has run."""


_launchers: list = []                                  # the one in use is the last


@contextmanager
def launching(launcher):
    """`with launching(launcher):` kernels go to it inside the block; None: all refuse."""
    _launchers.append(launcher)
    try:
        yield launcher
    finally:
        _launchers.pop()


def cdiv(total, block):
    """How many blocks cover `total`."""
    return -(-total // block)


def lacks(kernel, **key):
    """Why `launch` cannot run a kernel for a key, or None."""
    launcher: Any = _launchers[-1] if _launchers else None
    if launcher is None:
        return "no compiled kernels for GPUs"
    if reason := launcher.unready():
        return reason
    return None if launcher.find(kernel, key) else f"no {kernel} for {_said(key)}"


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
    launcher: Any = _launchers[-1] if _launchers else None
    entry = launcher.find(kernel, key) if launcher else None
    if entry is None:
        raise KeyError(f"[{kernel}] key: expected one that `lacks` approves, got {_said(key)}.")
    grid = grid(entry.constants) if callable(grid) else grid
    if all(grid):                                      # (no blocks: nothing to do)
        launcher.run(entry, (*grid, 1, 1)[:3], args)


def _said(key):
    return ", ".join(f"{name}={value}" for name, value in key.items()) or "no key"
