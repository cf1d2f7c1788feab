"""YOLO networks: which boxes answer for which objects, losses, and what evaluation folds."""
import math

import numpy as np

import minidl as ml
from minidl import Tensor
from minidl.models.detection.anchors import RATIO, neighbours
from minidl.models.detection.yolov3 import YOLOv3, YOLOv3Config

rng = np.random.default_rng(0)


def test_anchors_answer_as_by_brute_force():
    """Every cell and anchor of a map is asked whether it answers."""
    h, w = 5, 7
    boxes = np.concatenate([rng.random((40, 2)) * [w, h], rng.random((40, 2)) * 9], 1).astype("f4")
    boxes[:4] = [[0.2, 0.3, 1, 1], [6.9, 4.9, 2, 2], [3.5, 2.5, 1, 0], [3.25, 2.75, 1, 1]]
    anchors = np.array([[1, 1], [3, 2], [8, 8]], "f4")
    want = set()
    for t, (x, y, bw, bh) in enumerate(boxes):
        for a, (aw, ah) in enumerate(anchors):
            if bw and bh and max(bw / aw, aw / bw, bh / ah, ah / bh) < RATIO:
                for r in range(h):
                    for c in range(w):               # an answering cell's middle is within half a cell and one axis
                        dx, dy = abs(x - c - 0.5), abs(y - r - 0.5)
                        inside = math.floor(x) == c and math.floor(y) == r
                        if inside or min(dx, dy) < 0.5 and max(dx, dy) < 1 and (math.floor(x) == c or
                                                                               math.floor(y) == r):
                            want.add((t, a, r, c))
    found = neighbours(boxes, anchors, (h, w))
    assert len(set(zip(*found.tolist()))) == found.shape[1] > 100
    assert set(zip(*found.tolist())) == want


def test_two_maps_learn_too():
    model = YOLOv3(YOLOv3Config("tiny", width=1 / 16, num_classes=1, anchors=((8, 8, 16, 16), (20, 20, 40, 40))))
    losses = model(Tensor(rng.random((2, 3, 32, 64), np.float32)),
                   [{"boxes": [[3, 3, 20, 20], [5, 5, 5, 5]], "labels": [0, 0]}, {"boxes": [], "labels": []}])
    assert losses["classes"].item() == 0 and losses["box"].item() > 0
    sum(losses.values()).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())


def test_a_new_head_for_other_classes():
    model = ml.create_model("yolov5n", num_classes=80)
    assert len(model.labels) == 80 and model.labels[16] == "dog"
    old = model.model[0].conv.weight
    model.reset_head(2)
    assert model.model[0].conv.weight is old and model.labels == () and model.config.num_classes == 2
    assert model.head.m[2].weight.shape == (21, 256, 1, 1)
