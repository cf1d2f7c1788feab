"""How many threads the array library's own matrix products use."""
from threadpoolctl import ThreadpoolController

from ..errors import ArgumentError, message

_limits: list = []                 # what holds the present limit


def set_num_threads(n):
    """Let NumPy's BLAS use `n` threads from now on: an integer, at least 1.

    Its threads wait by spinning: on a machine that does other work too, one thread may be the quickest.

    Raises:
        ArgumentError: `n` is no such integer.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ArgumentError(message("set_num_threads", "n", "an integer, at least 1", repr(n)))
    _limits[:] = [ThreadpoolController().limit(limits=n, user_api="blas")]


def get_num_threads():
    """How many threads NumPy's BLAS uses; 1 where it is a library that does not say."""
    return max((lib["num_threads"] for lib in ThreadpoolController().info() if lib["user_api"] == "blas"), default=1)
