"""What looks at each proposal: its part of the feature maps, brought to one size, tells what it is, and where just.

Source: Girshick 2015, "Fast R-CNN", arXiv:1504.08083, section 2; Lin et al. 2017, "Feature Pyramid Networks",
arXiv:1612.03144, section 4.2 (which map a region is taken from); He et al. 2017, "Mask R-CNN", arXiv:1703.06870,
section 3 (RoIAlign).

    proposals (B,4), maps -> RoIAlign (B,F,7,7) -> hidden (B,R) -> logits (B,K), offsets (B,K,4) -> likely ones, none
    overlapping a better one of its class -> detections
"""
from typing import NamedTuple

from ... import nn, ops
from ...backend import random
from ...tape import no_grad
from .assignment import decode, encode, match, sample
from .fpn import STRIDES, ConvBlock
from .rpn import BETA, large_enough

SIDE = 7                           # of a region, in steps
TINY = 1e-2                        # detections whose sides are below it are dropped; pixels
CANONICAL = 224, 2                 # regions of this size, in pixels, are taken from the map of this number


def region_rows(boxes):
    """[(n, 4), ...] of each image -> (B, 5): the image's number, and the box."""
    return ops.concat([ops.concat([ops.full((len(b), 1), float(i), b.dtype, b.device), b], 1)
                       for i, b in enumerate(boxes)])


def pooled(maps, regions, side):
    """Regions of maps, each from the map on which it has about the same size.

    Args:
        maps [(N, F, H, W), ...]: fine to coarse.
        regions (B, 5): image number, x1, y1, x2, y2.
        side: P.

    Returns:
        (B, F, P, P), in the order of the maps; and (B): which region each is.

    Source: Lin et al. 2017, arXiv:1612.03144, eq. 1.
    """
    size, number = CANONICAL
    area = ops.maximum(ops.box_area(regions[:, 1:]), 1.0)                    # (less is the finest map's anyway)
    level = ops.log2(ops.sqrt(area) / size) + (number + 1e-6)
    level = ops.clip(ops.floor(level), 0.0, len(maps) - 1.0)
    parts, order = [], []
    for i, (x, stride) in enumerate(zip(maps, STRIDES)):
        index = ops.nonzero(level == i)[0]
        parts.append(ops.roi_align(x, regions[index], side, 1 / stride, 2))
        order.append(index)
    return ops.concat(parts), ops.concat(order)


class BoxHead(nn.Module):
    """Two layers that see a whole region: (B, F, P, P) -> (B, R)."""

    def __init__(self, inputs, width):
        self.fc6, self.fc7 = nn.Linear(inputs, width), nn.Linear(width, width)

    def forward(self, x):
        """x (B, F, P, P) -> (B, R)."""
        return ops.relu(self.fc7(ops.relu(self.fc6(ops.flatten(x, 1)))))


def conv_blocks(inputs, widths, norm):
    """3x3 convolutions of these widths, each followed by a ReLU."""
    blocks = [ConvBlock(i, o, 3, norm) for i, o in zip((inputs, *widths), widths)]
    for block in blocks:
        nn.init.kaiming_normal_(block[0].weight, mode="fan_out", nonlinearity="relu")
    return blocks


def box_head(config):
    """BoxHead, or convolutions and one layer behind them."""
    c = config
    if not c.box_convs:
        return BoxHead(c.fpn_channels * SIDE ** 2, c.representation)
    return nn.Sequential(*conv_blocks(c.fpn_channels, c.box_convs, c.head_norm), nn.Flatten(1),
                         nn.Linear(c.box_convs[-1] * SIDE ** 2, c.representation), nn.ReLU())


class BoxPredictor(nn.Module):
    """What a region is, and where just, if it is that: (B, R) -> logits (B, K), offsets (B, K, 4)."""

    def __init__(self, width, num_classes):
        self.cls_score = nn.Linear(width, num_classes)
        self.bbox_pred = nn.Linear(width, 4 * num_classes)
        for layer, std in (self.cls_score, 0.01), (self.bbox_pred, 0.001):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        """x (B, R) -> logits (B, K), class 0 background, and offsets (B, K, 4)."""
        logits = self.cls_score(x)
        return logits, ops.reshape(self.bbox_pred(x), (*logits.shape, 4))


class Chosen(NamedTuple):
    """Regions to learn from, of each image: those on objects first."""

    regions: list                  # [(n, 4), ...]
    labels: list                   # [(n), ...] int64; 0 is background
    objects: list                  # [(m), ...] int64: which object each region with one lies on


class RoIHeads(nn.Module):
    """The network of the module's docstring; `config` is a FasterRCNNConfig."""

    def __init__(self, config):
        self.config = config
        self.box_head = box_head(config)
        self.predictor = self.make_predictor(config.num_classes)

    def make_predictor(self, num_classes):
        """The layers that know the classes."""
        return nn.ModuleDict({"box": BoxPredictor(self.config.representation, num_classes)})

    def forward(self, maps, boxes):
        """Boxes [(n, 4), ...] of each image -> logits (B, K) and offsets (B, K, 4) of all."""
        if not any(map(len, boxes)):
            k, like = self.config.num_classes, maps[0]
            return ops.zeros((0, k), like.dtype, like.device), ops.zeros((0, k, 4), like.dtype, like.device)
        x, order = pooled(maps[:4], region_rows(boxes), SIDE)
        back = ops.argsort(order)
        logits, offsets = self.predictor["box"](self.box_head(x))
        return logits[back], offsets[back]

    # -- training ---------------------------------------------------------------------

    def choose(self, proposals, targets):
        """A random choice of proposals, and of the objects' own boxes, to learn from: Chosen."""
        c, chosen = self.config, Chosen([], [], [])
        for boxes, target in zip(proposals, targets):
            boxes = ops.concat([boxes, target["boxes"]])
            matched = match(target["boxes"], boxes, c.box_overlap, c.box_overlap)
            positive, negative = sample(matched, c.box_sample, c.box_share, random.default().next_key())
            chosen.regions.append(boxes[ops.concat([positive, negative])])
            chosen.objects.append(matched[positive])
            chosen.labels.append(ops.concat([target["labels"][chosen.objects[-1]], ops.zeros_like(negative)]))
        return chosen

    def losses(self, maps, proposals, targets):
        """{name: loss ()} of a choice of proposals; all in pixels of the batch."""
        with no_grad():
            chosen = self.choose(proposals, targets)
        return self.losses_of(maps, chosen, targets)

    def losses_of(self, maps, chosen, targets):
        """{name: loss ()} of chosen regions. Fast R-CNN, eq. 1."""
        logits, offsets = self(maps, chosen.regions)
        labels = ops.concat(chosen.labels)
        with no_grad():
            wanted = ops.concat([encode(target["boxes"][on], regions[:len(on)], self.config.box_weights)
                                 for target, regions, on in zip(targets, chosen.regions, chosen.objects)])
        positive, count = ops.nonzero(labels > 0)[0], max(len(labels), 1)
        given = offsets[positive, labels[positive]]
        return {"loss_classifier": ops.cross_entropy(logits, labels, reduction="sum") / count,
                "loss_box_reg": ops.smooth_l1_loss(given, wanted, "sum", BETA) / count}

    # -- evaluation -------------------------------------------------------------------

    def detect(self, maps, proposals, sizes, score_threshold, iou_threshold, max_detections):
        """What is there.

        Args:
            maps [(N, F, ., .), ...]: fine to coarse.
            proposals [(n, 4), ...]: of each image.
            sizes: (height, width) of each image.
            score_threshold, iou_threshold, max_detections: as of FasterRCNNConfig.

        Returns:
            for each image {"boxes": (m, 4), "labels": (m), "scores": (m)}, best first.
        """
        logits, offsets = self(maps, proposals)
        counts, found = [len(boxes) for boxes in proposals], []
        parts = zip(proposals, ops.split(ops.softmax(logits), counts), ops.split(offsets, counts), sizes)
        for boxes, scores, offset, size in parts:
            box, label = ops.nonzero(scores[:, 1:] > score_threshold)
            label = label + 1
            score = scores[box, label]
            boxes = ops.clip_boxes(decode(offset[box, label], boxes[box], self.config.box_weights), size)
            boxes, score, label = large_enough(boxes, TINY, score, label)
            best = ops.batched_nms(boxes, score, label, iou_threshold)[:max_detections]
            found.append({"boxes": boxes[best], "labels": label[best], "scores": score[best]})
        return found
