"""How many threads work on the CPU: the kernels' own pool, and NumPy's BLAS where the references run."""
from threadpoolctl import ThreadpoolController

from ..errors import ArgumentError, message

_pools: list = []                  # (set, get) of the kernels' pool, where there is one
_limits: list = []                 # what holds the present limit of the BLAS


def add_pool(set_threads, threads):
    """Let `set_num_threads` govern a pool of threads, too."""
    _pools[:] = [(set_threads, threads)]


def set_num_threads(n):
    """Let kernels, and NumPy's BLAS, use `n` threads from now on: an integer, at least 1.

    Results have the same bits at any number where our kernels run.  The threads of a BLAS wait by spinning: on a
    machine that does other work too, one may be the quickest for it.

    Raises:
        ArgumentError: `n` is no such integer.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ArgumentError(message("set_num_threads", "n", "an integer, at least 1", repr(n)))
    _limits[:] = [ThreadpoolController().limit(limits=n, user_api="blas")]
    for set_threads, _ in _pools:
        set_threads(n)


def get_num_threads():
    """How many threads kernels use; without them NumPy's BLAS, or 1 where it is a library that does not say."""
    if _pools:
        return _pools[0][1]()
    return max((lib["num_threads"] for lib in ThreadpoolController().info() if lib["user_api"] == "blas"), default=1)
