"""Entries of depthwise.cu."""
from .conv import PLACES, SHAPE
from .variants import POINTERS, Variant


def variants():
    for dtype, pointer in POINTERS.items():
        vector, images = 4 if dtype == "float32" else 8, dict.fromkeys(("x", "weight", "y", "scale", "shift"), pointer)
        yield Variant("depthwise.cu", "depthwise_correlate_cuda", f"depthwise_correlate_{dtype}", {"dtype": dtype},
                      {**images, **SHAPE, "inputs": "i32", **PLACES, "activation": "i32"}, block=128,
                      constants={"THREADS": 128, "ALONG": 4, "VECTOR": vector}, divisible=tuple(images))
        arrays = {"x": pointer, "g": pointer, "parts": "*fp32"}
        yield Variant("depthwise.cu", "depthwise_filter_gradient_cuda", f"depthwise_filter_gradient_{dtype}",
                      {"dtype": dtype}, {**arrays, **SHAPE, "chunk": "i32"}, block=256,
                      constants={"CHANNELS": 8 * vector, "TAPS": 5}, divisible=tuple(arrays))
