"""YOLO networks in the layouts of state dicts: raw maps, decoded predictions, losses."""
import numpy as np

from ... import Tensor, ops
from ...models import load_weights
from ...models.detection.detector import Targets
from ...models.detection.yolov3 import YOLOv3, YOLOv3Config
from ...models.detection.yolov5 import YOLOv5, YOLOv5Config
from ...models.detection.yolov7 import YOLOv7, YOLOv7Config
from ...models.detection.yolov8 import YOLOv8, YOLOv8Config
from . import Run, runs


def loaded(model, case):
    """The model with the case's weights, every official name used, in evaluation mode."""
    load_weights(model, case.weights)
    return model.eval()


def targets(rows, size):
    """Rows of (image, class, centre x and y, width, height), as shares of the image, as Targets."""
    rows, (height, width) = rows.astype(np.float32), size
    centre, half = rows[:, 2:4], rows[:, 4:] / 2
    boxes = np.concatenate([centre - half, centre + half], 1) * np.array([width, height] * 2, np.float32)
    return Targets(rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), boxes, None)


def anchored(case, model):
    """Of a network with anchors."""
    x = Tensor(case.inputs["x"])
    raw = model.forward_raw(x)
    found = {"pred": model.head.predictions(raw), **{f"head{i}": r for i, r in enumerate(raw)}}
    if "targets" in case.inputs:
        parts = model.loss(raw, targets(case.inputs["targets"], x.shape[2:]), x.shape[2:])
        losses = ops.stack([parts[name] for name in ("box", "objectness", "classes")])
        found |= {"train_loss_box_obj_cls": losses, "train_loss_total": ops.sum(losses, keepdims=True) * len(x)}
    return Run(found, model=model)


def settings(case):
    """What the cases' configs have in common."""
    c = case.config
    return {"depth": c["depth_multiple"], "width": c["width_multiple"], "num_classes": c["nc"],
            "anchors": tuple(map(tuple, c["anchors"]))}


@runs("yolov3u", "yolov3u_spp", "yolov3u_tiny")
def yolov3(case):
    """Ultralytics' YOLOv3."""
    variant = case.name.removeprefix("yolov3u").strip("_") or "full"
    return anchored(case, loaded(YOLOv3(YOLOv3Config(variant, **settings(case))), case))


@runs("yolov5")
def yolov5(case):
    """Ultralytics' YOLOv5."""
    return anchored(case, loaded(YOLOv5(YOLOv5Config(**settings(case))), case))


@runs("yolov7", "yolov7_deploy", "yolov7_tiny")
def yolov7(case):
    """WongKinYiu's YOLOv7."""
    known = {**settings(case), "implicit": any(".ia." in name for name in case.weights)}
    known.pop("depth")
    variant = "tiny" if case.name.endswith("tiny") else "base"
    return anchored(case, loaded(YOLOv7(YOLOv7Config(variant, **known)), case))


@runs("yolov8")
def yolov8(case):
    """Ultralytics' YOLOv8."""
    c = case.config
    model = loaded(YOLOv8(YOLOv8Config(*c["scales"][c["scale"]], num_classes=c["nc"])), case)
    x = Tensor(case.inputs["x"])
    size, maps = x.shape[2:], model.model(x)
    raw = model.head(*maps)
    boxes, scores = model.decode(raw, size)
    pred = ops.swapaxes(ops.concat([ops.box_convert(boxes, "xyxy", "cxcywh"), scores], -1), 1, 2)
    parts = model.loss(raw, targets(case.inputs["targets"], size), size)
    losses = [parts[name] for name in ("box", "classes", "distribution")]
    return Run({"pred": pred, "raw_boxes": raw[0], "raw_scores": raw[1],
                **{f"raw_feats{i}": m for i, m in enumerate(maps)},
                **{f"train_loss_box_cls_dfl.{name}_loss": x for name, x in zip(("box", "cls", "dfl"), losses)},
                "train_loss_total_x_batch": ops.stack(losses) * len(x)}, model=model)
