"""The number of BLAS threads: set, said, and without effect on the bits."""
import numpy as np
import pytest

import minidl as ml
from minidl.errors import ArgumentError


def test_threads_are_set_and_change_no_bit():
    before, x = ml.get_num_threads(), ml.tensor(np.random.default_rng(0).standard_normal((300, 300)).astype("f4"))
    try:
        results = []
        for n in (1, 2, 1):
            ml.set_num_threads(n)
            assert ml.get_num_threads() == n
            results.append((x @ x).numpy().tobytes())
        assert len(set(results)) == 1
    finally:
        ml.set_num_threads(before)


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", True, None])
def test_refusals(n):
    with pytest.raises(ArgumentError, match=r"\[set_num_threads\] n: expected an integer, at least 1"):
        ml.set_num_threads(n)
