"""Entries of reduce.cu, with the arguments of column_sum in kernels/triton/reduce.py."""
from .variants import POINTERS, Variant


def variants():
    for dtype, to in (*((d, "float32") for d in POINTERS), ("float32", "float16"), ("float32", "bfloat16")):
        signature = {"x": POINTERS[dtype], "y": POINTERS[to], "rows": "i32", "columns": "i64", "chunk": "i32"}
        yield Variant("reduce.cu", "column_sum_cuda", f"column_sum_{dtype}_{to}", {"dtype": dtype, "to": to},
                      signature, block=256, constants={"COLUMNS": 32})
