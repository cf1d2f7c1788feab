"""Occupancy against figures that NVIDIA's calculator gives; rooflines by hand."""
import pytest

from minidl.errors import ArgumentError
from minidl.simt import gpus


@pytest.mark.parametrize("gpu, threads, registers, shared, blocks, limit", [
    ("A100", 128, 32, 0, 16, "warps"), ("A100", 128, 64, 0, 8, "registers"), ("A100", 128, 255, 0, 2, "registers"),
    ("A100", 256, 32, 48 << 10, 3, "shared memory"), ("A100", 32, 16, 0, 32, "blocks"), ("T4", 256, 32, 0, 4, "warps"),
    ("RTX 4090", 256, 40, 0, 6, "warps"), ("H100", 384, 168, 200 << 10, 1, "registers")])
def test_occupancy(gpu, threads, registers, shared, blocks, limit):
    found = gpus.occupancy(gpu, threads, registers, shared)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.share == blocks * -(-threads // 32) / gpus.find(gpu).warps


def test_roofline_names_what_bounds():
    assert gpus.find("A100").scalar == pytest.approx(19.5e12, rel=0.01)
    found = gpus.roofline("A100", {"f16": 312e6}, moved=1555)
    assert found.least == pytest.approx(1e-6) and found.bound == "tensor cores (f16)" and "(estimate)" in str(found)
    assert gpus.roofline("A100", moved=1555e3, issued=100).bound == "memory bandwidth"


@pytest.mark.parametrize("call", [lambda: gpus.find("V2"), lambda: gpus.roofline("T4", {"tf32": 1}),
                                  lambda: gpus.occupancy("A100", 2048, 32), lambda: gpus.occupancy("A100", 1024, 255)])
def test_what_no_gpu_can_is_an_error(call):
    with pytest.raises(ArgumentError, match=r"\[simt\] .*expected"):
        call()
