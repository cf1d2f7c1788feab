"""Training networks that take noise away."""
from ..backend import random
from ..models.diffusion.objective import diffusion_loss
from .trainer import Trainer


class DiffusionTrainer(Trainer):
    """A Trainer of UNet2DModels, on batches of images in [-1, 1], and labels.

    Args:
        model: told the time; and the label, where it has classes, the last of which is none.
        optimizer, options: as of Trainer, but for the loss.
        scheduler: says how noise is added, and what the model predicts.
        drop, weighting: as of `diffusion_loss`.
    """

    def __init__(self, model, optimizer, scheduler, drop=0.1, weighting="none", **options):
        super().__init__(model, optimizer, None, **options)
        self.scheduler, self.settings = scheduler, {"drop": drop, "weighting": weighting}

    def forward(self, batch):
        """(loss, images, labels, number of images) of images and labels; in validation always the same noise."""
        images, labels = self.batch(batch)
        told = labels if self.model.config.num_class_embeds else None
        key = None if self.model.training else random.key(0)
        return diffusion_loss(self.model, self.scheduler, images, told, key=key,
                              **self.settings), images, labels, images.shape[0]
