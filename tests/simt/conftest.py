"""Tests of the laboratory; modules that several files use lie beside them."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
