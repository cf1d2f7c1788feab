"""The zoo on the command line: what is there, training on folders, predicting with what was trained."""
import json
import signal

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from minidl.cli import app
from minidl.errors import ArgumentError
from minidl.train import CSVLogger

RNG = np.random.default_rng(0)


def run(*args):
    result = CliRunner().invoke(app, list(map(str, args)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Bright discs and dark squares on noise, by class and with masks."""
    root = tmp_path_factory.mktemp("shapes")
    rows, columns = np.mgrid[:40, :40]
    for i in range(24):
        disc, (y, x) = i % 2, RNG.integers(14, 26, 2)
        where = (rows - y) ** 2 + (columns - x) ** 2 < 100 if disc else (abs(rows - y) < 9) & (abs(columns - x) < 9)
        image = np.where(where[..., None], 230 if disc else 30, RNG.integers(90, 160, (40, 40, 3))).astype(np.uint8)
        for path, pixels in ((root / "kinds" / ("disc" if disc else "square") / f"{i}.png", image),
                             (root / "parts" / "images" / f"{i}.png", image),
                             (root / "parts" / "masks" / f"{i}.png", (where * (disc + 1)).astype(np.uint8))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def test_what_is_in_the_zoo():
    names = json.loads(run("models", "list", "*resnet*", "--json"))
    assert "resnet50" in names and "vit_b_16" not in names
    assert "25,557,032" in run("models", "show", "resnet50")
    assert "resnet18  image-classification" in run("models", "list", "resnet18")
    with pytest.raises(ArgumentError, match="resnet50"):
        run("models", "show", "resnet5O")


def test_train_then_predict_classes(shapes, tmp_path):
    told = json.loads(run("train", "resnet18", shapes / "kinds", "--set", "stem=small", "--set", "width=8",
                          "--set", "layers=(1,1)", "--size", 24, "--epochs", 6, "--batch", 4, "--out", tmp_path,
                          "--json"))
    assert told["best"] >= 0.9 and len(told["history"]) == 6
    found = json.loads(run("predict", told["model"], shapes / "kinds", "--json"))
    right = [f["classes"][0]["name"] in f["image"] for f in found]
    assert len(found) == 24 and np.mean(right) >= 0.9
    assert abs(sum(c["probability"] for c in found[0]["classes"]) - 1) < 1e-6
    assert (tmp_path / "history.csv").read_text().count("\n") == 7


def test_train_then_predict_parts(shapes, tmp_path):
    told = json.loads(run("train", "unet", shapes / "parts", "--set", "width=8", "--size", 32, "--epochs", 12,
                          "--batch", 4, "--out", tmp_path, "--json"))
    assert told["metric"] == "meaniou" and told["best"] >= 0.8
    out = tmp_path / "overlays"
    found = json.loads(run("predict", told["model"], shapes / "parts" / "images", "--out", out, "--json"))
    assert all(f["classes"][0]["name"] == "background" for f in found)
    overlay = np.asarray(Image.open(out / "1.png")).astype(int)
    assert overlay.shape == (40, 40, 3) and (overlay[20, 20] != np.asarray(Image.open(found[1]["image"]))[20, 20]).any()


def test_resuming_gives_the_same_bits(shapes, tmp_path, monkeypatch):
    common = ("train", "resnet18", shapes / "kinds", "--set", "width=4", "--set", "layers=(1,1)", "--size", 16,
              "--batch", 8, "--json", "--epochs", 2)
    straight = json.loads(run(*common, "--out", tmp_path / "a"))
    with monkeypatch.context() as patched:
        patched.setattr(CSVLogger, "on_epoch_start", lambda self, run: run.epoch and signal.raise_signal(signal.SIGINT))
        assert not run(*common, "--out", tmp_path / "b")               # (interrupted in the second epoch)
    again = json.loads(run(*common, "--out", tmp_path / "b", "--resume"))
    assert again["history"] == straight["history"]


@pytest.mark.parametrize("args, text", [
    (("predict", "resnet18", "x.png"), "weights: expected a checkpoint"),
    (("train", "resnet18", "nowhere"), "nowhere"),
    (("train", "resnet18", "fashion-mnist=subset", "--set", "stem"), "FIELD=VALUE"),
    (("train", "resnet18", "fashion-mnist=subset", "--set", "widht=3"), "width"),
    (("train", "resnet18", "fashion-mnist=subset", "--optimizer", "sdg"), "adamw")])
def test_mistakes(args, text):
    with pytest.raises(ArgumentError, match=text):
        run(*args)
