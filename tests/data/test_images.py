"""Image files as datasets, random views, and what is said of files that are none."""
import numpy as np
import pytest
from PIL import Image

from minidl.backend.random import fold_in, key
from minidl.data import DataLoader, ImageFolder, ImagePreprocess, MaskFolder, labels, read_image
from minidl.data.augment import Prepared, RandomPatch, RandomShift, RandomView
from minidl.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


def write(path, *shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    for kind, n in (("cat", 3), ("dog", 2)):
        for i in range(n):
            write(tmp_path / kind / f"{i}.png", 20 + i, 30, 3)
    return tmp_path


def test_a_folder_per_class(folder):
    found = ImageFolder(folder)
    assert found.classes == ("cat", "dog") and [found[i][1] for i in range(5)] == [0, 0, 0, 1, 1]
    assert found[2][0].shape == (22, 30, 3) and found[2][0].dtype == np.uint8
    (folder / "cat" / "notes.txt").write_text("no image")
    assert len(ImageFolder(folder)) == 5
    with pytest.raises(ArgumentError, match="dog"):
        ImageFolder(folder, classes=("cat",))


@pytest.mark.parametrize("spoil", ["cut", "text", "gone", "empty", "bomb"])
def test_a_file_that_is_no_image_is_named(folder, spoil, monkeypatch):
    path = folder / "cat" / "0.png"
    data = path.read_bytes()
    found = ImageFolder(folder)
    if spoil == "gone":
        path.unlink()
    elif spoil == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    else:
        path.write_bytes({"cut": data[:len(data) // 2], "text": b"hello", "empty": b""}[spoil])
    with pytest.raises(ArgumentError, match="0.png"):
        found[0]


def test_cameras_that_lie_on_their_side(tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (4, 8, 3)).astype(np.uint8))
    notes = image.getexif()
    notes[0x0112] = 6
    image.save(tmp_path / "a.png", exif=notes)
    assert read_image(tmp_path / "a.png").shape == (8, 4, 3)


def test_images_beside_masks(tmp_path):
    write(tmp_path / "images" / "a.jpg", 12, 10, 3)
    mask = write(tmp_path / "masks" / "a.png", 12, 10)
    image, found = MaskFolder(tmp_path)[0]
    assert image.shape == (12, 10, 3) and (found == mask).all()
    write(tmp_path / "images" / "b.jpg", 12, 10, 3)
    with pytest.raises(ArgumentError, match="b.png"):
        MaskFolder(tmp_path)
    write(tmp_path / "masks" / "b.png", 5, 5)
    with pytest.raises(ArgumentError, match="b.png.*5, 5"):
        MaskFolder(tmp_path)[1]


@pytest.mark.parametrize("view", [RandomView(ImagePreprocess(16)), RandomPatch(ImagePreprocess(None), 16),
                                  RandomShift(ImagePreprocess(None))], ids=lambda v: type(v).__name__)
def test_random_views_depend_on_the_key_alone(view):
    image, mask = RNG.integers(0, 256, (20, 12, 3)).astype(np.uint8), RNG.integers(0, 3, (20, 12)).astype(np.uint8)
    target = mask if isinstance(view, RandomPatch) else 1
    before = image.copy()
    views = [view((image, target), fold_in(key(7), i))[0] for i in range(20)]
    again = view((image, target), fold_in(key(7), 3))[0]
    assert (views[3] == again).all() and (image == before).all()
    assert len({v.tobytes() for v in views}) > 10 and all(v.dtype == np.float32 for v in views)


def test_a_patch_and_its_mask_stay_together():
    mask = RNG.integers(0, 2, (20, 24)).astype(np.uint8)
    plain = ImagePreprocess(None, mean=(0, 0, 0), std=(1, 1, 1))
    for i in range(10):
        image, cut = RandomPatch(plain, 16)((np.repeat(mask[..., None] * 255, 3, 2), mask), fold_in(key(1), i))
        assert (image[0] == cut).all() and cut.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_gives_the_same_bits_at_any_number_of_workers(folder, workers):
    inputs = ImagePreprocess(16)
    loader = DataLoader(ImageFolder(folder), 2, shuffle=True, seed=3, transform=RandomView(inputs), num_workers=workers)
    batches = [x for x, _ in loader]
    ones = [x for x, _ in DataLoader(ImageFolder(folder), 2, shuffle=True, seed=3, transform=RandomView(inputs))]
    assert all((a == b).all() for a, b in zip(batches, ones)) and len(batches) == 3
    x, y = next(iter(DataLoader(ImageFolder(folder), 5, transform=Prepared(inputs), num_workers=workers)))
    assert x.shape == (5, 3, 16, 16) and y.dtype == np.int64


def test_preprocessing_refuses_what_is_no_image():
    inputs = ImagePreprocess(16)
    for shape, dtype in (((4, 4), "u1"), ((4, 4, 4), "u1"), ((4, 4, 3), "f8"), ((0, 4, 3), "u1")):
        with pytest.raises(ShapeError):
            inputs(np.zeros(shape, dtype))
    assert inputs.sized(32) == ImagePreprocess(32, round(256 * 2)) and "16x16" in str(inputs)


def test_labels():
    assert len(labels("imagenet")) == 1000 and labels("imagenet")[285] == "Egyptian cat" and len(labels("voc")) == 21
    assert len(labels("coco91")) == 91 and labels("coco91")[90] == "toothbrush"
    with pytest.raises(ArgumentError, match="imagenet, voc"):
        labels("cifar")
