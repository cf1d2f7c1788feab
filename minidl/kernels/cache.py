"""What kernels of `decode_attention` share: reasons to refuse, and the gradients, by plain array arithmetic.

Writing token by token wants no gradients; there are few queries, so that all their scores are a small array.
"""
from math import log, prod

from ..backend import scatter_add


def odd(query, key, value, table):
    """Why arrays do not fit, or None."""
    if not (query.size and key.size and value.size and (table is None or table.size)):
        return "empty arrays"
    if query.shape[1] % key.shape[1] or table is None and len(key) != len(query):
        return "shapes that do not fit"
    return None


def odd_parameters(scale, window_size, softcap):
    """Why parameters are not for compiled kernels, or None."""
    numbers = isinstance(scale, (float, int, type(None))) and isinstance(softcap, (float, int))
    return None if numbers and all(isinstance(n, int) for n in window_size) else "parameters of unusual types"


def room(key, table):
    """How many keys a sequence can have."""
    return key.shape[2] * (1 if table is None else table.shape[1])


def used_pages(xp, key, lengths, table):
    """The table with 0 for entries that no key of a sequence needs."""
    return xp.where(xp.arange(table.shape[1]) * key.shape[2] < lengths[:, None], table, 0)


def backward(xp, g, kept, query, key, value, lengths, table, scale, window_size, softcap):
    """Gradients of an op's inputs; `kept`: its output, and the logarithms, base 2, of its rows (N, H, T)."""
    pages = None if table is None else used_pages(xp, key, lengths, table)
    (n, h, t, d), groups = query.shape, key.shape[1]
    lengths, scale = lengths.astype("int64").reshape(n, 1, 1, 1, 1), d ** -0.5 if scale is None else scale

    def rows(cache):                                   # (N, G, 1, keys, width); zeros behind the ends of sequences
        if pages is not None:
            cache = cache[pages].swapaxes(1, 2).reshape(n, groups, -1, cache.shape[-1])
        within = xp.arange(cache.shape[2])[:, None] < lengths
        return xp.where(within, xp.array(cache[:, :, None], "float32", order="C"), xp.float32(0))

    def grouped(array):                                # (N, G, heads that share keys, T, width)
        return xp.array(array.reshape(n, groups, h // groups, t, -1), "float32", order="C")

    q, k, v = grouped(query), rows(key), rows(value)
    g, out, logsum = [grouped(a) for a in (g, *kept)]
    scores, slope = q @ k.swapaxes(-1, -2) * scale, scale
    if softcap:
        scores = xp.tanh(scores / softcap)
        scores, slope = scores * softcap, (1 - scores * scores) * scale
    distance = xp.arange(k.shape[3]) - (lengths - t + xp.arange(t)[:, None])
    before = k.shape[3] if window_size[0] < 0 else window_size[0]
    seen = (distance <= 0) & (distance >= -before)
    weights = xp.exp(xp.where(seen, scores - logsum * log(2), -xp.inf))
    gs = weights * (g @ v.swapaxes(-1, -2) - (g * out).sum(-1, keepdims=True)) * slope

    def of_cache(cache, x, y):
        found = (x.swapaxes(-1, -2) @ y).sum(2)        # (N, G, keys, width)
        if pages is None:
            return found.astype(cache.dtype)
        gradient = xp.zeros(cache.shape, "float32")
        found = found.reshape(n, groups, pages.shape[1], cache.shape[2], -1).swapaxes(1, 2)
        scatter_add(gradient, pages.ravel(), found.reshape(prod(pages.shape), *cache.shape[1:]))
        return gradient.astype(cache.dtype)

    gq = (gs @ k).reshape(query.shape).astype(query.dtype)
    return gq, (lambda: of_cache(key, gs, q)), (lambda: of_cache(value, weights, g)), None, None
