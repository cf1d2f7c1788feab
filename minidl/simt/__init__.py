"""simt: run compiled PTX on the CPU, one NumPy lane per GPU thread, with race checks and counters."""
from .launch import Module, Result, launch, load
from .memory import Fault, GlobalMemory

__all__ = ["Fault", "GlobalMemory", "Module", "Result", "launch", "load"]
