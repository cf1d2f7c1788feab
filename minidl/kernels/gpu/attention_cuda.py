"""Attention in CUDA C++: forward, the gradients of queries, of keys and values, and of a bias.

Arrays are read in place, whatever their strides are, as long as the elements of a row lie together. Of a bias, the
gradient of each score is written, in float32, and then summed over the axes along which the bias is spread.
"""
from ...dispatch import Kernel, register
from .arrays import multiplied
from .heads import FAR, dropout, four, like, odd, plane, steps
from .launch import cdiv, launch

HEADS = 32, 64, 128                    # widths that kernels are compiled for: others run in the next larger one


def _head(*arrays):
    """The key of the kernels that serve arrays of such widths; None: there is none."""
    return next((head for head in HEADS if max(a.shape[-1] for a in arrays) <= head), None)


def _rows(xp, array):
    """Four axes, the elements of a row next to each other."""
    array = four(array)
    return array if array.strides[-1] == array.itemsize else xp.array(array, order="C")


def _odd(arrays, params):
    query, _, value, _, _, lengths = arrays
    if lengths is not None or params["offset"] is None:
        return "lengths of sequences"
    head = _head(query, value)
    own = head and {"dtype": query.dtype.name, "head": _served(query, head)}
    return odd("attention_forward_cuda", own, arrays, params)


def _served(array, head, backward=False):
    """The width that kernels have: float32's, and backward's, begin at 64."""
    return max(head, 64) if backward or array.dtype.name == "float32" else head


class _Call:
    """One call: its arrays as the kernels read them, and the arguments that all kernels share."""

    def __init__(self, xp, query, key, value, bias, mask, lengths, scale, is_causal, offset, window_size, softcap,
                 dropout_p, dropout_key):
        self.lead = query.shape[:-3]
        self.q, self.k, self.v = arrays = [_rows(xp, a) for a in (query, key, value)]
        self.bias, mask = plane(xp, bias, self.lead), plane(xp, mask, self.lead)
        b, h, t, d = self.q.shape
        self.scores, self.key_heads, self.head = (b, h, t, self.k.shape[2]), self.k.shape[1], _head(query, value)
        before, behind = [FAR if n < 0 else min(n, FAR) for n in window_size]
        self.shared = (
            *arrays, self.bias, mask, None, *[n for a in arrays for n in steps(a, 3)], *steps(self.bias),
            *steps(mask), h, h // self.key_heads, t, self.k.shape[2], d, self.v.shape[3],
            d ** -0.5 if scale is None else scale, softcap, offset, before, 0 if is_causal else behind,
            *dropout(dropout_p, dropout_key))

    def run(self, kernel, heads, rows, arrays, placed):
        """Launch a kernel for blocks of the `rows` of each of the `heads` of all sequences."""
        head = _served(self.q, self.head, kernel != "attention_forward_cuda")
        launch(kernel, lambda c: (self.scores[0] * heads * cdiv(rows, c["ROWS"]),),
               (*self.shared, *arrays, *[n for a in placed for n in steps(a, 3)]), dtype=multiplied(self.q), head=head)


def _forward(xp, query, key, value, *rest):
    call = _Call(xp, query, key, value, *rest)
    b, h, t, _ = call.scores
    out, logsum = like(xp, call.q, value.shape[-1]), xp.empty((b, h, t), "float32")
    call.run("attention_forward_cuda", h, t, (out, logsum), (out,))
    return out.reshape(*query.shape[:-1], value.shape[-1]), (out, logsum)


def _backward(xp, g, kept, query, key, value, bias, mask, lengths, **params):
    call, (out, logsum), g = _Call(xp, query, key, value, bias, mask, lengths, **params), kept, _rows(xp, g)
    _, h, t, s = call.scores
    delta, (gq, gk, gv) = xp.empty_like(logsum), [like(xp, a, a.shape[3]) for a in (call.q, call.k, call.v)]

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
    return gq.reshape(query.shape), gk.reshape(key.shape), gv.reshape(value.shape), of_bias, None, None


register(Kernel("attention.cuda", "attention", "cuda", _forward, _backward, _odd))
