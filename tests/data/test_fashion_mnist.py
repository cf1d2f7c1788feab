"""Fashion-MNIST: what is shipped, and what is read from files."""
import gzip
import hashlib
import importlib.util
import lzma
import time
from pathlib import Path

import numpy as np
import pytest

from minidl.data import fashion_mnist
from minidl.data.fashion_mnist import CLASSES, SUBSET, read_idx
from minidl.errors import ArgumentError

STEMS = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
# SHA-256 of the images and labels, which were compared with the original ones
TRAIN = "3d604575964a193e03557b38c456c3ae341e0c5f55bde06c764e671f7fee2d38"
TEST = "788913f16e63dd2807d7a60f72996ed9cdc8fc22d87d149006ad2cfc58281d8c"


def write_idx(path, array, dtype=">u1", code=0x08, opener=open):
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with opener(path, "wb") as file:
        file.write(header + array.astype(dtype).tobytes())


@pytest.fixture
def folder(tmp_path):
    """A small data set in which the labels come in turn."""
    for split, n in (("train", 40), ("t10k", 30)):
        images = np.arange(n * 784).reshape(n, 28, 28)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte.gz", images, opener=gzip.open)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", np.arange(n) % 10)
    return tmp_path


def test_the_subset_that_is_shipped():
    start = time.process_time()
    train, test = fashion_mnist("subset")
    assert time.process_time() - start < 2
    assert sum(path.stat().st_size for path in SUBSET.iterdir()) < 6e6
    assert "MIT" in (SUBSET / "LICENSE").read_text() and "Zalando" in (SUBSET / "README.md").read_text()
    for data, each, digest in ((train, 1300, TRAIN), (test, 200, TEST)):
        images, labels = data.arrays
        assert images.shape == (10 * each, 28, 28) and images.dtype == np.uint8 and labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [each] * 10 and data.classes == CLASSES and len(CLASSES) == 10
        assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() == digest


def test_the_tool_takes_the_first_of_each_class(folder, tmp_path_factory, monkeypatch):
    path = Path(__file__).parents[2] / "tools" / "make_fashion_mnist_subset.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(tool, "PER_CLASS", {"train": 2, "t10k": 1})
    target = tmp_path_factory.mktemp("subset")
    tool.main(folder, target)
    for whole, part, n in zip(fashion_mnist(folder), fashion_mnist(target), (20, 10)):
        assert all((a[:n] == b).all() and len(b) == n for a, b in zip(whole.arrays, part.arrays))


def test_files_are_read_plain_and_compressed(folder):
    train, test = fashion_mnist(folder)
    assert (train.arrays[0] == np.arange(40 * 784).astype(np.uint8).reshape(40, 28, 28)).all()
    assert len(test) == 30 and test[13][1] == 3
    assert fashion_mnist(str(folder))[0].arrays[1].tolist() == train.arrays[1].tolist()


@pytest.mark.parametrize("code, dtype", [
    (8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
@pytest.mark.parametrize("suffix, opener", [("", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_all_types_of_the_format(tmp_path, code, dtype, suffix, opener):
    for array in (np.arange(24).reshape(2, 3, 4), np.zeros((0, 3)), np.array(5)):
        write_idx(tmp_path / f"x{suffix}", array, dtype, code, opener)
        read = read_idx(tmp_path / f"x{suffix}")
        assert read.dtype == dtype and read.shape == array.shape and (read == array).all()


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("suffix, opener", [("", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_a_file_that_is_cut_or_damaged_is_named(folder, name, suffix, opener):
    images, labels = np.zeros((40, 28, 28)), np.zeros(40)
    good, bad = folder / "good", folder / f"{name}{suffix}"
    write_idx(good, images if "images" in name else labels, opener=opener)
    for path in folder.glob(f"{name}*"):
        path.unlink()
    whole = good.read_bytes()
    changed = whole[:2] + b"??" + whole[4:], whole[:20] + b"?" + whole[21:-9]
    for content in (b"", whole[:3], whole[:9], whole[:-1], *changed):
        bad.write_bytes(content)
        with pytest.raises(ArgumentError, match=rf"^\[fashion_mnist\] data: expected .*{bad}"):
            fashion_mnist(folder)


@pytest.mark.parametrize("name, array", [
    ("train-images-idx3-ubyte", np.zeros((40, 28))), ("train-images-idx3-ubyte", np.zeros((40, 32, 32))),
    ("train-labels-idx1-ubyte", np.zeros(39)), ("t10k-labels-idx1-ubyte", np.full(30, 10))])
def test_a_file_with_the_wrong_contents_is_named(folder, name, array):
    write_idx(folder / name, array)
    with pytest.raises(ArgumentError, match=rf"^\[fashion_mnist\] data: expected .*{folder / name}, got"):
        fashion_mnist(folder)


@pytest.mark.parametrize("name", STEMS)
def test_a_file_that_is_missing_is_named(folder, name):
    next(folder.glob(f"{name}*")).unlink()
    with pytest.raises(ArgumentError, match=rf"^\[fashion_mnist\] data: expected {name}.* in {folder}"):
        fashion_mnist(folder)
    with pytest.raises(ArgumentError, match="no such file"):
        fashion_mnist(folder / "none")
