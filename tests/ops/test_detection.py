"""Boxes against the formulas of the papers, written out box by box."""
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError, DTypeError, ShapeError

rng = np.random.default_rng(0)


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    union = sum(max(c[2] - c[0], 0) * max(c[3] - c[1], 0) for c in (a, b)) - inter
    return (inter / union if union else 0.0), union


def overlaps(a, b):
    """{kind: value} of two boxes."""
    (i, union), hull = iou(a, b), [min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])]
    area = (hull[2] - hull[0]) * (hull[3] - hull[1])
    far = (a[0] + a[2] - b[0] - b[2]) ** 2 / 4 + (a[1] + a[3] - b[1] - b[3]) ** 2 / 4
    diou = i - far / ((hull[2] - hull[0]) ** 2 + (hull[3] - hull[1]) ** 2)
    v = unlike(a, b)
    return {"box_iou": i, "box_giou": i - (area - union) / area, "box_diou": diou,
            "box_ciou": diou - v * v / (1 - i + v)}


def unlike(a, b):
    """The aspect term of CIoU."""
    angle = [math.atan2(c[2] - c[0], c[3] - c[1]) for c in (a, b)]
    return 4 / math.pi ** 2 * (angle[0] - angle[1]) ** 2


def boxes(n, step=0.25):
    """Boxes on a grid, so that many overlap alike."""
    corner = rng.integers(0, 12, (n, 2)) * step
    return np.concatenate([corner, corner + rng.integers(1, 9, (n, 2)) * step], 1)


@pytest.mark.parametrize("kind", ["box_iou", "box_giou", "box_diou", "box_ciou"])
def test_overlaps_follow_the_papers(kind):
    a, b = boxes(7), boxes(5)
    want = np.array([[overlaps(p, q)[kind] for q in b] for p in a])
    op = getattr(ops, kind)
    np.testing.assert_allclose(op(a, b).numpy(), want, atol=1e-6)
    np.testing.assert_allclose(op(a[:5], b, pairwise=False).numpy(), want.diagonal(), atol=1e-6)
    np.testing.assert_allclose(op(a[None], b[None]).numpy()[0], want, atol=1e-6)
    assert np.allclose(op(a, a, pairwise=False).numpy(), 1)
    assert op(a.astype("float32"), b.astype("float32")).dtype == "float32"


def test_empty_and_inverted_boxes_overlap_nothing_and_nan_spreads():
    odd = np.array([[2., 2, 2, 2], [3, 3, 1, 1], [0, 0, 4, 4], [np.nan, 0, 4, 4]])
    np.testing.assert_array_equal(ops.box_area(odd).numpy(), [0, 0, 16, np.nan])
    got = ops.box_iou(odd, odd).numpy()
    np.testing.assert_array_equal(got[:3, :3], np.diag([0, 0, 1.0]))
    assert np.isnan(got[3]).all() and np.isnan(got[:, 3]).all()
    assert list(ops.nms(odd, np.array([.1, .2, .3, .4]), 0.0).numpy()) == [3, 2, 1, 0]


def test_the_weight_of_the_aspect_term_passes_no_gradient():
    a, b = ml.tensor(boxes(1), requires_grad=True), boxes(1)
    ops.box_ciou(a, b).sum().backward()
    p, q = a.numpy()[0], b[0]
    weight = unlike(p, q) / (1 - iou(p, q)[0] + unlike(p, q))
    for axis, step in enumerate(np.eye(4) * 1e-6):
        up, down = (overlaps(r, q)["box_diou"] - weight * unlike(r, q) for r in (p + step, p - step))
        assert a.grad.numpy()[0, axis] == pytest.approx((up - down) / 2e-6, abs=1e-6)


def test_losses_of_boxes_are_one_less_the_overlap():
    a, b = boxes(5), boxes(5)
    for loss, overlap in ((ops.box_iou_loss, ops.box_iou), (ops.generalized_box_iou_loss, ops.box_giou),
                          (ops.distance_box_iou_loss, ops.box_diou),
                          (ops.complete_box_iou_loss, ops.box_ciou)):
        want = 1 - overlap(a, b, pairwise=False).numpy()
        np.testing.assert_allclose(loss(a, b).numpy(), want)
        assert loss(a, b, "mean").item() == pytest.approx(want.mean())
        with pytest.raises(ShapeError, match=rf"\[{loss.__name__}\] boxes2: .*as boxes1.*broadcast"):
            loss(a, b[:1])


@given(st.permutations(["xyxy", "xywh", "cxcywh"]))
def test_formats_come_back_from_a_round_trip(formats):
    b = boxes(4)
    there = ops.box_convert(ops.box_convert(b, "xyxy", formats[0]), formats[0], formats[1])
    np.testing.assert_allclose(ops.box_convert(there, formats[1], "xyxy").numpy(), b)
    if formats[1] != "xyxy":
        np.testing.assert_allclose(there.numpy()[:, 2:], b[:, 2:] - b[:, :2])


def test_clipping_knows_height_from_width():
    np.testing.assert_array_equal(ops.clip_boxes(np.array([-1., -1, 9, 9]), (2, 5)).numpy(), [0, 0, 5, 2])


# -- which boxes to keep --------------------------------------------------------------

def greedy(b, scores, threshold):
    kept = []
    for i in sorted(range(len(b)), key=lambda i: -scores[i]):            # (Python's sort is stable)
        if not any(iou(b[j], b[i])[0] > threshold for j in kept):
            kept.append(i)
    return kept


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 150), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.integers(1, 40))
def test_nms_is_the_greedy_rule_with_ties_by_position(n, threshold, levels):
    b, scores = boxes(n), rng.integers(0, levels, n) / levels
    assert list(ops.nms(b, scores, threshold).numpy()) == greedy(b, scores, threshold)


@pytest.mark.parametrize("makers", ["off", "auto"])
def test_nms_of_every_order_and_every_tie(makers):
    levels = np.array(list(itertools.product([0.2, 0.5, 0.5000001, np.nan], repeat=4)), "f4")
    for b in (boxes(4), boxes(4, 0.5), np.repeat(boxes(1), 4, 0), boxes(4) * [1, 1, 0, 1]):
        for scores in levels:
            want = greedy(b, np.where(np.isnan(scores), -1, scores), 0.25)
            with ml.use_kernels(makers):
                assert list(ops.nms(b.astype("f4"), scores, 0.25).numpy()) == want
                assert list(ops.batched_nms(b.astype("f4"), scores, np.zeros(4, int), 0.25).numpy()) == want


def test_thousands_of_boxes():
    n = 2000
    b, scores, group = boxes(n, 1.0).astype("f4"), rng.integers(0, 50, n).astype("f4"), rng.integers(0, 9, n)
    b[:, [0, 2]] += rng.integers(0, 200, (n, 1))
    b[5:9, 2] = b[5:9, 0]                                                # some without area
    overlap = ops.box_iou(b.astype("f8"), b.astype("f8")).numpy()
    for groups in np.zeros(n, int), group:
        there, kept = np.ones(n, bool), []
        for i in np.argsort(-scores, kind="stable"):                     # the quadratic rule
            if there[i]:
                kept.append(i)
                there &= ~((overlap[i] > 0.5) & (groups == groups[i]))
        for makers in "off", "auto":
            with ml.use_kernels(makers):
                assert list(ops.batched_nms(b, scores, groups, 0.5).numpy()) == kept
                assert groups.any() or list(ops.nms(b, scores, 0.5).numpy()) == kept
        assert 200 < len(kept) < n


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 200), st.integers(1, 5))
def test_groups_do_not_meet(n, groups):
    b, scores, group = boxes(n), rng.integers(0, 30, n) / 30, rng.integers(-1, groups, n)
    alone = []
    for g in range(-1, groups):
        mine = np.flatnonzero(group == g)
        alone += list(mine[greedy(b[mine], scores[mine], 0.3)])
    assert list(ops.batched_nms(b, scores, group, 0.3).numpy()) == sorted(alone, key=lambda i: (-scores[i], i))


def test_a_threshold_that_is_no_float32_is_taken_as_it_is():
    b = np.array([[0, 0, 10, 1], [0, 0, 1, 1]], "float32")                # they overlap by float32(0.1)
    assert list(ops.nms(b, np.array([2, 1], "float32"), 0.1).numpy()) == [0]


@pytest.mark.parametrize("linear", [None, 0.3])
def test_soft_nms_lowers_scores_one_by_one(linear):
    b, scores = boxes(30), rng.random(30)
    left, want = dict(enumerate(scores)), []
    while left:
        best = max(left, key=left.get)
        want.append((best, left.pop(best)))
        for i in left:
            o = iou(b[best], b[i])[0]
            left[i] *= math.exp(-o * o / 0.5) if linear is None else 1 - o if o > linear else 1
    want = [(i, s) for i, s in want if s > 0.1]
    kept, lowered = ops.soft_nms(b, scores, 0.5, 0.1, linear)
    assert list(kept.numpy()) == [i for i, _ in want]
    np.testing.assert_allclose(lowered.numpy(), [s for _, s in want])


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_detections_of_many_classes(multi_label, class_agnostic):
    b, scores = boxes(40), rng.random((40, 3))
    found = [(s, i, k) for i, row in enumerate(scores) for k, s in enumerate(row)
             if s > 0.4 and (multi_label or s == max(row))]
    want = []
    for s, i, k in sorted(found, reverse=True):
        if not any(iou(b[i], b[j])[0] > 0.3 and (class_agnostic or k == c) for _, j, c in want):
            want.append((s, i, k))
    got, confidence, label, index = ops.multiclass_nms(b, scores, 0.4, 0.3, 6, multi_label, class_agnostic)
    np.testing.assert_array_equal(got.numpy(), [b[i] for _, i, _ in want[:6]])
    np.testing.assert_array_equal(confidence.numpy(), [s for s, _, _ in want[:6]])
    assert list(label.numpy()) == [k for _, _, k in want[:6]]
    assert list(index.numpy()) == [i for _, i, _ in want[:6]]


def test_refusals_say_what_is_wrong():
    with pytest.raises(ArgumentError, match=r"\[box_convert\] out_fmt: expected .*, got 'yxyx'"):
        ops.box_convert(boxes(1), "xyxy", "yxyx")
    with pytest.raises(ShapeError, match=r"\[nms\] scores: expected scores\(N\) with N=2"):
        ops.nms(boxes(2), np.ones(3), 0.5)
    with pytest.raises(ShapeError, match=r"\[box_iou\] boxes2"):
        ops.box_iou(boxes(2), np.ones((2, 5)))
    with pytest.raises(DTypeError, match=r"\[nms\] boxes.*astype"):
        ops.nms(np.ones((2, 4), int), np.ones(2), 0.5)
