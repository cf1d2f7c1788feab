"""Networks that a darknet .cfg describes."""
from ... import Tensor, ops
from ...models.detection.darknet import DarknetConfig, DarknetNetwork
from ...models.detection.darknet.cfg import read
from . import Run, runs
from .classification import loaded


@runs("darknet_yolov3", "darknet_yolov3_spp", "darknet_yolov3_tiny", "darknet_yolov4", "darknet_yolov4_tiny")
def darknet(case):
    """pytorch-YOLOv4's Darknet, which agrees with the compiled darknet."""
    path = case.path / case.config["cfg"]
    model = loaded(DarknetNetwork(DarknetConfig(read(path), file=str(path))), case)
    x = Tensor(case.inputs["x"])
    raw, (height, width) = model.forward_raw(x), x.shape[2:]
    boxes, scores = model.decode(raw, (height, width))
    boxes = ops.expand_dims(boxes / Tensor([float(n) for n in (width, height, width, height)]), 2)
    return Run({"boxes_xyxy_norm": boxes, "confs": scores, **{f"head{i}": x for i, x in enumerate(raw)}}, model=model,
               layout="darknet")
