"""Tests of benchmarks import them from the sources: they are not installed."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
