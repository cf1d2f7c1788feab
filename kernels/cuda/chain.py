"""Entries of chain.cu."""
from .variants import POINTERS, Variant


def variants():
    for dtype, pointer in POINTERS.items():
        arrays = {**{f"x{i}": pointer for i in range(5)}, "program": "*i32", "constants": "*fp32", "y": pointer,
                  "parts": "*fp32"}
        yield Variant("chain.cu", "chain_cuda", f"chain_{dtype}", {"dtype": dtype},
                      {**arrays, "count": "i64", "chunk": "i64",
                       **dict.fromkeys(("steps", "inputs", "constants_count", "ones"), "i32"), "scale": "fp32"},
                      block=128, constants={"BLOCK": 256})
