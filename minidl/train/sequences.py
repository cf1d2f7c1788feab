"""Training networks that name sequences of several lengths."""
from ..tensor import Tensor
from .trainer import Trainer


class SequenceTrainer(Trainer):
    """A Trainer from batches (x (N, C, T), lengths (N), labels (N)), as a loader makes them of `data.labelled`."""

    def forward(self, batch):
        """(loss, logits, labels, number of sequences)."""
        x, lengths, labels = (Tensor(part).to_device(self.device) for part in batch)
        logits = self.model(x, lengths)
        return self.loss(logits, labels), logits, labels, len(labels)
