"""Rows of the comparison as data: inputs, a module perhaps, and what is done with them by any library."""
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch

import numpy as np


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str                      # "ResNet-50 3x3 64-64@56"
    variant: str                   # "B1 fwd"
    inputs: Callable               # (rng) -> arrays
    prepare: Callable              # (lib, module, arrays) -> a call without arguments that gives a tensor, or several
    module: Callable | None = None             # (lib) -> a module; each library's gets the same values
    taped: bool = False            # else inside no_grad
    flops: float = 0               # of a call
    reads: float = 0               # bytes that a call has to read, where that bounds it
    share: float = 0               # of the machine's limit that we want to reach
    calls: int = 1                 # how many, one after the other, must agree
    tolerance: float = 1e-4        # of differences, over the largest value
    rivals: tuple = ("torch",)
    context: Callable = nullcontext            # () -> what minidl runs inside
    memory: bool = False           # compare peaks of memory, too
    state: Callable | None = None  # (lib, module) -> what the other libraries' modules shall hold; None: the same names


@dataclass(frozen=True)
class Group:
    """A table: its rows, and what is asked of it."""

    name: str
    title: str
    rows: list = field(repr=False)
    mean: float | None = None      # geometric mean of the ratios, at least
    least: float | None = 1.0      # each ratio, at least

    @property
    def goal(self):
        """In words."""
        mean = [] if self.mean is None else [f"{self.mean}x in geometric mean"]
        least = [] if self.least is None else [f"no row under {self.least}x"]
        return ", ".join(mean + least)


def normal(*shape):
    """Inputs: one array of normal numbers for each of these shapes."""
    return lambda rng: [rng.standard_normal(s, dtype="f4") for s in shape]


def forward(run):
    """Prepare `run(lib, module, *tensors)`."""
    def prepare(lib, module, arrays):
        tensors = [lib.tensor(a) for a in arrays]
        return lambda: run(lib, module, *tensors)
    return prepare


def both(run):
    """Prepare `run` and the gradients of all its floating inputs and parameters."""
    def prepare(lib, module, arrays):
        tensors = [lib.tensor(a, a.dtype.kind == "f") for a in arrays]
        leaves = [t for t in [*tensors, *(module.parameters() if module else ())] if t.requires_grad]
        with lib.no_grad():
            shape = tuple(run(lib, module, *tensors).shape)
        seed = lib.tensor(np.asarray(np.random.default_rng(1).standard_normal(shape), "f4"))

        def call():
            y = run(lib, module, *tensors)
            return y, *lib.gradients(y, leaves, seed)
        return call
    return prepare


def ways(name, inputs, run, module=None, flops=0, times=3, before="", shares=(0, 0), **more):
    """Two rows: forward alone, and with the gradients, which make `times` as many FLOPs of it."""
    return [Row(name, f"{before}fwd", inputs, forward(run), module, False, flops, share=shares[0], **more),
            Row(name, f"{before}fwd+bwd", inputs, both(run), module, True, flops * times, share=shares[1], **more)]


def path(group, row):
    """By what `--only` finds a row."""
    return f"{group.name}/{row.name} {row.variant}"


def chosen(groups, only=(), every=1):
    """(group, row) of those that fit one of the patterns, or start with it; of these, of every group each n-th."""
    fits = lambda name: not only or any(fnmatch(name, f"{pattern}*") for pattern in only)
    return [(g, row) for g in groups for row in [r for r in g.rows if fits(path(g, r))][::every]]
