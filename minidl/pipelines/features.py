"""What a model makes of a text: vectors to compare, and to search by."""
import numpy as np

from ..errors import ArgumentError, message, number
from .base import Pipeline


class FeatureExtraction(Pipeline):
    """Vectors for texts, or for their tokens."""

    task, head = "feature-extraction", "Model"

    def run(self, items, pooling=None, normalize=False, truncation=False):
        """The last hidden states of texts.

        Args:
            items: strings, or {"text", "text_pair"}.
            pooling: None: a vector for every token; "mean": their mean (Reimers, Gurevych 2019, "Sentence-BERT",
                arXiv:1908.10084); "cls": the first token's.
            normalize: scale each vector to length 1.
            truncation: cut what is too long.

        Returns:
            arrays (T, W), or with pooling (W), float32.
        """
        pools = {None: lambda x: x, "mean": lambda x: x.mean(0, dtype=np.float64).astype(x.dtype),
                 "cls": lambda x: x[0]}
        if pooling not in pools:
            raise ArgumentError(message("pipeline", "pooling", "None, mean or cls", repr(pooling)))
        found = [pools[pooling](self._states(out)) for out in self.outputs(self.encode(items, truncation), **self._ask)]
        if normalize:
            found = [x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in found]
        return found

    @property
    def _ask(self):
        """What to ask of the model, beside its usual output."""
        return {"output_hidden_states": True} if hasattr(self.model, "generate") else {}

    def _states(self, out):
        found = out.last_hidden_state
        return out.encoder_last_hidden_state if found is None else found


class Search:
    """Passages by meaning: those whose vectors point most nearly the way that a query's does.

    Source: Reimers, Gurevych 2019, "Sentence-BERT", arXiv:1908.10084.

    Args:
        pipe: a FeatureExtraction, of a model that was trained for it.
        passages: strings; what is too long for the model is cut.

    Raises:
        ArgumentError: no passages.
    """

    def __init__(self, pipe, passages):
        if not passages:
            raise ArgumentError(message("search", "passages", "at least one", "none"))
        self.pipe, self.passages = pipe, list(passages)
        self.vectors = np.stack(self._embed(self.passages))

    def _embed(self, texts):
        return self.pipe(texts, pooling="mean", normalize=True, truncation=True)

    def __call__(self, query, top_k=5):
        """The nearest passages, [{"score": cosine, "index", "text"}], the best first."""
        number("search", "top_k", top_k, 1, whole=True)
        scores = self.vectors @ self._embed([query])[0]
        return [{"score": float(scores[i]), "index": int(i), "text": self.passages[i]}
                for i in np.argsort(-scores, kind="stable")[:top_k]]
