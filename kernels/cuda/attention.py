"""Entries of attention_forward.cu and attention_backward.cu."""
from .variants import PRODUCTS, Variant

INPUTS = {"q": "x", "k": "x", "v": "x", "bias": "x", "mask": "*i1",
          **dict.fromkeys(("lengths", "starts", "key_starts"), "*i32")}
PLACES = [f"{array}_{axis}" for array, axes in {
    "q": "batch head row", "k": "batch head row", "v": "batch head row", "bias": "batch head query key",
    "mask": "batch head query key"}.items() for axis in axes.split()]
SETTINGS = {**dict.fromkeys(("sequences", "heads", "group", "queries", "keys", "width", "value_width"), "i32"),
            **dict.fromkeys(("scale", "softcap"), "fp32"),
            **dict.fromkeys(("offset", "last", "before", "behind"), "i32"),
            **dict.fromkeys(("seed", "stream", "threshold"), "i64"), "kept": "fp32"}
KERNELS = {                                            # what follows those: arrays, and whose places
    "attention_forward_cuda": ({"out": "x", "logsum": "*fp32"}, ("out",)),
    "attention_backward_queries_cuda": ({"out": "x", "g": "x", "logsum": "*fp32", "delta": "*fp32", "gq": "x",
                                         "gbias": "*fp32"}, ("out", "g", "gq")),
    "attention_backward_keys_cuda": ({"g": "x", "logsum": "*fp32", "delta": "*fp32", "gk": "x", "gv": "x"},
                                     ("g", "gk", "gv"))}


def _signature(dtype, arrays, placed):
    places = [f"{array}_{axis}" for array in placed for axis in ("batch", "head", "row")]
    found = {**INPUTS, **dict.fromkeys(PLACES, "i64"), **SETTINGS, **arrays, **dict.fromkeys(places, "i64")}
    return {name: PRODUCTS[dtype] if kind == "x" else kind for name, kind in found.items()}


def _shape(kernel, size, head):
    """(rows of a block, bytes of shared memory), as the sources have them."""
    if kernel == "attention_forward_cuda":
        rows, keys = 128 if size == 2 else 64, 64 if size == 2 and head <= 64 else 32
        return rows, (rows + 4 * keys) * head * size
    count = min(64, 8192 // head // size)
    return 64, (2 * 64 + 4 * count) * head * size + 4 * count * 4


def variants():
    for kernel, (arrays, placed) in KERNELS.items():
        for dtype in PRODUCTS:
            size, forward = 4 if PRODUCTS[dtype] == "*fp32" else 2, kernel == "attention_forward_cuda"
            for head in (32, 64, 128) if forward and size == 2 else (64, 128):
                rows, shared = _shape(kernel, size, head)
                yield Variant("attention_forward.cu" if forward else "attention_backward.cu", kernel,
                              f"{kernel.removesuffix('_cuda')}_{dtype}_{head}", {"dtype": dtype, "head": head},
                              _signature(dtype, arrays, placed), 128, shared, {"ROWS": rows}, product=True)
