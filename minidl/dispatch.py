"""Which kernel runs an op: one table, one question, one answer.

Ops do not know kernels and kernels do not know ops; they meet here by name.
An op without kernels never asks: its body is written anew when one registers.
"""
import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

from .errors import ArgumentError, message

TABLE: dict = {}           # (op, device's kind) -> kernels, preferred first
on_register: dict = {}     # op -> called when its kernels change
_asked: dict = {}          # (op, device, policy) -> those that it allows; emptied when the table changes
_policy = [os.environ.get("MINIDL_KERNELS", "auto")]     # auto | off | a maker: cpu, cuda, triton


@dataclass(frozen=True)
class Kernel:
    """A fused implementation with the contract of an op's closed form."""

    name: str                  # "layer_norm.triton": op and maker
    op: str                    # "layer_norm"
    device: str                # "cpu" or "cuda"
    forward: Callable          # as the op's own; of a primitive it gives the output alone
    backward: Callable | None  # as the closed form's; of a primitive (xp, g, **what its rule names), or None: its rule
    refuses: Callable          # (arrays, params) -> reason it cannot run, or None
    deterministic: bool = True
    least: int = 0             # smaller first inputs (in elements) are not worth the question: the reference runs

    maker = property(lambda self: self.name.rpartition(".")[2])


def register(kernel, first=False):
    """Put a kernel into the table, behind or before the op's others; its callers have it from now on."""
    kernels = TABLE.setdefault((kernel.op, kernel.device), [])
    kernels.insert(0 if first else len(kernels), kernel)
    _asked.clear()
    on_register.get(kernel.op, lambda: None)()
    return kernel


def unregister(kernel):
    """Take it out again."""
    TABLE[kernel.op, kernel.device].remove(kernel)
    _asked.clear()
    on_register.get(kernel.op, lambda: None)()


def has_kernels(op, device=None):
    """Does the table hold any kernel for this op, on any device or on one?"""
    return any(kernels for (name, where), kernels in TABLE.items() if name == op and device in (None, where))


def _candidates(op, device, policy):
    kernels = TABLE.get((op, device.partition(":")[0]), ())
    return kernels if policy == "auto" else [k for k in kernels if k.maker == policy]


def least(op, device):
    """The size of the first input below which no kernel of this op is asked on a device of this kind."""
    return min([k.least for k in TABLE.get((op, device), ())], default=0)


def choose(op, device, arrays, params):
    """The first kernel that does not refuse; None means: the reference."""
    key = op, device, _policy[0]
    candidates = _asked.get(key)
    if candidates is None:
        candidates = _asked[key] = tuple(_candidates(*key))
    for kernel in candidates:
        if kernel.refuses(arrays, params) is None:
            return kernel
    return None


def reasons(op, device, arrays, params):
    """Why each kernel would or would not run, one line each."""
    fewest = least(op, device.partition(":")[0])
    few = getattr(arrays[0], "size", fewest) < fewest
    rows = [f"{k.name}: not asked below {fewest} elements" if few else
            f"{k.name}: {k.refuses(arrays, params) or 'runs'}" for k in _candidates(op, device, _policy[0])]
    return "\n".join([*rows, f"{op}: the reference runs on {device} where no kernel does"])


@contextmanager
def use_kernels(policy):
    """`with use_kernels("off"):` runs references only; "auto": the first that fits; "cpu", "cuda", "triton": that
    maker's.

    Raises:
        ArgumentError: no kernel is by such a maker.
    """
    makers = {k.maker for kernels in TABLE.values() for k in kernels} | {"cpu", "cuda", "triton"}
    if policy not in ("auto", "off") and policy not in makers:
        raise ArgumentError(message("use_kernels", "policy", f"auto, off, or one of {', '.join(sorted(makers))}",
                                    repr(policy)))
    before, _policy[0] = _policy[0], policy
    try:
        yield
    finally:
        _policy[0] = before
