"""Mask R-CNN: Faster R-CNN that also says which pixels are the object's.

Source: He, Gkioxari, Dollár, Girshick 2017, "Mask R-CNN", arXiv:1703.06870.

    detections (D,4), 4 maps -> RoIAlign (D,F,14,14) -> 3x3 convs -> twice as large -> logits (D,28,28) of the
    detection's class -> masks (D,H,W) in the image's pixels
"""
from dataclasses import dataclass

from ... import nn, ops
from ...tape import no_grad
from ..registry import family
from .faster_rcnn import SMALL, V2, FasterRCNN, FasterRCNNConfig, names
from .roi_heads import RoIHeads, conv_blocks, pooled, region_rows

SIDE = 14                          # of a region, in steps; the mask's is twice that


@dataclass(frozen=True)
class MaskRCNNConfig(FasterRCNNConfig):
    """Sizes of a Mask R-CNN: those of a Faster R-CNN, and

    Args:
        mask_convs: widths of the convolutions on regions.
        mask_channels: of the map that is twice as large.
    """

    mask_convs: tuple = (256, 256, 256, 256)
    mask_channels: int = 256

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(**FasterRCNNConfig.tiny().replace(max_detections=10).to_dict(), mask_convs=(8,), mask_channels=8)


class MaskPredictor(nn.Module):
    """Where in a region its object is, for each class. Paper: figure 4, right."""

    def __init__(self, inputs, width, num_classes):
        self.conv5_mask = nn.ConvTranspose2d(inputs, width, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(width, num_classes, 1)
        for layer in self.conv5_mask, self.mask_fcn_logits:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x, labels):
        """x (B, C, P, P), labels (B) -> logits (B, 2P, 2P) of each region's own class: the others are not wanted."""
        x = ops.relu(self.conv5_mask(x))
        weight, bias = self.mask_fcn_logits.weight[labels], self.mask_fcn_logits.bias[labels]
        b, c, h, w = x.shape
        logits = ops.matmul(ops.reshape(weight, (b, 1, c)), ops.reshape(x, (b, c, h * w)))
        return ops.reshape(logits, (b, h, w)) + bias[:, None, None]


class MaskRoIHeads(RoIHeads):
    """RoIHeads with masks; `config` is a MaskRCNNConfig."""

    def __init__(self, config):
        super().__init__(config)
        self.mask_head = nn.Sequential(*conv_blocks(config.fpn_channels, config.mask_convs, config.head_norm))

    def make_predictor(self, num_classes):
        """The layers that know the classes."""
        predictor = super().make_predictor(num_classes)
        predictor["mask"] = MaskPredictor(self.config.mask_convs[-1], self.config.mask_channels, num_classes)
        return predictor

    def mask_logits(self, maps, boxes, labels):
        """Boxes [(n, 4), ...] and labels [(n), ...] of each image -> logits (B, 28, 28) of all."""
        if not any(map(len, boxes)):
            return ops.zeros((0, 2 * SIDE, 2 * SIDE), maps[0].dtype, maps[0].device)
        x, order = pooled(maps[:4], region_rows(boxes), SIDE)
        return self.predictor["mask"](self.mask_head(x), ops.concat(labels)[order])[ops.argsort(order)]

    def losses_of(self, maps, chosen, targets):
        """{name: loss ()} of chosen regions; masks count on those that lie on objects. Paper: section 3."""
        losses = super().losses_of(maps, chosen, targets)
        counts = [len(on) for on in chosen.objects]
        boxes = [boxes[:n] for boxes, n in zip(chosen.regions, counts)]
        logits = self.mask_logits(maps, boxes, [labels[:n] for labels, n in zip(chosen.labels, counts)])
        with no_grad():
            truth = ops.concat([self._seen(target["masks"], box, on)
                                for target, box, on in zip(targets, boxes, chosen.objects)])
        loss = ops.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
        return {**losses, "loss_mask": loss / max(truth.size, 1)}

    def _seen(self, masks, boxes, objects):
        """What of an image's masks (n, H, W) is in boxes (m, 4), each box with one of them: (m, 28, 28)."""
        regions = ops.concat([objects.astype(boxes.dtype)[:, None], boxes], 1)
        return ops.roi_align(masks[:, None], regions, 2 * SIDE)[:, 0]

    def detect(self, maps, proposals, sizes, score_threshold, iou_threshold, max_detections):
        """As of RoIHeads, and {"masks": (m, 28, 28)}: how likely each part of a box is the object's."""
        found = super().detect(maps, proposals, sizes, score_threshold, iou_threshold, max_detections)
        boxes = [one["boxes"] for one in found]
        masks = ops.sigmoid(self.mask_logits(maps, boxes, [one["labels"] for one in found]))
        parts = ops.split(masks, [len(b) for b in boxes])
        return [{**one, "masks": part} for one, part in zip(found, parts)]


def mask_names(config):
    """torchvision's names, and its old ones."""
    yield from names(config)
    yield "roi_heads.mask_predictor.*", "roi_heads.predictor.mask.*"
    for i in range(len(config.mask_convs)):
        yield f"roi_heads.mask_head.mask_fcn{i + 1}.*", f"roi_heads.mask_head.{i}.0.*", "old"


class MaskRCNN(FasterRCNN):
    """The network of the module's docstring."""

    config_class = MaskRCNNConfig
    layouts = {"torchvision": mask_names}
    heads, has_masks = MaskRoIHeads, True

    def restored(self, found, i, batch):
        """Detections in pixels of the batch -> in pixels of image i."""
        found = super().restored(found, i, batch)
        return {**found, "masks": ops.paste_masks(found["masks"], found["boxes"], batch.shapes[i])}


mask_rcnn = family(MaskRCNN, "object-detection", "He et al. 2017, arXiv:1703.06870", labels="coco91")


@mask_rcnn("torchvision/maskrcnn_resnet50_fpn")
def maskrcnn_resnet50_fpn():
    """ResNet-50."""
    return MaskRCNNConfig()


@mask_rcnn("torchvision/maskrcnn_resnet50_fpn_v2")
def maskrcnn_resnet50_fpn_v2():
    """ResNet-50; deeper heads, batch norms."""
    return MaskRCNNConfig(**V2)


@mask_rcnn(labels=None)
def maskrcnn_resnet18_fpn():
    """ResNet-18, to learn from scratch, as with min_size=256, fpn_channels=128, representation=256."""
    return MaskRCNNConfig(**SMALL)
