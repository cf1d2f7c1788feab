"""The base of detectors: frames and back, one image or many, what selects, what is refused."""
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import Tensor, no_grad, ops
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.models.config import ModelConfig
from minidl.models.detection.detector import GRAY, Detector, letterbox

rng = np.random.default_rng(0)


@dataclass(frozen=True)
class CellsConfig(ModelConfig):
    """Of Cells."""

    in_channels: int = 2
    num_classes: int = 2
    image_size: int = 64


class Cells(Detector):
    """A box around every cell of 8 pixels, its classes' scores the means of the channels in it."""

    stride = 16
    config = CellsConfig()

    def forward_raw(self, batch):
        return [ops.avg_pool2d(batch, 8)]

    def decode(self, raw, size):
        n, k, h, w = raw[0].shape
        y, x = np.mgrid[:h, :w].reshape(2, -1) * 8
        boxes = np.stack([x - 2, y - 2, x + 10, y + 10], -1).astype("f4")
        return ops.broadcast_to(Tensor(boxes), (n, h * w, 4)), raw[0].reshape((n, k, h * w)).permute_dims((0, 2, 1))

    def loss(self, raw, targets, size):
        return {"size": ops.sum(raw[0]) * 0.0 + float(targets.boxes.sum()), "targets": targets}


def images(*sizes):
    return [Tensor(rng.random((2, *size), np.float32)) for size in sizes]


def test_an_image_has_the_same_detections_in_any_company():
    model, many = Cells().eval(), images((40, 64), (64, 64), (33, 64), (90, 20), (200, 300), (40, 64))
    with no_grad():
        together = model(many, score_threshold=0.5)
        for image, found in zip(many, together):
            alone, = model([image], score_threshold=0.5)
            assert len(found["scores"]) > 3
            for name in ("boxes", "labels", "scores"):
                assert (alone[name].numpy() == found[name].numpy()).all()
            boxes, (_, height, width) = found["boxes"].numpy(), image.shape
            assert (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()


def test_a_batch_is_taken_as_it_is():
    batch = Tensor(rng.random((2, 2, 48, 80), np.float32))
    model = Cells().eval()
    for found, image in zip(model(batch), batch):
        want, = model(image[None])
        assert (found["boxes"].numpy() == want["boxes"].numpy()).all()
    assert model._batches(Tensor(np.zeros((1, 2, 50, 80), np.float32)))[0][1].shape == (1, 2, 64, 80)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 9), st.booleans())
def test_boxes_return_to_their_pixels(height, width, size, auto):
    framed, frame = letterbox(Tensor(np.ones((1, 1, height, width), np.float32)), (32 * size, 32 * size), auto=auto)
    if not auto:
        assert framed.shape[2:] == (32 * size, 32 * size)
    assert all(n % 32 == 0 for n in framed.shape[2:])
    boxes = np.sort(rng.random((5, 2, 2), np.float32), 1).reshape(5, 4)
    boxes *= np.array([width, height, width, height], "f4")
    inside = frame.enter(boxes)
    np.testing.assert_allclose(frame.leave(Tensor(inside)).numpy(), boxes, atol=2e-4 * max(height, width))
    outer = frame.enter(np.array([[0, 0, width, height]], "f4"))[0].round().astype(int)
    x = framed.numpy()[0, 0]
    np.testing.assert_allclose(x[outer[1]:outer[3], outer[0]:outer[2]], 1, rtol=1e-6)
    assert np.isclose(x, np.float32(GRAY)).sum() == x.size - (outer[3] - outer[1]) * (outer[2] - outer[0])


def test_targets_follow_their_images_into_the_frames():
    mask = np.zeros((1, 20, 40), bool)
    mask[0, 5:10, 30:40] = True
    given = [{"boxes": [[30, 5, 40, 10]], "labels": [1], "masks": mask},
             {"boxes": np.zeros((0, 4)), "labels": [], "masks": np.zeros((0, 64, 64))}]
    targets = Cells()(images((20, 40), (64, 64)), given)["targets"]
    assert targets.image.tolist() == [0] and targets.label.tolist() == [1]
    np.testing.assert_allclose(targets.boxes, [[48, 24, 64, 32]])              # scale 1.6, 16 rows above
    want = np.zeros((64, 64), bool)
    want[24:32, 48:64] = True
    assert (targets.masks[0] == want).all()
    assert Cells()(images((9, 9)), [{"boxes": [], "labels": []}])["targets"].boxes.shape == (0, 4)


def test_selection():
    model, (image,) = Cells().eval(), images((64, 64))
    count = [len(model([image], score_threshold=0.0, **s)[0]["scores"]) for s in
             ({"iou_threshold": 1.0}, {"iou_threshold": 1.0, "multi_label": True}, {"max_detections": 5},
              {"iou_threshold": 0.0}, {"iou_threshold": 0.0, "class_agnostic": True})]
    assert count[:3] == [64, 128, 5] and 64 > count[3] > count[4]
    model.selection = model.selection.replace(max_detections=7, score_threshold=0.0)
    assert len(model([image])[0]["scores"]) == 7


@pytest.mark.parametrize("call, error, text", [
    (lambda m: m.eval()([Tensor(np.zeros((3, 8, 8), "f4"))]), ShapeError, r"image 0: expected \(C, H, W\) with C=2"),
    (lambda m: m.eval()(Tensor(np.zeros((1, 2, 0, 8), "f4"))), ShapeError, "batch: expected"),
    (lambda m: m.eval()([np.zeros((2, 8, 8), "u1")]), DTypeError, r"floats in \[0, 1\]"),
    (lambda m: m.eval()(images((8, 8)), score_treshold=1), ArgumentError, "mean score_threshold"),
    (lambda m: m(images((8, 8))), ArgumentError, "targets: expected boxes and labels of each of 1 images"),
    (lambda m: m(images((8, 8)), [{"boxes": [[0, 0, 1]], "labels": [0]}]), ShapeError, r"targets\[0\]"),
    (lambda m: m(images((8, 8)), [{"boxes": [[0, 0, 1, np.inf]], "labels": [0]}]), ShapeError, "finite"),
    (lambda m: m(images((8, 8)), [{"boxes": [[0, 0, 1, 1]], "labels": [2]}]), ArgumentError, r"\[0, 2\)"),
    (lambda m: m(images((8, 8)), [{"labels": [0]}]), ArgumentError, r"targets\[0\]: expected boxes and labels"),
    (lambda m: m(images((8, 8)), [{"boxes": [[0, 0, 1, 1]], "labels": 0}]), ShapeError, r"labels \(\)"),
    (lambda m: m(images((8, 4)), [{"boxes": [[0, 0, 1, 1]], "labels": [0], "masks": np.ones((4, 8, 1))}]), ShapeError,
     r"masks: expected \(1, 8, 4\)"),
    (lambda m: m([], []), ArgumentError, "images: expected at least one"),
    (lambda m: m.eval()(images((8, 8)), max_detections=-1), ArgumentError, "at least 0"),
])
def test_refusals(call, error, text):
    with pytest.raises(error, match=text):
        call(Cells())


def test_no_images():
    assert Cells().eval()([]) == Cells().eval()(Tensor(np.zeros((0, 2, 64, 64), "f4"))) == []
