"""Kernels for device "cuda", by family: each file here allocates outputs, says when a kernel refuses, registers it.

They are compiled ahead of time from kernels/triton and kernels/cuda, and join when a CUDA backend does.
"""
from importlib import import_module
from pathlib import Path

from .device import Device
from .launch import use

INFRASTRUCTURE = {"__init__", "arrays", "device", "heads", "launch", "library"}

use(Device())

for family in sorted(p.stem for p in Path(__file__).parent.glob("*.py")):
    if family not in INFRASTRUCTURE:
        import_module(f".{family}", __name__)
