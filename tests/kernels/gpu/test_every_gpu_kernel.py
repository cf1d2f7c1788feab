"""Every kernel for "cuda" x every sample of its op and every dtype, compiled for sm_80 and run in minidl.simt.

Each launch is race-checked; what it reads uninitialised or out of bounds is a fault. Registering a kernel covers it.
"""
import pytest

from minidl.dispatch import TABLE
from minidl.op import REGISTRY
from minidl.testing import kernelcheck
from minidl.testing.cupy_double import installed
from minidl.testing.samples import samples
from minidl.testing.simulated import simulated

with installed():                                      # (kernels join with the first CUDA backend)
    KERNELS = [k for (op, device), kernels in sorted(TABLE.items()) if device == "cuda" and op in REGISTRY
               for k in kernels]


@pytest.fixture
def cuda():
    with installed(), simulated() as launcher:
        yield launcher


@pytest.mark.parametrize("dtype", kernelcheck.DTYPES["cuda"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_kernel(kernel, dtype, cuda):
    op = REGISTRY[kernel.op]
    cases = [case for case in samples(op) if kernelcheck.reason(kernel, op, *case, dtype) is None]
    assert cases, f"{kernel.name} serves no sample of {kernel.op} in {dtype}: give the op one"
    for case in cases:
        found = kernelcheck.check_kernel(kernel, op, *case, dtype, again=cuda.unchecked)
        with cuda.unchecked():
            kernelcheck.check_layout(kernel, op, *case, dtype, found)
            kernelcheck.check_engine(kernel, op, *case, dtype, found)
