"""Benchmarks: `python -m bench`, from a clone whose package is installed."""
import sys
from pathlib import Path

# What lies beside this folder is minidl's source, without its compiled kernels: the installed package comes first.
_ROOT = Path(__file__).parents[1]
sys.path.sort(key=lambda entry: Path(entry or ".").resolve() == _ROOT)
