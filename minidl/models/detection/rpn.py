"""The region proposal network: where in an image there might be something, of whatever kind.

Source: Ren, He, Girshick, Sun 2015, "Faster R-CNN", arXiv:1506.01497, section 3.1; Lin et al. 2017, "Feature Pyramid
Networks", arXiv:1612.03144, section 4.1 (one size of anchors for each map).
Differs from the papers: the best boxes are chosen, and suppress each other, map by map.

    maps [(N,F,.,.)] -> 3x3 conv -> objectness and 4 offsets of A anchors at each place -> the best boxes of each map
    -> in the image, not tiny, none overlapping a better one -> the best of all: proposals (n,4) of each image
"""
from functools import lru_cache

import numpy as np

from ... import nn, ops
from ...backend import random
from ...tape import no_grad
from .assignment import decode, encode, match, sample
from .fpn import ConvBlock

WEIGHTS = 1.0, 1.0, 1.0, 1.0       # of the offsets
TINY = 1e-3                        # proposals whose sides are below it are dropped; pixels
BETA = 1 / 9                       # where the loss of boxes turns from a parabola to a line


@lru_cache(8)                      # (of a batch of large images: some MB)
def anchors(sizes, ratios, shapes):
    """The anchors of maps: boxes around each place.

    Args:
        sizes: for each map, lengths of the sides of square anchors, in pixels.
        ratios: of heights to widths.
        shapes: ((height, width) of each map and of a step in it, in pixels), ....

    Returns:
        list of (H * W * A, 4) float32 of each map: place by place, row by row.
    """
    made = []
    stretch = np.sqrt(np.asarray(ratios, np.float32))
    for own, (height, width, down, right) in zip(sizes, shapes):
        side = np.asarray(own, np.float32)
        h, w = (stretch[:, None] * side).ravel(), ((1 / stretch)[:, None] * side).ravel()
        around = np.round(np.stack([-w, -h, w, h], 1) / 2)
        y, x = np.meshgrid(np.arange(height) * down, np.arange(width) * right, indexing="ij")
        places = np.stack([x, y, x, y], 2).reshape(-1, 1, 4)
        made.append((places + around).reshape(-1, 4).astype(np.float32))
    return made


class RPNHead(nn.Module):
    """What is said of each anchor. Paper: figure 3, left.

    Args:
        width: channels of the maps.
        anchors: of each place.
        depth: how many 3x3 convolutions.
    """

    def __init__(self, width, anchors, depth=1):
        self.conv = nn.Sequential(*(ConvBlock(width, width, 3) for _ in range(depth)))
        self.cls_logits = nn.Conv2d(width, anchors, 1)
        self.bbox_pred = nn.Conv2d(width, 4 * anchors, 1)
        for conv in (*(block[0] for block in self.conv), self.cls_logits, self.bbox_pred):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, maps):
        """maps [(N, F, H, W), ...] -> objectness [(N, A, H, W), ...], logits; offsets [(N, 4 A, H, W), ...]."""
        hidden = [self.conv(x) for x in maps]
        return [self.cls_logits(x) for x in hidden], [self.bbox_pred(x) for x in hidden]


class RegionProposalNetwork(nn.Module):
    """The network of the module's docstring; `config` is a FasterRCNNConfig."""

    def __init__(self, config):
        self.config = config
        anchors = len(config.aspect_ratios) * len(config.anchor_sizes[0])
        self.head = RPNHead(config.fpn_channels, anchors, config.rpn_depth)

    def forward(self, maps, batch, targets=None):
        """Proposals, and what they cost.

        Args:
            maps [(N, F, ., .), ...]: fine to coarse.
            batch: the Batch that they are of.
            targets: of each image {"boxes": (n, 4)}, in pixels of the batch; None: no losses.

        Returns:
            proposals [(n, 4), ...] of each image, best first, without gradient; {name: loss ()}.
        """
        objectness, offsets = self.head(maps)
        scores = [_rows(x, 1)[..., 0] for x in objectness]
        offsets = [_rows(x, 4) for x in offsets]
        boxes = self.anchors(maps, batch)
        with no_grad():
            proposals = self.propose(scores, offsets, boxes, batch.sizes)
        return proposals, {} if targets is None else self.losses(scores, offsets, boxes, targets)

    def anchors(self, maps, batch):
        """[(H * W * A, 4), ...] of maps (N, F, H, W), the same for each image."""
        c, sides = self.config, batch.pixels.shape[2:]
        shapes = tuple([(*x.shape[2:], *(side // n for side, n in zip(sides, x.shape[2:]))) for x in maps])
        x = batch.pixels
        return [ops.tensor(a, x.dtype, x.device) for a in anchors(c.anchor_sizes, c.aspect_ratios, shapes)]

    def propose(self, scores, offsets, boxes, sizes):
        """Boxes where there might be something.

        Args:
            scores [(N, L), ...], offsets [(N, L, 4), ...], boxes [(L, 4), ...]: logits, and what they say of the
                anchors, of each map.
            sizes: (height, width) of each image.

        Returns:
            [(n, 4), ...] of each image, best first.
        """
        c = self.config
        most, limit = c.rpn_candidates[not self.training], c.rpn_proposals[not self.training]
        chosen, best, level = [], [], []
        for i, (score, offset, anchor) in enumerate(zip(scores, offsets, boxes)):
            score, index = ops.topk(score, min(most, score.shape[1]), 1)
            offset = ops.take_along_axis(offset, index[..., None], 1)
            chosen.append(decode(offset, anchor[index], WEIGHTS))
            best.append(ops.sigmoid(score))
            level.append(ops.full(index.shape[1], i, "int64", score.device))
        chosen, best, level = ops.concat(chosen, 1), ops.concat(best, 1), ops.concat(level)
        found = []
        for box, score, size in zip(chosen, best, sizes):
            box, score, group = large_enough(ops.clip_boxes(box, size), TINY, score, level)
            found.append(box[ops.batched_nms(box, score, group, c.rpn_nms_threshold)[:limit]])
        return found

    def losses(self, scores, offsets, boxes, targets):
        """{name: loss ()} of a random choice of anchors; arguments as of `propose`, and what is there. Paper: eq. 1."""
        c = self.config
        scores, offsets, boxes = ops.concat(scores, 1), ops.concat(offsets, 1), ops.concat(boxes)
        logits, truth, given, wanted = [], [], [], []
        for score, offset, target in zip(scores, offsets, targets):
            with no_grad():
                matched = match(target["boxes"], boxes, *c.rpn_overlaps, best_too=True)
                positive, negative = sample(matched, c.rpn_sample, c.rpn_share, random.default().next_key())
                wanted.append(encode(target["boxes"][matched[positive]], boxes[positive], WEIGHTS))
            logits.append(score[ops.concat([positive, negative])])
            truth += [ops.ones_like(positive), ops.zeros_like(negative)]
            given.append(offset[positive])
        logits, truth = ops.concat(logits), ops.concat(truth).astype(scores.dtype)
        loss = ops.smooth_l1_loss(ops.concat(given), ops.concat(wanted), "sum", BETA)
        return {"loss_objectness": ops.binary_cross_entropy_with_logits(logits, truth),
                "loss_rpn_box_reg": loss / max(len(logits), 1)}


def _rows(x, values):
    """A map (N, A * values, H, W) -> (N, H * W * A, values)."""
    n, _, h, w = x.shape
    return ops.reshape(ops.permute_dims(ops.reshape(x, (n, -1, values, h, w)), (0, 3, 4, 1, 2)), (n, -1, values))


def large_enough(boxes, least, *others):
    """The boxes (n, 4) whose sides are at least so long, and of other Tensors (n) the elements that belong to them."""
    x1, y1, x2, y2 = ops.unstack(boxes, -1)
    kept = ops.nonzero((x2 - x1 >= least) & (y2 - y1 >= least))[0]
    return boxes[kept], *(x[kept] for x in others)
