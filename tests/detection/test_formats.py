"""COCO's JSON and YOLO's text files: out and in again, and what is said of files that are wrong."""
import copy
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minidl.data.detection import RLE, Annotation, DetectionDataset, read_coco, read_yolo, write_coco, write_yolo
from minidl.data.detection.dataset import AnnotatedImage
from minidl.data.detection.description import read_description
from minidl.errors import ArgumentError, MinidlError

OUTLINE = [2.0, 1.0, 12.0, 3.5, 7.0, 9.0]
RUNS = RLE.encode(np.tri(12, 16) > 0).to_coco()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a set of three images, one of them empty, in both formats."""
    root, images = tmp_path_factory.mktemp("set"), []
    objects = [(Annotation((2, 1, 12, 9), 1, [OUTLINE], False, 41.5), Annotation((0, 0, 16, 12), 0, RUNS, True, 88.0)),
               (), (Annotation((3.25, 4.5, 3.25, 8), 1, [OUTLINE]),)]
    for i, things in enumerate(objects, 3):
        (root / "photos").mkdir(exist_ok=True)
        Image.fromarray(np.full((12, 16, 3), 10 * i, np.uint8)).save(root / "photos" / f"{i}.png")
        images.append(AnnotatedImage(root / "photos" / f"{i}.png", (12, 16), things, i))
    dataset = DetectionDataset(("disc", 'big "square"'), images, masks=True)
    write_coco(dataset, root / "annotations" / "all.json")
    write_yolo({"train": dataset, "val": dataset}, root)
    return root, dataset


def same(got, want):
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_allclose(got[name], want[name], atol=1e-6)
        assert got[name].dtype == want[name].dtype and got[name].shape == want[name].shape


def test_coco_comes_back(made):
    root, dataset = made
    read = read_coco(root / "annotations" / "all.json", masks=True)
    assert read.classes == dataset.classes and [one.id for one in read.images] == [3, 4, 5]
    for i in range(3):
        (image, got), (pixels, want) = read[i], dataset[i]
        assert (image == pixels).all()
        same(got, want)
    assert read[1][1]["masks"].shape == (0, 12, 16) and read[0][1]["crowd"].tolist() == [False, True]
    assert read[0][1]["area"].tolist() == [41.5, 88] and "masks" not in read.with_masks(False)[0][1]


def test_the_usual_places_of_coco(made, tmp_path):
    root, _ = made
    told = json.loads((root / "annotations" / "all.json").read_text())
    for image in told["images"]:
        image["file_name"] = image["file_name"].rpartition("/")[2]
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ArgumentError, match="image 3: file_name: expected an image file, got .*3.png"):
        read_coco(path)
    (tmp_path / "val2017").symlink_to(root / "photos")
    assert len(read_coco(path)) == len(read_coco(path, root / "photos")) == 3


def test_yolo_comes_back(made, tmp_path):
    root, dataset = made
    read = read_yolo(root / "data.yaml", "val")
    for i in range(3):
        (image, got), (pixels, want) = read[i], dataset.with_masks(False)[i]
        assert (image == pixels).all()
        known = ~want["crowd"]
        same({k: got[k] for k in ("boxes", "labels")}, {k: want[k][known] for k in ("boxes", "labels")})
    with pytest.raises(ArgumentError, match="one polygon of each object"):
        write_yolo({"train": DetectionDataset(("a",), [AnnotatedImage(dataset.images[0].file, (12, 16), (
            Annotation((0, 0, 1, 1), 0),))])}, tmp_path, outlines=True)
    with pytest.raises(ArgumentError, match="names of their own, got .*3.jpg"):   # (both: labels/train/3.txt)
        write_yolo({"train": DetectionDataset(("a", "b"), [dataset.images[0], AnnotatedImage(
            dataset.images[0].file.with_suffix(".jpg"), (12, 16))])}, tmp_path / "twice")
    outlined = DetectionDataset(("a", "b"), [dataset.images[0]])
    write_yolo({"train": outlined}, tmp_path, outlines=True)
    got = read_yolo(tmp_path / "data.yaml", masks=True)[0][1]
    same({k: got[k] for k in ("boxes", "masks")}, {k: dataset[0][1][k][:1] for k in ("boxes", "masks")})


def test_a_list_of_files_is_a_split(made, tmp_path):
    root, _ = made
    (tmp_path / "val.txt").write_text("images/val/3.png\n\nimages/val/5.png\n")
    (tmp_path / "list.yaml").write_text(f"path: {root}\nval: {tmp_path / 'val.txt'}\ntest: [images/val, images/train]\n"
                                        "names: {'0': a, 1: b}")
    assert len(read_yolo(tmp_path / "list.yaml", "val")) == 2 and len(read_yolo(tmp_path / "list.yaml", "test")) == 6
    (tmp_path / "val.txt").write_text("images/val/3.png\nimages/val/3.png\n")
    with pytest.raises(ArgumentError, match="val.txt:2: .* again"):
        read_yolo(tmp_path / "list.yaml", "val")


def test_an_image_too_large_to_open_is_refused(made, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ArgumentError, match="expected an image, got .*3.png: .*decompression bomb"):
        read_yolo(made[0] / "data.yaml")


MUTATED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# -- what is wrong ----------------------------------------------------------------------

COCO = [("annotations/0/bbox", [2, 1, 15.5, 9], r"annotations\[0\] \(id 1\): bbox: expected a box inside .*16 x 12"),
        ("annotations/0/bbox", [2, 1, -3, 9], "width and height >= 0"),
        ("annotations/0/bbox", [2, 1, 3], "x, y, width, height"),
        ("annotations/0/bbox", [2, 1, 3, float("nan")], "width and height >= 0"),
        ("annotations/0/image_id", 99, r"annotations\[0\] \(id 1\): image_id: expected one of 3 known, got 99"),
        ("annotations/0/category_id", 0, "category_id: expected one of 2"),
        ("annotations/1/id", 1, r"annotations\[1\]: id: expected a new one, got 1 again"),
        ("annotations/1/segmentation/counts", "0", r"annotations\[1\].*segmentation: .*sum to 192, got a sum of 0"),
        ("annotations/1/segmentation/size", 12, r"size: expected \[12, 16\]"),
        ("annotations/1/segmentation/counts", "\ud800", "compressed RLE"),
        ("annotations/0/segmentation", [[1, 2, 3]], "three corners"), ("annotations/0/area", -1, "area"),
        ("images/1/id", 3, r"images\[1\]: id: .*3 again"),
        ("images/0/file_name", "no.png", "no.png, which is not there"),
        ("images/0/height", 0, "at least 1 pixel"), ("images/0/width", "16", r"images\[0\]: width: expected int"),
        ("categories", [], "at least one class"), ("categories/0/name", " ", "name that is not empty"),
        ("categories/1/name", "disc", "comes once, got 'disc'"), ("annotations", None, "annotations: expected a list")]


def change(told, place, value):
    *path, last = [int(p) if p.isdigit() else p for p in place.split("/")]
    inner = told
    for part in path:
        inner = inner[part]
    inner[last] = value


@pytest.mark.parametrize("place, value, said", COCO)
def test_an_entry_that_is_wrong_is_named(made, tmp_path, place, value, said):
    root, _ = made
    told = json.loads((root / "annotations" / "all.json").read_text())
    change(told, place, value)
    (tmp_path / "bad.json").write_text(json.dumps(told))
    with pytest.raises(ArgumentError, match=rf"bad\.json.*{said}|{said}"):
        read_coco(tmp_path / "bad.json", root / "photos" if "file_name" not in place else root / "annotations")


def test_boxes_that_stick_out_by_rounding_are_clipped(made, tmp_path):
    root, _ = made
    told = json.loads((root / "annotations" / "all.json").read_text())
    told["annotations"][0]["bbox"] = [-0.4, 1, 17, 11.6]
    (tmp_path / "a.json").write_text(json.dumps(told))
    assert read_coco(tmp_path / "a.json", root / "photos").images[0].objects[0].box == (0, 1, 16, 12)


@pytest.mark.parametrize("line, said", [
    ("2 .5 .5 .1 .1", r"a class in \[0, 2\), got 2"), ("0.5 .5 .5 .1 .1", "a class"), ("0 .5 .5 .1", "three or more"),
    ("0 .5 .5 .1 x", "three or more"), ("0 .9 .5 .5 .1", "inside its image of 16 x 12"), ("0 .5 .5 -.1 .1", ">= 0"),
    ("0 .1 .1 .2 .2 .3 1.2", "inside"), ("0 nan .5 .1 .1", "three or more"),
    ("1 .4375 .4166667 .2 .2", "line 1 again")])
def test_a_line_that_is_wrong_is_named(made, line, said, tmp_path):
    root, _ = made
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "images" / "a.png").write_bytes((root / "photos" / "3.png").read_bytes())
    (tmp_path / "labels" / "a.txt").write_text(f"1 .4375 .4166667 .2 .2\n\n{line}\n")
    (tmp_path / "d.yaml").write_text("train: images\nnames: [a, b]\n")
    with pytest.raises(ArgumentError, match=rf"labels/a\.txt:3: .*{said}"):
        read_yolo(tmp_path / "d.yaml")


@pytest.mark.parametrize("text, said", [
    ("names: [a, b]", "train: expected a folder"), ("train: images\nnames: []", "at least one class"),
    ("train: images\nnames: [a, '']", r"names\[1\]"), ("train: images\nnames: [a]\nnc: 2", "nc: expected 1"),
    ("train: images\nnames:\n  0: a\n  2: b", "labels 0 to 1"), ("train: images", "names: expected a list"),
    ("train: images\nnames: [a, b", r"\.yaml:2: expected key: value"), ("a: 1\na: 2", "a again"),
    ("a: 1\n  - 2", r"\.yaml:2"), ("train: nowhere\nnames: [a]", "nowhere"), ("what", r"\.yaml:1"),
    ("-" + " " * 9999 + "x#y", r"\.yaml:1"), ("train: images\nnames: [" + " " * 9999 + "x{]", r"\.yaml:2")])
def test_a_description_that_is_wrong_is_named(tmp_path, text, said):
    (tmp_path / "d.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=said):
        read_yolo(tmp_path / "d.yaml")


def test_forms_of_descriptions(tmp_path):
    (tmp_path / "d.yaml").write_text(
        "---\n# a comment\npath: ../some folder  # where\nnc: 3\nx: 1.5\nempty: # nothing\n"
        "flow: [a, 'b, c', \"d\", 4,]\ntable: {0: a, 1: 'b c'}\n"
        "list:\n- one\n- two # second\ndownload: |\n  from a import b\n\n  # c\n"
        "long: ['a #b', # first\n  c,\n]\nnames: # of all\n  0: person\n  1: \"traffic light\"\n")
    assert read_description(tmp_path / "d.yaml") == {
        "path": "../some folder", "nc": 3, "x": 1.5, "empty": None, "flow": ["a", "b, c", "d", 4],
        "table": {0: "a", 1: "b c"}, "list": ["one", "two"], "download": None,
        "long": ["a #b", "c"], "names": {0: "person", 1: "traffic light"}}


@MUTATED
@given(data=st.data())
def test_mutated_json_is_a_data_set_or_an_error(made, data, tmp_path):
    root, _ = made
    told = copy.deepcopy(json.loads((root / "annotations" / "all.json").read_text()))
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([]),
                     st.just({}), st.lists(st.floats(), max_size=4))
    inner, place = told, None
    while place is None or isinstance(inner, (dict, list)) and len(inner) and data.draw(st.integers(0, 9)):
        parent, places = inner, sorted(inner) if isinstance(inner, dict) else range(len(inner))
        place = data.draw(st.sampled_from(places))
        inner = parent[place]
    parent[place] = data.draw(leaf)
    (tmp_path / "m.json").write_text(json.dumps(told))
    try:
        found = read_coco(tmp_path / "m.json", root / "annotations")
        [found.with_masks(all(o.segmentation for o in one.objects))[i] for i, one in enumerate(found.images)]
    except ArgumentError as error:
        assert "expected" in str(error)


@MUTATED
@given(data=st.data())
def test_mutated_text_is_a_data_set_or_an_error(made, data, tmp_path):
    root, _ = made
    for part in ("images", "labels"):
        (tmp_path / part).mkdir(exist_ok=True)
    (tmp_path / "images" / "a.png").write_bytes((root / "photos" / "3.png").read_bytes())
    texts = {"labels/a.txt": "0 .5 .5 .1 .1\n1 .1 .1 .2 .2 .3 .1\n",
             "d.yaml": "train: images\nnc: 2\nnames: [a, 'b']\n"}
    victim = data.draw(st.sampled_from(sorted(texts)))
    for name, text in texts.items():
        if name == victim:
            at = data.draw(st.integers(0, len(text)))
            text = text[:at] + data.draw(st.text(max_size=4)) + text[at + data.draw(st.integers(0, 6)):]
        (tmp_path / name).write_bytes(text.encode(errors="replace"))
    try:
        assert len(read_yolo(tmp_path / "d.yaml")) == 1
    except MinidlError as error:
        assert "expected" in str(error)
