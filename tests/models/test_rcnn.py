"""Faster and Mask R-CNN: assignment against loops, odd targets, old names, refusals."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import Tensor, models, ops
from minidl.backend import random
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.models.detection import assignment
from minidl.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from minidl.models.detection.fpn import STRIDES
from minidl.models.detection.mask_rcnn import MaskRCNN, MaskRCNNConfig
from minidl.models.detection.roi_heads import pooled
from minidl.models.detection.rpn import anchors
from minidl.models.weights import official_state

rng = np.random.default_rng(0)


def boxes(n, side=64.0, least=1.0):
    corner = rng.random((n, 2)) * side
    return np.concatenate([corner, corner + least + rng.random((n, 2)) * side], 1)


def mask_rcnn(**changes):
    ml.seed(0)
    return MaskRCNN(MaskRCNNConfig.tiny().replace(**changes))


def target(box, shape=(64, 64), labels=None):
    """A target whose masks fill its boxes."""
    box, (y, x) = np.asarray(box, "f4").reshape(-1, 4), np.indices(shape)
    inside = [(x >= a) & (y >= b) & (x < c) & (y < d) for a, b, c, d in box]
    masks = np.array(inside, bool).reshape(-1, *shape)
    return {"boxes": box, "labels": np.ones(len(box), int) if labels is None else labels, "masks": masks}


# -- assignment -------------------------------------------------------------------------

def test_offsets_lead_from_references_to_boxes():
    box, reference, weights = Tensor(boxes(50)), Tensor(boxes(50)), (10.0, 10.0, 5.0, 5.0)
    offsets = assignment.encode(box, reference, weights)
    np.testing.assert_allclose(assignment.decode(offsets, reference, weights).numpy(), box.numpy(), atol=1e-9)
    huge = assignment.decode(Tensor([[0.0, 0, 99, 99]]), Tensor([[0.0, 0, 16, 16]]), (1.0,) * 4)
    np.testing.assert_allclose(huge.numpy(), [[-492, -492, 508, 508]], rtol=1e-6)


def brute_force(objects, candidates, low, high, best_too):
    iou = ops.box_iou(Tensor(objects), Tensor(candidates)).numpy()
    found = []
    for a in range(len(candidates)):
        most = max(range(len(objects)), key=lambda g: iou[g, a])
        best = best_too and any(iou[g, a] == iou[g].max() > 0 for g in range(len(objects)))
        found.append(most if best or iou[most, a] >= high else -1 if iou[most, a] < low else -2)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.booleans(), st.integers(0, 999), st.sampled_from([1, 40, 1 << 22]))
def test_each_candidate_stands_for_what_it_overlaps_most(objects, candidates, best_too, seed, at_once):
    draw, old = np.random.default_rng(seed), assignment.AT_ONCE
    corners = [draw.integers(0, 6, (n, 2)) for n in (objects, candidates)]                # many ties
    given, candidates = (np.concatenate([c, c + draw.integers(0, 5, c.shape)], 1).astype("f4") for c in corners)
    try:
        assignment.AT_ONCE = at_once
        got = assignment.match(Tensor(given), Tensor(candidates), 0.3, 0.7, best_too)
    finally:
        assignment.AT_ONCE = old
    assert got.tolist() == brute_force(given, candidates, 0.3, 0.7, best_too)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-2, 3), max_size=40), st.integers(0, 20), st.sampled_from([0.0, 0.25, 0.5, 1.0]),
       st.integers(0, 99))
def test_a_sample_has_few_objects_and_is_filled_with_background(matched, count, share, seed):
    matched = np.array(matched, int)
    positive, negative = (x.numpy() for x in assignment.sample(Tensor(matched), count, share, random.key(seed)))
    again = assignment.sample(Tensor(matched), count, share, random.key(seed))
    assert (positive == again[0].numpy()).all() and (negative == again[1].numpy()).all()
    assert len({*positive, *negative}) == len(positive) + len(negative)
    assert (matched[positive] >= 0).all() and (matched[negative] == -1).all()
    assert len(positive) == min(int(count * share), (matched >= 0).sum())
    assert len(negative) == min(count - len(positive), (matched == -1).sum())


def test_a_sample_is_fair():
    counts = np.zeros(8)
    for seed in range(400):
        counts[assignment.sample(ops.full(8, -1, "int64"), 2, 0.5, random.key(seed))[1].numpy()] += 1
    assert counts.sum() == 800 and 60 < counts.min() and counts.max() < 140


def test_anchors_lie_around_their_places():
    (found,) = anchors(((4, 8),), (0.5, 2.0), ((2, 3, 16, 10),))
    want = []
    for y in (0, 16):
        for x in (0, 10, 20):
            for ratio in (0.5, 2.0):
                for size in (4, 8):
                    h, w = size * ratio ** 0.5, size / ratio ** 0.5
                    want.append([x - round(w / 2), y - round(h / 2), x + round(w / 2), y + round(h / 2)])
    np.testing.assert_array_equal(found, want)


def test_a_region_comes_from_the_map_of_its_size():
    maps = [ops.full((1, 1, 1024 // s, 1024 // s), float(i)) for i, s in enumerate(STRIDES[:4])]
    side = np.array([1, 111, 112, 223, 224, 447, 448, 900, 0])
    regions = np.zeros((9, 5), "f4")
    regions[:, 3] = regions[:, 4] = side
    values, order = pooled(maps, Tensor(regions), 2)
    assert values[ops.argsort(order)][:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]


def test_gradients_of_pooled_regions():
    """Central differences in float64, through all maps at once."""
    maps = [rng.standard_normal((2, 3, 64 // s, 64 // s)) for s in STRIDES[:4]]
    sides = [[1, 1, s, s] for s in (1, 2, 3, 4, 6, 8)]
    regions = Tensor(np.concatenate([rng.integers(0, 2, (6, 1)), boxes(6) * sides], 1))
    weight = rng.standard_normal((6, 3, 2, 2))

    def loss(maps):
        return ops.sum(pooled(maps, regions, 2)[0] * Tensor(weight))

    leaves = [Tensor(x, requires_grad=True) for x in maps]
    loss(leaves).backward()
    step = [rng.standard_normal(x.shape) for x in maps]
    up, down = (loss([Tensor(x + e * s) for x, s in zip(maps, step)]).item() for e in (1e-6, -1e-6))
    want = sum((x.grad.numpy() * s).sum() for x, s in zip(leaves, step) if x.grad is not None)
    assert abs((up - down) / 2e-6 - want) < 1e-6 * max(1, abs(want))


# -- odd targets ------------------------------------------------------------------------

ODD = {"nothing": ([[]], False), "zero area": ([[[5, 5, 5, 9], [7, 7, 7, 7], [9, 3, 2, 1]]], False),
       "one, and nothing": ([[[0, 0, 64, 64]], []], True), "outside": ([[[-90, -90, -50, -50]]], True),
       "thousands": ([boxes(900, 30.0)], True)}


@pytest.mark.parametrize("many, something", ODD.values(), ids=ODD)
def test_odd_targets_train(many, something):
    model = mask_rcnn()
    losses = model([Tensor(rng.random((3, 64, 64), "f4")) for _ in many], [target(b) for b in many])
    assert list(losses) == ["loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"]
    assert all(np.isfinite(x.item()) for x in losses.values()) and losses["loss_classifier"].item() > 0
    assert (losses["loss_mask"].item() > 0) == something
    sum(losses.values()).backward()
    assert all(p.grad is None or np.isfinite(p.grad.numpy()).all() for p in model.parameters())


@pytest.mark.parametrize("changes", [{"score_threshold": 1.0}, {"max_detections": 0}, {"rpn_proposals": (0, 0)}],
                         ids=str)
@pytest.mark.parametrize("shapes", [[(64, 64)], [(1, 300), (300, 1)], [(5, 5), (70, 90)]], ids=str)
def test_nothing_is_found_where_nothing_may_be(changes, shapes):
    model = mask_rcnn(**changes).eval()
    found = model([Tensor(rng.random((3, *shape), "f4")) for shape in shapes])
    for one, shape in zip(found, shapes):
        assert {name: x.shape for name, x in one.items()} == \
            {"boxes": (0, 4), "labels": (0,), "scores": (0,), "masks": (0, *shape)}


def test_one_class_and_images_of_all_sizes():
    model = mask_rcnn(num_classes=2, min_size=(48, 64))
    images = [Tensor(rng.random((3, *shape), "f4")) for shape in ((40, 90), (64, 64), (7, 5))]
    losses = model(images, [target([[1, 1, 4, 4]], x.shape[1:]) for x in images])
    assert all(np.isfinite(x.item()) for x in losses.values())
    for one, image in zip(model.eval()(images), images):
        boxes, (h, w) = one["boxes"].numpy(), image.shape[1:]
        assert len(boxes) and (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [w * 1.0001, h * 1.0001]).all()
        assert (np.diff(one["scores"].numpy()) <= 0).all() and set(one["labels"].tolist()) == {1}
        assert one["masks"].shape == (len(boxes), h, w)
    assert model([]) == []


def test_the_same_seed_gives_the_same_losses():
    image, there = [Tensor(rng.random((3, 64, 64), "f4"))], [target(boxes(9, 30.0))]
    losses = []
    for seed in (1, 1, 2):
        model = mask_rcnn(rpn_sample=8, box_sample=8)
        ml.seed(seed)
        losses.append([x.item() for x in model(image, there).values()])
    assert losses[0] == losses[1] != losses[2]


# -- building, loading ------------------------------------------------------------------

@pytest.mark.parametrize("layers", range(6))
def test_only_the_last_parts_of_the_backbone_learn(layers):
    body = FasterRCNN(FasterRCNNConfig.tiny().replace(trainable_layers=layers)).backbone.body
    learns = {name.split(".")[0] for name, p in body.named_parameters() if p.requires_grad}
    assert learns == {*("layer4", "layer3", "layer2", "layer1", "conv1")[:layers], *["bn1"] * (layers == 5)}


def test_old_names_are_read():
    model = mask_rcnn(norm="frozen", head_norm=False, rpn_depth=1, box_convs=())
    old = {}
    for name, array in official_state(model).items():
        if "fpn" in name or "rpn.head.conv" in name or "mask_head" in name:
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        old[name.replace("head.conv.0", "head.conv").replace("mask_head.0", "mask_head.mask_fcn1")] = array
    assert {"rpn.head.conv.weight", "roi_heads.mask_head.mask_fcn1.bias", "backbone.fpn.inner_blocks.3.bias"} <= {*old}
    ml.seed(1)
    other = MaskRCNN(model.config)
    models.load_weights(other, old)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), tensor.numpy())


def test_other_classes_get_new_predictors(tmp_path):
    model = mask_rcnn()
    model.save_pretrained(tmp_path)
    other = models.from_pretrained(tmp_path, num_classes=7)
    assert other.roi_heads.predictor["box"].bbox_pred.weight.shape[0] == 28
    assert other.roi_heads.predictor["mask"].mask_fcn_logits.weight.shape[0] == 7
    np.testing.assert_array_equal(other.rpn.head.cls_logits.weight.numpy(), model.rpn.head.cls_logits.weight.numpy())


IMAGE = np.zeros((3, 64, 64), "f4")
REFUSALS = [
    (([IMAGE], None), ArgumentError, "targets: expected one for each of 1 images, got none"),
    (([IMAGE], [target([]), target([])]), ArgumentError, "targets: expected one for each of 1 images, got 2"),
    (([], []), ArgumentError, "images: expected at least one"),
    (([IMAGE[0]], [target([])]), ShapeError, r"images\[0\]: expected \(C, H, W\) with C=3"),
    (([IMAGE.astype("u1")], [target([])]), DTypeError, r"images\[0\]: expected floats .* Divide bytes by 255"),
    (([IMAGE], [{"boxes": [[0, 0, 1, 1]], "labels": [1]}]), ArgumentError, r"targets\[0\]: expected masks"),
    (([IMAGE], [target([[0, 0, 9, 9]], labels=[0])]), ArgumentError, "labels.*: expected integers from 1 to 2; 0 is"),
    (([IMAGE], [target([[0, 0, 9, 9]], labels=[3])]), ArgumentError, "labels"),
    (([IMAGE], [target([[0, 0, 9, 9]], labels=[1, 1])]), ShapeError, r"boxes \(n, 4\), finite, and labels \(n\)"),
    (([IMAGE], [target([[0, 0, np.nan, 9]])]), ShapeError, "finite"),
    (([IMAGE], [target([[0, 0, 9, 9]], (32, 64))]), ShapeError, r"masks \(1, 64, 64\)")]


@pytest.mark.parametrize("arguments, error, said", REFUSALS, ids=[r[2] for r in REFUSALS])
def test_refusals_say_what_is_wrong(arguments, error, said):
    with pytest.raises(error, match=rf"\[\w+\] .*{said}"):
        mask_rcnn()(*arguments)


def test_settings_are_checked():
    with pytest.raises(ArgumentError, match="selection: expected some of score_threshold"):
        mask_rcnn().eval()([IMAGE], score_treshold=0.5)
    with pytest.raises(ArgumentError, match="max_detections: expected an integer, at least 0"):
        mask_rcnn().eval()([IMAGE], max_detections=-1)
    for wrong in {"norm": "none"}, {"trainable_layers": 6}, {"anchor_sizes": ((8,),)}, {"in_channels": 1}:
        with pytest.raises(ArgumentError, match="FasterRCNNConfig"):
            FasterRCNNConfig().replace(**wrong)
