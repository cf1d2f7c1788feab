"""Average precision: equal to pycocotools' numbers on scenes that are made to be difficult.

`python tests/detection/test_coco_metric.py` writes coco.json, where pycocotools is installed.
"""
import json
from pathlib import Path

import numpy as np
import pytest

from minidl.errors import ArgumentError, MinidlError
from minidl.io import load, save
from minidl.train.coco import NAMES, CocoMetric

FIXTURE = Path(__file__).with_name("coco.json")
SCENES = [(seed, kind, mode) for seed, (kind, mode) in enumerate(
    [(kind, mode) for kind in ("boxes", "masks") for mode in ("grid", "random", "crowded") for _ in range(7)])]


def scene(seed, kind, mode):
    """(targets, outputs) of a few images: "grid": overlaps and scores that tie; "crowded": over 100 detections; in
    all crowds, areas unlike the boxes', images and classes with nothing, detections of classes that are not there."""
    rng = np.random.RandomState(seed)
    height, width = (48, 64) if kind == "masks" else (200, 300)
    step = {"grid": 4 if kind == "masks" else 8, "crowded": 1, "random": None}[mode]
    classes, targets, outputs = rng.randint(1, 4), [], []

    def boxes(n, near=()):
        corner, side = rng.rand(n, 2) * [width * 0.8, height * 0.8], rng.rand(n, 2) ** 2 * [width * 0.6, height * 0.6]
        if len(near) and n:
            model, moved = near[rng.randint(0, len(near), n)], rng.rand(n, 1) < 0.7
            size = model[:, 2:] - model[:, :2]
            corner = np.where(moved, model[:, :2] + rng.randn(n, 2) * size * 0.1, corner)
            side = np.where(moved, size * np.exp(rng.randn(n, 2) * 0.15), side)
        found = np.concatenate([corner, corner + side], 1)
        return np.clip(np.round(found / step) * step if step else found, 0, [width, height] * 2)

    for i in range(rng.randint(2, 6)):
        m, n = (rng.randint(3, 9), rng.randint(100, 130)) if mode == "crowded" else (rng.randint(0, 7), rng.randint(12))
        truth = boxes(m)
        found = boxes(n, truth)
        if mode == "grid":
            found[:min(m, n)] = truth[:min(m, n)]
        target = {"boxes": truth, "labels": rng.randint(0, classes, m), "crowd": rng.rand(m) < 0.2,
                  "area": (truth[:, 2:] - truth[:, :2]).prod(1) * np.where(rng.rand(m) < 0.3, 0.5, 1)}
        output = {"boxes": found, "labels": rng.randint(0, classes + 1, n),
                  "scores": np.round(rng.rand(n), 8 if mode == "random" else 1)}
        if kind == "masks":
            target["masks"], output["masks"] = striped(truth, height, width), striped(found, height, width)
        emptied = {1: target, 3: output}.get(i, {})
        emptied.update({name: part[:0] for name, part in emptied.items()} if seed % 2 else {})
        targets.append(target)
        outputs.append(output)
    return targets, outputs


def striped(boxes, height, width):
    """Masks (n, H, W): boxes with every fifth diagonal missing."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = [(x > x1) & (x < x2) & (y > y1) & (y < y2) & ((x + y) % 5 > 0) for x1, y1, x2, y2 in boxes]
    return np.array(inside, bool).reshape(-1, height, width)


def summary(targets, outputs, kind):
    metric = CocoMetric(kind)
    for target, output in zip(targets, outputs):
        metric.update([output], [target])
    return metric.summary()


def test_the_twelve_numbers_are_those_of_pycocotools():
    cases = json.loads(FIXTURE.read_text())
    assert len(cases) == len(SCENES)
    for case, (seed, kind, mode) in zip(cases, SCENES):
        got = summary(*scene(seed, kind, mode), kind)
        np.testing.assert_allclose(list(got.values()), case, rtol=0, atol=1e-9, err_msg=f"{seed} {kind} {mode}")
        assert list(got) == list(NAMES)


def test_what_is_easy_to_say():
    targets, _ = scene(0, "boxes", "random")
    perfect = [{"boxes": t["boxes"], "labels": t["labels"], "scores": np.ones(len(t["labels"]))} for t in targets]
    found = summary([{**t, "crowd": t["crowd"] & False} for t in targets], perfect, "boxes")
    assert all(found[name] == pytest.approx(1) for name in ("map", "map50", "mar100"))
    nothing = [{name: part[:0] for name, part in one.items()} for one in perfect]
    assert summary(targets, nothing, "boxes")["map"] == 0
    assert set(summary(nothing, nothing, "boxes").values()) == set(CocoMetric().summary().values()) == {-1.0}
    assert CocoMetric().compute() == -1
    flat = np.array([[3.0, 3, 3, 9], [5, 5, 5, 5]])
    assert summary([{"boxes": flat, "labels": [0, 1]}], [{"boxes": flat, "labels": [0, 1], "scores": [1.0, 1]}],
                   "boxes")["map"] == 0


def test_classes_one_by_one():
    box = np.array([[0.0, 0, 10, 10], [20, 20, 50, 60]])
    metric = CocoMetric()
    metric.update([{"boxes": box, "labels": [4, 7], "scores": [0.9, 0.8]}], [{"boxes": box, "labels": [4, 5]}])
    assert metric.by_class() == {4: pytest.approx({"map": 1, "map50": 1}), 5: {"map": 0, "map50": 0}}
    assert metric.compute() == metric.summary()["map"] == pytest.approx(0.5)


def test_a_resumed_metric_goes_on(tmp_path):
    targets, outputs = scene(3, "masks", "grid")
    first, second, whole = CocoMetric("masks"), CocoMetric("masks"), CocoMetric("masks")
    first.update(outputs[:1], targets[:1])
    save(first.state_dict(), tmp_path / "state.safetensors")
    second.load_state_dict(load(tmp_path / "state.safetensors"))
    second.update(outputs[1:], targets[1:])
    whole.update(outputs, targets)
    assert second.summary() == whole.summary()
    missed = CocoMetric()
    missed.update([{"boxes": [], "labels": [], "scores": []}], [{"boxes": np.ones((1, 4)), "labels": [4]}])
    first.load_state_dict(missed.state_dict())
    assert list(first.wanted) == [4]


def test_refusals_name_the_part():
    metric, box = CocoMetric(), np.zeros((2, 4))
    found = {"boxes": box, "labels": [0, 1]}
    for output, target, said in [(found, found, "no scores"), ({**found, "scores": [1]}, {}, "scores for 2 labels"),
                                 ({**found, "scores": [1, 1]}, {"labels": [0]}, "no boxes")]:
        with pytest.raises(MinidlError, match=rf"\[CocoMetric\] .*{said}"):
            metric.update([output], [target])
    with pytest.raises(ArgumentError, match="one for each of 1 images, got 0"):
        metric.update([{}], [])
    with pytest.raises(ArgumentError, match="boxes or masks"):
        CocoMetric("segm")


def _oracle(targets, outputs, kind):
    from pycocotools import mask as api
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    annotations, detections = [], []
    for i, pair in enumerate(zip(targets, outputs), 1):
        for part, out in zip(pair, (annotations, detections)):
            for j, (x1, y1, x2, y2) in enumerate(part["boxes"].tolist()):
                row = {"id": len(out) + 1, "image_id": i, "category_id": int(part["labels"][j]),
                       "bbox": [x1, y1, x2 - x1, y2 - y1]}
                if kind == "masks":
                    row["segmentation"] = api.encode(np.asfortranarray(part["masks"][j].astype(np.uint8)))
                    del row["bbox"]
                row |= {"score": float(part["scores"][j])} if out is detections else \
                    {"iscrowd": int(part["crowd"][j]), "area": float(part["area"][j])}
                out.append(row)
    truth = COCO()
    labels = sorted({int(k) for part in (*targets, *outputs) for k in part["labels"]})
    truth.dataset = {"info": {}, "annotations": annotations, "categories": [{"id": k, "name": str(k)} for k in labels],
                     "images": [{"id": i + 1, "height": 999, "width": 999} for i in range(len(targets))]}
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(detections), "bbox" if kind == "boxes" else "segm")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run.stats.tolist()


if __name__ == "__main__":
    rows = [json.dumps(_oracle(*scene(*one), one[1])) for one in SCENES]
    FIXTURE.write_text("[" + ",\n ".join(rows) + "]\n")
