"""Views: pixels, boxes and masks go the same way."""
import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.backend.random import fold_in, key
from minidl.data import DataLoader
from minidl.data.detection import DetectionView, WholeImage, collate
from minidl.data.detection.views import frame, letterbox_map, linear, map_boxes, mixup, moved, shift_hsv, warp
from minidl.data.image import letterbox
from minidl.errors import ArgumentError

COLOURS = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230]], np.uint8)


class Blocks:
    """Images of different sizes with blocks of pure colours, which are their classes; the last object is a crowd."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        height, width = rng.integers(40, 90, 2).tolist()
        image, boxes, labels = np.full((height, width, 3), 128, np.uint8), [], rng.integers(0, 3, 4)
        for i, label in enumerate(labels):                       # side by side: none covers another
            x, y = width // 4 * i + 1, int(rng.integers(0, height // 3))
            boxes.append((x, y, x + width // 4 - 2, y + int(rng.integers(8, height // 2))))
            image[y:boxes[-1][3], x:boxes[-1][2]] = COLOURS[label]
        grid = np.mgrid[:height, :width]
        masks = [(grid[0] >= y1) & (grid[0] < y2) & (grid[1] >= x1) & (grid[1] < x2) for x1, y1, x2, y2 in boxes]
        return image, {"boxes": np.array(boxes, np.float32), "labels": labels, "masks": np.array(masks),
                       "crowd": np.arange(4) == 3, "area": np.ones(4)}


@settings(max_examples=200, deadline=None)
@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(32, 1280), st.integers(0, 2**32))
def test_boxes_return_from_the_frame_to_their_pixels(shape, side, seed):
    corner = np.random.default_rng(seed).random((5, 2, 2)) * shape[::-1]
    boxes = np.concatenate([corner.min(1), corner.max(1)], 1)
    matrix = letterbox_map(shape, (side, side))
    framed = map_boxes(matrix, boxes)
    assert (framed > -1e-6).all() and (framed < side + 1e-6).all()
    np.testing.assert_allclose(map_boxes(np.linalg.inv(matrix), framed), boxes, atol=1e-6 * max(shape))


@pytest.mark.parametrize("shape", [(30, 50), (50, 31), (64, 64), (7, 90)])
def test_the_frame_is_that_of_the_predictor(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    target = {"boxes": np.array([[1, 2, shape[1] - 1, shape[0] - 2]]), "labels": np.zeros(1)}
    framed = frame((64, 64))
    found = warp(image, target, letterbox_map(shape, (64, 64)), framed)
    want, scale, (left, top) = letterbox(image, (64, 64))
    assert abs(framed.astype(int) - want).max() <= 1
    np.testing.assert_allclose(found["boxes"][0], target["boxes"][0] * scale + np.array([left, top] * 2), atol=1)


@pytest.mark.parametrize("matrix, same", [
    (np.eye(3), lambda a: a), (linear(-1, 0, 0, 1), lambda a: a[:, ::-1]), (linear(1, 0, 0, -1), lambda a: a[::-1]),
    (linear(0, -1, 1, 0), lambda a: np.rot90(a, -1)), (moved(3, -2), lambda a: np.roll(a, (-2, 3), (0, 1)))])
def test_maps_that_meet_pixels_change_none(matrix, same):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    mask = image[..., 0] > 128
    about = moved(10, 10) @ matrix @ moved(-10, -10)
    target = {"boxes": np.array([[0, 0, 20, 20]]), "labels": np.zeros(1), "masks": mask[None]}
    got, white = frame((20, 20)), frame((20, 20), 0)
    found = warp(image, target, about, got)
    warp(np.full_like(image, 255), target, about, white)
    inside = white[..., 0] > 0
    assert (got[inside] == same(image)[inside]).all() and (got[~inside] == 114).all() and inside.sum() >= 18 * 17
    assert (found["masks"][0][inside] == same(mask)[inside]).all() and not found["masks"][0][~inside].any()


def view(**changes):
    return DetectionView(Blocks(), 64, **{"hsv": (0, 0, 0), "flip_ud": 0.5, **changes})


@pytest.mark.parametrize("changes", [{}, {"mosaic": 0.0}, {"mosaic": 0.5, "scale": 0.9, "translate": 0.4}])
def test_objects_stay_where_their_pixels_are(changes):
    seen = 0
    for i in range(30):
        image, target = view(**changes)(Blocks()[i % 6], fold_in(key(3), i))
        pixels = np.rint(image.transpose(1, 2, 0) * 255).astype(int)
        assert image.shape == (3, 64, 64) and image.dtype == np.float32 and 0 <= image.min() <= image.max() <= 1
        for (x1, y1, x2, y2), label, mask in zip(target["boxes"], target["labels"], target["masks"]):
            rows, columns = np.nonzero(mask)
            np.testing.assert_allclose((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1),
                                       (x1, y1, x2, y2), atol=1.01)
            inner = pixels[int(y1) + 2:int(y2) - 1, int(x1) + 2:int(x2) - 1].reshape(-1, 3)
            assert (abs(inner - COLOURS[label]) < 3).all()
            seen += len(inner) > 0
    assert seen > 40


def test_turned_objects_lie_in_their_boxes():
    for i in range(20):
        _, target = view(degrees=40, shear=10, mosaic=0.0)(Blocks()[i % 6], fold_in(key(4), i))
        for (x1, y1, x2, y2), mask in zip(target["boxes"], target["masks"]):
            rows, columns = np.nonzero(mask)
            assert x1 - 1 <= columns.min() and columns.max() <= x2 and y1 - 1 <= rows.min() and rows.max() <= y2


def test_crowds_and_what_has_left_are_not_learnt():
    item, still = Blocks()[0], {"mosaic": 0.0, "scale": 0.0, "translate": 0.0, "flip": 0.0, "flip_ud": 0.0}
    _, target = view(**still)(item, key(0))
    assert len(target["labels"]) == 3 and set(target) == {"boxes", "labels", "masks"}
    far = {"boxes": np.array([[0, 0, 40, 40], [60, 0, 70, 10], [5, 5, 5, 9.0]]), "labels": np.arange(3)}
    assert warp(item[0], far, moved(-39.5, 0), frame((64, 64)))["labels"].tolist() == [1]
    empty = {name: part[:0] for name, part in item[1].items()}
    for changes in {}, still:
        assert DetectionView([(item[0], empty)], 64, **changes)((item[0], empty), key(0))[1]["boxes"].shape == (0, 4)


def test_a_mix_has_the_objects_of_both():
    a, b = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 200, np.uint8)
    one = {"boxes": np.zeros((2, 4)), "labels": np.array([1, 2]), "masks": np.zeros((2, 4, 4), bool)}
    image, target = mixup((a, one), (b, {"boxes": np.ones((1, 4)), "labels": np.array([3])}), 0.25)
    assert (image == 175).all() and target["labels"].tolist() == [1, 2, 3] and set(target) == {"boxes", "labels"}
    _, target = view(mixup=1.0)(Blocks()[0], key(1))
    assert len(target["labels"]) == len(target["masks"])


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.5, 0.5), st.floats(0, 2), st.floats(0, 2))
def test_colours_turn_as_the_standard_library_has_it(pixel, hue, saturation, value):
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in pixel))
    want = colorsys.hsv_to_rgb((h + hue) % 1, min(s * saturation, 1), min(v * value, 1))
    got = shift_hsv(np.array([[pixel]], np.uint8), hue, saturation, value)[0, 0]
    assert abs(got - np.array(want) * 255).max() < 0.6


@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_the_same_bits_at_any_number_of_workers(workers):
    made = [list(DataLoader(Blocks(), 2, True, seed=5, transform=DetectionView(Blocks(), 48, mixup=0.5),
                            collate_fn=collate, num_workers=n)) for n in (0, workers)]
    for (images, targets), (others, more) in zip(*made):
        assert all((a == b).all() for a, b in zip(images, others))
        assert all((a[k] == b[k]).all() for a, b in zip(targets, more) for k in a)
    image, target = WholeImage()(Blocks()[1], key(0))
    assert image.shape[1:] == Blocks()[1][0].shape[:2] and target["crowd"].any()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"scale": 1.5}, {"mosaic": -0.1}, {"shear": 90}, {"hsv": (0, 2, 0)}])
def test_numbers_that_cannot_be_are_refused(wrong):
    with pytest.raises(ArgumentError, match=rf"\[DetectionView\] {next(iter(wrong))}: expected"):
        DetectionView(Blocks(), **wrong)
