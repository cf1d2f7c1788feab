"""Training detectors: batches are lists of images and of targets, and the model gives its own losses.

    trainer = DetectionTrainer(model, optimizer, epochs=30, ema=EMA(model), callbacks=[CloseMosaic(5)])
    trainer.fit(loader, validation=val_loader)         # history: loss, each part of it, val_map, val_map50
"""
from dataclasses import replace

import numpy as np

from .. import ops, tape
from ..backend import random
from ..data.detection import DetectionView
from ..errors import ArgumentError, message, number
from ..tensor import Tensor
from .callbacks import Callback
from .coco import CocoMetric
from .metrics import Mean
from .trainer import Trainer

SELECTION = {"score_threshold": 0.001, "max_detections": 100}      # of detections that are measured


class _Part(Mean):
    """The mean of one of a model's losses."""

    def __init__(self, name):
        self._name = name
        super().__init__()

    name = property(lambda self: self._name)

    def update(self, outputs, targets):
        super().update(outputs[self._name], len(targets))


class DetectionTrainer(Trainer):
    """A Trainer of detectors, from batches (list of images (C, H, W) in [0, 1], list of targets).

    The history has each of the model's losses, and of validation COCO's numbers "map" and "map50", of masks
    "mask_map" and "mask_map50", too, where the model finds them.

    Args:
        model: gives losses of images and targets while it trains, else detections; labels of targets count from 0,
            whatever the model's `first_label`.
        optimizer, options: as of Trainer, but for the loss and the metrics.
        multi_scale: a share s: each batch is resized, both sides alike, by a factor in [1 - s, 1 + s], to a multiple
            of the model's stride; its images must be of one size.
        selection: of the detections that validation measures.
    """

    def __init__(self, model, optimizer, *, multi_scale=0.0, selection=None, **options):
        super().__init__(model, optimizer, None, **options)
        self.multi_scale = number("DetectionTrainer", "multi_scale", multi_scale, 0, 0.9)
        self.selection = SELECTION if selection is None else selection

    def batch(self, batch):
        """(images, targets): images on the device, labels as the model counts them."""
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or len(batch[0]) != len(batch[1]) or not batch[0]:
            expected = "(images, targets), lists of one length, not empty"
            raise ArgumentError(message("DetectionTrainer", "batch", expected, "something else",
                                        "Give the loader minidl.data.detection.collate."))
        first = getattr(self.model, "first_label", 0)
        images = [(x if isinstance(x, Tensor) else Tensor(x)).to_device(self.device) for x in batch[0]]
        return images, [{**target, "labels": np.asarray(target["labels"]) + first} for target in batch[1]]

    def forward(self, batch):
        """(loss, {name: loss}, targets, number of images)."""
        images, targets = self.batch(batch)
        if self.multi_scale:
            images, targets = rescaled(images, targets, self._side(images))
        losses = self.model(images, targets)
        known = {metric.name for metric in self.metrics}
        self.metrics += [_Part(name) for name in losses if name not in known]
        return sum(losses.values()), losses, targets, len(images)

    def _side(self, images):
        """The height and width of a batch: drawn, so that a resumed run draws the same."""
        stride, side = getattr(self.model, "stride", 32), max(images[0].shape[1:])
        low, high = (max(1, round(side * f / stride)) for f in (1 - self.multi_scale, 1 + self.multi_scale))
        return stride * int(random.integers(np, random.default().next_key(), (), low, high + 1))

    def _evaluate(self, loader):
        training, measures = self.model.training, {}
        self.model.eval()
        with tape.no_grad():
            for batch in loader:
                images, targets = self.batch(batch)
                found = self.model(images, **self.selection)
                if not measures:
                    kinds = ["boxes"] + ["masks"] * ("masks" in found[0] and "masks" in targets[0])
                    measures = {kind: CocoMetric(kind) for kind in kinds}
                for metric in measures.values():
                    metric.update(found, targets)
        self.model.train(training)
        result = {}
        for metric in measures.values():
            told = metric.summary()
            result |= {metric.name: told["map"], f"{metric.name}50": told["map50"]}
        return result

    def load_state_dict(self, saved):
        """Go on from there, as of Trainer."""
        known = {self.mean_loss.name, *(metric.name for metric in self.metrics)}
        if isinstance(saved, dict) and isinstance(saved.get("metrics"), dict):
            self.metrics += [_Part(name) for name in saved["metrics"] if name not in known]
        super().load_state_dict(saved)


def rescaled(images, targets, side):
    """Images (C, H, W) of one size and what is on them, resized to `side` by `side` pixels.

    Returns:
        a batch (N, C, side, side), and the targets.

    Raises:
        ArgumentError: the images are of several sizes.
    """
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ArgumentError(message("rescaled", "images", "images of one size", " and ".join(map(str, sorted(sizes)))))
    (height, width), = sizes
    batch = ops.stack(images)
    if (height, width) == (side, side):
        return batch, targets
    scale = np.array([side / width, side / height] * 2, np.float32)
    moved = [{**target, "boxes": np.asarray(target["boxes"], np.float32) * scale} for target in targets]
    rows, columns = (((np.arange(side) + 0.5) * (n / side)).astype(np.int64) for n in (height, width))
    for target in moved:
        if "masks" in target:
            target["masks"] = np.asarray(target["masks"])[:, rows][:, :, columns]
    return ops.interpolate(batch, size=(side, side), mode="bilinear", align_corners=False), moved


class CloseMosaic(Callback):
    """The last epochs see whole images, as validation does: no mosaics, nor mixes.

    Args:
        epochs: how many.

    Raises:
        ArgumentError: the loader's transform is no DetectionView, or its workers stay and would not see the change.

    Source: Ge et al. 2021, "YOLOX", arXiv:2107.08430, section 2.1.
    """

    def __init__(self, epochs):
        self.epochs = number("CloseMosaic", "epochs", epochs, 0, whole=True)

    def on_fit_start(self, trainer):
        loader = trainer.loader
        stays = getattr(loader, "num_workers", 0) and loader.persistent_workers
        if self.epochs and (stays or not isinstance(getattr(loader, "transform", None), DetectionView)):
            expected = "a DataLoader with a DetectionView as its transform, and no persistent_workers"
            raise ArgumentError(message("CloseMosaic", "loader", expected, "another"))

    def on_epoch_start(self, trainer):
        if trainer.epoch >= trainer.epochs - self.epochs:
            trainer.loader.transform = replace(trainer.loader.transform, mosaic=0.0, mixup=0.0)
