"""Run lengths against masks of pixels, and against the COCO API's own strings.

`python tests/detection/test_rle.py` writes polygons.json, where pycocotools is installed.
"""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data.detection import RLE, mask_iou
from minidl.data.detection.rle import compressed, decompress
from minidl.errors import ArgumentError, ShapeError

FIXTURE = Path(__file__).with_name("polygons.json")


@st.composite
def masks(draw, n):
    """n masks of one size, from empty to full."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng, share = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1]))
    return rng.random((n, height, width)) < share


@settings(max_examples=60, deadline=None)
@given(masks(4))
def test_runs_are_the_mask(pixels):
    runs = [RLE.encode(m) for m in pixels]
    for mask, run in zip(pixels, runs):
        for compress in True, False:
            again = RLE.from_coco(json.loads(json.dumps(run.to_coco(compress))), mask.shape)
            assert (again.decode() == mask).all() and again.counts.tolist() == run.counts.tolist()
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if mask.any() else [0] * 4
        assert run.area == mask.sum() and run.box.tolist() == box
    assert (RLE.union(runs, pixels[0].shape).decode() == pixels.any(0)).all()
    both = (pixels[:2, None] & pixels[2:]).sum((-1, -2))
    union = np.where([True, False], pixels[:2, None].sum((-1, -2)), (pixels[:2, None] | pixels[2:]).sum((-1, -2)))
    np.testing.assert_array_equal(mask_iou(runs[:2], runs[2:], [True, False]), both / np.maximum(union, 1))


@given(st.lists(st.integers(0, 2**40), max_size=9))
def test_letters_hold_any_counts(counts):
    assert decompress(compressed(np.array(counts, np.int64))).tolist() == counts


def test_polygons_cover_what_the_coco_api_says():
    cases = json.loads(FIXTURE.read_text())
    assert len(cases) >= 40
    for case in cases:
        got = RLE.from_polygons(case["polygons"], case["size"]).to_coco()
        assert got == {"size": case["size"], "counts": case["counts"]}, case["polygons"]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(st.characters(codec="latin-1"), max_size=12), st.lists(st.integers(-9, 2**62), max_size=6),
                 st.text("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ`o", max_size=12)))
def test_mutilated_counts_are_a_mask_or_an_error(counts):
    try:
        assert RLE.from_coco({"size": [4, 3], "counts": counts}, (4, 3)).decode().shape == (4, 3)
    except ArgumentError as error:
        assert "[RLE] counts: expected" in str(error)


@pytest.mark.parametrize("segmentation, said", [
    ({"size": [4, 3], "counts": [5, 6]}, "sum to 12, got a sum of 11"),
    ({"size": [4, 3], "counts": [-1, 13]}, "got one of -1"),
    ({"size": [3, 4], "counts": [12]}, "that of the image"),
    ({"counts": [12]}, "size and counts"),
    ({"size": [4, 3], "counts": [[1], 2]}, "whole numbers"),
    ([[0, 0, 1, 1]], "three corners"), ([[0, 0, 1, 1, 2]], "three corners"),
    ([[0, 0, 1, 1, 2, float("nan")]], "finite"), ([[0, 0, 1, 1, 2, 9e15]], "near an image of 3 x 4"),
    ([0, 0, 1, 1, 2, 2], "polygon"), (["text"], "polygon"), (None, "segmentation")])
def test_what_is_no_mask_is_refused(segmentation, said):
    with pytest.raises(ArgumentError, match=rf"\[RLE\] .*{said}"):
        RLE.from_coco(segmentation, (4, 3))


def test_masks_of_other_sizes_do_not_meet():
    small, large = RLE.encode(np.ones((2, 3))), RLE.encode(np.ones((3, 2)))
    for meet in (lambda: mask_iou([small], [large]), lambda: RLE.union([small, large], (2, 3)),
                 lambda: RLE.encode(np.ones(3))):
        with pytest.raises(ShapeError, match=r"\[RLE\] mask"):
            meet()
    assert mask_iou([], [small]).shape == (0, 1)


def _write():
    from pycocotools import mask as api
    rng, cases = np.random.RandomState(0), []
    for i in range(48):
        height, width = rng.randint(1, 40, 2).tolist()
        polygons = []
        for _ in range(rng.randint(1, 4)):
            corners = rng.rand(rng.randint(3, 9), 2) * [width * 1.4, height * 1.4] - [width * 0.2, height * 0.2]
            corners = np.round(corners * 2) / 2 if i % 3 else np.round(corners, 2)       # (edges meet pixels' middles)
            corners[1] = corners[0] if i % 5 == 0 else corners[1]
            polygons.append(corners.ravel().tolist())
        found = api.merge(api.frPyObjects(polygons, height, width))
        counts = api.encode(api.decode(found))["counts"].decode()
        cases.append({"polygons": polygons, "size": [height, width], "counts": counts})
    FIXTURE.write_text("[" + ",\n ".join(map(json.dumps, cases)) + "]\n")


if __name__ == "__main__":
    _write()
