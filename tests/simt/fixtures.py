"""CUDA kernels that tests run: committed as PTX, so that no compiler is needed, and compiled anew where there is one.

    python tests/simt/fixtures.py            # write kernels/*.ptx anew, by nvcc
"""
import re
from functools import cache
from pathlib import Path

import pytest

from minidl import simt
from minidl.simt.compile import find_nvcc, find_nvrtc, include_folders

KERNELS = Path(__file__).parent / "kernels"
ARCHITECTURES = {"bulk_scale": "compute_90a", "clusters": "compute_90", "tensor_maps": "compute_90",
                 "features": "compute_90", "libraries": "compute_90"}          # of others: compute_80
MAKERS = ("committed", "nvcc", "nvrtc")


@cache
def module(name, maker="committed"):
    """A fixture as a simt.Module. Skips the test where its compiler is not installed."""
    if maker == "nvcc" and not find_nvcc():
        pytest.skip("nvcc is not installed")
    if maker == "nvrtc" and not (find_nvrtc() and include_folders()):
        pytest.skip("NVRTC or CUDA's headers are not installed")
    if maker == "committed":
        return simt.load(KERNELS / f"{name}.ptx")
    return simt.load(KERNELS / f"{name}.cu", ARCHITECTURES.get(name, "compute_80"), compiler=maker)


def marked_lines(name, mark):
    """The numbers of the lines of a source that contain `mark`."""
    return [k for k, line in enumerate((KERNELS / f"{name}.cu").read_text().splitlines(), 1) if mark in line]


def write(name):
    """Compile a source and keep its PTX, without the folders of the machine it was compiled on."""
    text = simt.compile_cuda(KERNELS / f"{name}.cu", ARCHITECTURES.get(name, "compute_80"), compiler="nvcc")
    text = re.sub(r'(\.file\s+\d+\s+")[^"]*/([^"/]+")', r"\1\2", text)
    (KERNELS / f"{name}.ptx").write_text(text)


if __name__ == "__main__":
    for path in sorted(KERNELS.glob("*.cu")):
        write(path.stem)
