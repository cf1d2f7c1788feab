"""Training language models: batches are arrays by name, and the model gives its own loss."""
from ..errors import ArgumentError, message
from ..tensor import Tensor
from .trainer import Trainer


class TextTrainer(Trainer):
    """A Trainer of models that give an Output with a `loss`, from batches as text.PadBatch makes them.

    Metrics are given logits and labels.  With `accumulate`, batches count by their sequences.

    Args:
        model: a language model with a head, or ReplacedTokens.
        optimizer, options: as of Trainer, but for the loss.
    """

    def __init__(self, model, optimizer, **options):
        super().__init__(model, optimizer, None, **options)

    def forward(self, batch):
        """(loss, logits, labels, number of sequences) of {name: (N, ...)}, labels among them."""
        if not isinstance(batch, dict) or "labels" not in batch or not len(batch["labels"]):
            got = ", ".join(batch) if isinstance(batch, dict) else type(batch).__name__
            raise ArgumentError(message("TextTrainer", "batch", "a dict of arrays, labels among them", got))
        given = {name: Tensor(value).to_device(self.device) for name, value in batch.items()}
        found = self.model(**given)
        return found.loss, found.logits, given["labels"], len(batch["labels"])
