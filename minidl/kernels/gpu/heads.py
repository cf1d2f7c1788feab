"""What kernels of attention share: arrays as (batch, heads, length, width), reasons to refuse."""
from math import prod

from ... import shapes
from ...backend.random import Key
from ...ops.attention import demand_lengths
from ...ops.packed import demand_starts
from .launch import lacks

FAR = 2**28                            # lengths and places are below, so that sums of a few are integers of 32 bits


def four(array):
    """(batch, heads, length, width), as a view where strides allow it."""
    return array if array.ndim == 4 else array.reshape(prod(array.shape[:-3]), *array.shape[-3:])


def rows(xp, array):
    """Four axes, the elements of a row next to each other."""
    array = four(array)
    return array if array.strides[-1] == array.itemsize else xp.array(array, order="C")


def by_heads(array):
    """Packed rows (T, H, D) as (1, H, T, D)."""
    return array.swapaxes(0, 1)[None]


def like(xp, array, width):
    """A new array of the shape of `array` but for its width; heads lie in rows where those of `array` do."""
    b, h, t, _ = array.shape
    if array.strides[1] < array.strides[2]:
        return xp.empty((b, t, h, width), array.dtype).swapaxes(1, 2)
    return xp.empty((b, h, t, width), array.dtype)


def plane(xp, array, lead):
    """A bias or mask with the axes (batch, heads, queries, keys), each as long as the scores' or 1; None stays."""
    if array is None:
        return None
    array = array.reshape((1,) * (len(lead) + 3 - array.ndim) + array.shape)
    if array.ndim > 4 and prod(array.shape[:-3]) != 1:
        array = xp.broadcast_to(array, (*lead, *array.shape[-3:]))
    return four(array)


def steps(array, axes=4):
    """Elements between neighbours along each axis: 0 where there is one, or no array."""
    if array is None:
        return (0,) * axes
    return tuple([s // array.itemsize if n > 1 else 0 for n, s in zip(array.shape[:axes], array.strides)])


def dropout(p, key):
    """(seed, stream, threshold below which words keep a weight, what kept weights are multiplied by)."""
    seed, stream, kept = (key.seed, key.stream, 1 / (1 - p) if p < 1 else 0.0) if p else (0, 0, 1.0)
    return _signed(seed), _signed(stream), round((1 - p) * 2**31), kept


def _signed(word):
    """64 bits as a signed integer."""
    return (word ^ 1 << 63) - (1 << 63)


def ends(xp, lengths, keys):
    """Where the keys of sequences end, as kernels read it; None stays."""
    if lengths is None:
        return None
    demand_lengths(lengths, keys)
    return xp.array(lengths, "int32", order="C").ravel()


def edges(xp, starts, key_starts, queries, keys):
    """Where packed sequences of queries, and of keys, begin, as kernels read it."""
    found = {"starts": (starts, queries), "key_starts": (starts if key_starts is None else key_starts, keys)}
    for name, (where, count) in found.items():
        demand_starts(name, where, count)
    return [xp.array(where, "int32", order="C") for where, _ in found.values()]


def odd(kernel, own, arrays, params):
    """Why a forward kernel does not serve a call of `attention`, or None; `own`: its key, None if there is none."""
    query, key, value, bias, mask, _ = arrays
    if not (query.size and key.size and value.size):
        return "empty arrays"
    if own is None:
        return f"heads of {max(query.shape[-1], value.shape[-1])} elements are too wide"
    if any(a is not None and a.dtype != query.dtype for a in (key, value, bias)):
        return "several dtypes"
    if reason := lacks(kernel, **own):
        return reason
    (*lead, h, t, _), (g, s, _) = query.shape, value.shape[-3:]
    scores = (*lead, h, t, s)
    if h % g or any(a is not None and shapes.broadcast(a.shape, scores) != scores for a in (bias, mask)):
        return "shapes that do not fit"
    return "long sequences" if max(t, s) >= FAR else _odd_parameters(**params)


def _odd_parameters(scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key):
    numbers = isinstance(scale, (float, int, type(None))) and isinstance(softcap, (float, int))
    offset = 0 if offset is None else offset
    if not numbers or not all(isinstance(n, int) for n in (offset, *window_size)) or abs(offset) >= FAR:
        return "parameters of unusual types, or places far away"
    if dropout_p and not (isinstance(dropout_key, Key) and 0 < dropout_p <= 1):
        return "no such dropout"
    return None
