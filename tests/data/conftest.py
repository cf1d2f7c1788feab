"""Workers import the classes that they unpickle by name: this folder is on their path."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
