"""Textures and surfaces against texels taken one by one (kernels/textures.cu)."""
import itertools
import math

import numpy as np
import pytest
from fixtures import module

from minidl import simt

random = np.random.default_rng(0)


def run(kernel, grid, *args):
    result = simt.launch(module("textures"), grid, 32, args, kernel, races=True, uninit=True)
    assert result.clean
    return result


def texel(array, place, address):
    """An element; `place` as the axes are."""
    index = []
    for at, size in zip(place, array.shape):
        if address == "border" and not 0 <= at < size:
            return 0.0
        at = {"wrap": at % size, "mirror": min(at % (2 * size), 2 * size - 1 - at % (2 * size))}.get(address, at)
        index.append(min(max(at, 0), size - 1))
    return float(array[tuple(index)])


def sampled(array, at, filter, address):
    """The value at coordinates in texels, as the axes are."""
    if filter == "point":
        return texel(array, [math.floor(x) for x in at], address)
    low, total = [math.floor(x - 0.5) for x in at], 0.0
    for corner in itertools.product((0, 1), repeat=len(at)):
        share = math.prod(x - 0.5 - b if c else 1 - (x - 0.5 - b) for x, b, c in zip(at, low, corner))
        total += share * texel(array, [b + c for b, c in zip(low, corner)], address)
    return total


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("address", ["clamp", "border", "wrap", "mirror"])
@pytest.mark.parametrize("filter", ["point", "linear"])
def test_images(filter, address, normalized):
    image, y = random.standard_normal((5, 8)).astype("float32"), np.zeros(32, "float32")
    at = (random.integers(-600, 1800, (32, 2)) / 64).astype("float32")             # weights of few bits
    if address in ("wrap", "mirror") and not normalized:
        with pytest.raises(simt.PtxError, match="normalized"):
            simt.Texture(image, filter=filter, address=address)
        return
    scale = np.float32([8, 4]) if normalized else np.float32(1)                      # a power of two: exact
    image = image[:4] if normalized else image
    run("images", 1, simt.Texture(image.copy(), 1, filter, address, normalized), at / scale, y)
    expected = [sampled(image, (v, u), filter, address) for u, v in at.tolist()]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_gathers_lines_and_volumes():
    image, z = random.standard_normal((6, 7)).astype("float32"), np.zeros((32, 4), "float32")
    at = (random.integers(0, 400, (32, 2)) / 64).astype("float32")
    run("gathers", 1, simt.Texture(image), at, z)
    corners = [[(math.floor(u - 0.5) + dx, math.floor(v - 0.5) + dy) for dx, dy in ((0, 1), (1, 1), (1, 0), (0, 0))]
               for u, v in at.tolist()]
    assert np.array_equal(z, np.float32([[texel(image, (j, i), "clamp") for i, j in four] for four in corners]))
    line, colours = random.standard_normal(20).astype("float16"), random.integers(0, 256, (30, 4)).astype("uint8")
    where, y, seen = random.integers(-3, 33, 32).astype("int32"), np.zeros(32, "float32"), np.zeros((32, 4), "uint8")
    run("lines", 1, simt.Texture(line, filter="linear"), simt.Texture(colours, channels=4), where, y, seen)
    np.testing.assert_allclose(y, [sampled(line, (k + 0.25,), "linear", "clamp") for k in where.tolist()], rtol=1e-5)
    assert np.array_equal(seen, [colours[k] if 0 <= k < 30 else [0] * 4 for k in where])
    volume, at = random.integers(0, 256, (3, 4, 5)).astype("uint8"), random.integers(-64, 400, (32, 3)) / 64
    run("volumes", 1, simt.Texture(volume, filter="linear", as_float=True), at.astype("float32"), y)
    expected = [sampled(volume / 255, place[::-1], "linear", "clamp") for place in at.tolist()]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_surfaces():
    x, y = random.standard_normal((3, 20)).astype("float32"), np.zeros((3, 20), "float32")
    run("surfaces", 3, simt.Texture(x), simt.Texture(y), 20)
    assert np.array_equal(y, 2 * x)
    with pytest.raises(simt.Fault, match=r"out of bounds of a surface \(3, 20\)"):
        run("surfaces", 3, simt.Texture(x), simt.Texture(y), 21)
    with pytest.raises(simt.Fault, match="expected a handle of a texture with 2 axes"):
        run("surfaces", 3, 12345, simt.Texture(y), 20)
