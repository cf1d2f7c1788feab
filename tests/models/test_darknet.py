"""Darknet's files and networks: cfgs whole and mutated, .weights both ways, assignment and losses by brute force."""
import hashlib
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minidl as ml
from minidl import Tensor, nn
from minidl.cli.detect.networks import network
from minidl.errors import ArgumentError, CheckpointError
from minidl.models import from_pretrained, load_weights
from minidl.models.detection.darknet import DarknetConfig, DarknetNetwork, networks
from minidl.models.detection.darknet.cfg import parse, plan, read, write
from minidl.models.detection.darknet.heads import Head
from minidl.models.detection.darknet.layers import ACTIVATIONS, Layers
from minidl.models.detection.darknet.loss import assign, head_losses
from minidl.models.detection.darknet.weights import contents, read_weights, write_weights
from minidl.models.detection.detector import Targets

PARITY = Path(__file__).parents[1] / "parity"
FILES = PARITY / "formats" / "darknet"
CFGS = [read(p) for p in sorted(PARITY.glob("cases/darknet_*/model.cfg"))] + [read(FILES / "model.cfg"),
                                                                             networks.tiny()]


def planned(text):
    return plan(parse(text, "my.cfg"))


NET = "[net]\nwidth=8\nheight=12\nchannels=4\n"
CONV = "[convolutional]\nfilters=4\n"


# -- .cfg -------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", CFGS)
def test_what_is_written_is_read_again(text):
    sections = parse(text)
    assert [(s.kind, s.options) for s in parse(write(sections))] == [(s.kind, s.options) for s in sections]


def run(found):
    """Every layer of a plan, on noise, gives the shape that was planned."""
    layers, maps = Layers(found), {-1: Tensor(np.random.default_rng(0).random((1, *found.shape), np.float32))}
    for layer, module in zip(found.layers, layers.eval()):
        maps[layer.index] = module(*[maps[i] for i in layer.inputs])
        assert maps[layer.index].shape == (1, *layer.shape), layer


LINES = [f"[{kind}]" for kind in ("net", "convolutional", "maxpool", "route", "shortcut", "yolo", "upsample", "avgpool",
                                  "connected", "softmax", "dropout", "cost", "lstm")]
LINES += [f"{name}={value}" for value in ("-1", "0", "1", "2", "3", "5", "1,2", "-1,-2", "1e99", "nan", "x", "9" * 30)
          for name in ("layers", "from", "stride", "size", "padding", "groups", "group_id", "mask", "classes", "width",
                       "dilation", "stride_x", "filters", "num", "output", "scale_x_y", "batch_normalize")]
LINES += ["", "=", "pad", "width=0x8", "[", "[]", "; pad=2", "activation=lekay", "\0", "ü=1"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CFGS), st.lists(st.tuples(st.sampled_from(("delete", "insert", "replace", "swap", "cut")),
                                                st.integers(0), st.sampled_from(LINES)), max_size=3))
def test_a_mutated_cfg_is_a_network_or_an_error_that_says_where(text, changes):
    lines = text.splitlines()
    for change, at, line in changes:
        at %= len(lines)
        lines[at:] = {"delete": lines[at + 1:], "insert": [line, *lines[at:]], "replace": [line, *lines[at + 1:]],
                      "swap": lines[at:][::-1], "cut": [lines[at][:-1]]}[change]
        assume(lines)
    try:
        found = planned("\n".join(lines))
    except ArgumentError as error:
        where = re.match(r"\[darknet\] my.cfg, line (\d+), \[.*?\].*: expected .*, got .*\.", str(error))
        assert where and 1 <= int(where[1]) <= len(lines), error
        return
    with nn.shapes_only():
        Layers(found)
    if sum(math.prod(s) for s in contents(found).values()) < 1e5 > sum(math.prod(n.shape) for n in found.layers):
        run(found)


@st.composite
def sections(draw):
    """A layer of any kind."""
    small = st.integers(1, 3)
    kind = draw(st.sampled_from(("convolutional", "maxpool", "route", "shortcut", "upsample", "softmax", "avgpool",
                                 "scale_channels", "sam")))
    told = {"convolutional": {"filters": st.sampled_from((4, 8)), "size": st.integers(1, 4), "stride": small,
                              "pad": st.integers(0, 1), "padding": small, "dilation": small, "groups": small,
                              "batch_normalize": st.integers(0, 1), "activation": st.sampled_from([*ACTIVATIONS])},
            "maxpool": {"size": st.integers(1, 5), "stride": small, "stride_x": small, "padding": st.integers(0, 4)},
            "route": {"layers": st.sampled_from(("-1", "-2", "-1,-1", "-1,-2", "0")), "groups": st.integers(1, 2)},
            "shortcut": {"from": st.sampled_from(("-1", "-2", "0,-1"))}, "upsample": {"stride": small},
            "scale_channels": {"from": st.sampled_from(("-2", "0"))}, "sam": {"from": st.just("-2")}}.get(kind, {})
    options = {name: draw(value) for name, value in told.items() if name in ("layers", "from") or draw(st.booleans())}
    return "\n".join([f"[{kind}]", *(f"{name}={value}" for name, value in options.items())])


@settings(max_examples=80, deadline=None)
@given(st.lists(sections(), min_size=1, max_size=4))
def test_layers_give_the_shapes_that_were_planned(layers):
    try:
        found = planned(NET + CONV + "\n".join(layers))
    except ArgumentError:
        assume(False)
    run(found)


@pytest.mark.parametrize("text, says", [
    ("", r"line 1, \[\]: expected \[net\] first"),
    (CONV, r"line 1, .*got \[convolutional\]"),
    (NET, r"line 1, \[net\]: expected layers behind it"),
    (NET.replace("height", "hight") + CONV, r"line 1, \[net\]: expected height"),
    (NET + CONV + "size", r"line 7, \[convolutional\] size: expected name=value"),
    (NET + CONV + "filters=5", r"line 6, .* filters: expected one value, got '4' and, in line 7, '5'"),
    (NET + "[conv]\nfilter=4", r"line 6, \[convolutional\] filter: .* Did you mean filters"),
    (NET + CONV + "activation=leeky", r"activation: expected one of linear.*'leeky'"),
    (NET + CONV + "groups=3", r"groups: expected a divisor of its 4 channels and its 4 filters, got 3"),
    (NET + CONV + "xnor=1", r"line 7, .* xnor: expected one of 0, none, got '1'"),
    (NET + CONV + "size=99", r"expected a result of 1 to"),
    (NET + CONV + "[lstm]", r"line 7, \[lstm\]: expected one of convolutional"),
    (NET + CONV + "[maxpol]", r"Did you mean maxpool"),
    (NET + CONV + "[route]\nlayers=-2", r"line 8, .* layers: expected layers before this one.*layer 1, got -2"),
    (NET + CONV + "[maxpool]\nstride=2\n[route]\nlayers=-1,0", r"of one height and width, \(6, 4\), got \(12, 8"),
    (NET + CONV + "[route]\nlayers=0\ngroups=3", r"groups: expected a divisor of 4"),
    (NET + CONV + "[shortcut]", r"line 7, \[shortcut\]: expected from"),
    (NET + CONV + "[maxpool]\nstride=2\n[shortcut]\nfrom=0", r"from: expected layers of the shape \(4, 6, 4\)"),
    (NET + CONV + CONV + "[sam]\nfrom=-2,0", r"\[sam\] from: expected one layer, got 2"),
    (NET + CONV + CONV + "[scale_channels]\nfrom=-2", r"factors \(4, 12, 8\) before it, here \(4, 1, 1\)"),
    (NET + CONV + "[yolo]\nanchors=1,2\nclasses=3", r"expected 8 = 1 anchors x \(5 \+ 3 classes\) channels .* got 4"),
    (NET + CONV + "[yolo]\nanchors=1,2,3\nclasses=3", r"anchors: expected 2 numbers"),
    (NET + CONV + "[yolo]\nanchors=1,2\nmask=1", r"mask: expected numbers of anchors, 0 to 0, got 1"),
])
def test_errors_name_file_line_and_section(text, says):
    with pytest.raises(ArgumentError, match=r"\[darknet\] my.cfg, " + f".*{says}".replace(".*line", "line")):
        planned(text)


def test_files_that_are_none(tmp_path):
    for path in (tmp_path, tmp_path / "none.cfg", FILES / "model.weights"):
        with pytest.raises(ArgumentError, match=re.escape(str(path))):
            DarknetNetwork.from_files(path)


# -- .weights ---------------------------------------------------------------------------------

PLAN = planned(read(FILES / "model.cfg"))
EXPECTED = json.loads((PARITY / "formats" / "expected.json").read_text())


@pytest.mark.parametrize("file", ["model.weights", "model_old_header.weights"])
def test_files_of_darknet(file, tmp_path):
    weights, header = read_weights(FILES / file, PLAN)
    told = {n: ["float32", list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()[:24]] for n, a in weights.items()}
    assert told == EXPECTED[f"darknet/{file}"] and header.seen == 32013312
    write_weights(weights, tmp_path / file, PLAN, header)
    assert (tmp_path / file).read_bytes() == (FILES / file).read_bytes()
    model = DarknetNetwork.from_files(FILES / "model.cfg", FILES / file)
    model.write_files(tmp_path / "again")
    assert (tmp_path / "again.weights").read_bytes() == (FILES / "model.weights").read_bytes()
    again, _ = read_weights(tmp_path / "again.weights", planned(read(tmp_path / "again.cfg")))
    assert all((again[name] == weights[name]).all() for name in weights)


WHOLE = (FILES / "model.weights").read_bytes()
ENDS = np.cumsum([20] + [4 * sum(math.prod(s) for n, s in contents(PLAN).items() if n.startswith(f"conv.{i}."))
                         for i in range(5)])


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.integers(1, len(WHOLE) + 40), st.sampled_from([int(end) for end in ENDS])))
def test_a_file_of_another_length(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("w") / "cut.weights"
    path.write_bytes((WHOLE + bytes(40))[:length])
    if length in ENDS:                                 # the file of a backbone: the first convolutions
        found, _ = read_weights(path, PLAN)
        assert list(found) == [n for n in contents(PLAN) if int(n.split(".")[1]) < list(ENDS).index(length)]
        model = DarknetNetwork(DarknetConfig(read(FILES / "model.cfg")))
        if length < len(WHOLE):
            with pytest.raises(CheckpointError, match="missing: conv"):
                load_weights(model, path)
        load_weights(model, path, strict=False)
    else:
        with pytest.raises(CheckpointError, match=rf"{len(WHOLE)} bytes|no header|cut short"):
            read_weights(path, PLAN)


def test_a_large_file_is_mapped_not_read(tmp_path):
    found = DarknetConfig(networks.yolov4()).plan
    path, size = tmp_path / "yolov4.weights", 20 + 4 * sum(map(math.prod, contents(found).values()))
    path.write_bytes(WHOLE[:20])
    os.truncate(path, size)
    weights, _ = read_weights(path, found)
    assert size == 257717640 and not weights["conv.109.weights"].flags.owndata and path.stat().st_blocks < 100


# -- heads ------------------------------------------------------------------------------------

ANCHORS = 8.0, 8, 16, 24, 40, 30
OPTIONS = {"mask": (0, 2), "anchors": ANCHORS, "scale_x_y": 1.0, "new_coords": 0, "ignore_thresh": 0.5,
           "iou_thresh": 1.0, "iou_loss": "mse", "iou_normalizer": 0.07, "obj_normalizer": 1.0, "cls_normalizer": 0.5,
           "label_smooth_eps": 0.0}
VARIANTS = [{}, {"iou_loss": "ciou", "scale_x_y": 1.2, "iou_thresh": 0.3}, {"new_coords": 1, "scale_x_y": 2.0},
            {"iou_loss": "giou", "mask": (1,), "label_smooth_eps": 0.1}]
GRID, SIZE = (2, 3), (32, 48)


def overlap(a, b):
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def places(options):
    """Every (image 0..1, anchor of the mask, row, column), in the order of rows."""
    return [(n, a, y, x) for n in range(2) for a in range(len(options["mask"])) for y in range(GRID[0])
            for x in range(GRID[1])]


def box_of(o, x, n, a, row, column):
    """(offsets, box in pixels) of one place, by the papers' formulas."""
    p = x[n].reshape(len(o["mask"]), -1, *GRID)[a, :, row, column]
    s, (aw, ah) = o["scale_x_y"], np.reshape(ANCHORS, (-1, 2))[o["mask"][a]]
    near = [v if o["new_coords"] else 1 / (1 + math.exp(-v)) for v in p[:2]]
    off = [s * v - (s - 1) / 2 for v in near]
    w, h = [(2 * t) ** 2 * k if o["new_coords"] else math.exp(t) * k for t, k in zip(p[2:4], (aw, ah))]
    cx, cy = (column + off[0]) * SIZE[1] / GRID[1], (row + off[1]) * SIZE[0] / GRID[0]
    return off, (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), p


def answering(o, objects):
    """{place: [objects]}: object by object, as the papers say."""
    found: dict = {}
    anchors = np.reshape(ANCHORS, (-1, 2))
    for i, (image, _, box) in enumerate(objects):
        w, h = box[2] - box[0], box[3] - box[1]
        if w <= 0 or h <= 0:
            continue
        fit = [overlap((0, 0, w, h), (0, 0, *a)) for a in anchors]
        column = min(int((box[0] + box[2]) / 2 * GRID[1] / SIZE[1]), GRID[1] - 1)
        row = min(int((box[1] + box[3]) / 2 * GRID[0] / SIZE[0]), GRID[0] - 1)
        for k, anchor in enumerate(o["mask"]):
            if anchor == int(np.argmax(fit)) or fit[anchor] > o["iou_thresh"]:
                found.setdefault((image, k, row, column), []).append(i)
    return found


def losses(o, x, objects):
    """The three losses, place by place, in Python's own numbers."""
    box_loss = objectness = class_loss = 0.0
    answers = answering(o, objects)
    for place in places(o):
        off, box, p = box_of(o, x, *place)
        chance = [v if o["new_coords"] else 1 / (1 + math.exp(-v)) for v in p[4:]]
        mine = answers.get(place)
        if mine:
            objectness -= math.log(chance[0])
            want = {objects[i][1] for i in mine}
            for k, c in enumerate(chance[1:]):
                t = (k in want) * (1 - o["label_smooth_eps"]) + o["label_smooth_eps"] / 2
                class_loss -= t * math.log(c) + (1 - t) * math.log(1 - c)
            truth = objects[mine[-1]][2]
            if o["iou_loss"] == "mse":
                anchor = np.reshape(ANCHORS, (-1, 2))[o["mask"][place[1]]]
                for j in (0, 1):
                    cell = (truth[j] + truth[j + 2]) / 2 * GRID[1 - j] / SIZE[1 - j] - place[3 - j]
                    ratio = (truth[j + 2] - truth[j]) / anchor[j]
                    size = math.sqrt(ratio) / 2 if o["new_coords"] else math.log(ratio)
                    box_loss += ((off[j] - cell) ** 2 + (p[2 + j] - size) ** 2) / 2
            else:
                op = {"ciou": ml.ops.box_ciou, "giou": ml.ops.box_giou}[o["iou_loss"]]
                box_loss += o["iou_normalizer"] * (1 - op(Tensor(np.array(box)), Tensor(np.array(truth)), False).item())
        elif max((overlap(box, b) for i, _, b in objects if i == place[0]), default=0) <= o["ignore_thresh"]:
            objectness -= math.log(1 - chance[0])
    return {"box": box_loss, "objectness": o["obj_normalizer"] * objectness,
            "classes": o["cls_normalizer"] * class_loss}


EDGE = st.integers(0, 31)
OBJECTS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.tuples(EDGE, EDGE, st.integers(0, 30),
                                                                            st.integers(0, 30))), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(VARIANTS), OBJECTS, st.integers(0, 99))
def test_assignment_and_losses_against_brute_force(variant, objects, seed):
    o = {**OPTIONS, **variant}
    objects = [(i, k, (x + 0.3, y + 0.6, x + w + 0.3, y + h + 0.6)) for i, k, (x, y, w, h) in sorted(objects)]
    objects = [(i, k, tuple(np.float32(box).tolist())) for i, k, box in objects]
    x = np.random.default_rng(seed).standard_normal((2, len(o["mask"]) * 8, *GRID))
    x = 1 / (1 + np.exp(-x)) if o["new_coords"] else x
    targets = Targets(np.array([i for i, *_ in objects], int), np.array([k for _, k, _ in objects], int),
                      np.array([b for *_, b in objects], np.float32).reshape(-1, 4), None)
    head, answers, order = Head(o), answering(o, objects), places(o)
    got = assign(head, targets, GRID, SIZE, 3)
    assert [order[row] for row in got.rows] == [place for place in order if place in answers]
    for place, box, classes in zip([order[row] for row in got.rows], got.boxes, got.classes):
        assert tuple(box.tolist()) == objects[answers[place][-1]][2]
        assert {*np.nonzero(classes)[0]} == {objects[i][1] for i in answers[place]}
    found, wanted = head_losses(head, Tensor(x), targets, SIZE), losses(o, x, objects)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name].item(), value, rtol=3e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_the_loss(variant):
    o, rng = {**OPTIONS, **variant}, np.random.default_rng(3)
    head, targets = Head(o), Targets(np.array([0, 1]), np.array([2, 0]), np.float32([[3, 4, 13, 11], [5, 2, 40, 31]]),
                                     None)
    x = rng.random((2, len(o["mask"]) * 8, *GRID)) * 0.8 + 0.1
    way, step = rng.standard_normal(x.shape), 1e-6
    total = lambda x: sum(head_losses(head, x, targets, SIZE).values())
    slope = (total(Tensor(x + step * way)) - total(Tensor(x - step * way))).item() / (2 * step)
    leaf = Tensor(x, requires_grad=True)
    total(leaf).backward()
    ciou = o["iou_loss"] == "ciou"                     # (its weight passes no gradient, by definition)
    assert abs((leaf.grad.numpy() * way).sum() - slope) < (1e-2 if ciou else 1e-6) * abs(slope)


# -- networks ---------------------------------------------------------------------------------

def test_other_classes_and_other_sizes_of_images():
    model = DarknetNetwork(DarknetConfig(networks.yolov4_tiny(width=4)).replace(num_classes=2, image_size=70)).eval()
    image = Tensor(np.zeros((3, 50, 70), np.float32))
    with ml.no_grad():
        raw = model.forward_raw(Tensor(np.zeros((1, 3, 64, 96), np.float32)))
        found, = model([image], score_threshold=0.2)
        assert model.losses([image] * 2, [{"boxes": np.zeros((0, 4)), "labels": []}] * 2)["objectness"].item() > 0
    assert [x.shape for x in raw] == [(1, 21, 2, 3), (1, 21, 4, 6)] and model.stride == 32
    assert len(found["boxes"]) and (found["boxes"].numpy() <= [70, 50, 70, 50]).all()


def test_scenes_without_objects_and_objects_without_area_train():
    model = DarknetNetwork(DarknetConfig.tiny())
    images = Tensor(np.random.default_rng(0).random((2, 3, 64, 64), np.float32))
    empty = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    flat = {"boxes": np.array([[3, 3, 3, 9], [64, 64, 64, 64]]), "labels": np.array([0, 1])}
    for targets in ([empty, empty], [flat, empty]):
        found = model(images, targets)
        sum(found.values()).backward()
        assert found["box"].item() == found["classes"].item() == 0 < found["objectness"].item() < np.inf


def test_a_classifier_runs_and_does_not_detect():
    text = NET + CONV + "[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\n[cost]\n"
    model = DarknetNetwork(DarknetConfig(text)).eval()
    raw, = model.forward_raw(Tensor(np.ones((2, 4, 12, 8), np.float32)))
    np.testing.assert_allclose(raw.numpy().sum((1, 2, 3)), 1, rtol=1e-6)
    with pytest.raises(ArgumentError, match=r"\[yolo\] layers"):
        model(Tensor(np.ones((2, 4, 12, 8), np.float32)))


def test_weights_of_other_classes_train_on(tmp_path):
    """All of a checkpoint is taken but the layers before [yolo]."""
    old = DarknetNetwork(DarknetConfig.tiny())
    old.write_files(tmp_path / "old")
    old.save_pretrained(tmp_path / "saved")
    other = DarknetNetwork(DarknetConfig.tiny().replace(num_classes=7))
    with pytest.raises(CheckpointError, match="of another kind: layers"):
        load_weights(other, tmp_path / "old.weights")
    load_weights(other, tmp_path / "old.weights", new_head=True)
    for new in from_pretrained(tmp_path / "saved", num_classes=7), other:
        assert new.eval().forward_raw(Tensor(np.zeros((1, 3, 64, 64), "f4")))[0].shape[1] == 24
        for name, tensor in new.state_dict().items():
            was, head = old.state_dict()[name], name.startswith(new.head_paths())
            assert (tensor.shape != was.shape) if head else (tensor.numpy() == was.numpy()).all()


def test_names_stand_beside_a_cfg(tmp_path):
    model = DarknetNetwork(DarknetConfig.tiny())
    model.labels = "cat", "dog", "ox"
    model.write_files(tmp_path / "pets")
    again = network("predict", str(tmp_path / "pets.cfg"), str(tmp_path / "pets.weights"), imgsz=96)
    assert again.labels == model.labels and again.config.image_size == 96
    (tmp_path / "pets.names").write_text("cat\ndog\nox\n\n")
    assert DarknetNetwork.from_files(tmp_path / "pets.cfg").labels == model.labels
    other = network("train", str(tmp_path / "pets.cfg"), str(tmp_path / "pets.weights"), classes=["cow"])
    assert other.labels == ("cow",) and other.config.num_classes == 1
    (tmp_path / "pets.names").write_text("cat\n")
    with pytest.raises(ArgumentError, match="3 lines in .*pets.names, a class each, got 1"):
        DarknetNetwork.from_files(tmp_path / "pets.cfg")
