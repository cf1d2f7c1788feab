"""Every check x every op x every sample. A new op is covered by being defined."""
import pytest

import minidl  # noqa: F401
from minidl.op import REGISTRY
from minidl.testing import contractcheck, kernelcheck, opcheck
from minidl.testing.samples import samples

PUBLIC = [op for name, op in sorted(REGISTRY.items()) if not name.startswith("_")]
CASES = [pytest.param(op, *s, id=f"{op.name}-{i}") for op in PUBLIC for i, s in enumerate(samples(op))]
CHECKS = opcheck.CHECKS | contractcheck.CHECKS | kernelcheck.CHECKS


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("op, inputs, params", CASES)
def test_op(check, op, inputs, params):
    check(op, inputs, params)


@pytest.mark.parametrize("op", PUBLIC, ids=lambda op: op.name)
def test_contract(op):
    contractcheck.check_contract(op)
