"""Pooling on one or two axes: max with positions kept in a byte each, means of windows, of parts, of whole images."""
from math import prod

import numpy as np

from ..dispatch import Kernel, register
from ..ops.pool import Parts, Slide, _parts, _slides
from ..tape import recording
from . import cpu
from .arrays import dense, unless_float32

ONE = Slide(1, 1, 1, 1, 0, 0, 1)                       # the rows of a sequence


def _refuses(arrays, params):
    x, = arrays
    if params["rank"] not in (1, 2):
        return f"1 or 2 axes, not {params['rank']}"
    return unless_float32(x) or (None if x.size else "nothing to pool")


def _refuses_ragged(arrays, params):
    if reason := _refuses(arrays, params):
        return reason
    parts = _parts("adaptive_max_pool", arrays[0].shape, params["output_size"], params["rank"])
    return "parts of equal length only" if any(isinstance(p, Parts) for p in parts) else None


def _refuses_divisor(arrays, params):
    divisor = params["divisor_override"]
    if divisor is not None and type(divisor) not in (int, float):
        return "a divisor that is a plain number"
    return _refuses(arrays, params)


# -- the largest ----------------------------------------------------------------------

def _max_windows(shape, kernel_size, stride, padding, dilation, ceil_mode, rank):
    return _slides("max_pool", shape, kernel_size, stride, padding, dilation, ceil_mode, rank)


def _largest(x, windows):
    """(the largest of each window, where: positions in the windows, or None where no gradient can be wanted)."""
    shape, planes, (rows, columns) = _out_shape(x.shape, windows), _planes(x, windows), _numbers(windows)
    y = np.empty((len(planes), rows[-1], columns[-1]), "float32")
    small = rows[0] * columns[0] <= 256
    position = np.empty(y.shape, "uint8" if small else "int32") if recording() else None
    cpu.pool.max_pool_forward(planes, y, position, rows, columns)
    return y.reshape(shape), position


def _largest_backward(g, position, x, windows):
    rows, columns = _numbers(windows)
    gx = np.empty(_planes_shape(x.shape, windows), "float32")
    cpu.pool.max_pool_backward(dense(g).reshape(position.shape), position, gx, rows, columns)
    return gx.reshape(x.shape),


def _max_pool(xp, x, *params):
    return _largest(x, _max_windows(x.shape, *params))


def _max_pool_backward(xp, g, kept, x, **params):
    return _largest_backward(g, kept, x, _max_windows(x.shape, **params))


def _adaptive_max_pool(xp, x, output_size, rank):
    return _largest(x, _parts("adaptive_max_pool", x.shape, output_size, rank))


def _adaptive_max_pool_backward(xp, g, kept, x, output_size, rank):
    return _largest_backward(g, kept, x, _parts("adaptive_max_pool", x.shape, output_size, rank))


# -- means ----------------------------------------------------------------------------

def _avg_pool(xp, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, rank):
    windows = _slides("avg_pool", x.shape, kernel_size, stride, padding, 1, ceil_mode, rank)
    return _means(x, windows, _divisors(windows, count_include_pad, divisor_override))


def _avg_pool_backward(xp, g, x_shape, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override,
                       rank):
    windows = _slides("avg_pool", x_shape, kernel_size, stride, padding, 1, ceil_mode, rank)
    return _spread(g, x_shape, windows, _divisors(windows, count_include_pad, divisor_override))


def _adaptive_avg_pool(xp, x, output_size, rank):
    windows = _parts("adaptive_avg_pool", x.shape, output_size, rank)
    if all(w.count == 1 for w in windows):
        planes = _planes(x, windows)
        y = np.empty(len(planes), "float32")
        cpu.pool.plane_mean(True, planes.reshape(len(planes), -1), y)
        return y.reshape(_out_shape(x.shape, windows))
    if any(isinstance(w, Parts) for w in windows):
        planes, bounds = _planes(x, windows), _bounds(windows)
        y = np.empty((len(planes), len(bounds[0]), len(bounds[2])), "float32")
        cpu.pool.parts_pool(True, planes, y, *bounds)
        return y.reshape(_out_shape(x.shape, windows))
    return _means(x, windows, _divisors(windows, True, None))


def _adaptive_avg_pool_backward(xp, g, x_shape, output_size, rank):
    windows = _parts("adaptive_avg_pool", x_shape, output_size, rank)
    gx = np.empty(_planes_shape(x_shape, windows), "float32")
    if all(w.count == 1 for w in windows):
        cpu.pool.plane_mean(False, dense(g).reshape(-1), gx.reshape(len(gx), -1))
    elif any(isinstance(w, Parts) for w in windows):
        bounds = _bounds(windows)
        cpu.pool.parts_pool(False, dense(g).reshape(-1, len(bounds[0]), len(bounds[2])), gx, *bounds)
    else:
        return _spread(g, x_shape, windows, _divisors(windows, True, None))
    return gx.reshape(x_shape),


def _means(x, windows, divisors):
    planes, (rows, columns) = _planes(x, windows), _numbers(windows)
    y = np.empty((len(planes), rows[-1], columns[-1]), "float32")
    cpu.pool.mean_pool(True, planes, y, rows, columns, *divisors)
    return y.reshape(_out_shape(x.shape, windows))


def _spread(g, x_shape, windows, divisors):
    rows, columns = _numbers(windows)
    gx = np.empty(_planes_shape(x_shape, windows), "float32")
    cpu.pool.mean_pool(False, dense(g).reshape(-1, rows[-1], columns[-1]), gx, rows, columns, *divisors)
    return gx.reshape(x_shape),


def _divisors(windows, padded, divisor):
    """By what sums along columns (rows second) are divided."""
    windows = _two(windows)
    if divisor is not None:
        return np.full(windows[0].count, divisor, "float32"), np.ones(windows[1].count, "float32")
    return [np.full(w.count, np.ravel(w.lengths(np, "float32", padded, -1)), "float32") for w in windows]


# -- shapes ---------------------------------------------------------------------------

def _two(windows):
    return windows if len(windows) == 2 else [ONE, *windows]


def _numbers(windows):
    """What csrc/windows.h wants of rows and columns."""
    return [(w.kernel, w.stride, w.dilation, w.before, w.count) for w in _two(windows)]


def _bounds(windows):
    """First and last + 1 element of each part: rows' two arrays, columns'."""
    found = []
    for w in _two(windows):
        i = np.arange(w.count)
        found += [i * w.size // w.count, -(-(i + 1) * w.size // w.count)]
    return found


def _planes_shape(shape, windows):
    sizes = [w.size for w in _two(windows)]
    return (prod(shape) // prod(sizes), *sizes)


def _planes(x, windows):
    return dense(x).reshape(_planes_shape(x.shape, windows))


def _out_shape(shape, windows):
    return (*shape[:len(shape) - len(windows)], *[w.count for w in windows])


register(Kernel("max_pool.cpu", "max_pool", "cpu", _max_pool, _max_pool_backward, _refuses))
register(Kernel("adaptive_max_pool.cpu", "adaptive_max_pool", "cpu", _adaptive_max_pool, _adaptive_max_pool_backward,
                _refuses_ragged))
register(Kernel("avg_pool.cpu", "avg_pool", "cpu", _avg_pool, _avg_pool_backward, _refuses_divisor))
register(Kernel("adaptive_avg_pool.cpu", "adaptive_avg_pool", "cpu", _adaptive_avg_pool, _adaptive_avg_pool_backward,
                _refuses))
