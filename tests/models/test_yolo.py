"""YOLO networks: which boxes answer for which objects, losses, and what evaluation folds."""
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import minidl as ml
from minidl import Tensor, io, no_grad, ops
from minidl.errors import ArgumentError
from minidl.models.config import ModelConfig
from minidl.models.detection import prototypes
from minidl.models.detection.anchors import RATIO, AnchorHead, neighbours
from minidl.models.detection.blocks import C3, SPPF, C2f, RepConv
from minidl.models.detection.detector import letterbox
from minidl.models.detection.prototypes import inside, masks
from minidl.models.detection.simota import COARSE_TOP, simota
from minidl.models.detection.simota import TOP as FINE_TOP
from minidl.models.detection.taskaligned import BETA, TOP, DistributionHead, align, distribution_focal_loss
from minidl.models.detection.yolo import YOLO, Layers
from minidl.models.detection.yolov3 import YOLOv3, YOLOv3Config
from minidl.models.detection.yolov5 import YOLOv5
from minidl.models.detection.yolov7 import YOLOv7, YOLOv7Config
from minidl.models.detection.yolov8 import YOLOv8Segmentation

FORMATS = Path(__file__).parents[1] / "parity" / "formats"
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
    images = Tensor(rng.random((2, 3, 32, 64), np.float32))
    losses = model(images, [{"boxes": [[3, 3, 20, 20], [5, 5, 5, 5]], "labels": [0, 0]}, {"boxes": [], "labels": []}])
    assert losses["classes"].item() == 0 and losses["box"].item() > 0
    sum(losses.values()).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters())
    predictions = model.head.predictions(model.forward_raw(images)).numpy()
    assert (predictions[..., 5] > 0.999).all() and predictions[..., 4].max() < 0.1  # (any object is of the class)


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"image_size": 0}, {"in_channels": -1}, {"gains": (1, 1)},
                                   {"anchors": ((1, 2, 3),) * 3}, {"anchors": ((1, 2),) * 2}])
def test_configs_that_cannot_be_are_refused(wrong):
    for kind in YOLOv3, YOLOv7:
        with pytest.raises(ArgumentError, match=rf"\[\w+\] {next(iter(wrong))}: expected"):
            kind(kind.config_class.tiny().replace(**wrong))


def test_a_new_head_for_other_classes():
    model = ml.create_model("yolov5n", num_classes=80)
    assert len(model.labels) == 80 and model.labels[16] == "dog"
    old = model.model[0].conv.weight
    model.reset_head(2)
    assert model.model[0].conv.weight is old and model.labels == () and model.config.num_classes == 2
    assert model.head.m[2].weight.shape == (21, 256, 1, 1)


def iou(a, b):
    """CIoU of two boxes, by ops.box_ciou."""
    return ops.box_ciou(Tensor(np.array([a], "f4")), Tensor(np.array([b], "f4"))).item()


def test_cells_answer_as_by_brute_force():
    """Object by object and cell by cell, as TOOD says it."""
    points = (np.mgrid[:8, :8].reshape(2, -1).T[:, ::-1] * 8 + 4).astype("f4")
    boxes = np.concatenate([points - rng.random((64, 2)) * 20, points + rng.random((64, 2)) * 20], 1).astype("f4")
    scores, labels = rng.random((64, 3), np.float32), np.array([0, 2, 1, 1])
    wanted = np.array([[3, 3, 40, 44], [20, 10, 60, 50], [50, 50, 53, 51], [9, 9, 9, 9]], "f4")
    overlaps = [[max(iou(w, b), 0) for b in boxes] for w in wanted]
    claims, metric = {}, lambda t, a: scores[a, labels[t]] ** 0.5 * overlaps[t][a] ** BETA
    room = [[a for a, (x, y) in enumerate(points) if abs(x - (w[0] + w[2]) / 2) < max(w[2] - w[0], 16) / 2
             and abs(y - (w[1] + w[3]) / 2) < max(w[3] - w[1], 16) / 2] for w in wanted]
    for t, own in enumerate(room):
        for a in sorted(own, key=lambda a: -metric(t, a))[:TOP]:
            claims.setdefault(a, []).append(t)
    want = {a: ts[0] if len(ts) == 1 else max((t for t in range(4) if a in room[t]), key=lambda t: overlaps[t][a])
            for a, ts in claims.items()}
    cell, target, worth = align(scores, boxes, points, labels, wanted, 16)
    assert dict(zip(cell.tolist(), target.tolist())) == want and {0, 1, 2} <= set(want.values())
    for t in range(4):
        own = [a for a in want if want[a] == t]
        best, closest = max(metric(t, a) for a in own), max(overlaps[t][a] for a in own)
        np.testing.assert_allclose(worth[target == t], [metric(t, a) * closest / (best + 1e-9) for a in sorted(own)],
                                   rtol=2e-4, atol=1e-7)


def test_the_cheapest_boxes_answer_as_by_brute_force():
    """Object by object, as YOLOX says it; an object that nothing fits has none."""
    for top in FINE_TOP, COARSE_TOP:
        cost, overlap, fits = rng.random((5, 60)), rng.random((5, 60)) ** 2, rng.random((5, 60)) < 0.5
        fits[4] = False
        bids = {}
        for t in range(5):
            own = np.flatnonzero(fits[t])
            count = max(int(sum(sorted(overlap[t, own], reverse=True)[:top])), 1)
            for p in sorted(own, key=lambda p: cost[t, p])[:count]:
                bids.setdefault(p, []).append((cost[t, p], t))
        want = [min(bids[p])[1] if p in bids else -1 for p in range(60)]
        assert simota(cost, overlap, fits, top).tolist() == want and len(set(want)) == 5


def test_chosen_boxes_are_neighbours_and_the_auxiliary_head_has_more():
    model = YOLOv7(YOLOv7Config.tiny())
    x = Tensor(rng.random((2, 3, 64, 64), np.float32))
    given = [{"boxes": [[5, 6, 40, 50], [30, 30, 50, 60]], "labels": [1, 0]},
             {"boxes": [[8, 8, 30, 60]], "labels": [2]}]
    (_, _, frames), = model._batches(x)
    targets, raw = model._framed(given, frames, (64, 64)), model.forward_raw(x)
    assert len(raw) == 6
    near = AnchorHead.assigned(model.head, raw[:3], targets)
    fine, coarse = model.head.assigned(raw[:3], targets), model.head.assigned(raw[:3], targets, 1.0, COARSE_TOP)
    for level in range(3):
        assert set(zip(*fine[level].tolist())) <= set(zip(*near[level].tolist()))
    assert 3 <= sum(map(np.size, fine)) // 4 <= sum(map(np.size, coarse)) // 4
    assert {int(t) for level in fine for t in level[0]} == {0, 1, 2}


def test_deploying_changes_no_box():
    model = YOLOv7(YOLOv7Config.tiny())
    images = Tensor(rng.random((2, 3, 64, 64), np.float32))
    for _ in range(2):
        model.forward_raw(images)                            # (running statistics of their own)
    model.eval()
    deployed = model.deployed()
    assert not [n for n in deployed.state_dict() if ".ia." in n or ".im." in n or ".m2." in n]
    with no_grad():
        for a, b in zip(model.forward_raw(images), deployed.forward_raw(images)):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-5 * np.abs(a.numpy()).max())


def test_parallel_convolutions_are_one():
    """RepConv with all of its branches, folded and not, before and after a weight changes."""
    block, x = RepConv(8, 8), Tensor(rng.standard_normal((2, 8, 7, 7), np.float32))
    block(x)
    for p in block.parameters():
        p.assign(p + 0.1 * Tensor(rng.standard_normal(p.shape, np.float32)))
    block.eval()
    for _ in range(2):
        with no_grad():
            quick = block(x)
        np.testing.assert_allclose(quick.numpy(), block(x).numpy(), atol=1e-5)
        block.rbr_identity.weight.assign(block.rbr_identity.weight * 3.0)


def test_distributions_are_pulled_to_the_two_bins_beside():
    logits = Tensor(np.zeros((3, 16)), requires_grad=True)
    losses = distribution_focal_loss(logits, Tensor(np.array([2.25, 7.0, 99.0])))
    np.testing.assert_allclose(losses.numpy(), np.log(16))
    ops.sum(losses).backward()
    want = np.full((3, 16), 1 / 16)
    want[0, 2:4] -= [0.75, 0.25]
    want[1, 7] -= 1
    want[2, 14:] -= [0.01, 0.99]
    np.testing.assert_allclose(logits.grad.numpy(), want, atol=1e-12)


class HeldWeights:
    """ops.box_ciou whose weights of the aspect term, which pass no gradient, stay those of the first evaluation."""

    def __init__(self):
        self.real, self.held, self.calls, self.first = ops.box_ciou, [], 0, True

    def __call__(self, a, b, pairwise):
        angles = [np.arctan2(x[..., 2] - x[..., 0], x[..., 3] - x[..., 1]) for x in (a.numpy(), b.numpy())]
        unlike = 4 / math.pi ** 2 * (angles[0] - angles[1]) ** 2
        weight = unlike / (1 - ops.box_iou(a, b, pairwise).numpy() + unlike + 1e-7)
        if self.first:
            self.held.append(weight)
        held = self.held[self.calls % len(self.held)]
        self.calls += 1
        return self.real(a, b, pairwise) + Tensor((weight - held) * unlike)


@pytest.mark.parametrize("kind", [YOLOv5, YOLOv8Segmentation])
def test_losses_have_the_gradients_that_differences_show(kind, monkeypatch):
    """Through sigmoids, CIoU, DFL and masks, down to the heads' raw outputs, in float64; what is assigned stays."""
    model = kind(kind.config_class.tiny()).to("float64")
    x = Tensor(rng.random((2, 3, 64, 64)))
    given = [{"boxes": [[5, 6, 40, 50]], "labels": [1], "masks": np.ones((1, 64, 64), bool)},
             {"boxes": [[20, 20, 30, 60]], "labels": [2], "masks": np.ones((1, 64, 64), bool)}]
    (_, _, frames), = model._batches(x)
    targets = model._framed(given, frames, (64, 64))
    raw = [Tensor(r.numpy() * 3, requires_grad=True) for r in model.forward_raw(x)]
    answers = model.head.assigned(raw, targets, *[(64, 64)] * (kind is not YOLOv5))

    def value(raw):
        parts = model.head.losses(raw, targets, *[(64, 64)] * (kind is not YOLOv5), answers)
        return sum(loss for name, loss in parts.items() if name != "objectness")     # (it is to be the overlap: held)

    ciou = HeldWeights()
    monkeypatch.setattr(ops, "box_ciou", ciou)
    value(raw).backward()
    ciou.first = False
    for r in raw:
        way = rng.standard_normal(r.shape)
        ends = [value([Tensor(q.numpy() + s * way) if q is r else q for q in raw]).item() for s in (1e-5, -1e-5)]
        slope = (r.grad.numpy() * way).sum() if r.grad is not None else 0.0
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, slope, rtol=1e-5, atol=1e-8)


def test_nothing_to_find():
    """Images without objects, alone and beside others, and objects without area: every loss is finite, and learns."""
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    point = {"boxes": [[9, 9, 9, 9]], "labels": [0], "masks": np.zeros((1, 64, 64))}
    for kind in YOLOv5, YOLOv7, YOLOv8Segmentation:
        model = kind(kind.config_class.tiny())
        for targets in ([nothing] * 2, [nothing, point]):
            losses = model(Tensor(rng.random((2, 3, 64, 64), np.float32)), targets)
            sum(losses.values()).backward()
            assert all(np.isfinite(p.grad.numpy()).all() for p in model.parameters() if p.grad is not None)
    with pytest.raises(ArgumentError, match="masks of every image"):
        model(Tensor(np.zeros((1, 3, 64, 64), "f4")), [{"boxes": [[1, 1, 9, 9]], "labels": [0]}])


@pytest.mark.parametrize("scale", [1, 2, 8])
def test_masks_lie_where_their_objects_are(scale, monkeypatch):
    """One prototype, 1 in a rectangle and -1 elsewhere, comes back into the pixels of an image."""
    height, width = 256 // scale, 512 // scale
    _, frame = letterbox(Tensor(np.zeros((1, 1, height, width), "f4")), (512, 512))
    boxes = np.array([[64, 32, 256, 224], [0, 0, 512, 256]], "f4") / scale
    want = np.stack([inside(boxes[:1], (height, width))[0], np.ones((height, width), bool)])
    want[1] &= ~want[0]
    boxes = frame.enter(boxes)
    prototype = Tensor(np.where(inside(boxes[:1] / 4, (128, 128)), 1, -1).astype("f4"))
    found = masks(Tensor(np.array([[1, -1]], "f4")), prototype, Tensor(boxes), frame)
    assert (found.numpy() != want).sum() <= 24         # (interpolation rounds the four corners, a pixel or two each)
    monkeypatch.setattr(prototypes, "AT_ONCE", 1)
    again = masks(Tensor(np.array([[1, -1]], "f4")), prototype, Tensor(boxes), frame)
    assert (again.numpy() == found.numpy()).all()
    assert masks(Tensor(np.zeros((1, 0), "f4")), prototype, Tensor(boxes[:0]), frame).shape == (0, height, width)


@pytest.mark.parametrize("kind", [YOLOv5, YOLOv7, YOLOv8Segmentation])
def test_a_network_finds_the_same_alone_and_in_company(kind):
    model = kind(kind.config_class.tiny())
    images = [Tensor(rng.random((3, h, w), np.float32)) for h, w in ((40, 64), (64, 64), (30, 64), (40, 64))]
    with no_grad():
        model(Tensor(rng.random((4, 3, 64, 64), np.float32)), [{"boxes": [], "labels": []}] * 4)
        model.eval()
        options = {"score_threshold": 0.0, "multi_label": True, "iou_threshold": 1.0, "max_detections": 20}
        for image, found in zip(images, model(images, **options)):
            alone, = model([image], **options)
            assert len(found["scores"]) == 20 and found["labels"].dtype == np.int64
            for name, value in found.items():
                np.testing.assert_allclose(value.numpy(), alone[name].numpy(), rtol=1e-4, atol=1e-3)


@dataclass(frozen=True)
class SmallConfig(ModelConfig):
    """Of Small."""

    in_channels: int = 3
    num_classes: int = 3
    image_size: int = 64


class Small(YOLO):
    """The network in parity/formats: a convolution, one block, a pyramid of pools, a head of one map."""

    config_class = SmallConfig

    def __init__(self, block, head):
        self.config, net = SmallConfig(), Layers()
        x = net.block(block, net.conv(net.image(3), 8, 3, 2), 8, 1)
        x = net.block(SPPF, x, 8 if block is C2f else 16)
        net.add(head([x.channels]), 0, x)
        self.model = net


@pytest.mark.parametrize("file, network", [
    ("yolov5_object_fp16.pt", Small(C3, lambda c: AnchorHead(c, 3, ((8, 8, 16, 16, 32, 32),), (8,)))),
    ("yolov8_object_fp16.pt", Small(C2f, lambda c: DistributionHead(c, 3, (8,))))])
def test_pickled_models_in_half_precision(file, network):
    ml.load_weights(network, FORMATS / file)
    stored, own = io.weights(FORMATS / file), network.state_dict()
    assert own.keys() == set(stored) and all((own[n].numpy() == stored[n]).all() for n in own)
    network.eval()
    image = rng.random((1, 3, 64, 64), np.float32)
    with no_grad():
        whole = network.forward_raw(Tensor(image))
        half = network.to("float16").forward_raw(Tensor(image.astype("f2")))
    for a, b in zip(whole, half):
        assert b.dtype == np.float16
        np.testing.assert_allclose(b.numpy(), a.numpy(), atol=2e-2 * np.abs(a.numpy()).max())
