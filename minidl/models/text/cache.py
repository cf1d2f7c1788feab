"""Keys and values of the tokens seen so far, kept between steps of generation.

    k, v = cache.update(layer, k, v)          # all so far, the new ones last

Arrays are written in place: a cache is for inference, and `update` refuses while gradients are recorded.
"""
from ... import backend, tape
from ...errors import ArgumentError, GradError, message
from ...tensor import Tensor

FIRST = 64                         # tokens that a growing cache has room for at first


class Cache:
    """Keys and values (N, heads, S, D) of each layer, growing by doubling; a `limit` makes it one of fixed size.

    Args:
        limit: the most tokens it may hold; room for all is made at once.  None: it grows.
    """

    def __init__(self, limit=None):
        self.limit, self._layers, self.cross = limit, {}, {}

    @property
    def length(self):
        """How many tokens it holds."""
        return next((held for _, _, held in self._layers.values()), 0)

    def update(self, layer, keys, values):
        """All keys and values of a layer, with these (N, heads, T, D) behind those that were there.

        Raises:
            GradError: gradients are recorded.
            ArgumentError: it has a limit, which this would pass.
        """
        if tape.recording():
            raise GradError(message("Cache", "update", "no_grad", "a recording tape", "Generate under ml.no_grad()."))
        made, held = keys.shape[2], 0
        room = self._layers.get(layer)
        if room is not None:
            held = room[2]
        if self.limit is not None and held + made > self.limit:
            raise ArgumentError(message("Cache", "limit", f"at most {self.limit} tokens", held + made))
        arrays = [self._roomy(room[i] if room else None, new, held) for i, new in enumerate((keys, values))]
        for array, new in zip(arrays, (keys, values)):
            array[:, :, held:held + made] = new.data
        self._layers[layer] = (*arrays, held + made)
        return tuple(Tensor(a[:, :, :held + made]) for a in arrays)

    def _roomy(self, array, new, held):
        n, heads, made, width = new.shape
        if array is not None and held + made <= array.shape[2]:
            return array
        xp = backend.namespace(new.data)
        size = self.limit or max(FIRST, 2 * (held + made))
        grown = xp.zeros((n, heads, size, width), new.dtype)
        if array is not None:
            grown[:, :, :held] = array[:, :, :held]
        return grown

    def reorder(self, rows):
        """Let row i of the batch be what row rows[i] was: beams that go on; a single sequence is looked at by all."""
        for layer, (keys, values, held) in self._layers.items():
            self._layers[layer] = (keys[rows], values[rows], held)
        self.cross = {layer: pair if len(pair[0]) == 1 else tuple(Tensor(t.data[rows]) for t in pair)
                      for layer, pair in self.cross.items()}

    def crop(self, length):
        """Forget all tokens behind the first `length`: a draft that was not accepted."""
        self._layers = {layer: (k, v, min(held, length)) for layer, (k, v, held) in self._layers.items()}
