"""What a Triton kernel is compiled as: its functions, once for each key that a caller may ask for.

    def variants():                                    # in every file of kernels beside this one
        for dtype, pointer in POINTERS.items():
            signature = {"x": pointer, "y": pointer, "rows": "i32", "columns": "i32", "eps": "fp32"}
            yield tuned(rms_norm_forward, {"dtype": dtype}, signature, divisible=("x", "y"))

Block sizes, warps and stages are data: configs.json holds, for each kernel, a `default` and what differs where a
variant's key has certain values, `"head=128 dtype=float32"`; where several such rows hold, the longer one wins.
"""
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

POINTERS = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32"}       # dtype -> a pointer to it
PRODUCTS = {**POINTERS, "tf32": "*fp32"}               # as what tensor cores multiply them
LAUNCH = ("num_warps", "num_stages")


@dataclass(frozen=True)
class Variant:
    """One compiled entry of a Triton kernel."""

    function: Any                                      # decorated by @triton.jit; its name is the kernel's
    key: dict                                          # what callers ask for: {"dtype": "float16", "head": 64}
    signature: dict                                    # every parameter that is no constant -> its type, in order
    constants: dict = field(default_factory=dict)      # the constexpr parameters
    num_warps: int = 4
    num_stages: int = 3
    divisible: tuple = ()                              # arguments (addresses, integers) that are multiples of 16

    maker, cooperative = "triton", False
    kernel = property(lambda self: self.function.__name__)


@cache
def configs():
    """{kernel: {row: {constant: value}}} of configs.json."""
    return json.loads((Path(__file__).parent / "configs.json").read_text())


def _holds(row, key):
    conditions = dict(part.split("=") for part in row.split())
    return all(name in key and str(key[name]).lower() == value.lower() for name, value in conditions.items())


def config(kernel, key):
    """The constants, warps and stages that configs.json gives a kernel's variant."""
    rows = configs().get(kernel, {})
    chosen = dict(rows.get("default", {}))
    for row in sorted((r for r in rows if r != "default" and _holds(r, key)), key=lambda r: len(r.split())):
        chosen.update(rows[row])
    return chosen


def tuned(function, key, signature, constants=None, divisible=()):
    """A variant whose block sizes, warps and stages are those of configs.json."""
    found = config(function.__name__, key)
    launch = {name: found.pop(name) for name in LAUNCH if name in found}
    return Variant(function, key, signature, {**found, **(constants or {})}, divisible=tuple(divisible), **launch)
