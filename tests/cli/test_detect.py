"""`minidl detect`: training on a folder, measuring, finding in images and videos, exporting, and what it refuses."""
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import minidl as ml
from minidl.cli import app
from minidl.cli.detect.drawing import colour, draw
from minidl.cli.detect.keywords import keywords, usage
from minidl.cli.detect.predict import Arguments, outputs
from minidl.cli.detect.sources import Source, sources
from minidl.cli.detect.val import labels_of
from minidl.data.detection import RLE, read_set, write_coco, write_yolo
from minidl.data.detection.dataset import AnnotatedImage, Annotation, DetectionDataset
from minidl.data.video import Video, video_writer
from minidl.errors import ArgumentError, DeviceError
from minidl.models.detection.darknet import DarknetConfig, DarknetNetwork
from minidl.models.detection.mask_rcnn import MaskRCNN, MaskRCNNConfig
from minidl.models.detection.yolov7 import YOLOv7, YOLOv7Config
from minidl.models.detection.yolov8 import YOLOv8, YOLOv8Config
from minidl.train import CSVLogger

RNG = np.random.default_rng(0)


def run(*args):
    result = CliRunner().invoke(app, ["detect", *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Discs and squares with masks, 8 images to learn from and 4 to measure on, as COCO's files and as YOLO's."""
    root, splits = tmp_path_factory.mktemp("things"), {}
    rows, columns = np.mgrid[:64, :64]
    for split, count in (("train", 8), ("val", 4)):
        images = []
        (root / split).mkdir()
        for i in range(count):
            image, objects = RNG.integers(90, 160, (64, 64, 3)), []
            for label in range(2):
                y, x, r = *RNG.integers(14, 26, 2), RNG.integers(8, 14)
                y += 26 * label
                disc = (rows - y) ** 2 + (columns - x) ** 2 < r * r
                mask = disc if label else (abs(rows - y) < r) & (abs(columns - x) < r)
                image[mask] = (230, 30, 30) if label else (20, 20, 220)
                shape = RLE.encode(mask)
                objects.append(Annotation(tuple(shape.box.tolist()), label, shape.to_coco(), area=float(shape.area)))
            Image.fromarray(image.astype(np.uint8)).save(root / split / f"{i}.png")
            images.append(AnnotatedImage(root / split / f"{i}.png", (64, 64), tuple(objects), i + 1))
        splits[split] = DetectionDataset(("square", "disc"), images)
        write_coco(splits[split], root / f"{split}.json")
    write_yolo(splits, root / "yolo")
    for kind, config in ((YOLOv8, YOLOv8Config), (MaskRCNN, MaskRCNNConfig)):
        ml.seed(0)
        kind(config.tiny()).save_pretrained(root / kind.__name__)
    return root


def test_train_measure_find_export(things, tmp_path):
    given = ["imgsz=64", "batch=4", "close_mosaic=1", "epochs=2", f"out={tmp_path}"]
    told = json.loads(run("train", f"model={things / 'MaskRCNN'}", f"data={things}", *given, "--json"))
    row = told["history"][-1]
    assert {"epoch", "loss", "loss_mask", "loss_classifier", "val_map", "val_map50", "val_mask_map"} <= row.keys()
    assert (tmp_path / "history.csv").exists() and told["best"] >= 0 and len(told["history"]) == 2
    measured = json.loads(run("val", f"model={told['model']}", f"data={things}", "imgsz=64", "conf=0.05", "--json"))
    assert measured["boxes"]["map"] == pytest.approx(max(r["val_map"] for r in told["history"]), abs=0.05)
    assert set(measured) >= {"boxes", "masks", "frames_per_second", "images"}
    assert "mar100" in run("val", f"model={told['model']}", f"data={things / 'val.json'}", "conf=0.05")
    boxes = json.loads(run("val", f"model={told['model']}", f"data={things / 'yolo'}", "imgsz=64", "conf=0.05",
                           "--json"))                                          # (a set that has no masks)
    assert "masks" not in boxes and boxes["boxes"]["map"] == pytest.approx(measured["boxes"]["map"], abs=0.05)
    with pytest.raises(ArgumentError, match="multi_label"):                     # (R-CNN's boxes always may)
        run("val", f"model={told['model']}", f"data={things / 'yolo'}", "multi_label=true")
    found = json.loads(run("predict", f"model={told['model']}", f"source={things / 'val'}", "conf=0.001",
                           f"out={tmp_path / 'p'}", "--json"))
    assert len(found["images"]) == 4 and found["frames_per_second"] > 0
    for one in found["images"]:
        assert Image.open(one["painted"]).size == (64, 64)
        for thing in one["detections"]:
            assert thing["name"] in ("square", "disc") and RLE.from_coco(thing["mask"], (64, 64)).area >= 0
    assert sum(len(one["detections"]) for one in found["images"])
    assert "torchvision" in run("export", f"model={told['model']}", f"out={tmp_path / 'e'}")
    again = json.loads(run("predict", f"model={tmp_path / 'e'}", f"source={things / 'val'}", "conf=0.001",
                           "save=false", "--json"))
    assert [one["detections"] for one in again["images"]] == [one["detections"] for one in found["images"]]


def test_a_run_that_was_stopped_goes_on(things, tmp_path, monkeypatch):
    given = [f"model={things / 'YOLOv8'}", f"data={things / 'yolo'}", "imgsz=64", "batch=4", "epochs=2",
             "multi_scale=0.5", "mixup=0.5"]
    whole = json.loads(run("train", *given, f"out={tmp_path / 'a'}", "--json"))

    def stop(self, trainer):
        if trainer.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CSVLogger, "on_step_end", stop)
        assert "interrupted at step 3" in run("train", *given, f"out={tmp_path / 'b'}")
    assert (tmp_path / "b" / "last.safetensors").exists() and not (tmp_path / "b" / "model").exists()
    rest = json.loads(run("train", *given, f"out={tmp_path / 'b'}", "resume=true", "--json"))
    assert rest["history"] == whole["history"] and {"box", "classes", "distribution"} <= whole["history"][0].keys()


def test_forms_of_export(tmp_path):
    ml.seed(0)
    for kind, config in ((YOLOv7, YOLOv7Config), (DarknetNetwork, DarknetConfig)):
        made = kind(config.tiny()).eval()
        made.save_pretrained(tmp_path / kind.__name__)
    image = RNG.random((3, 64, 64)).astype("f4")
    run("export", f"model={tmp_path / 'YOLOv7'}", "deploy=true", f"out={tmp_path / 'use'}")
    whole, used = (ml.from_pretrained(tmp_path / name) for name in ("YOLOv7", "use"))
    assert used.num_parameters() < whole.num_parameters()
    found = [model([image], score_threshold=0.0)[0]["scores"].numpy() for model in (whole, used)]
    np.testing.assert_allclose(*found, rtol=1e-4)
    run("export", f"model={tmp_path / 'DarknetNetwork'}", "format=darknet", f"out={tmp_path / 'd'}")
    again = DarknetNetwork.from_files(tmp_path / "d" / "model.cfg", tmp_path / "d" / "model.weights")
    assert (again([image], score_threshold=0.0)[0]["scores"].numpy() == made([image], score_threshold=0.0)[0][
        "scores"].numpy()).all()
    for wrong, said in (["deploy=true"], "YOLOv7, got Darknet"), (["format=onnx"], "safetensors or darknet"):
        with pytest.raises(ArgumentError, match=said):
            run("export", f"model={tmp_path / 'DarknetNetwork'}", *wrong, f"out={tmp_path / 'x'}")


def test_videos_are_read_painted_and_written(things, tmp_path, monkeypatch):
    with video_writer(tmp_path / "v.mp4", 10, (64, 64)) as write:
        for i in range(3):
            write(np.full((64, 64, 3), (250, 60 * i, 0), np.uint8))
    frames = list(Video(tmp_path / "v.mp4"))
    assert len(frames) == 3 and all(abs(f[32, 32].astype(int) - (250, 60 * i, 0)).max() < 12
                                    for i, f in enumerate(frames))
    found = json.loads(run("predict", f"model={things / 'YOLOv8'}", f"source={tmp_path / 'v.mp4'}", "conf=0.0001",
                           f"out={tmp_path / 'p'}", "--json"))["images"]
    assert [one["frame"] for one in found] == [0, 1, 2] and found[0]["painted"].endswith("v.mp4")
    assert len(list(Video(found[0]["painted"]))) == 3 and Video(found[0]["painted"]).rate == 10
    with monkeypatch.context() as patch:
        patch.setattr(Video, "__iter__", lambda self: iter(()))
        assert "0 images" in run("predict", f"model={things / 'YOLOv8'}", f"source={tmp_path / 'v.mp4'}", "save=false")
    (tmp_path / "w.mp4").write_bytes(b"none")
    with pytest.raises(ArgumentError, match=r"\[Video\] path: .*w.mp4"):
        Video(tmp_path / "w.mp4")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DeviceError, match=r"\[Video\] OpenCV: .*pip install 'minidl\[video\]'"):
        sources(tmp_path / "v.mp4")


def test_sources_are_files_folders_patterns_and_lists(things, tmp_path):
    assert len(sources(things / "train")) == 8 and len(sources(f"{things}/*/[0-2].png")) == 6
    (tmp_path / "l.txt").write_text(f"{things}/val/1.png\n\n{things}/val/0.png\n")
    assert [one.path.name for one in sources(tmp_path / "l.txt")] == ["1.png", "0.png"]
    for wrong in (tmp_path / "none.png", f"{tmp_path}/*.jpg", tmp_path / "x"):
        with pytest.raises(ArgumentError, match=r"\[detect predict\] source"):
            sources(wrong)
    paths = [p.name for p in outputs([Source(tmp_path / n) for n in ("a/x.png", "b/x.jpg", "y.png")], tmp_path / "out")]
    assert paths == ["x.png", "x-2.png", "y.png"]
    (own,) = outputs(sources(things / "val" / "0.png"), things / "val")
    assert own.name == "0-2.png"                                               # (not over what it was painted on)
    (tmp_path / "l.txt").write_bytes(b"\xff.png")
    with pytest.raises(ArgumentError, match="source: expected a list of files"):
        sources(tmp_path / "l.txt")


def test_painting_shows_what_was_found():
    image, mask = np.full((60, 90, 3), 100, np.uint8), np.zeros((60, 90), bool)
    mask[30:50, 20:60] = True
    found = {"boxes": np.array([[10.0, 20, 70, 55], [80, 5, 80, 5]]), "labels": np.array([3, 0]),
             "scores": np.array([0.9, 0.5]), "masks": np.stack([mask, mask & False])}
    painted = draw(image, found, lambda label: f"class {label}")
    assert (painted[40, 10] == colour(3)).all() and (painted[5, 80] == colour(0)).all()
    assert abs(painted[45, 40].astype(int) - (50 + np.array(colour(3)) // 2)).max() <= 1
    assert (image == 100).all() and (painted[58, 5] == 100).all() and len({colour(i) for i in range(80)}) == 80
    nothing = {name: part[:0] for name, part in found.items()}
    assert (draw(image, nothing, str) == image).all()


@pytest.mark.parametrize("texts, said", [
    (["source=a"], "model: expected model=VALUE, got none"), (["model"], "'model': expected key=value"),
    (["model=a", "source=b", "cnf=1"], "cnf: .*Did you mean conf"),
    (["model=a", "source=b", "conf=x"], "conf: .*a number"), (["model=a", "source=b", "conf=nan"], "conf: .*'nan'"),
    (["model=a", "source=b", "conf=inf"], "conf: .*'inf'"),
    (["model=a", "source=b", "imgsz=6.5"], "imgsz: .*whole"),
    (["model=a", "model=b"], "model: expected a key once"),
    (["model=a", "source=b", "save=maybe"], "save: expected true or false"),
    (["model=a", "source=b", "classes=x"], "classes: .*whole numbers"),
    (["model=a", "source=b", "max_det=true"], "max_det")])
def test_arguments_that_are_wrong_are_named(texts, said):
    with pytest.raises(ArgumentError, match=rf"\[detect predict\] {said}"):
        keywords("predict", Arguments, texts)


def test_arguments_are_what_the_fields_are():
    texts = ["model=1", "source=b=c", "conf=1", "classes=[0,2]", "save=False", "iou=none"]
    got = keywords("predict", Arguments, texts)
    assert got == Arguments("1", "b=c", conf=1.0, classes=(0, 2), save=False) and type(got.conf) is float
    assert usage(Arguments).startswith("model=... source=...; by default weights=none conf=none")
    for text, want in (("3", (3,)), ("0,2", (0, 2)), ("none", None)):
        assert keywords("predict", Arguments, ["model=a", "source=b", f"classes={text}"]).classes == want


def test_classes_are_known_by_name_or_by_order(things, tmp_path):
    names = "background", "cat", "dog", "N/A"
    known = SimpleNamespace(labels=names, first_label=1, config=SimpleNamespace(num_classes=4))
    assert labels_of(known, ("dog", "cat")).tolist() == [2, 1]
    nameless = SimpleNamespace(labels=(), first_label=1, config=SimpleNamespace(num_classes=3))
    assert labels_of(nameless, ("dog", "cat")).tolist() == [1, 2]
    for detector in known, nameless:
        with pytest.raises(ArgumentError, match="that the model knows, (cat, dog, N/A|2), got 3: dog, cow, ant"):
            labels_of(detector, ("dog", "cow", "ant"))
    made = ml.create_model("yolov8n")
    made.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "yolov8n.safetensors")
    assert "0.png" in run("predict", f"model={tmp_path / 'yolov8n.safetensors'}", f"source={things / 'val' / '0.png'}",
                          "imgsz=64", "save=false", "conf=0.9")


def test_what_cannot_be_is_refused(things):
    images, yolo = f"source={things / 'val'}", f"model={things / 'YOLOv8'}"
    for args, said in [(["predict", "model=resnet18", "weights=x", images], "model: .*detector"),
                       (["predict", "model=yolov8n", images], "weights=FILE"),
                       (["val", yolo, f"data={things}"], "3, got 2: square, disc"),
                       (["train", "model=yolov8n", f"data={things / 'val'}"], r"\[read_set\] data"),
                       (["train", yolo, f"data={things}", "optimizer=lion"], "sgd or adamw"),
                       (["train", yolo, f"data={things}", "epochs=0"], r"\[detect train\] epochs"),
                       (["predict", yolo, images, "imgsz=65"], "multiple of 32 pixels")]:
        with pytest.raises(ArgumentError, match=said):
            run(*args)
    assert len(read_set(things / "yolo", "val")) == 4
