"""Attention of a few queries to a cache in CUDA C++: chunks of keys by blocks, and what they found put together.

How keys are cut depends on the room of a cache alone. On a device nobody waits to look at lengths and tables: kernels
take those out of range for the nearest that are not.
"""
from ...dispatch import Kernel, register
from ..cache import backward, odd, odd_parameters, room
from .heads import FAR, like, rows, steps
from .launch import cdiv, lacks, launch

HEADS = 64, 128, 256                   # widths that kernels are compiled for: others run in the next larger one
CHUNK, MOST_CHUNKS = 256, 64           # keys that a block reads, at least; parts of a sequence, at most


def _head(*arrays):
    """The key of the kernels that serve arrays of such widths; None: there is none."""
    return next((head for head in HEADS if max(a.shape[-1] for a in arrays) <= head), None)


def _odd(arrays, params):
    query, key, value, _, table = arrays
    if reason := odd(query, key, value, table):
        return reason
    if (head := _head(query, value)) is None:
        return f"heads of {max(query.shape[-1], value.shape[-1])} elements are too wide"
    if any(a.dtype != query.dtype for a in (key, value)):
        return "several dtypes"
    if reason := lacks("decode_parts_cuda", dtype=query.dtype.name, head=head):
        return reason
    return "long sequences" if room(key, table) >= FAR else odd_parameters(**params)


def _forward(xp, query, key, value, lengths, table, scale, window_size, softcap):
    q, k, v = [rows(xp, a) for a in (query, key, value)]
    (n, h, t, d), (caches, g, size, e), dtype = q.shape, v.shape, query.dtype.name
    lengths, table = [a if a is None else xp.array(a, "int32", order="C") for a in (lengths, table)]
    pages, most = 1 if table is None else table.shape[1], room(k, table)
    chunk = CHUNK
    while cdiv(most, chunk) > MOST_CHUNKS:
        chunk *= 2
    warps = 4 if _head(query, value) * query.itemsize <= 256 else 2
    parts = cdiv(most, chunk) * warps
    sums, statistics = xp.empty((n, h, t, parts, e), "float32"), xp.empty((n, h, t, parts, 2), "float32")
    launch("decode_parts_cuda", lambda c: (n * g * cdiv(h // g * t, c["ROWS"]) * (parts // warps),), (
        q, k, v, lengths, table, sums, statistics, *[i for a in (q, k, v) for i in steps(a, 3)], h, h // g, t, caches,
        pages, size, d, e, d ** -0.5 if scale is None else scale, softcap,
        FAR if window_size[0] < 0 else min(window_size[0], FAR), chunk, parts), dtype=dtype, head=_head(query, value))
    out, logsum = like(xp, q, e), xp.empty((n, h, t), "float32")
    launch("decode_join_cuda", (n * h * t,), (sums, statistics, lengths, out, logsum, *steps(out, 3), h, t, most, e,
                                              chunk, warps, parts), dtype=dtype)
    return out, (out, logsum)


register(Kernel("decode_attention.cuda", "decode_attention", "cuda", _forward, backward, _odd))
