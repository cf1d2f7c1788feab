"""Runs launches of GPU kernels in minidl.simt: on the strict double of CuPy, in the host's memory, race-checked.

    with cupy_double.installed(), simulated() as launcher:
        ml.ops.rms_norm(ml.tensor(x, device="cuda"))
    launcher.results                                   # what simt found and counted, launch by launch

It runs what is compiled for sm_80: the installation's kernels, or, where it has none or those of other sources than are
here (the folder `kernels` beside the package, or in $MINIDL_SOURCE), what compilers make of the sources on demand. For
other targets it compiles the sources.
"""
import os
import re
import sys
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from .. import simt
from .cupy_double import bare

TARGET = "sm_80"                                       # the one whose PTX an installation has


@cache
def sources():
    """The module kernels.library of minidl's sources, which compiles what it is asked for."""
    root = os.environ.get("MINIDL_SOURCE", str(Path(__file__).parents[2]))
    if root not in sys.path:
        sys.path.append(root)
    return import_module("kernels.library")


@cache
def _installed():
    """The compiled kernels of this installation, if they are of the sources at hand; else None."""
    from ..kernels.gpu.library import Library
    library = Library.installed()
    try:
        current = library.manifest.get("sources") == sources().fingerprint()
    except ImportError:
        current = True                                 # (no sources here)
    return library if library.folder and current else None


@cache
def _variants(kernel):
    """{key: (entry, variant)} of a kernel, from the sources that name it."""
    from ..kernels.gpu.library import Entry
    found = {}
    for maker in sources().MAKERS:
        compiler = sources().compiler(maker)
        for family in compiler.families():
            if re.search(rf"\b{kernel}\b", (compiler.FOLDER / f"{family}.py").read_text()):
                found |= {frozenset(v.key.items()): (Entry(**sources().record(v)), v)
                          for v in sources().variants(maker, family) if v.kernel == kernel}
    return found


def find(kernel, key):
    """The entry of a kernel for a key, or None: the installation's, or else that of the sources."""
    if _installed():
        return _installed().find(kernel, key)
    return _variants(kernel).get(frozenset(key.items()), (None, None))[0]


@cache
def compiled(entry, target=TARGET):
    """(what is known of an entry compiled for a target, its PTX)."""
    if _installed() and target == TARGET:
        made = entry.targets[target]
        return made, (_installed().folder / made["ptx"]).read_text()
    _, variant = _variants(entry.kernel)[frozenset(entry.key.items())]
    made = sources().compiler(entry.maker).compiled(variant, target, binary=False)
    return made, made["ptx"]


@cache
def _loaded(entry, target):
    """(what is known of an entry, what checks its arguments, the simt module)."""
    made, ptx = compiled(entry, target)
    return made, entry.bound(made), _module(ptx)


_module = cache(simt.Module)                           # (a file of CUDA has several entries)


class Simulated:
    """A launcher whose device is minidl.simt.

    Args:
        target: what kernels are compiled for.
        makers: whose kernels there are; None: all.
        options: of simt.launch: races, uninit, counters.
    """

    unready = None
    multiprocessors = 8                                # few, so that small problems fill them

    def __init__(self, target=TARGET, makers=None, **options):
        self.target, self.makers, self.options = target, makers, {"races": True, "uninit": True, **options}
        self.results = []                              # (entry, simt.Result), in order
        self._own = {}

    def load(self, entry, made):
        """Take what was compiled for an entry that sources do not name: {"symbol", "block", "shared", "ptx"}."""
        self._own[entry] = made, entry.bound(made), simt.Module(made["ptx"])

    def loaded(self, entry):
        """(what is known of an entry, what checks its arguments, the simt module)."""
        return self._own.get(entry) or _loaded(entry, self.target)

    @contextmanager
    def unchecked(self):
        """`with launcher.unchecked():` nothing but results is looked at inside the block, which is quicker."""
        before, self.options = self.options, {**self.options, "races": False, "uninit": False}
        try:
            yield
        finally:
            self.options = before

    def find(self, kernel, key):
        """The entry, or None."""
        entry = find(kernel, key)
        return None if entry and self.makers and entry.maker not in self.makers else entry

    def run(self, entry, grid, args):
        """Run a launch to its end.

        Raises:
            simt.Fault: it reads or writes what is not its own.
            AssertionError: it has a race, or gives reason for a warning.
            TypeError, ValueError: an argument is not as the signature says; an array that is read-only was written.
        """
        made, bound, module = self.loaded(entry)
        bound.check(tuple(args))
        memory = Memory([bare(a) for a in args])
        result = simt.launch(module, grid, tuple(made["block"]), [*memory.args, *[0] * entry.scratch], made["symbol"],
                             dynamic_shared=made["shared"], memory=memory.device, cooperative=entry.cooperative,
                             **self.options)
        self.results.append((entry, result))
        found = [*result.races, *result.warnings]
        assert not found, f"[{entry.kernel}] {entry.key}: {len(found)} races and warnings, first {found[0]}"
        memory.take_back(entry.kernel)


class Memory:
    """Arrays of the host in simt's memory. Those that share memory there share it here.

    Args:
        args: of a launch, arrays of the host among them.
    """

    def __init__(self, args):
        arrays = [a for a in args if isinstance(a, np.ndarray) and a.size]
        self.regions = []                              # [low, high, arrays], apart from each other
        for array in sorted(arrays, key=lambda a: np.lib.array_utils.byte_bounds(a)[0]):
            low, high = np.lib.array_utils.byte_bounds(array)
            if self.regions and low < self.regions[-1][1]:
                self.regions[-1][1] = max(high, self.regions[-1][1])
                self.regions[-1][2].append(array)
            else:
                self.regions.append([low, high, [array]])
        self.device = simt.GlobalMemory((1 << 16) + sum(high - low + 1024 for low, high, _ in self.regions))
        self.places = [self.device.put(_bytes(low, high)) for low, high, _ in self.regions]
        self.nowhere = self.device.allocate(0)
        self.args = [self.address(a) if isinstance(a, np.ndarray) else a or 0 for a in args]

    def address(self, array):
        """Where an array begins."""
        at = array.ctypes.data
        return next((place + at - low for (low, high, _), place in zip(self.regions, self.places)
                     if low <= at < high and array.size), self.nowhere)

    def take_back(self, kernel):
        """Copy what was written to the host."""
        for (low, high, arrays), place in zip(self.regions, self.places):
            host, device = _bytes(low, high), self.device.view(place, high - low)
            if (host != device).any():
                if not any(a.flags.writeable for a in arrays):
                    raise ValueError(f"[{kernel}] inputs: expected to be left as they were, got a write to a "
                                     f"read-only {arrays[0].dtype} {arrays[0].shape}.")
                host[:] = device


def _bytes(low, high):
    """The host's memory between two addresses."""
    return np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * (high - low)).from_address(low))


@contextmanager
def simulated(**options):
    """`with simulated() as launcher:` kernels for "cuda" are there, and run in simt, inside the block."""
    from ..kernels.gpu.launch import launching
    with launching(Simulated(**options)) as launcher:
        yield launcher
