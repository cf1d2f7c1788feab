"""Entries of decode.cu."""
from .variants import POINTERS, Variant

PLACES = [f"{array}_{axis}" for array in "qkv" for axis in ("batch", "head", "row")]
COUNTS = "heads", "group", "queries", "caches", "pages", "per_page", "width", "value_width"
JOINED = "heads", "queries", "room", "width", "chunk", "warps", "parts"


def variants():
    for dtype, pointer in POINTERS.items():
        size = 4 if dtype == "float32" else 2
        yield Variant("decode.cu", "decode_join_cuda", f"decode_join_{dtype}", {"dtype": dtype}, {
            **dict.fromkeys(("sums", "statistics"), "*fp32"), "lengths": "*i32", "out": pointer, "logsum": "*fp32",
            **dict.fromkeys(("out_batch", "out_head", "out_row"), "i64"), **dict.fromkeys(JOINED, "i32")}, 128)
        for head in (64, 128, 256):
            keys = 64 if head * size <= 256 else 32
            yield Variant("decode.cu", "decode_parts_cuda", f"decode_parts_{dtype}_{head}", {
                "dtype": dtype, "head": head}, {
                **dict.fromkeys("qkv", pointer), **dict.fromkeys(("lengths", "table"), "*i32"),
                **dict.fromkeys(("sums", "statistics"), "*fp32"), **dict.fromkeys(PLACES, "i64"),
                **dict.fromkeys(COUNTS, "i32"), **dict.fromkeys(("scale", "softcap"), "fp32"),
                **dict.fromkeys(("before", "chunk", "parts"), "i32")},
                2 * keys, (16 + 4 * keys) * head * size, {"WARPS": keys // 16, "ROWS": 16}, product=True)
