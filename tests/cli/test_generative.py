"""Training what makes images, and drawing with it, on the command line."""
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.data import ImageFolder
from minidl.data.image import sheet, write_image
from minidl.errors import ArgumentError, ShapeError
from minidl.train.frechet import frechet_distance
from minidl.train.pictures import PairFolder, Picture, edges, labelled_part, pairs, pictures

RNG = np.random.default_rng(0)


def run(*args):
    result = CliRunner().invoke(app, list(map(str, args)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small pictures: by class, and, as A and B, their outlines and they themselves."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(16):
        image = np.full((20, 24, 3), 40 + 10 * (i % 2), np.uint8)
        image[4:16, 6:18] = RNG.integers(100, 250, 3)
        lines = np.repeat(edges(image[None, ..., 0])[0][..., None], 3, 2)
        for path, pixels in ((root / "kinds" / "ab"[i % 2] / f"{i}.png", image),
                             (root / "pairs" / "A" / f"{i}.png", lines),
                             (root / "pairs" / "B" / f"{i}.jpg", image)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


SMALL = {"dcgan": ["--set", "width=4", "--set", "latent_size=4", "--size", "8", "--loss", "r1=1",
                   "--loss", "augment=True"],
         "stylegan2": ["--set", "channel_base=32", "--set", "channel_max=4", "--set", "latent_size=4", "--set",
                       "style_size=4", "--set", "mapping_layers=1", "--set", "num_classes=2", "--size", "8"],
         "vae": ["--set", "hidden=8", "--size", "8", "--loss", "beta=2"],
         "ddpm": ["--set", "block_out_channels=[4, 4]", "--set",
                  "down_block_types=['DownBlock2D', 'AttnDownBlock2D']", "--set",
                  "up_block_types=['AttnUpBlock2D', 'UpBlock2D']", "--set", "norm_num_groups=2", "--set",
                  "attention_head_dim=2", "--size", "8", "--loss", "weighting=min-snr"],
         "m2_vae": ["--set", "hidden=8", "--size", "8", "--loss", "labelled=6"]}


@pytest.mark.parametrize("name", SMALL)
def test_train_then_draw(folder, tmp_path, name):
    command = "train", name, folder / "kinds", *SMALL[name], "--epochs", 2, "--batch", 4, "--out", tmp_path, "--json"
    told = json.loads(run(*command))
    assert len(told["history"]) == 2 and all(np.isfinite(value) for row in told["history"] for value in row.values())
    assert Image.open(tmp_path / "epoch-002.png").size == (78, 78)             # 8 rows of 8, 2 pixels between them
    options = ["--truncation", 0.5] if name == "stylegan2" else []
    for out, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        run("generate", "image", told["model"], "--seed", seed, "--count", 6, "--columns", 3, "--out", tmp_path / out,
            *options)
    a, b, c = (np.asarray(Image.open(tmp_path / f"{n}.png")) for n in "abc")
    assert a.shape == (18, 28, 3) and (a == b).all() and (a != c).any()
    if name == "ddpm":
        with pytest.raises(ArgumentError, match="latents"):
            run("generate", "image", told["model"], "--interpolate")
    else:
        run("generate", "image", told["model"], "--interpolate", "--count", 5, "--out", tmp_path / "d.png")
    if name in ("stylegan2", "m2_vae", "ddpm"):
        label = 1 if name == "stylegan2" else "b"
        run("generate", "image", told["model"], "--class", label, "--out", tmp_path / "e.png")
        with pytest.raises(ArgumentError, match="class"):
            run("generate", "image", told["model"], "--class", "7")
    assert json.loads(run(*command, "--resume"))["history"] == told["history"]


@pytest.mark.parametrize("name, settings", [("pix2pix", ["--set", "width=2"]),
                                            ("cyclegan", ["--set", "width=2", "--set", "num_blocks=1"])])
def test_train_then_translate(folder, tmp_path, name, settings):
    told = json.loads(run("train", name, folder / "pairs", *settings, "--size", 32, "--epochs", 1, "--batch", 4,
                          "--out", tmp_path, "--json"))
    run("generate", "image", told["model"], folder / "kinds" / "a" / "0.png", "--out", tmp_path / "t.png")
    step = 32 if name == "pix2pix" else 20
    assert Image.open(tmp_path / "t.png").size == (2 * step + 2, step)
    with pytest.raises(ArgumentError, match="translates"):
        run("generate", "image", told["model"])


def test_pictures_and_pairs(folder, tmp_path):
    assert isinstance(pictures(folder / "kinds"), ImageFolder) and len(pictures(folder / "kinds" / "a")) == 8
    image, label = Picture(8, 1)((np.full((10, 12, 3), 255, np.uint8), 3), ml.random.key(0))
    assert image.shape == (1, 8, 8) and label == 3 and (image == 1).all()
    with pytest.raises(ArgumentError, match="same names in A and B"):
        (folder / "pairs" / "A" / "lonely.png").write_bytes((folder / "pairs" / "A" / "0.png").read_bytes())
        PairFolder(folder / "pairs")
    (folder / "pairs" / "A" / "lonely.png").unlink()
    for name in "x/1.png", "y/1.png":
        for kind in "AB":
            write_image(tmp_path / kind / name, np.full((4, 4), ord(name[0]), np.uint8))
    (tmp_path / ".hidden").write_text("")
    assert all((a == b).all() for a, b in PairFolder(tmp_path)) and pictures(tmp_path).classes == ("A", "B")
    write_image(tmp_path / "A" / "x" / "1.jpg", np.zeros((4, 4), np.uint8))
    with pytest.raises(ArgumentError, match="one image of a name"):
        PairFolder(tmp_path)
    loose = PairFolder(folder / "pairs", paired=False, seed=1)
    assert [p.name for p in loose.files[1]] != [p.name for p in PairFolder(folder / "pairs", False, 2).files[1]]
    flat = np.zeros((1, 9, 9), np.uint8)
    assert not edges(flat).any()
    flat[:, 4:] = 200
    assert (edges(flat)[0, 3:5] == 255).all() and not edges(flat)[0, [0, 1, 7, 8]].any()
    lines, clothes = pairs("fashion-mnist=subset", 32)[0]
    assert lines.shape == clothes.shape == (32, 32) and set(np.unique(lines)) == {0, 255}
    images, labels = labelled_part(pictures(folder / "kinds"), Picture(8, 3), 6)
    assert images.shape == (6, 3, 8, 8) and (np.bincount(labels) == 3).all()
    with pytest.raises(ArgumentError, match="count"):
        labelled_part(pictures(folder / "kinds"), Picture(8, 3), 1)


def test_sheets():
    images = np.linspace(-1, 1, 5)[:, None, None, None] * np.ones((5, 1, 2, 3))
    found = sheet(images, 3, gap=1)
    assert found.shape == (5, 11) and found[0, 0] == 0 and (found[3, [4, 8]] == 255).all() and found[0, 3] == 255
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        sheet(np.zeros((1, 2, 3, 3)))


def test_what_cannot_be_trained_or_drawn(tmp_path):
    with pytest.raises(ArgumentError, match="not the rival"):
        run("train", "dcgan_discriminator", "fashion-mnist")
    with pytest.raises(ArgumentError, match="--loss augment: expected True or False, got 'no'"):
        run("train", "dcgan", "fashion-mnist=subset", "--set", "width=2", "--loss", "augment=no", "--out", tmp_path)
    ml.create_model("dcgan", image_size=8, width=2).save_pretrained(tmp_path)
    with pytest.raises(ArgumentError, match="draws from noise, got a red cat"):
        run("generate", "image", tmp_path, "--prompt", "a red cat")
    for name, setting in ("dcgan", "r2=1"), ("cyclegan", "l1=1"), ("vae", "labelled=9"), ("ddpm", "beta=1"):
        with pytest.raises(ArgumentError, match=f"--loss: expected one of .*got '{setting[:-2]}'"):
            run("train", name, "fashion-mnist=subset", "--loss", setting, "--out", tmp_path)


# -- judging -----------------------------------------------------------------------------------

def test_frechet_distances_that_are_known():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 5)) @ rng.standard_normal((5, 5))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + [1, 0, 0, 2, 0]) == pytest.approx(5)
    assert frechet_distance(x, 3 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(4 * np.trace(np.cov(x.T)))
    a, b = rng.standard_normal((50, 1)), 2 * rng.standard_normal((60, 1)) + 1
    want = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(want)
    with pytest.raises(ArgumentError, match="finite"):
        frechet_distance(a, np.full((5, 1), np.nan))
    linalg = pytest.importorskip("scipy.linalg")
    y = rng.standard_normal((4000, 5)) @ rng.standard_normal((5, 5))
    both = linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    want = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * both)
    assert frechet_distance(x, y) == pytest.approx(want)
    with pytest.raises(ShapeError, match="features"):
        frechet_distance(x, y[:, :3])


def test_a_classifier_judges_what_was_made(folder, tmp_path):
    eye = json.loads(run("train", "resnet18", folder / "kinds", "--set", "stem=small", "--set", "width=4", "--set",
                         "layers=(1,)", "--size", 16, "--epochs", 1, "--batch", 4, "--out", tmp_path / "eye", "--json"))
    for name in ("vae", "m2_vae"):
        made = json.loads(run("train", name, folder / "kinds", *SMALL[name], "--epochs", 1, "--batch", 4, "--out",
                              tmp_path / name, "--json"))
        args = "judge", made["model"], folder / "kinds", "--classifier", eye["model"], "--count", 6, "--json"
        told = json.loads(run(*args))
        assert told == json.loads(run(*args))
        assert told["frechet"] > 0 and told["squared_error"] > 0 and told["bound"] < 0
        assert ("recognised" in told) == ("accuracy" in told) == (name == "m2_vae")
