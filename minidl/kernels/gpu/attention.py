"""Attention in Triton, padded and packed: forward, the gradients of queries, of keys and values, and of a bias.

Arrays are read in place where rows, heads and batches begin at multiples of 8 elements; others are copied, padded to
that. Packed sequences (T, H, D) are read as one (1, H, T, D) whose programs know where each begins.
"""
from ...dispatch import Kernel, register
from .arrays import ALIGNMENT, multiplied
from .heads import FAR, by_heads, dropout, edges, ends, four, like, odd, plane, steps
from .launch import cdiv, lacks, launch

MULTIPLE = 8                           # VECTOR of kernels/triton/functions.py
HEADS = 32, 64, 128, 256               # widths that kernels are compiled for: others run in the next larger one


def _key(kernel, query, value):
    """The key of the kernel that serves arrays of such widths; None: there is none."""
    width = max(query.shape[-1], value.shape[-1])
    keys = [{"dtype": multiplied(query), "head": head} for head in HEADS if width <= head]
    return next((key for key in keys if not lacks(kernel, **key)), keys[-1] if keys else None)


def _aligned(xp, array):
    """Four axes, the way that kernels read them: itself, or a copy with zeros behind its rows."""
    array = four(array)
    *lead, width = array.shape
    if (array.strides[-1] == array.itemsize and not array.data.ptr % ALIGNMENT
            and not any(n % MULTIPLE for n in (width, *steps(array, 3)))):
        return array
    padded = xp.zeros((*lead, cdiv(width, MULTIPLE) * MULTIPLE), array.dtype)
    padded[..., :width] = array
    return padded


def _new(xp, array, width):
    """A new array of rows of `width` like those of `array`, but that kernels can write."""
    return like(xp, array, cdiv(width, MULTIPLE) * MULTIPLE)


class _Call:
    """One call: its arrays as kernels read them, and the arguments that they share.

    Args:
        query, key, value: of `attention`, or of packed sequences as one.
        starts: of packed sequences: where those of queries begin and where those of keys do, int32; else None twice.
        lengths: of the sequences of keys, int32, or None.
    """

    def __init__(self, xp, query, key, value, bias, mask, starts, lengths, scale, is_causal, offset, window_size,
                 softcap, dropout_p, dropout_key):
        self.xp, self.lead, self.widths = xp, query.shape[:-3], (query, value)
        self.q, self.k, self.v = [_aligned(xp, a) for a in (query, key, value)]
        b, h, t, width = self.q.shape
        _, self.groups, s, value_width = self.v.shape
        self.scores, self.packed = (b, h, t, s), starts[0] is not None
        self.sequences = len(starts[0]) - 1 if self.packed else b
        self.bias, self.mask = self._plane(bias), self._plane(mask)
        before, behind = [FAR if n < 0 else min(n, FAR) for n in window_size]
        self.shared = (
            self.q, self.k, self.v, self.bias, self.mask, *starts, lengths,
            *[n for a in (self.q, self.k, self.v, self.bias, self.mask) for n in steps(a, 3)],
            0 if self.packed else h * t, t, self.sequences, h, h // self.groups, t, s, width, value_width,
            query.shape[-1] ** -0.5 if scale is None else scale, softcap, offset or 0, int(offset is None), before,
            0 if is_causal else behind, *dropout(dropout_p, dropout_key))

    def _plane(self, array):
        """A bias or mask whose rows have all keys, side by side; None stays."""
        array = plane(self.xp, array, self.lead)
        if array is None or array.shape[3] == self.scores[3] and array.strides[3] == array.itemsize:
            return array
        return self.xp.array(self.xp.broadcast_to(array, (*array.shape[:3], self.scores[3])), order="C")

    def run(self, kernel, heads, rows, block, width, arrays, placed):
        """Launch a kernel for blocks of the rows, and of the columns, of each of the heads of all sequences."""
        def grid(c):
            blocks = rows // c[block] + self.sequences if self.packed else self.sequences * cdiv(rows, c[block])
            return (blocks * heads * cdiv(width, c["HEAD"]),)

        launch(kernel, grid, (*self.shared, *arrays, *[n for a in placed for n in steps(a, 3)]),
               **_key(kernel, *self.widths))

    def forward(self):
        """(out, logsum) with four axes, and three."""
        b, h, t, _ = self.scores
        width = self.v.shape[3]
        out, logsum = _new(self.xp, self.q, width), self.xp.empty((b, h, t), "float32")
        self.run("attention_forward", h, t, "BLOCK_M", width, (out, logsum), (out,))
        return out, logsum

    def backward(self, g, out, logsum):
        """The gradients of queries, keys and values with four axes, and a function that gives that of the bias."""
        (_, h, t, s), g = self.scores, _aligned(self.xp, g)
        delta = self.xp.empty_like(logsum)
        gq, gk, gv = [_new(self.xp, a, a.shape[3]) for a in (self.q, self.k, self.v)]
        widths = self.q.shape[3], self.v.shape[3]
        self.run("attention_backward_query", h, t, "BLOCK_M", widths[0], (out, g, logsum, delta, gq), (out, g, gq))
        self.run("attention_backward_key_value", self.groups, s, "BLOCK_N", max(widths), (g, logsum, delta, gk, gv),
                 (g, gk, gv))
        return gq, gk, gv, lambda: self._gradient_of_bias(g, logsum, delta)

    def _gradient_of_bias(self, g, logsum, delta):
        """Summed over the sequences and heads that share it, with the lead axes of the call."""
        (b, h, *_), (_, _, t, s) = self.bias.shape, self.scores
        gbias = self.xp.empty((b, h, t, s), "float32")
        launch("attention_backward_bias", lambda c: (b * h * cdiv(t, c["BLOCK_M"]) * cdiv(s, c["BLOCK_N"]),),
               (*self.shared, g, logsum, delta, gbias, *steps(g, 3), b, h), dtype=multiplied(self.q))
        lead = self.lead if b != 1 else (1,) * len(self.lead)
        return gbias.reshape(*lead, h, t, s).astype(self.q.dtype)


def _shaped(array, shape):
    """Without the padding of its rows, and with other lead axes."""
    return array[..., :shape[-1]].reshape(shape)


# -- padded ----------------------------------------------------------------------------

def _odd(arrays, params):
    query, _, value, *_ = arrays
    return odd("attention_forward", _key("attention_forward", query, value), arrays, params)


def _call(xp, query, key, value, bias, mask, lengths, *params):
    return _Call(xp, query, key, value, bias, mask, (None, None), ends(xp, lengths, key.shape[-2]), *params)


def _forward(xp, query, key, value, *rest):
    kept = _call(xp, query, key, value, *rest).forward()
    return _shaped(kept[0], (*query.shape[:-1], value.shape[-1])), kept


def _backward(xp, g, kept, query, key, value, bias, mask, lengths, **params):
    *found, gbias = _call(xp, query, key, value, bias, mask, lengths, *params.values()).backward(g, *kept)
    return *[_shaped(a, like.shape) for a, like in zip(found, (query, key, value))], gbias, None, None


# -- packed ----------------------------------------------------------------------------

def _odd_packed(arrays, params):
    query, key, value, *_ = arrays
    return _odd((*map(by_heads, (query, key, value)), None, None, None), params)


def _call_packed(xp, query, key, value, starts, key_starts, *params):
    starts = edges(xp, starts, key_starts, len(query), len(key))
    return _Call(xp, *map(by_heads, (query, key, value)), None, None, starts, None, *params)


def _forward_packed(xp, query, key, value, *rest):
    kept = _call_packed(xp, query, key, value, *rest).forward()
    return kept[0][0].swapaxes(0, 1)[..., :value.shape[-1]], kept


def _backward_packed(xp, g, kept, query, key, value, starts, key_starts, **params):
    call = _call_packed(xp, query, key, value, starts, key_starts, *params.values())
    *found, _ = call.backward(by_heads(g), *kept)
    return *[a[0].swapaxes(0, 1)[..., :like.shape[-1]] for a, like in zip(found, (query, key, value))], None, None


register(Kernel("attention.triton", "attention", "cuda", _forward, _backward, _odd))
register(Kernel("attention_packed.triton", "attention_packed", "cuda", _forward_packed, _backward_packed, _odd_packed))
