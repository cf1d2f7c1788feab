"""Faster R-CNN on a feature pyramid: one network proposes regions, another says what is in each.

Source: Ren, He, Girshick, Sun 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
arXiv:1506.01497; Lin et al. 2017, "Feature Pyramid Networks for Object Detection", arXiv:1612.03144; Li et al. 2021,
"Benchmarking Detection Transfer Learning with Vision Transformers", arXiv:2111.11429, section 3 (the v2 networks).
Differs from the papers: sizes and rules as of torchvision's published networks; both networks are trained at once.

    images -> batch (N,C,H,W) -> ResNet and pyramid: 5 maps -> proposals (n,4) of each image -> regions of 4 maps
    -> logits, offsets -> boxes, labels, scores in the images' pixels; or losses
"""
from dataclasses import dataclass

from ...errors import ArgumentError, message, number
from ..config import ModelConfig, near
from ..model import Model
from ..registry import family
from ..vision.resnet import ResNetConfig
from .fpn import PyramidBackbone
from .preparation import prepare, prepare_targets
from .roi_heads import RoIHeads
from .rpn import RegionProposalNetwork

SELECTION = "score_threshold", "iou_threshold", "max_detections"


@dataclass(frozen=True)
class FasterRCNNConfig(ModelConfig):
    """Sizes of a Faster R-CNN, and its rules.

    Args:
        block, layers, width, in_channels: of the ResNet.
        norm: of the ResNet: "frozen", as published networks have it, or "batch", to learn from scratch.
        eps: of these norms; None: 0 if frozen, as of the published ones, else 1e-5.
        trainable_layers: parts of the ResNet that learn, counted from its last stage; 3 to build on a good backbone.
        fpn_channels: of the maps.
        head_norm: have the convolutions of the pyramid and of the heads batch norms?
        num_classes: of the logits; class 0 is background.
        min_size, max_size: of an image's sides in the batch, in pixels; several of min_size: one of them by chance in
            training, the last in evaluation.
        image_mean, image_std: of channels, of levels in [0, 1].
        anchor_sizes, aspect_ratios: sides of square anchors for each map, in pixels; heights over widths.
        rpn_depth: 3x3 convolutions in front of the proposals.
        rpn_candidates, rpn_proposals: (training, evaluation): boxes of each map that are looked at; of each image
            that are left.
        rpn_nms_threshold: overlap above which the worse of two boxes goes.
        rpn_overlaps: of an anchor with an object: below the first it is background, from the second on the object.
        rpn_sample, rpn_share: anchors of an image that count in training; of them, at most, on objects.
        box_convs: widths of convolutions on regions; (): none, but two linear layers.
        representation: numbers that a region becomes.
        box_overlap, box_sample, box_share: likewise of proposals.
        box_weights: by what offsets of centres and sizes are multiplied.
        score_threshold, iou_threshold, max_detections: detections are likelier than the first, of one class overlap by
            the second at most, and are at most so many an image.
    """

    block: str = "bottleneck"
    layers: tuple = (3, 4, 6, 3)
    width: int = 64
    in_channels: int = 3
    norm: str = "frozen"
    eps: float | None = None
    trainable_layers: int = 5
    fpn_channels: int = 256
    head_norm: bool = False
    num_classes: int = 91
    min_size: int | tuple = 800
    max_size: int = 1333
    image_mean: tuple = (0.485, 0.456, 0.406)
    image_std: tuple = (0.229, 0.224, 0.225)
    anchor_sizes: tuple = ((32,), (64,), (128,), (256,), (512,))
    aspect_ratios: tuple = (0.5, 1.0, 2.0)
    rpn_depth: int = 1
    rpn_candidates: tuple = (2000, 1000)
    rpn_proposals: tuple = (2000, 1000)
    rpn_nms_threshold: float = 0.7
    rpn_overlaps: tuple = (0.3, 0.7)
    rpn_sample: int = 256
    rpn_share: float = 0.5
    box_convs: tuple = ()
    representation: int = 1024
    box_overlap: float = 0.5
    box_sample: int = 512
    box_share: float = 0.25
    box_weights: tuple = (10.0, 10.0, 5.0, 5.0)
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100

    def __post_init__(self):
        if self.norm not in ("frozen", "batch") or not 0 <= self.trainable_layers <= 5 or len(self.layers) != 4:
            raise ArgumentError(message(type(self).__name__, "norm, trainable_layers, layers",
                                        "norm frozen or batch, trainable_layers 0 to 5, layers of 4 stages",
                                        (self.norm, self.trainable_layers, self.layers)))
        if len(self.anchor_sizes) != 5 or len({len(own) for own in self.anchor_sizes}) != 1:
            raise ArgumentError(message(type(self).__name__, "anchor_sizes", "as many for each of 5 maps",
                                        self.anchor_sizes))
        if not len(self.image_mean) == len(self.image_std) == self.in_channels:
            raise ArgumentError(message(type(self).__name__, "image_mean, image_std", f"{self.in_channels} of each",
                                        (self.image_mean, self.image_std)))

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls("bottleneck", (1, 1, 1, 1), 4, norm="batch", fpn_channels=8, head_norm=True, num_classes=3,
                   min_size=64, max_size=96, anchor_sizes=((8,), (16,), (24,), (32,), (64,)), rpn_depth=2,
                   rpn_candidates=(40, 20), rpn_proposals=(40, 10), box_convs=(8,), representation=16, box_sample=32)

    def resnet(self):
        """The ResNetConfig of the backbone."""
        frozen = self.norm == "frozen"
        eps = self.eps if self.eps is not None else 0.0 if frozen else 1e-5
        return ResNetConfig(self.block, self.layers, self.width, self.in_channels, 0, eps=eps, frozen=frozen)


def names(config):
    """torchvision's names, and those that it had before version 0.12, which lack the positions in blocks."""
    yield "roi_heads.box_predictor.*", "roi_heads.predictor.box.*"
    for part in "weight", "bias":
        for blocks in "inner_blocks", "layer_blocks":
            yield f"backbone.fpn.{blocks}.{{i}}.{part}", f"backbone.fpn.{blocks}.{{i}}.0.{part}", "old"
        yield f"rpn.head.conv.{part}", f"rpn.head.conv.0.0.{part}", "old"


class FasterRCNN(Model):
    """The network of the module's docstring."""

    config_class = FasterRCNNConfig
    layouts = {"torchvision": names}
    head_name, first_label = "roi_heads.predictor", 1
    heads, has_masks = RoIHeads, False

    def __init__(self, config):
        c = self.config = config
        self.backbone = PyramidBackbone(c.resnet(), c.fpn_channels, c.head_norm, c.trainable_layers)
        self.rpn = RegionProposalNetwork(c)
        self.roi_heads = self.heads(c)

    def make_head(self, num_classes):
        """The layers that know the classes."""
        return self.roi_heads.make_predictor(num_classes)

    def forward(self, images, targets=None, **selection):
        """Find objects; in training mode, compare with what is there.

        Args:
            images: a list of images (C, H, W) in [0, 1], each of any size, or a batch of them.
            targets: in training mode, for each image {"boxes": (n, 4) x1, y1, x2, y2 in its pixels, "labels": (n)
                ints, 0 for background not among them[, "masks": (n, H, W), 0 or 1]}; n may be 0.
            selection: the config's score_threshold, iou_threshold or max_detections, for this call.

        Returns:
            in evaluation mode, for each image {"boxes": (n, 4) x1, y1, x2, y2 in its pixels, "labels": (n) int64,
            "scores": (n) in [0, 1][, "masks": (n, H, W) in [0, 1]: how likely a pixel is the object's]}, best first;
            in training mode {name: loss ()}, of which the sum is to be lowered.

        Raises:
            ShapeError, DTypeError, ArgumentError: images or targets that cannot be; they are named.
        """
        if self.training:
            return self.losses(images, targets)
        unknown = set(selection) - set(SELECTION)
        if unknown:
            raise ArgumentError(message(type(self).__name__, "selection", f"some of {', '.join(SELECTION)}",
                                        ", ".join(unknown), near(unknown.pop(), SELECTION)))
        chosen = {name: getattr(self.config, name) for name in SELECTION} | selection
        number("detect", "max_detections", chosen["max_detections"], 0, whole=True)
        return self.detect(images, chosen)

    def losses(self, images, targets):
        """{name: loss ()} of images and targets, as `forward` takes them."""
        batch = prepare(images, self.config, self.training)
        targets = prepare_targets(targets, batch, self.config.num_classes, self.has_masks)
        maps = self.backbone(batch.pixels)
        proposals, losses = self.rpn(maps, batch, targets)
        return {**self.roi_heads.losses(maps, proposals, targets), **losses}

    def detect(self, images, selection):
        """What is in images, as `forward` gives it; `selection` names all of its three."""
        if not len(images):
            return []
        batch = prepare(images, self.config)
        maps = self.backbone(batch.pixels)
        proposals, _ = self.rpn(maps, batch)
        found = self.roi_heads.detect(maps, proposals, batch.sizes, **selection)
        return [self.restored(one, i, batch) for i, one in enumerate(found)]

    def restored(self, found, i, batch):
        """Detections in pixels of the batch -> in pixels of image i."""
        return {**found, "boxes": batch.leave(i, found["boxes"])}


faster_rcnn = family(FasterRCNN, "object-detection", "Ren et al. 2015, arXiv:1506.01497; Lin et al. 2017, "
                     "arXiv:1612.03144", labels="coco91")
V2 = {"norm": "batch", "head_norm": True, "rpn_depth": 2, "box_convs": (256,) * 4}
SMALL = {"block": "basic", "layers": (2, 2, 2, 2), "norm": "batch"}


@faster_rcnn("torchvision/fasterrcnn_resnet50_fpn")
def fasterrcnn_resnet50_fpn():
    """ResNet-50."""
    return FasterRCNNConfig()


@faster_rcnn("torchvision/fasterrcnn_resnet50_fpn_v2")
def fasterrcnn_resnet50_fpn_v2():
    """ResNet-50; deeper heads, batch norms."""
    return FasterRCNNConfig(**V2)


@faster_rcnn(labels=None)
def fasterrcnn_resnet18_fpn():
    """ResNet-18, to learn from scratch, as with min_size=256, fpn_channels=128, representation=256."""
    return FasterRCNNConfig(**SMALL)
