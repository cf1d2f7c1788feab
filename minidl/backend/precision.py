"""How exact results must be: kernels may trade roundings for speed where the caller says so."""
from contextlib import contextmanager

from ..errors import ArgumentError, message

LEVELS = "strict", "full", "fast"
_level = ["full"]


@contextmanager
def precision(level):
    """`with ml.precision("fast"):` lets kernels be less exact where that makes them much quicker.

    Args:
        level: "full", as at the start: errors as small as those of the plain formula in float32. Convolutions with
            filters of 3 by 3 run as Winograd's F(2x2, 3x3); an infinity may turn its neighbours in a tile of 2 by 2
            outputs to NaN. "strict": by the plain formula, so that it does not. "fast": also F(4x4, 3x3), with
            errors some ten times as large (1e-6 of the result's scale); and, on GPUs, products of float32 matrices,
            convolutions, attention and recurrent layers round their operands to tf32, whose fractions have ten bits as
            those of float16 (errors of 1e-3 of the result's scale).

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


def level():
    """The level that holds now."""
    return _level[0]
