"""Recurrent kernels at sizes with several blocks of sequences, groups of hidden units and ragged ends of both."""
import numpy as np
import pytest

import minidl
from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing.kernelcheck import check_kernel, check_threads


@pytest.mark.skipif(cpu is None, reason="no compiled kernels in this installation")
@pytest.mark.parametrize("name, gates", [("lstm", 4), ("gru", 3), ("rnn", 1)])
@pytest.mark.parametrize("t, n, hidden, lengths", [(40, 32, 64, True), (7, 5, 70, True), (3, 20, 530, False)])
def test_sequences(name, gates, t, n, hidden, lengths):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype("float32")

    state = [normal(n, hidden)] * (2 if name == "lstm" else 1)
    inputs = [normal(t, n, 17), *state, normal(gates * hidden, 17), normal(gates * hidden, hidden),
              normal(gates * hidden), None, *[None] * (name == "lstm"), rng.integers(0, t + 1, n) if lengths else None]
    kernel, = TABLE[name, "cpu"]
    for reverse in (False, True):
        check_kernel(kernel, REGISTRY[name], inputs, {"reverse": reverse})
        check_threads(kernel, REGISTRY[name], inputs, {"reverse": reverse})
        params = [*["tanh"] * (name == "rnn"), reverse]
        taped, _ = kernel.forward(np, *inputs, *params)
        with minidl.no_grad():                         # nothing is kept of the gates; from the second call on packed
            for _ in range(3):                         # weights are
                untaped, _ = kernel.forward(np, *inputs, *params)
                assert all(np.array_equal(a, b) for a, b in zip(taped, untaped))
