"""Generated scenes: their boxes and masks are what was painted."""
import numpy as np
import pytest
from PIL import Image

from minidl.data import fashion_mnist
from minidl.data.detection import read_coco
from minidl.data.detection.scenes import Scenes, main, write_scenes
from minidl.errors import ArgumentError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, level in enumerate((40, 200)):
        Image.fromarray(np.full((70, 90, 3), level, np.uint8)).save(folder / f"{i}.png")
    return folder


def test_a_set_is_what_it_says(photos, tmp_path):
    made = write_scenes(tmp_path / "a", 6, 3, 64, seed=4, data="subset", photos=photos)
    again = write_scenes(tmp_path / "b", 4, 1, 64, seed=4, data="subset", photos=photos)
    for i in range(4):
        files = [one["train"].images[i].file.read_bytes() for one in (made, again)]
        assert files[0] == files[1] and made["train"].images[i].objects == again["train"].images[i].objects
    read = read_coco(tmp_path / "a" / "train.json", masks=True)
    assert read.classes == fashion_mnist("subset")[0].classes and len(read) == 6
    for image, target in read:
        assert image.shape == (64, 64, 3) and target["masks"].sum(0).max(initial=0) <= 1       # none over another
        for box, mask, area in zip(target["boxes"], target["masks"], target["area"]):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert mask.sum() == area
    assert made["val"].images[0].objects != made["train"].images[0].objects
    assert sum(len(target["labels"]) for _, target in read) > 6


def test_paint_is_where_the_masks_are():
    images, labels = fashion_mnist("subset")[0].arrays
    scenes = Scenes((images, labels), [np.full((64, 64, 3), 128, np.uint8)], 64, seed=1)
    for i in range(5):
        image, masks, found = scenes[i]
        assert (image[~masks.any(0)] == 128).all()
        assert len(masks) == len(found) and masks.any((1, 2)).all() and set(found) <= set(range(10))


def test_the_command(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["scenes", str(tmp_path / "s"), "--train", "2", "--val", "1", "--size", "32",
                                     "--photos", str(photos), "--data", "subset"])
    main()
    assert "train: 2 scenes" in capsys.readouterr().out and (tmp_path / "s" / "val" / "000000.jpg").exists()
    with pytest.raises(ArgumentError, match=r"\[scenes\] train"):
        write_scenes(tmp_path, 0)
