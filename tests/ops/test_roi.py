"""Regions of interest against loops over their samples and pixels."""
import math

import numpy as np
import pytest

import minidl as ml
from minidl import ops
from minidl.errors import ArgumentError

rng = np.random.default_rng(0)
BOXES = np.array([[0, 1, 2, 9, 8], [1, 0, 0, 4, 3], [1, -3, 2, 30, 6], [0, 7, 7, 3, 4],
                  [0, 2.4, 2.4, 2.4, 2.4], [1, 40, 40, 50, 50], [0, 0.5, 1.5, 6.1, 11.3]])


def sample(image, y, x):
    """Bilinear, as in Mask R-CNN: nothing beyond a pixel outside, the border's value up to there."""
    h, w = image.shape[1:]
    if not (-1 <= y <= h and -1 <= x <= w):
        return 0.0
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    return sum(image[:, int(y) + i, int(x) + j] * abs(1 - i - y % 1) * abs(1 - j - x % 1)
               for i in range(2) for j in range(2) if y % 1 or not i if x % 1 or not j)


def places(low, length, cells, cell, ratio):
    count = max(ratio if ratio > 0 else math.ceil(length / cells), 1)
    return [low + length / cells * (cell + (i + 0.5) / count) for i in range(count)]


def covered(low, high, cells, cell, pixels):
    size = max(high - low + 1, 1) / cells
    return [i for i in range(pixels) if math.floor(cell * size) <= i - low < math.ceil((cell + 1) * size)]


def align(features, boxes, size, scale, ratio, aligned):
    out = np.zeros((len(boxes), features.shape[1], *size))
    for b, (image, *edges) in enumerate(boxes):
        x1, y1, x2, y2 = (e * scale - 0.5 * aligned for e in edges)
        height, width = (max(n, 0 if aligned else 1) for n in (y2 - y1, x2 - x1))
        for p, q in np.ndindex(*size):
            ys, xs = places(y1, height, size[0], p, ratio), places(x1, width, size[1], q, ratio)
            samples = [sample(features[int(image)], y, x) + np.zeros(3) for y in ys for x in xs]
            out[b, :, p, q] = np.mean(samples, 0)
    return out


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 1, 3])
@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_roi_align_is_the_mean_of_bilinear_samples(aligned, ratio, scale):
    x = rng.standard_normal((2, 3, 11, 8))
    got = ops.roi_align(x, BOXES, (2, 3), scale, ratio, aligned)
    np.testing.assert_allclose(got.numpy(), align(x, BOXES, (2, 3), scale, ratio, aligned), atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_roi_pool_is_the_largest_pixel_and_the_first_of_equals_gets_the_gradient(scale):
    x = ml.tensor(rng.integers(0, 4, (2, 3, 11, 8)).astype("float64"), requires_grad=True)
    want, counts = np.zeros((len(BOXES), 3, 2, 3)), np.zeros(x.shape)
    for b, (image, *edges) in enumerate(BOXES):
        x1, y1, x2, y2 = (math.copysign(math.floor(abs(e * scale) + 0.5), e) for e in edges)
        for c, p, q in np.ndindex(3, 2, 3):
            rows, columns = covered(y1, y2, 2, p, 11), covered(x1, x2, 3, q, 8)
            if rows and columns:
                _, i, j = max((x.numpy()[int(image), c, i, j], -i, -j) for i in rows for j in columns)
                want[b, c, p, q] = x.numpy()[int(image), c, -i, -j]
                counts[int(image), c, -i, -j] += 1
    got = ops.roi_pool(x, BOXES, (2, 3), scale)
    got.sum().backward()
    np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(x.grad.numpy(), counts)


@pytest.mark.parametrize("op", [ops.roi_align, ops.roi_pool])
def test_a_box_sees_its_own_pixels_alone(op):
    x = rng.standard_normal((2, 2, 9, 9))
    x[1] = np.nan
    x[0, :, 6:] = np.inf
    assert np.isfinite(op(x, np.array([[0, 0, 0, 4.5, 4.5]]), 2).numpy()).all()


@pytest.mark.parametrize("op", [ops.roi_align, ops.roi_pool])
def test_refusals_say_what_is_wrong(op):
    x = rng.standard_normal((2, 3, 4, 4))
    with pytest.raises(ArgumentError, match=rf"\[{op.__name__}\] boxes: expected image numbers .*got 0 to 2"):
        op(x, np.array([[0, 0, 0, 1, 1], [2, 0, 0, 1, 1]]), 2)
    with pytest.raises(ArgumentError, match=rf"\[{op.__name__}\] output_size"):
        op(x, BOXES, (2, 3, 4))


def test_masks_are_pasted_pixel_by_pixel():
    """Each pixel of a widened box takes the mask's value at its middle, between the middles of steps."""
    boxes = np.array([[1, 1, 9, 6], [-3.5, 2, 4.2, 40], [2.4, 2.4, 2.4, 2.4], [30, 30, 40, 40], [5, 5, 2, 2]])
    masks, (h, w) = rng.random((5, 4, 4)), (12, 10)
    want = np.zeros((5, h, w))
    for b, (x1, y1, x2, y2) in enumerate(boxes):
        padded = np.pad(masks[b], 1)
        (left, right), (top, bottom) = ([int((a + c) / 2 - (c - a) * 0.75), int((a + c) / 2 + (c - a) * 0.75)]
                                        for a, c in ((x1, x2), (y1, y2)))
        rows, columns = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for y, x in np.ndindex(h, w):
            if 0 <= y - top < rows and 0 <= x - left < columns and y <= bottom and x <= right:
                at = [min(max((i + 0.5) * 6 / n - 0.5, 0), 5) for i, n in ((y - top, rows), (x - left, columns))]
                want[b, y, x] = sample(padded[None], *at)[0]
    np.testing.assert_allclose(ops.paste_masks(masks, boxes, (h, w)).numpy(), want, atol=1e-12)
    assert ops.paste_masks(masks[:1], np.array([[np.nan, 0, np.inf, 1e30]]), (h, w)).shape == (1, h, w)
