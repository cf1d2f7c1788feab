"""Memory for arrays on the CPU: what is in use, what is kept for the next array, and how to have it back.

Where the compiled kernels are there, NumPy takes the memory of its arrays from their allocator (kernels/cpu/memory.h):
64-byte aligned, freed blocks kept by size with their pages in place.  Elsewhere NumPy does as it does by itself, and
all figures are 0.  New threads start without it (NumPy holds the handler per context): arrays made there are NumPy's.

Source: NEP 49, "Data allocation strategies", numpy.org.
"""
import os
from dataclasses import dataclass

from ..errors import ArgumentError, message

_provider: list = []               # the extension's functions, or none


@dataclass(frozen=True)
class Memory:
    """Bytes of array memory on the CPU."""

    in_use: int                    # by arrays and kernels
    peak: int                      # the most that was in use since the last `reset_peak_memory`
    cached: int                    # freed, and kept
    limit: int                     # of what is kept


def use(provider):
    """Take array memory from the compiled allocator from now on; MINIDL_CACHE_BYTES=0 keeps nothing."""
    _provider[:] = [provider]
    if "MINIDL_CACHE_BYTES" in os.environ:
        set_cache_limit(int(os.environ["MINIDL_CACHE_BYTES"]))
    provider.install(True)


def memory():
    """How much array memory there is on the CPU: `ml.memory().peak`."""
    return Memory(*(_provider[0].stats() if _provider else (0, 0, 0, 0)))


def reset_peak_memory():
    """Let `memory().peak` be what is in use now."""
    for provider in _provider:
        provider.reset_peak()


def empty_cache():
    """Give the memory that is kept for later arrays back to the system."""
    for provider in _provider:
        provider.trim()


def set_cache_limit(n):
    """Keep at most `n` bytes of freed memory for later arrays (at the start: a quarter of the machine's).

    Raises:
        ArgumentError: `n` is no integer, or negative.
    """
    if not isinstance(n, int) or n < 0:
        raise ArgumentError(message("set_cache_limit", "n", "bytes, an integer, at least 0", repr(n)))
    for provider in _provider:
        provider.set_limit(n)
