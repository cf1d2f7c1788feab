"""Entries of conv.cu, with the arguments of those in kernels/triton/conv.py."""
from .variants import PRODUCTS, Variant

SHAPE = dict.fromkeys("windows p q height width channels outputs taps taps_w start_h start_w stride_h stride_w "
                      "dilation_h dilation_w".split(), "i32")
PLACES = dict.fromkeys(("y_start", "y_n", "y_h", "y_w"), "i64")


def variants():
    for dtype, pointer in PRODUCTS.items():
        size, images = 4 if pointer == "*fp32" else 2, dict.fromkeys(("x", "weight", "y", "scale", "shift"), pointer)
        for outputs in 64, 128:
            yield Variant("conv.cu", "correlate_cuda", f"correlate_{dtype}_{outputs}",
                          {"dtype": dtype, "outputs": outputs}, {**images, **SHAPE, **PLACES, "activation": "i32"},
                          block=2 * outputs, shared=4 * (128 + outputs) * 64,
                          constants={"BLOCK_M": 128, "BLOCK_N": outputs}, divisible=tuple(images), product=True)
        arrays = {"x": pointer, "g": pointer, "parts": "*fp32"}
        yield Variant("conv.cu", "filter_gradient_cuda", f"filter_gradient_{dtype}", {"dtype": dtype},
                      {**arrays, **SHAPE, "chunk": "i32"}, block=128,
                      shared=(4 if size == 2 else 3) * 32 * (64 + 128) * size,
                      constants={"BLOCK_M": 64, "BLOCK_N": 128}, divisible=tuple(arrays), product=True)
