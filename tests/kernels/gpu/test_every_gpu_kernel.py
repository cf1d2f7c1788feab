"""Every kernel for "cuda" x its op's samples and sizes of several blocks x every dtype. Registering one covers it.

What is compiled for sm_80 runs in minidl.simt: each launch is race-checked; reading what is uninitialised or out of
bounds is a fault. `pytest -m gpu` runs the same on a GPU. So do the builds for sm_90, where Triton's have wgmma, on one
small sample each.
"""
from contextlib import suppress
from itertools import product

import pytest
from sizes import cases
from test_steps import RULES, steps

from minidl.backend.precision import precision
from minidl.dispatch import TABLE
from minidl.errors import MinidlError
from minidl.op import REGISTRY
from minidl.testing import kernelcheck
from minidl.testing.cupy_double import installed
from minidl.testing.samples import flat
from minidl.testing.simulated import Simulated, simulated

with installed():                                      # (kernels join with the first CUDA backend)
    KERNELS = [k for (op, device), kernels in sorted(TABLE.items()) if device == "cuda" and op in REGISTRY
               for k in kernels]
DTYPES = kernelcheck.DTYPES["cuda"]


def served(kernel, dtype):
    """The op of a kernel and the cases that it takes."""
    op = REGISTRY[kernel.op]
    return op, [case for case in cases(op) if kernelcheck.reason(kernel, op, *case, dtype) is None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_kernel(kernel, dtype, cuda):
    op, taken = served(kernel, dtype)
    assert taken, f"{kernel.name} serves no sample of {kernel.op} in {dtype}: give the op one"
    for case in taken:
        found = kernelcheck.check_kernel(kernel, op, *case, dtype, again=cuda.unchecked)
        with cuda.unchecked():
            kernelcheck.check_layout(kernel, op, *case, dtype, found)
            kernelcheck.check_engine(kernel, op, *case, dtype, found)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_kernel_for_hopper(kernel):
    with installed(), simulated(target="sm_90") as launcher:
        op, taken = served(kernel, "float16")
        sizes = [[a.size for a in flat(inputs)] for inputs, _ in taken]
        _, smallest = min((sum(size), k) for k, size in enumerate(sizes) if all(size))
        want = kernelcheck.Expectation(op, *taken[smallest], "float16")
        want.compare(kernel, want.by(kernel))
        assert launcher.results


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_where_the_caller_says_fast_float32_is_multiplied_as_tf32(kernel, cuda):
    """Only there, and as exactly as fractions of ten bits allow, which are float16's."""
    def launched(dtype):
        return [entry for entry, _ in cuda.results if entry.key.get("dtype") == dtype]

    op, taken = served(kernel, "float32")
    inputs, params = sorted(taken, key=lambda case: sum([a.size for a in flat(case[0])]))[len(taken) // 2]
    want = kernelcheck.Expectation(op, inputs, params, "float32")
    with precision("fast"):
        fast = want.by(kernel)
    assert not [e for e in launched("float32") if cuda.find(e.kernel, {**e.key, "dtype": "tf32"})]
    want.compare(kernel, fast, "float16")
    if launched("tf32"):
        cuda.results.clear()
        with cuda.unchecked():
            exact = want.by(kernel)
        assert not launched("tf32") and any([(a != b).any() for a, b in zip(fast[0], exact[0])])


class Recorded(Simulated):
    """Runs nothing, but writes down what it is asked for."""

    def run(self, entry, grid, args):
        self.results.append((entry.kernel, *sorted(entry.key.items())))


def test_every_variant_is_run(kernel_sources):
    """What is compiled and never launched above is not proven."""
    from minidl.kernels.gpu.launch import launching
    launched = set()
    for makers in None, ["cuda"]:                      # (some serve where there is no Triton)
        with installed(), launching(Recorded(makers=makers)) as launcher:
            for dtype in DTYPES:
                for kernel in KERNELS:
                    op, taken = served(kernel, dtype)
                    for case, level in product(taken, ("full", "fast")):
                        with precision(level), suppress(MinidlError):  # (values never computed may be refused)
                            kernelcheck.bits(kernel, op, *case, dtype)
                for rule, settings in RULES:
                    steps(rule, settings, dtype)
        launched |= set(launcher.results)
    known = {(v.kernel, *sorted(v.key.items())) for v in kernel_sources.listing(kernel_sources.makers())}
    never = sorted(map(str, known - launched))
    assert not never, f"give sizes.py cases that launch {never}"
