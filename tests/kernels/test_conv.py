"""Convolutions as large as the kernels' cuts: several blocks of pixels, slices of channels, rounds of images."""
import numpy as np
import pytest

import minidl as ml
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
    "one tap, planes of whole vectors, in parts": ("conv2d", (2, 40, 30, 16), (40, 40, 1, 1), (1, 0)),
    "one tap, planes in parts, the last ragged": ("conv2d", (2, 40, 20, 17), (40, 40, 1, 1), (1, 0)),
    "long rows in parts": ("conv1d", (2, 4, 5000), (9, 4, 5), (1, 2)),
    "transposed, phases": ("conv_transpose2d", (3, 70, 9, 8), (70, 20, 4, 4), (2, 1)),
    "strides, rows of whole vectors": ("conv2d", (2, 3, 66, 66), (40, 3, 3, 3), (2, 0)),
    "strides of three, all phases": ("conv2d", (2, 9, 40, 41), (40, 9, 4, 4), (3, 2)),
    "one tap, every second pixel": ("conv2d", (3, 70, 29, 28), (90, 70, 1, 1), (2, 0)),
    "one tap, few pixels": ("conv2d", (4, 150, 7, 7), (70, 150, 1, 1), (1, 0)),
    "one tap, few filters": ("conv2d", (3, 20, 20, 21), (2, 20, 1, 1), (1, 0)),
    "side by side": ("conv2d", (2, 20, 24, 36), (70, 20, 2, 4), ((2, 4), 0)),
    "transposed, side by side": ("conv_transpose2d", (3, 70, 9, 35), (70, 20, 2, 2), (2, 0)),
    "transposed, side by side, one row": ("conv_transpose1d", (3, 70, 35), (70, 20, 4), (4, 0)),
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


@pytest.mark.skipif(not hasattr(cpu, "conv"), reason="no compiled convolutions in this installation")
@pytest.mark.parametrize("name, weight, stride", [("conv2d", (40, 66, 3, 3), 2), ("conv2d", (70, 66, 1, 1), 1),
                                                  ("conv_transpose2d", (66, 40, 4, 4), 2),
                                                  ("conv_transpose2d", (66, 40, 2, 2), 2)])
def test_filters_are_kept_while_nothing_changes_them(name, weight, stride):
    rng = np.random.default_rng(0)
    x, w = ml.tensor(rng.standard_normal((2, 66, 9, 10), "f4")), ml.tensor(rng.standard_normal(weight, "f4"))
    run = getattr(ml.ops, name)
    with ml.no_grad():
        first, *others = [run(x, w, stride=stride).numpy().copy() for _ in range(3)]
        assert all((y == first).all() for y in others)
        w.assign(w * 2.0)
        assert (run(x, w, stride=stride).numpy() == 2 * first).all()
