"""What a model makes of a text: vectors to compare, and to search by."""
import numpy as np

from ..errors import ArgumentError, message, number
from ..models.text.output import Output
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
        states = self.outputs(self.encode(items, truncation), "last_hidden_state")
        found = [pools[pooling](x) for x, in states]
        if normalize:
            found = [x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in found]
        return found

    def forward(self, batch):
        """Of models that write, what is in front of their scores; of those that read first, what they read."""
        if not hasattr(self.model, "generate"):
            return self.model(**batch)
        if hasattr(self.model, "encode"):
            return Output(last_hidden_state=self.model.encode(**batch))
        return Output(last_hidden_state=self.model.decode(batch["input_ids"], batch.get("attention_mask"), None, None,
                                                          None))


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
