"""Detectors of two stages, step by step."""
from ... import Tensor, ops
from ...models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from ...models.detection.mask_rcnn import MaskRCNN, MaskRCNNConfig
from ...models.detection.preparation import prepare
from ...models.detection.roi_heads import SIDE, pooled, region_rows
from . import Run, runs
from .classification import BLOCKS, loaded


def rcnn_config(config):
    """torchvision's arguments as ours: those of FasterRCNNConfig."""
    c, resnet = config, config["resnet"]
    return {"block": BLOCKS[resnet["block"]], "layers": tuple(resnet["layers"]), "width": resnet["base_width"],
            "eps": c["frozen_bn_eps"], "fpn_channels": c["fpn_channels"], "num_classes": c["num_classes"],
            "min_size": c["min_size"], "max_size": c["max_size"], "image_mean": tuple(c["image_mean"]),
            "image_std": tuple(c["image_std"]), "anchor_sizes": tuple(map(tuple, c["anchor_sizes"])),
            "aspect_ratios": tuple(c["aspect_ratios"]), "rpn_candidates": (2000, c["rpn_pre_nms_top_n_test"]),
            "rpn_proposals": (2000, c["rpn_post_nms_top_n_test"]), "rpn_nms_threshold": c["rpn_nms_thresh"],
            "representation": c["representation"], "score_threshold": c["box_score_thresh"],
            "iou_threshold": c["box_nms_thresh"], "max_detections": c["box_detections_per_img"]}


@runs("fasterrcnn", "maskrcnn")
def rcnn(case):
    """torchvision's FasterRCNN and MaskRCNN."""
    told = rcnn_config(case.config)
    if case.name == "maskrcnn":
        masks = {"mask_convs": tuple(case.config["mask_layers"]), "mask_channels": case.config["mask_dim_reduced"]}
        model = loaded(MaskRCNN(MaskRCNNConfig(**told, **masks)), case)
    else:
        model = loaded(FasterRCNN(FasterRCNNConfig(**told)), case)
    images = [Tensor(case.inputs[f"image{i}"]) for i in range(len(case.inputs))]
    batch = prepare(images, model.config)
    maps = model.backbone(batch.pixels)
    objectness, offsets = model.rpn.head(maps)
    proposals, _ = model.rpn(maps, batch)
    regions, order = pooled(maps[:4], region_rows(proposals), SIDE)
    logits, deltas = model.roi_heads(maps, proposals)
    found = {"transformed": batch.pixels, "image_sizes": batch.sizes,
             **{f"fpn.{name}": x for name, x in zip((0, 1, 2, 3, "pool"), maps)},
             **{f"rpn_obj.{i}": x for i, x in enumerate(objectness)},
             **{f"rpn_reg.{i}": x for i, x in enumerate(offsets)},
             "anchors0": ops.concat(model.rpn.anchors(maps, batch)),
             **{f"proposals.{i}": x for i, x in enumerate(proposals)},
             "pooled_first8": regions[ops.argsort(order)][:8], "class_logits": logits,
             "box_regression": ops.reshape(deltas, (len(deltas), -1))}
    for i, one in enumerate(model(images)):
        found |= {f"det{i}.{name}": x for name, x in one.items()}
        if "masks" in one:
            found[f"det{i}.masks"] = one["masks"][:case.meta["outputs"][f"det{i}.masks"]["shape"][0], None]
    return Run(found, model=model)
