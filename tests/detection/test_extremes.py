"""Every detector trains and evaluates on what data sets hold, too: no boxes, flat ones, thousands, one class."""
import numpy as np
import pytest

import minidl as ml
from minidl.models.registry import model_classes
from minidl.train import CocoMetric, DetectionTrainer

KINDS = [kind for kind, task in model_classes() if task == "object-detection"]
RNG = np.random.default_rng(0)


def made(n, side=64, flat=False, label=None):
    """(image, target) with n objects, each with a mask."""
    corner = RNG.random((n, 2)) * (side - 12)
    boxes = np.concatenate([corner, corner + (0 if flat else RNG.random((n, 2)) * 11 + 1)], 1).astype("f4")
    masks = np.zeros((n, side, side), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int)):
        mask[y1:y2 + 1, x1:x2 + 1] = True
    labels = np.full(n, label) if label is not None else np.arange(n) % 2
    return RNG.random((3, side, side)).astype("f4"), {"boxes": boxes, "labels": labels, "masks": masks}


EXTREMES = {"none": [made(0), made(0)], "some": [made(0), made(3)], "flat": [made(3, flat=True), made(2)],
            "one class": [made(2, label=1), made(1, label=1)], "many": [made(1500), made(1)]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("which", EXTREMES)
def test_training_and_evaluation(kind, which):
    check(kind, which, "cpu")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_on_another_device(kind, double):
    check(kind, "some", "cuda")


def check(kind, which, device):
    """A step of training, its loss and gradients finite, and a round of evaluation."""
    ml.seed(0)
    model = kind(kind.config_class.tiny()).to(device)
    images, targets = map(list, zip(*EXTREMES[which]))
    run = DetectionTrainer(model, ml.optim.SGD(model.parameters(), 1e-3), device=device,
                           selection={"score_threshold": 0.01})
    loss, _, _, n = run.forward((images, targets))
    loss.backward()
    assert n == 2 and np.isfinite(loss.item())
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters() if p.grad is not None)
    measured = run.evaluate([(images, targets)])
    assert all(-1 <= value <= 1 for value in measured.values()) and "map" in measured
    empty = CocoMetric()
    image = ml.tensor(np.zeros((3, 33, 70), "f4"), device=device)
    empty.update(model.eval()([image], score_threshold=0.999), [made(0)[1]])
    assert empty.compute() == -1
