"""Convolutions as large as the kernels' cuts: several blocks of pixels, slices of channels, rounds of images."""
import numpy as np
import pytest

from minidl.backend.precision import precision
from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads

CASES = {
    "bands of rows, slices of channels": ("conv2d", (1, 66, 30, 31), (40, 66, 3, 3), (1, 1)),
    "images in groups, edges all around": ("conv2d", (20, 50, 4, 5), (70, 50, 3, 3), (1, 1)),
    "filters cut": ("conv2d", (1, 140, 5, 5), (150, 140, 3, 3), (1, 1)),
    "strides": ("conv2d", (2, 20, 33, 29), (17, 20, 5, 3), (2, 1)),
    "few channels, larger filters than edges": ("conv2d", (2, 3, 40, 41), (33, 3, 7, 7), (2, 3)),
    "few filters: along pixels": ("conv2d", (3, 40, 21, 50), (2, 40, 3, 3), (1, 1)),
    "one tap": ("conv2d", (5, 64, 20, 21), (48, 64, 1, 1), (1, 0)),
    "one tap, planes of 4 KiB": ("conv2d", (2, 32, 32, 32), (64, 32, 1, 1), (1, 0)),
    "long rows in parts": ("conv1d", (2, 4, 5000), (9, 4, 5), (1, 2)),
    "transposed, phases": ("conv_transpose2d", (3, 70, 9, 8), (70, 20, 4, 4), (2, 1)),
    "transposed, gaps": ("conv_transpose2d", (2, 20, 9, 8), (20, 3, 2, 2), (3, 0)),
}


@pytest.mark.skipif(not hasattr(cpu, "conv"), reason="no compiled convolutions in this installation")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", ["full", "strict"])
def test_convolutions_at_real_sizes(case, level):
    name, x, weight, (stride, padding) = CASES[case]
    rng = np.random.default_rng(0)
    outputs = weight[1] if "transpose" in name else weight[0]
    inputs = [rng.standard_normal(shape).astype("float32") for shape in (x, weight, (outputs,))]
    kernel = next(k for k in TABLE[name, "cpu"] if k.name == f"{name}.cpu")
    params = {"stride": stride, "padding": padding}
    with precision(level):                             # (by Winograd's algorithm where it serves, or directly)
        for arrays in inputs, [*inputs[:2], None]:
            check_kernel(kernel, REGISTRY[name], arrays, params)
            check_threads(kernel, REGISTRY[name], arrays, params)
