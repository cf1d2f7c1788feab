"""Kernels of our own, by op: each file here allocates outputs, says when a kernel refuses, and registers it.

The code itself is C++ in kernels/cpu, bound by csrc into `minidl.kernels._cpu`, which knows no op and allocates
nothing.  Where it is missing (no compiler when minidl was installed) the references run, and a warning says so once.
`MINIDL_EXTENSION` names a folder with another build of it: one with sanitizers, or of some families only.
Those for GPUs are in gpu/, which is imported when a CUDA device is first asked for.
"""
import os
import warnings
from importlib import import_module

from ..backend import memory, on_register, threads

if "MINIDL_EXTENSION" in os.environ:
    __path__.insert(0, os.environ["MINIDL_EXTENSION"])

FAMILIES = ("gemm", "conv", "pool", "attention", "recurrent", "norm", "softmax", "elementwise", "embedding", "vision",
            "optim")


class MissingKernels(UserWarning):
    """The compiled kernels are not there: the NumPy references run, which are slower."""


def _load():
    """The extension, or None."""
    try:
        found = import_module("._cpu", __name__)
    except ImportError as error:
        warnings.warn(f"[minidl] kernels: expected the compiled extension in {__path__[-1]}, got {error}. The NumPy "
                      "references run instead. Install a C++20 compiler and minidl again; if this is its source "
                      "folder, run the installed package (python -P).", MissingKernels, stacklevel=2)
        return None
    if wanted := os.environ.get("MINIDL_ISA"):
        found.set_isa(wanted)
    memory.use(found.memory)
    threads.add_pool(found.set_threads, found.threads)
    return found


cpu = _load()
for family in FAMILIES:
    if hasattr(cpu, family):
        import_module(f".{family}", __name__)
on_register["cuda"] = lambda: import_module(".gpu", __name__)
