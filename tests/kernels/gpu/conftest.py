"""What tests of kernels for GPUs share; modules that several files use lie beside them."""
import os
import sys
from pathlib import Path

import pytest

from minidl.testing import simulated

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("MINIDL_SOURCE", str(Path(__file__).parents[3]))


@pytest.fixture
def kernel_sources():
    """The module kernels.library of the sources."""
    return simulated.sources()
