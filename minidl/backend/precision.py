"""How exact results must be: kernels may trade roundings for speed where the caller says so."""
from contextlib import contextmanager

from ..errors import ArgumentError, message

LEVELS = "full", "fast"
_level = ["full"]


@contextmanager
def precision(level):
    """`with ml.precision("fast"):` lets kernels be less exact where that makes them much quicker.

    Args:
        level: "full", as at the start: errors like those of the plain formula in float32. "fast": convolutions
            with filters of 3 by 3 may run as Winograd's F(4x4, 3x3), with errors some ten times as large (1e-6 of the
            result's scale); infinities may spread to neighbouring pixels.

    Raises:
        ArgumentError: there is no such level.
    """
    if level not in LEVELS:
        raise ArgumentError(message("precision", "level", f"one of {', '.join(LEVELS)}", repr(level)))
    before, _level[0] = _level[0], level
    try:
        yield
    finally:
        _level[0] = before


def is_fast():
    """May results be less exact now?"""
    return _level[0] == "fast"
