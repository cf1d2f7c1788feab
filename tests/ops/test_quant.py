"""Arithmetic of quantised numbers against whole numbers of NumPy."""
import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.dispatch import use_kernels
from minidl.errors import DTypeError, ShapeError


@pytest.mark.parametrize("policy", ["auto", "off"])
def test_int8_matmul_is_exact_at_the_ends_of_the_range(policy):
    a = np.full((3, 5000), -128, "int8")
    b = np.stack([np.full(5000, -128), np.full(5000, 127), np.resize([127, -128], 5000)], 1).astype("int8")
    with use_kernels(policy):
        out = ops.int8_matmul(Tensor(a), Tensor(b)).data
    assert out.dtype == "int32"
    np.testing.assert_array_equal(out, a.astype("int64") @ b.astype("int64"))


def test_int8_matmul_says_what_it_takes():
    a = Tensor(np.zeros((2, 3), "int8"))
    with pytest.raises(DTypeError, match=r"\[int8_matmul\] b: expected int8, got uint8"):
        ops.int8_matmul(a, Tensor(np.zeros((3, 2), "uint8")))
    with pytest.raises(ShapeError, match="int8_matmul"):
        ops.int8_matmul(a, a)
