"""YOLOv3 and YOLOv4, and any network that a darknet `.cfg` describes.

Source: Redmon, Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv:1804.02767; Bochkovskiy, Wang, Liao 2020,
"YOLOv4: Optimal Speed and Accuracy of Object Detection", arXiv:2004.10934.
Differs from the papers: nothing in the networks; `loss` says what does in training.

    cfg -> Plan -> Layers: images (N,3,H,W) -> maps (N, 3 (5+K), H/s, W/s) -> Heads -> boxes, scores
"""
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .... import nn, ops
from ....errors import ArgumentError, message
from ....io.weights import reading
from ...config import ModelConfig
from ...registry import family
from ...weights import load_weights, official_state
from ..detector import Detector
from . import networks
from .cfg import parse, plan, read, write
from .heads import Head
from .layers import MODULES, Layers
from .loss import head_losses
from .weights import Header, is_weights, plan_of, read_weights, write_weights


@lru_cache(64)
def _planned(text, file, num_classes):
    planned = plan(parse(text, file))
    known = {head.options["classes"] for head in planned.heads}
    return planned if num_classes is None or known <= {num_classes} else planned.with_classes(num_classes)


@dataclass(frozen=True)
class DarknetConfig(ModelConfig):
    """A network of darknet's.

    Args:
        cfg: the text of its .cfg.
        num_classes: of its [yolo] layers; None: as many as the cfg says.
        image_size: the longer side of a frame in pixels; None: the longer one of the cfg's [net].
        file: the name of the .cfg, for messages.

    Raises:
        ArgumentError: the cfg is wrong; the message names the file, the section and the line.
    """

    cfg: str = field(default=networks.yolov3(), repr=False)
    num_classes: int | None = None
    image_size: int | None = None
    file: str = "cfg"

    def __post_init__(self):
        if self.num_classes is None and self.plan.heads:
            object.__setattr__(self, "num_classes", self.plan.heads[0].options["classes"])
        if self.image_size is None:
            object.__setattr__(self, "image_size", max(self.plan.shape[1:]))

    @property
    def plan(self):
        """The Plan of the cfg, with `num_classes` classes."""
        return _planned(self.cfg, self.file, self.num_classes)

    @property
    def in_channels(self):
        """Of images."""
        return self.plan.shape[0]

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(networks.tiny())


# -- names ------------------------------------------------------------------------------------

NAMES = {"biases": ("norm.bias", "conv.bias"), "scales": ("norm.weight",), "rolling_mean": ("norm.running_mean",),
         "rolling_variance": ("norm.running_var",), "weights": ("conv.weight",)}


def _darknet(config):
    """conv.0.biases: counted over the [convolutional] sections, under darknet's own names."""
    layers = {kind: [layer for layer in config.plan.layers if layer.kind == kind]
              for kind in ("convolutional", "connected")}
    rows = []
    for n, layer in enumerate(layers["convolutional"]):
        normed = layer.options["batch_normalize"]
        for theirs, ours in NAMES.items():
            if normed or theirs in ("biases", "weights"):
                rows.append((f"conv.{n}.{theirs}", f"layers.{layer.index}.{ours[0 if normed else -1]}"))
    for n, layer in enumerate(layers["connected"]):
        rows += [(f"connected.{n}.biases", f"layers.{layer.index}.linear.bias"),
                 (f"connected.{n}.weights", f"layers.{layer.index}.linear.weight")]
    return rows


def _pytorch(config):
    """models.0.conv1.weight, models.0.bn1.bias: by layer and by convolution, as ports to PyTorch have them."""
    convs = [layer.index for layer in config.plan.layers if layer.kind == "convolutional"]
    return [(f"models.{i}.{theirs}{n}.*", f"layers.{i}.{ours}.*") for n, i in enumerate(convs, 1)
            for theirs, ours in (("conv", "conv"), ("bn", "norm"))]


def _tianxiaomo(config):
    """down1.conv1.conv.0.weight: by the parts of YOLOv4, as one port to PyTorch has them. None for other networks."""
    plan = config.plan
    convs = [layer for layer in plan.layers if layer.kind == "convolutional"]
    shortcuts = [layer.index for layer in plan.layers if layer.kind == "shortcut"]
    starts = [layer.index for layer in convs if layer.options["stride"] == 2][:5] + [len(plan.layers)]
    depths = [sum(a < i < b for i in shortcuts) for a, b in zip(starts, starts[1:])]
    names = [f"down1.conv{i}" for i in range(1, 9)]
    for stage, depth in enumerate(depths[1:], 2):
        names += [f"down{stage}.conv{i}" for i in (1, 2, 3)]
        names += [f"down{stage}.resblock.module_list.{i}.{j}" for i in range(depth) for j in (0, 1)]
        names += [f"down{stage}.conv{i}" for i in (4, 5)]
    names += [f"neck.conv{i}" for i in range(1, 21)] + [f"head.conv{i}" for i in range(1, 19)]
    if len(names) != len(convs) or len(depths) != 5:
        return None
    return [(f"{name}.conv.{j}.*", f"layers.{layer.index}.{ours}.*") for name, layer in zip(names, convs)
            for j, ours in enumerate(("conv", "norm"))]


# -- the model --------------------------------------------------------------------------------

class DarknetNetwork(Detector):
    """The network of a .cfg; with [yolo] layers, a detector.

    Attributes:
        seen: how many images darknet trained it on, as its .weights said.
    """

    config_class = DarknetConfig
    seen = 0

    def __init__(self, config):
        self.layers = Layers(config.plan)
        self.stride = config.plan.stride
        self._take(config)

    def _take(self, config):
        self.config, self.layers.plan = config, config.plan
        self.heads = [Head(layer.options) for layer in config.plan.heads]

    @property
    def layouts(self):
        """The layouts of checkpoints: darknet's own, and those of ports to PyTorch."""
        found = {"darknet": _darknet, "pytorch-yolov4": _pytorch}
        return found if _tianxiaomo(self.config) is None else {**found, "tianxiaomo": _tianxiaomo}

    @classmethod
    def from_files(cls, cfg, weights=None, **config):
        """The network of a .cfg file, in evaluation mode; its labels are those of a .names beside it, a line each.

        Args:
            cfg: path of the .cfg.
            weights: path of its .weights, or of other files of its weights; None: random ones.
            config: other fields of DarknetConfig; with `num_classes` the layers before [yolo] are new where need be.

        Raises:
            ArgumentError: the .cfg cannot be read or is wrong: file, line and section are named; the .names has
                another number of lines than there are classes.
            CheckpointError: the .weights cannot be read or are another network's.
        """
        model = cls(DarknetConfig(read(cfg), file=str(cfg), **config))
        if weights is not None:
            load_weights(model, weights, new_head="num_classes" in config)
        names = Path(cfg).with_suffix(".names")
        if names.is_file() and "num_classes" not in config:
            model.labels = tuple(read(names).rstrip().splitlines())
            if len(model.labels) != model.config.num_classes:
                expected = f"{model.config.num_classes} lines in {names}, a class each"
                raise ArgumentError(message("darknet", "names", expected, len(model.labels)))
        return model.eval()

    def get_classifier(self):
        """The layers before the [yolo] ones."""
        return nn.ModuleList([self.get_submodule(path) for path in self.head_paths()])

    def head_paths(self):
        """The paths of the layers before the [yolo] ones."""
        return tuple([f"layers.{layer.index - 1}" for layer in self.config.plan.heads])

    def reset_head(self, num_classes):
        """Give the network new convolutions before its [yolo] layers, for other classes, drawn anew."""
        self._take(self.config.replace(num_classes=num_classes))
        self.labels = ()
        for layer in self.config.plan.heads:
            self.layers[layer.index - 1] = MODULES["convolutional"](self.config.plan.layers[layer.index - 1])

    def read_weights(self, path):
        """As every model's; and darknet's .weights, also for other classes, which need the network to be understood."""
        if not is_weights(path):
            return super().read_weights(path)
        weights, header = read_weights(path, plan_of(path, self.config.plan))
        self.seen = header.seen
        return weights

    def write_files(self, stem):
        """Write stem.cfg, stem.weights and, if it has labels, stem.names, as darknet reads them.

        Raises:
            CheckpointError: they cannot be written.
        """
        plan = self.config.plan
        write_weights(official_state(self, "darknet"), f"{stem}.weights", plan, Header(seen=self.seen))
        texts = {"cfg": write(plan.sections), "names": "".join(f"{label}\n" for label in self.labels)}
        for kind, text in texts.items():
            if text:
                with reading("darknet", stem):
                    Path(f"{stem}.{kind}").write_text(text, encoding="utf-8")

    def forward_raw(self, batch):
        """batch (N, C, H, W) -> what reaches each [yolo], (N, A (5+K), H/s, W/s), a list in the order of the cfg."""
        return self.layers(batch)

    def decode(self, raw, size):
        """Maps, in images of `size` -> boxes (N, B, 4) x1, y1, x2, y2 in pixels; scores (N, B, K): head by head.

        Raises:
            ArgumentError: the network has no [yolo] layers.
        """
        boxes, scores = zip(*[head.decode(x, size) for head, x in zip(self._heads(), raw)])
        return ops.concat(boxes, 1), ops.concat(scores, 1)

    def loss(self, raw, targets, size):
        """Maps and Targets, in images of `size` -> {"box", "objectness", "classes"}: losses (), per image.

        Raises:
            ArgumentError: the network has no [yolo] layers.
        """
        parts = [head_losses(head, x, targets, size) for head, x in zip(self._heads(), raw)]
        return {name: sum(part[name] for part in parts) / raw[0].shape[0] for name in parts[0]}

    def _heads(self):
        if not self.heads:
            raise ArgumentError(message("DarknetNetwork", "cfg", "[yolo] layers, to detect", "none"))
        return self.heads


darknet = family(DarknetNetwork, "object-detection", "Redmon, Farhadi 2018, arXiv:1804.02767", labels="coco")
V4 = "Bochkovskiy, Wang, Liao 2020, arXiv:2004.10934"
darknet_v4 = family(DarknetNetwork, "object-detection", V4, labels="coco")
PYTORCH = "pytorch-yolov4"


@darknet({"yolo/darknet_yolov3": PYTORCH})
def yolov3():
    """Darknet-53 and three heads."""
    return DarknetConfig(networks.yolov3(), file="yolov3")


@darknet({"yolo/darknet_yolov3_spp": PYTORCH}, name="yolov3-spp")
def yolov3_spp():
    """YOLOv3 with a spatial pyramid pool."""
    return DarknetConfig(networks.yolov3(spp=True), file="yolov3-spp")


@darknet({"yolo/darknet_yolov3_tiny": PYTORCH}, name="yolov3-tiny")
def yolov3_tiny():
    """Two heads, for small machines."""
    return DarknetConfig(networks.yolov3_tiny(), file="yolov3-tiny")


@darknet_v4({"yolo/darknet_yolov4": PYTORCH, "yolo/yolov4_tianxiaomo": "tianxiaomo"})
def yolov4():
    """CSPDarknet-53, SPP, PAN."""
    return DarknetConfig(networks.yolov4(), file="yolov4")


@darknet_v4({"yolo/darknet_yolov4_tiny": PYTORCH}, name="yolov4-tiny")
def yolov4_tiny():
    """Three CSP stages and two heads."""
    return DarknetConfig(networks.yolov4_tiny(), file="yolov4-tiny")
