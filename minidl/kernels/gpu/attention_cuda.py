"""Attention in CUDA C++: forward, the gradients of queries, of keys and values, and of a bias; padded or packed.

Arrays are read in place, whatever their strides are, as long as the elements of a row lie together. Of a bias, the
gradient of each score is written, in float32, and then summed over the axes along which the bias is spread.
"""
from ...dispatch import Kernel, register
from .arrays import multiplied
from .heads import FAR, by_heads, dropout, edges, ends, like, odd, plane, rows, steps
from .launch import cdiv, launch

HEADS = 32, 64, 128                    # widths that kernels are compiled for: others run in the next larger one


def _head(*arrays):
    """The key of the kernels that serve arrays of such widths; None: there is none."""
    return next((head for head in HEADS if max(a.shape[-1] for a in arrays) <= head), None)


def _odd(arrays, params):
    query, _, value, *_ = arrays
    head = _head(query, value)
    own = head and {"dtype": query.dtype.name, "head": _served(query, head)}
    return odd("attention_forward_cuda", own, arrays, params)


def _served(array, head, backward=False):
    """The width that kernels have: float32's, and backward's, begin at 64."""
    return max(head, 64) if backward or array.dtype.name == "float32" else head


class _Call:
    """One call: its arrays (batch, heads, rows, width) as the kernels read them, and the arguments that all share.

    Args:
        ends: where each sequence's keys end, or None.
        starts: where packed sequences of queries, and of keys, begin: all in one batch; or (None, None).
    """

    def __init__(self, xp, query, key, value, bias, mask, ends, starts, scale, is_causal, offset, window_size, softcap,
                 dropout_p, dropout_key):
        self.xp, self.lead, self.packed = xp, query.shape[:-3], 0 if starts[0] is None else len(starts[0]) - 1
        self.q, self.k, self.v = arrays = [rows(xp, a) for a in (query, key, value)]
        self.bias, mask = plane(xp, bias, self.lead), plane(xp, mask, self.lead)
        b, h, t, d = self.q.shape
        self.scores, self.key_heads, self.head = (b, h, t, self.k.shape[2]), self.k.shape[1], _head(query, value)
        before, behind = [FAR if n < 0 else min(n, FAR) for n in window_size]
        self.shared = (
            *arrays, self.bias, mask, ends, *starts, *[n for a in arrays for n in steps(a, 3)], *steps(self.bias),
            *steps(mask), self.packed or b, h, h // self.key_heads, t, self.k.shape[2], d, self.v.shape[3],
            d ** -0.5 if scale is None else scale, softcap, offset or 0, int(offset is None), before,
            0 if is_causal else behind, *dropout(dropout_p, dropout_key))

    def run(self, kernel, heads, count, arrays, placed):
        """Launch a kernel for blocks of the `count` rows of each of the `heads` of all sequences."""
        head = _served(self.q, self.head, kernel != "attention_forward_cuda")

        def grid(c):
            blocks = count // c["ROWS"] + self.packed if self.packed else cdiv(count, c["ROWS"])
            return self.scores[0] * heads * blocks,

        launch(kernel, grid, (*self.shared, *arrays, *[n for a in placed for n in steps(a, 3)]),
               dtype=multiplied(self.q), head=head)

    def forward(self):
        """(means, logarithms of rows)."""
        b, h, t, _ = self.scores
        out, logsum = like(self.xp, self.q, self.v.shape[-1]), self.xp.empty((b, h, t), "float32")
        self.run("attention_forward_cuda", h, t, (out, logsum), (out,))
        return out, logsum

    def backward(self, g, out, logsum):
        """(gradients of queries, keys, values; a function that gives that of the bias)."""
        xp, g, (_, h, t, s) = self.xp, rows(self.xp, g), self.scores
        delta, (gq, gk, gv) = xp.empty_like(logsum), [like(xp, a, a.shape[3]) for a in (self.q, self.k, self.v)]

        def of_queries(gq, gbias):
            self.run("attention_backward_queries_cuda", h, t, (out, g, logsum, delta, gq, gbias), (out, g, gq))

        def of_bias():
            gbias = xp.zeros(self.scores, "float32")   # (zeros stay where no query of a block sees a key)
            of_queries(None, gbias)
            spread = tuple([i for i, n in enumerate(self.bias.shape) if n != gbias.shape[i]])
            gbias = gbias.sum(spread, keepdims=True).astype(self.bias.dtype)
            return gbias.reshape(*(self.lead if len(gbias) != 1 else (1,) * len(self.lead)), *gbias.shape[1:])

        of_queries(gq, None)
        self.run("attention_backward_keys_cuda", self.key_heads, s, (g, logsum, delta, gk, gv), (g, gk, gv))
        return gq, gk, gv, of_bias


def _call(xp, query, key, value, bias, mask, lengths, *params):
    return _Call(xp, query, key, value, bias, mask, ends(xp, lengths, key.shape[-2]), (None, None), *params)


def _forward(xp, query, key, value, *rest):
    kept = _call(xp, query, key, value, *rest).forward()
    return kept[0].reshape(*query.shape[:-1], value.shape[-1]), kept


def _backward(xp, g, kept, query, key, value, bias, mask, lengths, **params):
    *found, of_bias = _call(xp, query, key, value, bias, mask, lengths, *params.values()).backward(g, *kept)
    return *[a.reshape(x.shape) for a, x in zip(found, (query, key, value))], of_bias, None, None


register(Kernel("attention.cuda", "attention", "cuda", _forward, _backward, _odd))


def _odd_packed(arrays, params):
    *packed, starts, _ = arrays
    if len(starts) < 2:
        return "no sequences"
    return _odd((*map(by_heads, packed), None, None, None), params)


def _packed_call(xp, query, key, value, starts, key_starts, *params):
    starts = edges(xp, starts, key_starts, len(query), len(key))
    return _Call(xp, *map(by_heads, (query, key, value)), None, None, None, starts, *params)


def _packed(xp, query, key, value, *rest):
    kept = _packed_call(xp, query, key, value, *rest).forward()
    return kept[0][0].swapaxes(0, 1), kept


def _packed_backward(xp, g, kept, query, key, value, starts, key_starts, **params):
    *found, _ = _packed_call(xp, query, key, value, starts, key_starts, *params.values()).backward(by_heads(g), *kept)
    return *[a[0].swapaxes(0, 1) for a in found], None, None


register(Kernel("attention_packed.cuda", "attention_packed", "cuda", _packed, _packed_backward, _odd_packed))
