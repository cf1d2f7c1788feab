"""Runs launches of GPU kernels in minidl.simt: on the strict double of CuPy, in the host's memory, race-checked.

    with cupy_double.installed(), simulated() as launcher:
        ml.ops.rms_norm(ml.tensor(x, device="cuda"))
    launcher.results                                   # what simt found and counted, launch by launch

Kernels are compiled for sm_80 when first asked for, from their sources (the folder `kernels` beside the package, or
$MINIDL_SOURCE): Triton's need triton, CUDA's a CUDA compiler.
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
from ..kernels.gpu.launch import Entry, launching
from .cupy_double import bare

TARGET = "sm_80"                                       # the one that simt executes
DTYPES = {"*fp16": "float16", "*bf16": "bfloat16", "*fp32": "float32", "*fp64": "float64", "*i1": "bool",
          "*i8": "int8", "*u8": "uint8", "*i16": "int16", "*i32": "int32", "*u32": "uint32", "*i64": "int64",
          "*u64": "uint64"}


@cache
def _compilers():
    """The modules kernels.<maker>.compile of the sources, by maker."""
    root = Path(os.environ.get("MINIDL_SOURCE", Path(__file__).parents[2]))
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return {maker: import_module(f"kernels.{maker}.compile") for maker in ("triton", "cuda")
            if (root / "kernels" / maker / "compile.py").exists()}


@cache
def _entries(kernel):
    """{key: (entry, module)} of a kernel, from the files that name it."""
    found = {}
    for maker, compiler in _compilers().items():
        for family in compiler.families():
            if re.search(rf"\b{kernel}\b", (compiler.FOLDER / f"{family}.py").read_text()):
                for v in compiler.variants(family):
                    if v.kernel == kernel:
                        entry = Entry(kernel, v.key, v.signature, v.constants, v.divisible, maker)
                        found[frozenset(v.key.items())] = entry, v
    return found


@cache
def _module(kernel, key):
    """(what compilation gave, the simt module) of an entry."""
    entry, variant = _entries(kernel)[key]
    made = _compilers()[entry.maker].compiled(variant, TARGET)
    return made, simt.Module(made["ptx"])


class Simulated:
    """A launcher whose device is minidl.simt.

    Args:
        options: of simt.launch: races, uninit, counters.
    """

    def __init__(self, **options):
        self.options = {"races": True, "uninit": True, **options}
        self.results = []                              # (entry, simt.Result), in order

    def unready(self):
        """Always ready."""

    def find(self, kernel, key):
        """The entry, from the sources."""
        return _entries(kernel).get(frozenset(key.items()), (None, None))[0]

    def run(self, entry, grid, args):
        """Run a launch to its end.

        Raises:
            simt.Fault: it reads or writes what is not its own.
            AssertionError: it has a race.
            ValueError: an argument is not as the signature says, or an array that may only be read was written.
        """
        made, module = _module(entry.kernel, frozenset(entry.key.items()))
        memory = Memory([_checked(entry, name, kind, bare(a, name)) for (name, kind), a in
                         zip(entry.signature.items(), args, strict=True)])
        scratch = len(module.source.functions[made["symbol"]].params) - len(args)
        result = simt.launch(module, grid, tuple(made["block"]), [*memory.args, *[0] * scratch], made["symbol"],
                             dynamic_shared=made["shared"], memory=memory.device, **self.options)
        self.results.append((entry, result))
        assert not result.races, f"[{entry.kernel}] {entry.key}: {len(result.races)} races, first {result.races[0]}"
        memory.take_back(entry.kernel)


def _checked(entry, name, kind, value):
    """An argument of a launch, as the signature has it."""
    def must(holds, expected):
        if not holds:
            got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)
            raise ValueError(f"[{entry.kernel}] {name}: expected {expected}, got {got}.")

    if kind[0] == "*":
        must(value is None or isinstance(value, np.ndarray), "a device array or None")
        must(value is None or value.dtype.name == DTYPES[kind], DTYPES[kind])
        number = 0 if value is None else value.ctypes.data
    else:
        must(isinstance(value, (int, float, np.number, bool)), "a number")
        number = value
    must(name not in entry.divisible or number % 16 == 0, "a multiple of 16 (its address, if an array)")
    return np.float32(value) if kind == "fp32" else value


class Memory:
    """Arrays of the host in simt's memory. Those that share memory there share it here."""

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
        self.nowhere = self.device.alloc(0)
        self.args = [self.address(a) if isinstance(a, np.ndarray) else 0 if a is None else a for a in args]

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
    import_module("minidl.kernels.gpu")
    with launching(Simulated(**options)) as launcher:
        yield launcher
