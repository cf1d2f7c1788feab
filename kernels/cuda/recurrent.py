"""Entries of recurrent.cu, with the arrays of those in kernels/triton/recurrent.py."""
from .variants import PRODUCTS, Variant

KINDS = {**dict.fromkeys("gates c recurrent gc rest".split(), "*fp32"), "lengths": "*i64", "arrived": "*u32"}
TOLD = dict.fromkeys("steps reverse rows hidden".split(), "i32")
KERNELS = {                                            # their arrays; columns of the product for each unit
    "lstm_forward_cuda": ("gates h c y weight bias_ih bias_hh", 4),
    "lstm_backward_cuda": ("gates c gy ga gc rest weight", 1),
    "gru_forward_cuda": ("gates h recurrent y weight bias_ih bias_hh", 3),
    "gru_backward_cuda": ("gates h recurrent gy ga gb rest weight", 1)}
WARPS, ROWS = 8, 16
HELD = 1 << 15                                         # bytes of a state's row x units of a block that registers hold


def variants():
    for kernel, (arrays, products) in KERNELS.items():
        names = [*arrays.split(), "lengths", "arrived"]
        for dtype, pointer in PRODUCTS.items():
            signature = {**{n: KINDS.get(n, pointer) for n in names}, **TOLD}
            for units in 8, 16:
                line = (products * units // 8 | 1) * 8
                yield Variant("recurrent.cu", kernel, f"{kernel.removesuffix('_cuda')}_{dtype}_{units}",
                              {"dtype": dtype, "units": units}, signature, block=32 * WARPS,
                              shared=2 * WARPS * ROWS * line * 4,
                              constants={"UNITS": units, "ROWS": ROWS, "ROW_BYTES": HELD // units},
                              divisible=tuple(names), cooperative=True, product=True)
