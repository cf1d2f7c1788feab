"""What tests of kernels for GPUs share; modules that several files use lie beside them.

Tests that take `cuda` run in minidl.simt, on the strict double of CuPy; `pytest -m gpu` runs them on a GPU.
"""
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from minidl import backend
from minidl.testing import simulated
from minidl.testing.cupy_double import installed

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MINIDL_SOURCE", str(Path(__file__).parents[3]))


@pytest.fixture
def kernel_sources():
    """The module kernels.library of the sources."""
    return simulated.sources()


class OnDevice:
    """The launcher of real GPUs, which writes down what it launches; there is nothing to leave unchecked."""

    unchecked = nullcontext

    def __init__(self):
        from minidl.kernels.gpu.device import Device
        backend.find("cuda")
        self.device, self.results = Device(), []
        assert not self.device.unready, self.device.unready
        self.unready, self.find = self.device.unready, self.device.find
        self.multiprocessors = self.device.multiprocessors

    def run(self, entry, grid, args):
        self.results.append((entry, None))
        self.device.run(entry, grid, args)


@pytest.fixture(params=["simt", pytest.param("gpu", marks=pytest.mark.gpu)])
def cuda(request):
    """A launcher of kernels for device "cuda"."""
    if request.param == "simt":
        with installed(), simulated.simulated() as launcher:
            yield launcher
    else:
        from minidl.kernels.gpu.launch import launching
        with launching(OnDevice()) as launcher:
            yield launcher
