"""What a CUDA kernel offers: the extern "C" entries of its .cu file, each for a key that a caller may ask for.

    def variants():                                    # in <family>.py, beside <family>.cu
        yield Variant("norm.cu", "row_norm_cuda", "row_norm_float16", {"dtype": "float16"},
                      {"x": "*fp16", "y": "*fp16", "rows": "i32"}, block=256)

A .cu file is compiled once per architecture, whole.  Types are named as in Triton's signatures.
"""
from dataclasses import dataclass, field

POINTERS = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32"}       # dtype -> a pointer to it
PRODUCTS = {**POINTERS, "tf32": "*fp32"}               # as what tensor cores multiply them


@dataclass(frozen=True)
class Variant:
    """One entry of a compiled .cu file."""

    source: str                                        # the file, in this folder
    kernel: str                                        # what callers call it; ends in _cuda
    entry: str                                         # its extern "C" name
    key: dict                                          # what callers ask for: {"dtype": "float16", "head": 64}
    signature: dict                                    # its parameters -> their types, in order
    block: int | tuple                                 # threads
    shared: int = 0                                    # bytes of dynamic shared memory
    constants: dict = field(default_factory=dict)      # what grids depend on: {"BLOCK_M": 64}
    divisible: tuple = ()                              # arguments (addresses, integers) that are multiples of 16
    cooperative: bool = False                          # do its blocks wait for each other?
    product: bool = False                              # does it multiply matrices, on tensor cores?

    maker = "cuda"
