"""Every kernel x every sample of its op x every instruction set of this processor. Registering a kernel covers it."""
import pytest

import minidl  # noqa: F401
from minidl.dispatch import TABLE
from minidl.kernels import cpu
from minidl.op import REGISTRY
from minidl.testing import kernelcheck
from minidl.testing.samples import samples

KERNELS = [k for (_, device), kernels in sorted(TABLE.items()) if device == "cpu" for k in kernels
           if k.op in REGISTRY]                        # (not the optimizers' steps)
ISAS = cpu.isas() if cpu else []
CHECKS = {"agrees": kernelcheck.check_kernel, "threads": kernelcheck.check_threads, "layout": kernelcheck.check_layout,
          "engine": kernelcheck.check_engine}


@pytest.fixture(params=ISAS)
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield request.param
    cpu.set_isa(before)


def served(kernel, dtype):
    """The samples of its op that a kernel takes."""
    op = REGISTRY[kernel.op]
    return [(op, inputs, params) for inputs, params in samples(op)
            if kernelcheck.reason(kernel, op, inputs, params, dtype) is None]


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_kernel(check, kernel, isa):
    cases = [(case, dtype) for dtype in kernelcheck.DTYPES["cpu"] for case in served(kernel, dtype)]
    assert cases, f"{kernel.name} serves no sample of {kernel.op}: give the op one"
    for case, dtype in cases:
        check(kernel, *case, dtype)


def test_all_instruction_sets_of_this_build_are_known_by_name():
    if cpu:
        assert ISAS[0] == "base" and cpu.isa() in ISAS
        with pytest.raises(ValueError, match=r"\[set_isa\] name: expected one of base.*, got 'mmx'"):
            cpu.set_isa("mmx")
