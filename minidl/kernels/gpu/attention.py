"""Attention in Triton: forward, the gradients of queries, of keys and values, and of a bias.

Arrays are read in place where their rows begin at multiples of 16 elements; others are copied, padded to that.
"""
from ...dispatch import Kernel, register
from .heads import FAR, dropout, four, like, odd, plane, steps
from .launch import cdiv, lacks, launch

MULTIPLE = 16                          # of which widths and distances between rows, heads and batches are
LONGEST_STEP = 1 << 23                 # between rows, so that distances in a block are integers of 32 bits
HEADS = 32, 64, 128, 256               # widths that kernels are compiled for: others run in the next larger one


def _head(kernel, query, value):
    """The key of the kernel that serves arrays of such widths; None: there is none."""
    width, dtype = max(query.shape[-1], value.shape[-1]), query.dtype.name
    fit = [head for head in HEADS if width <= head]
    return next((head for head in fit if not lacks(kernel, dtype=dtype, head=head)), fit[-1] if fit else None)


def _aligned(xp, array):
    """Four axes, the way that kernels read them: itself, or a copy with zeros behind its rows."""
    array = four(array)
    *lead, width = array.shape
    apart = steps(array, 3)
    if (array.strides[-1] == array.itemsize and not any(n % MULTIPLE for n in (width, *apart))
            and not array.data.ptr % MULTIPLE and apart[2] < LONGEST_STEP):
        return array
    padded = xp.zeros((*lead, cdiv(width, MULTIPLE) * MULTIPLE), array.dtype)
    padded[..., :width] = array
    return padded


def _odd(arrays, params):
    query, _, value, *_ = arrays
    return odd("attention_forward", _head("attention_forward", query, value), arrays, params)


class _Call:
    """One call: its arrays as kernels read them, and the arguments that they share."""

    def __init__(self, xp, query, key, value, bias, mask, scale, is_causal, offset, window_size, softcap, dropout_p,
                 dropout_key):
        self.xp, self.lead = xp, query.shape[:-3]
        self.q, self.k, self.v = [_aligned(xp, a) for a in (query, key, value)]
        b, h, t, _ = self.q.shape
        self.groups, s = self.k.shape[1:3]
        self.scores, self.dtype = (b, h, t, s), query.dtype.name
        self.bias, self.mask = self._plane(bias), self._plane(mask)
        before, behind = [FAR if n < 0 else min(n, FAR) for n in window_size]
        self.sizes = (b, h, h // self.groups, t, s, self.q.shape[3], self.v.shape[3])
        self.numbers = (query.shape[-1] ** -0.5 if scale is None else scale, softcap, offset, before,
                        0 if is_causal else behind, *dropout(dropout_p, dropout_key))

    def _plane(self, array):
        """A bias or mask whose rows have all keys, side by side; None stays."""
        array = plane(self.xp, array, self.lead)
        if array is None:
            return None
        array = array.view("uint8") if array.dtype == bool else array
        if array.shape[3] == self.scores[3] and array.strides[3] == array.itemsize:
            return array
        return self.xp.array(self.xp.broadcast_to(array, (*array.shape[:3], self.scores[3])), order="C")

    def new(self, array, width):
        """A new array of rows of `width` like those of `array`, but that kernels can write."""
        return like(self.xp, array, cdiv(width, MULTIPLE) * MULTIPLE)

    def arguments(self, arrays, placed, starts=(None, None)):
        """Of a kernel: its own `arrays`, and those of them whose rows it finds by their steps."""
        _, h, t, _ = self.scores
        return (self.q, self.k, self.v, self.bias, self.mask, *arrays, *starts,
                *[n for a in (self.q, self.k, self.v, *placed) for n in steps(a, 3)],
                *steps(self.bias, 3), *steps(self.mask, 3), h * t, t, *self.sizes, *self.numbers)

    def run(self, kernel, heads, rows, block, width, arrays, placed):
        """Launch a kernel for blocks of the rows of each of the heads of all sequences."""
        launch(kernel, lambda c: (self.scores[0] * heads * cdiv(width, c["HEAD"]) * cdiv(rows, c[block]),),
               self.arguments(arrays, placed), dtype=self.dtype, head=_head(kernel, self.q, self.v))

    def gradient_of_bias(self, g, logsum, delta):
        """(batch, heads, queries, keys) in float32, as far as the bias has several batches and heads."""
        (b, h, *_), (_, _, t, s) = self.bias.shape, self.scores
        gbias = self.xp.empty((b, h, t, s), "float32")
        launch("attention_backward_bias", lambda c: (b * h * cdiv(t, c["BLOCK_M"]) * cdiv(s, c["BLOCK_N"]),),
               (*self.arguments((g, logsum, delta, gbias), (g,), ()), b, h), dtype=self.dtype)
        return gbias


def _shaped(xp, array, shape):
    """Without the padding of its rows, and with the axes of `shape`."""
    return array[..., :shape[-1]].reshape(shape)


def _forward(xp, query, key, value, *rest):
    call = _Call(xp, query, key, value, *rest)
    b, h, t, _ = call.scores
    out, logsum = call.new(call.q, value.shape[-1]), xp.empty((b, h, t), "float32")
    call.run("attention_forward", h, t, "BLOCK_M", call.v.shape[3], (out, logsum), (out,))
    return _shaped(xp, out, (*query.shape[:-1], value.shape[-1])), (out, logsum)


def _backward(xp, g, kept, query, key, value, bias, mask, **params):
    call, (out, logsum), g = _Call(xp, query, key, value, bias, mask, **params), kept, _aligned(xp, g)
    _, h, t, s = call.scores
    delta, (gq, gk, gv) = xp.empty_like(logsum), [call.new(a, a.shape[3]) for a in (call.q, call.k, call.v)]
    call.run("attention_backward_query", h, t, "BLOCK_M", call.q.shape[3], (out, g, logsum, delta, gq), (out, g, gq))
    call.run("attention_backward_key_value", call.groups, s, "BLOCK_N", max(call.q.shape[3], call.v.shape[3]),
             (g, logsum, delta, gk, gv), (g, gk, gv))

    def of_bias():
        gbias = call.gradient_of_bias(g, logsum, delta)
        lead = call.lead if len(gbias) != 1 else (1,) * len(call.lead)
        return gbias.reshape(*lead, *gbias.shape[1:]).astype(bias.dtype)

    return *[_shaped(xp, a, b.shape) for a, b in zip((gq, gk, gv), (query, key, value))], of_bias, None


register(Kernel("attention.triton", "attention", "cuda", _forward, _backward, _odd))
