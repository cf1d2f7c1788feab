"""Attention in CUDA C++: forward, the gradients of queries, of keys and values, and of a bias.

Arrays are read in place, whatever their strides are, as long as the elements of a row lie together. Of a bias, the
gradient of each score is written, in float32, and then summed over the axes along which the bias is spread.
"""
from math import prod

from ... import shapes
from ...backend.random import Key
from ...dispatch import Kernel, register
from .launch import cdiv, lacks, launch

HEADS = 32, 64, 128                    # widths that kernels are compiled for: others run in the next larger one
FAR = 2**28                            # lengths and places are below, so that sums of a few are integers of 32 bits


def _head(*arrays):
    """The key of the kernels that serve arrays of such widths; None: there is none."""
    return next((head for head in HEADS if max(a.shape[-1] for a in arrays) <= head), None)


def _four(array):
    """(batch, heads, length, width), as a view where strides allow it."""
    return array if array.ndim == 4 else array.reshape(prod(array.shape[:-3]), *array.shape[-3:])


def _rows(xp, array):
    """Four axes, the elements of a row next to each other."""
    array = _four(array)
    return array if array.strides[-1] == array.itemsize else xp.array(array, order="C")


def _like(xp, array, width):
    """A new array of the shape of `array` but for its width; heads lie in rows where those of `array` do."""
    b, h, t, _ = array.shape
    if array.strides[1] < array.strides[2]:
        return xp.empty((b, t, h, width), array.dtype).swapaxes(1, 2)
    return xp.empty((b, h, t, width), array.dtype)


def _plane(xp, array, lead):
    """A bias or mask with the axes (batch, heads, queries, keys), each as long as the scores' or 1; None stays."""
    if array is None:
        return None
    array = array.reshape((1,) * (len(lead) + 3 - array.ndim) + array.shape)
    if array.ndim > 4 and prod(array.shape[:-3]) != 1:
        array = xp.broadcast_to(array, (*lead, *array.shape[-3:]))
    return _four(array)


def _steps(array, axes=4):
    """Elements between neighbours along each axis: 0 where there is one, or no array."""
    if array is None:
        return (0,) * axes
    return tuple([s // array.itemsize if n > 1 else 0 for n, s in zip(array.shape[:axes], array.strides)])


def _signed(word):
    """64 bits as a signed integer."""
    return (word ^ 1 << 63) - (1 << 63)


def _odd(arrays, params):
    query, key, value, bias, mask = arrays
    if not (query.size and key.size and value.size):
        return "empty arrays"
    if (head := _head(query, value)) is None:
        return f"heads wider than {HEADS[-1]}"
    if any(a is not None and a.dtype != query.dtype for a in (key, value, bias)):
        return "several dtypes"
    if reason := lacks("attention_forward_cuda", dtype=query.dtype.name, head=_served(query, head)):
        return reason
    (*lead, h, t, _), (g, s, _) = query.shape, value.shape[-3:]
    scores = (*lead, h, t, s)
    if h % g or any(a is not None and shapes.broadcast(a.shape, scores) != scores for a in (bias, mask)):
        return "shapes that do not fit"
    return "long sequences" if max(t, s) >= FAR else _odd_parameters(**params)


def _served(array, head, backward=False):
    """The width that kernels have: float32's, and backward's, begin at 64."""
    return max(head, 64) if backward or array.dtype.name == "float32" else head


def _odd_parameters(scale, is_causal, offset, window_size, softcap, dropout_p, dropout_key):
    numbers = isinstance(scale, (float, int, type(None))) and isinstance(softcap, (float, int))
    if not numbers or not all(isinstance(n, int) for n in (offset, *window_size)) or abs(offset) >= FAR:
        return "parameters of unusual types, or places far away"
    if dropout_p and not (isinstance(dropout_key, Key) and 0 < dropout_p <= 1):
        return "no such dropout"
    return None


class _Call:
    """One call: its arrays as the kernels read them, and the arguments that all kernels share."""

    def __init__(self, xp, query, key, value, bias, mask, scale, is_causal, offset, window_size, softcap, dropout_p,
                 dropout_key):
        self.lead, self.dtype = query.shape[:-3], query.dtype.name
        self.q, self.k, self.v = arrays = [_rows(xp, a) for a in (query, key, value)]
        self.bias, mask = _plane(xp, bias, self.lead), _plane(xp, mask, self.lead)
        b, h, t, d = self.q.shape
        self.scores, self.key_heads, self.head = (b, h, t, self.k.shape[2]), self.k.shape[1], _head(query, value)
        before, behind = [FAR if n < 0 else min(n, FAR) for n in window_size]
        seed, stream, kept = 0, 0, 1.0
        if dropout_p:
            seed, stream, kept = dropout_key.seed, dropout_key.stream, 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
        self.shared = (
            *arrays, self.bias, mask, None, *[n for a in arrays for n in _steps(a, 3)], *_steps(self.bias),
            *_steps(mask), h, h // self.key_heads, t, self.k.shape[2], d, self.v.shape[3],
            d ** -0.5 if scale is None else scale, softcap, offset, before, 0 if is_causal else behind,
            _signed(seed), _signed(stream), round((1 - dropout_p) * 2**31), kept)

    def run(self, kernel, heads, rows, arrays, placed):
        """Launch a kernel for blocks of the `rows` of each of the `heads` of all sequences."""
        head = _served(self.q, self.head, kernel != "attention_forward_cuda")
        launch(kernel, lambda c: (self.scores[0] * heads * cdiv(rows, c["ROWS"]),),
               (*self.shared, *arrays, *[n for a in placed for n in _steps(a, 3)]), dtype=self.dtype, head=head)


def _forward(xp, query, key, value, *rest):
    call = _Call(xp, query, key, value, *rest)
    b, h, t, _ = call.scores
    out, logsum = _like(xp, call.q, value.shape[-1]), xp.empty((b, h, t), "float32")
    call.run("attention_forward_cuda", h, t, (out, logsum), (out,))
    return out.reshape(*query.shape[:-1], value.shape[-1]), (out, logsum)


def _backward(xp, g, kept, query, key, value, bias, mask, **params):
    call, (out, logsum), g = _Call(xp, query, key, value, bias, mask, **params), kept, _rows(xp, g)
    _, h, t, s = call.scores
    delta, (gq, gk, gv) = xp.empty_like(logsum), [_like(xp, a, a.shape[3]) for a in (call.q, call.k, call.v)]

    def of_queries(gq, gbias):
        call.run("attention_backward_queries_cuda", h, t, (out, g, logsum, delta, gq, gbias), (out, g, gq))

    def of_bias():
        gbias = xp.zeros(call.scores, "float32")       # (zeros stay where no query of a block sees a key)
        of_queries(None, gbias)
        spread = tuple([i for i, n in enumerate(call.bias.shape) if n != gbias.shape[i]])
        gbias = gbias.sum(spread, keepdims=True).astype(bias.dtype)
        return gbias.reshape(*(call.lead if len(gbias) != 1 else (1,) * len(call.lead)), *gbias.shape[1:])

    of_queries(gq, None)
    call.run("attention_backward_keys_cuda", call.key_heads, s, (g, logsum, delta, gk, gv), (g, gk, gv))
    return gq.reshape(query.shape), gk.reshape(key.shape), gv.reshape(value.shape), of_bias, None


register(Kernel("attention.cuda", "attention", "cuda", _forward, _backward, _odd))
