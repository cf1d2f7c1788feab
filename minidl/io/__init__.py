"""Files of weights and of training states."""
from .checkpoint import load, save

__all__ = ["load", "save"]
