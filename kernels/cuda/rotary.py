"""Entries of rotary.cu."""
from .variants import POINTERS, Variant

PLACES = [f"{array}_{axis}" for array in ("x", "cos", "sin", "y") for axis in ("batch", "head", "row")]
COUNTS = "heads", "rows", "width", "half", "interleaved"
THREADS = 256


def variants():
    for dtype, pointer in POINTERS.items():
        yield Variant("rotary.cu", "rotary_cuda", f"rotary_{dtype}", {"dtype": dtype}, {
            **dict.fromkeys(("x", "cos", "sin", "y"), pointer), **dict.fromkeys(PLACES, "i64"), "items": "i64",
            **dict.fromkeys(COUNTS, "i32")}, THREADS, constants={"ITEMS": THREADS})
