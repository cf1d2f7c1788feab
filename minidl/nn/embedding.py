"""Embeddings: rows of a table, looked up by number."""
from .. import ops
from ..errors import ArgumentError, message
from . import init
from .module import Module
from .parameter import Parameter, shapes_only


class _Table(Module):
    """What both embeddings share: the table, its padding row, and being made from one that is there."""

    def _fill(self, num_embeddings, embedding_dim, padding_idx):
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            expected = f"a row's number, below {num_embeddings}"
            raise ArgumentError(message(type(self).__name__, "padding_idx", expected, padding_idx))
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(_normal_but(self.padding_idx), num_embeddings, embedding_dim)

    @classmethod
    def from_pretrained(cls, embeddings, freeze=True, **settings):
        """The layer whose table is `embeddings` (V, D), a Tensor or array; by default training leaves it alone.

        settings: arguments of the constructor beyond the two sizes.
        """
        weight = Parameter(embeddings, requires_grad=not freeze)
        with shapes_only():                            # nothing is drawn
            layer = cls(*weight.shape, **settings)
        layer.weight = weight
        return layer


def _normal_but(padding_idx):
    """Normal of mean 0 and variance 1, but for a row of zeros."""
    def draw(xp, shape, dtype):
        x = init.normal()(xp, shape, dtype)
        if padding_idx is not None:
            x[padding_idx] = 0
        return x

    return draw


class Embedding(_Table):
    """A table of vectors, looked up by number.

    Args:
        num_embeddings, embedding_dim: V and D.
        padding_idx: the number of a row that starts as zeros and gets no gradient.

    Parameters: weight (V, D): normal of mean 0 and variance 1.

    Raises:
        ArgumentError: padding_idx is no row.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self._fill(num_embeddings, embedding_dim, padding_idx)

    def forward(self, x):
        """x (*), integers in [0, V) -> (*, D)."""
        return ops.embedding(x, self.weight, self.padding_idx)


class EmbeddingBag(_Table):
    """Sums, means or maxima over bags of rows of a table.

    Args:
        num_embeddings, embedding_dim: V and D.
        mode: "sum", "mean" or "max".
        include_last_offset: offsets have one more element, where the last bag ends.
        padding_idx: the number of a row that starts as zeros, is left out of every bag, and gets no gradient.

    Parameters: weight (V, D): normal of mean 0 and variance 1.

    Raises:
        ArgumentError: padding_idx is no row.
    """

    def __init__(self, num_embeddings, embedding_dim, mode="mean", include_last_offset=False, padding_idx=None):
        self.mode, self.include_last_offset = mode, include_last_offset
        self._fill(num_embeddings, embedding_dim, padding_idx)

    def forward(self, x, offsets=None, per_sample_weights=None):
        """x (B, L), integers in [0, V), or x (P) with offsets (B), where each bag starts -> (B, D).

        per_sample_weights (as x), in mode "sum": what each row is multiplied by.
        """
        return ops.embedding_bag(x, self.weight, offsets, per_sample_weights, self.mode, self.padding_idx,
                                 self.include_last_offset)
