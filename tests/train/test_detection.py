"""Training detectors: what reaches the model, batches of several scales, the last epochs without mosaics."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.data.detection import DetectionView, collate
from minidl.errors import ArgumentError
from minidl.train import CloseMosaic, DetectionTrainer
from minidl.train.detection import rescaled

BOX = {"boxes": np.array([[8, 16, 24, 32]], "f4"), "labels": np.array([2])}


class Recorder(nn.Module):
    """Says that it found what it was shown last, and keeps what it is given."""

    stride, first_label = 32, 1

    def __init__(self):
        self.weight = nn.Parameter(ml.zeros((1,)))
        self.given = []

    def forward(self, images, targets=None, **selection):
        if targets is None:
            assert set(selection) == {"score_threshold", "max_detections"}
            return [{"boxes": BOX["boxes"], "labels": BOX["labels"] + 1, "scores": np.ones(1)} for _ in images]
        self.given.append(([tuple(x.shape) for x in images], targets))
        return {"near": self.weight.sum() * 2.0, "far": self.weight.sum() + 1.0}


def loader(n=6, side=64):
    items = [(np.full((side, side, 3), 90, np.uint8), BOX)] * n
    return DataLoader(items, 2, seed=1, transform=DetectionView(items, side, mosaic=1.0), collate_fn=collate)


def trainer(**options):
    model = Recorder()
    return DetectionTrainer(model, optim.SGD(model.parameters(), 0.1), **options), model


def test_losses_and_coco_numbers_are_in_the_history():
    run, model = trainer(epochs=2)
    history = run.fit(loader(), [collate([(np.zeros((3, 40, 40), "f4"), BOX)])])
    assert list(history[0]) == ["epoch", "loss", "near", "far", "val_map", "val_map50"]
    assert history[0]["val_map50"] == pytest.approx(1) and history[0]["loss"] == pytest.approx(
        history[0]["near"] + history[0]["far"])
    assert all((target["labels"] == 3).all() for _, targets in model.given for target in targets)
    assert run.metrics[0].name == "near" and np.isnan(run.metrics[0].compute())


def test_batches_of_several_scales():
    ml.seed(0)
    run, model = trainer(epochs=8, multi_scale=0.5)
    run.fit(loader())
    shapes = [set(shapes) for shapes, _ in model.given]
    assert {shape for one in shapes for shape in one} == {(3, n, n) for n in (32, 64, 96)}
    assert all(len(one) == 1 for one in shapes)


def test_objects_follow_the_scale():
    mask = np.zeros((1, 40, 80), bool)
    mask[:, 16:32, 8:24] = True
    image = ml.tensor(np.broadcast_to(mask[0], (3, 40, 80)).astype("f4"))
    batch, (target,) = rescaled([image], [{**BOX, "masks": mask}], 80)
    assert batch.shape == (1, 3, 80, 80) and target["boxes"].tolist() == [[8, 32, 24, 64]]
    assert (target["masks"][0] == (batch.numpy()[0, 0] > 0.5)).all() and (BOX["boxes"] == [[8, 16, 24, 32]]).all()
    assert rescaled([image[:, :, :40]], [BOX], 40)[1][0] is BOX
    with pytest.raises(ArgumentError, match=r"\[rescaled\] images: expected images of one size"):
        rescaled([image, image[:, :20]], [BOX, BOX], 64)


def test_the_last_epochs_see_whole_images():
    run, _ = trainer(epochs=3, callbacks=[CloseMosaic(1)])
    seen, data = [], loader()
    run._tell = lambda event, tell=run._tell: (tell(event), seen.append((event, data.transform.mosaic)))
    run.fit(data)
    assert [mosaic for event, mosaic in seen if event == "on_epoch_start"] == [1, 1, 0]
    data.num_workers, data.persistent_workers = 1, True
    for wrong in data, DataLoader([BOX], 1), []:
        with pytest.raises(ArgumentError, match=r"\[CloseMosaic\] loader"):          # (at once, not in the last epochs)
            trainer(epochs=3, callbacks=[CloseMosaic(1)])[0].fit(wrong)


def test_batches_that_cannot_be_are_refused():
    run, _ = trainer()
    for batch in ([], ([], []), ([1], []), {"images": []}):
        with pytest.raises(ArgumentError, match=r"\[DetectionTrainer\] batch: .*collate"):
            run.forward(batch)
    with pytest.raises(ArgumentError, match="multi_scale"):
        trainer(multi_scale=1.0)
