"""Pooling on one or two axes: the largest, with its place in the window; means of windows and of equal parts."""
from math import prod

from ...dispatch import Kernel, register
from ...errors import MinidlError
from ...ops.pool import Parts, Slide, _parts, _slides
from ...tape import recording
from .arrays import dense, unless_served
from .launch import cdiv, launch

ONE = Slide(1, 1, 1, 1, 0, 0, 1)                       # the rows of a sequence
MOST_TAPS = 1 << 12                                    # of a window, which a lane walks along
MOST = 1 << 31                                         # elements


# -- how arrays lie: (outer, H, W, inner) ----------------------------------------------------

class _Pool:
    """Windows on the last axes of images of a shape; `like` settles whether channels lie last, or row by row."""

    def __init__(self, like, shape, windows):
        self.shape, self.rank, self.windows = shape, len(windows), [ONE, *windows][-2:]
        self.last = like.ndim > self.rank and not like.flags.c_contiguous and self._turned(like).flags.c_contiguous
        self.inner = shape[-1 - self.rank] if self.last else 1

    def _turned(self, x):
        """x, its channels last."""
        lead = x.ndim - self.rank - 1
        return x.transpose(*range(lead), *range(lead + 1, x.ndim), lead)

    def arranged(self, xp, x):
        """Dense in this layout: x or a copy."""
        return dense(xp, self._turned(x) if self.last else x)

    def room(self, xp, what, dtype):
        """A new array in this layout, whose pooled axes have the windows' "size" or "count"."""
        lead, sizes = self.shape[:len(self.shape) - self.rank], [getattr(w, what) for w in self.windows[-self.rank:]]
        return xp.empty((*lead[:-1], *sizes, lead[-1]) if self.last else (*lead, *sizes), dtype)

    def seen(self, y):
        """An array in this layout, its axes in the order of images."""
        lead = y.ndim - self.rank - 1
        return y.transpose(*range(lead), y.ndim - 1, *range(lead, y.ndim - 1)) if self.last else y

    def launch(self, kernel, y, arrays, steps, *rest):
        """A kernel that gives y an element per lane; `steps`: which of the windows' numbers it is told besides."""
        numbers = [getattr(w, name) for name in ("size", "count", "kernel", "stride", *steps) for w in self.windows]
        launch(kernel, lambda c: (cdiv(y.size, c["BLOCK"]),), (*arrays, y.size, self.inner, *numbers, *rest),
               dtype=y.dtype.name)


def _unless(kernel, x, derive, rank, **params):
    """Why a kernel does not pool x along the windows that `derive` makes of parameters, or None."""
    if rank not in (1, 2):
        return f"1 or 2 axes, not {rank}"
    try:
        windows = derive(x.shape, **params, rank=rank)
    except MinidlError:
        return "odd arguments"
    if any([isinstance(w, Parts) for w in windows]):
        return "parts of equal length only"
    fits = x.size and x.size * prod([w.count for w in windows]) // prod([w.size for w in windows]) < MOST > x.size
    fits = fits and prod([w.kernel for w in windows]) <= MOST_TAPS
    return unless_served(kernel, x) or (None if fits else "nothing to pool, too much, or windows of many elements")


# -- the largest -------------------------------------------------------------------------------

STEPS = "dilation", "before"


def _largest(xp, x, windows):
    pool = _Pool(x, x.shape, windows)
    y = pool.room(xp, "count", x.dtype)
    positions = xp.empty(y.shape, "int16") if recording() else None
    pool.launch("max_pool_forward", y, (pool.arranged(xp, x), y, positions), STEPS)
    return pool.seen(y), (pool, positions)


def _largest_backward(xp, g, kept, x, **params):
    pool, positions = kept
    gx = pool.room(xp, "size", g.dtype)
    pool.launch("max_pool_backward", gx, (pool.arranged(xp, g), positions, gx), STEPS)
    return pool.seen(gx),


def _max_windows(shape, kernel_size, stride, padding, dilation, ceil_mode, rank):
    return _slides("max_pool", shape, kernel_size, stride, padding, dilation, ceil_mode, rank)


def _equal_parts(shape, output_size, rank):
    return _parts("adaptive_pool", shape, output_size, rank)


def _register_largest(op, derive):
    def forward(xp, x, *params):
        return _largest(xp, x, derive(x.shape, *params))

    def refuses(arrays, params):
        return _unless("max_pool_forward", arrays[0], derive, **params)

    register(Kernel(f"{op}.triton", op, "cuda", forward, _largest_backward, refuses))


_register_largest("max_pool", _max_windows)
_register_largest("adaptive_max_pool", _equal_parts)


# -- means -------------------------------------------------------------------------------------

EDGES = "before", "after"


def _means(xp, x, windows, padded=True, divisor=None):
    pool = _Pool(x, x.shape, windows)
    y = pool.room(xp, "count", x.dtype)
    pool.launch("mean_pool_forward", y, (pool.arranged(xp, x), y), EDGES, int(padded), divisor or 0.0)
    return pool.seen(y)


def _spread(xp, g, shape, windows, padded=True, divisor=None):
    pool = _Pool(g, shape, windows)
    gx = pool.room(xp, "size", g.dtype)
    pool.launch("mean_pool_backward", gx, (pool.arranged(xp, g), gx), EDGES, int(padded), divisor or 0.0)
    return pool.seen(gx),


def _mean_windows(shape, kernel_size, stride, padding, ceil_mode, rank):
    return _slides("avg_pool", shape, kernel_size, stride, padding, 1, ceil_mode, rank)


def _avg_pool(xp, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, rank):
    windows = _mean_windows(x.shape, kernel_size, stride, padding, ceil_mode, rank)
    return _means(xp, x, windows, count_include_pad, divisor_override)


def _avg_pool_backward(xp, g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override,
                       rank):
    windows = _mean_windows(x_shape, kernel_size, stride, padding, ceil_mode, rank)
    return _spread(xp, g, x_shape, windows, count_include_pad, divisor_override)


def _adaptive_avg_pool(xp, x, output_size, rank):
    return _means(xp, x, _equal_parts(x.shape, output_size, rank))


def _adaptive_avg_pool_backward(xp, g, x_shape, output_size, rank):
    return _spread(xp, g, x_shape, _equal_parts(x_shape, output_size, rank))


def _odd_means(arrays, params):
    x, given = arrays[0], dict(params)
    padded, divisor = given.pop("count_include_pad"), given.pop("divisor_override")
    fits = padded in (True, False) and (divisor is None or type(divisor) in (int, float) and divisor)
    return _unless("mean_pool_forward", x, _mean_windows, **given) or (
        None if fits else "a divisor that is no number, or 0")


def _odd_parts(arrays, params):
    x, = arrays
    reason = _unless("mean_pool_forward", x, _equal_parts, **params)
    whole = not reason and all([w.count == 1 for w in _equal_parts(x.shape, **params)])
    return "means of whole images: long sums, at which the array library is quick" if whole else reason


register(Kernel("avg_pool.triton", "avg_pool", "cuda", _avg_pool, _avg_pool_backward, _odd_means))
register(Kernel("adaptive_avg_pool.triton", "adaptive_avg_pool", "cuda", _adaptive_avg_pool,
                _adaptive_avg_pool_backward, _odd_parts))
