"""Fixtures for all tests."""
from contextlib import nullcontext

import pytest

from minidl.testing.cupy_double import installed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A worker that is done takes over tests that wait for another: the slow ones come one behind the other."""
    from xdist.scheduler import WorkStealingScheduling
    return WorkStealingScheduling(config, log)


@pytest.fixture(params=["cpu", "double"])
def device(request):
    """The name of a device: a test that takes it runs on the CPU, and again on the strict double of CuPy."""
    on_double = request.param == "double"
    with installed() if on_double else nullcontext():
        yield "cuda" if on_double else "cpu"


@pytest.fixture
def double():
    """The double's namespace; minidl's "cuda" is the double while the test runs."""
    with installed() as xp:
        yield xp
