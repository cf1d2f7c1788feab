"""Models of the zoo, classifying one image, beside their reference implementations with the same weights.

torchvision has ResNet, EfficientNet and ViT; segmentation-models-pytorch has U-Net on ResNet-34 and DeepLabv3+.  Where
they are not installed their rows say so.  Darknet's networks are written out beside this file.
"""
from importlib import import_module

from .rows import Group, Row, forward, normal

# model here, where the reference is, its constructor and arguments, the layout that both know, the side of the image
MODELS = (("resnet50", "torchvision.models", "resnet50", {}, "torchvision", 224),
          ("efficientnet_b0", "torchvision.models", "efficientnet_b0", {}, "torchvision", 224),
          ("vit_b_16", "torchvision.models", "vit_b_16", {}, "torchvision", 224),
          ("unet_resnet34", "segmentation_models_pytorch", "Unet",
           {"encoder_name": "resnet34", "encoder_weights": None, "classes": 2}, "smp", 256),
          ("deeplabv3plus_separable_resnet50", "segmentation_models_pytorch", "DeepLabV3Plus",
           {"encoder_name": "resnet50", "encoder_weights": None, "classes": 21}, "smp", 256))


def _module(name, package, kind, arguments, layout):
    """(lib) -> the model in evaluation mode, ours or the reference."""
    def make(lib):
        if lib.name == "torch":
            return getattr(import_module(package), kind)(**arguments).eval()
        return lib.ml.create_model(name).eval()
    return make


class Official:
    """How a model's weights become its reference's: by its official names."""

    def __init__(self, layout):
        self.layout = layout

    def __call__(self, lib, module):
        state = import_module("minidl.models.weights").official_state(module, self.layout)
        return {name: state[name] for name in state}


def _darknet(name):
    """(lib) -> one of darknet's networks in evaluation mode, ours or PyTorch's."""
    def make(lib):
        plan = import_module("minidl.models.registry").find(name).make_config().plan
        return import_module("bench.darknet").Darknet(plan).eval() if lib.name == "torch" else \
            lib.ml.create_model(name).eval()
    return make


def _detect(lib, module, image):
    """The scores of the best of 100 boxes. (Nothing was learnt: further down, rounding decides who stays.)"""
    found, = module([image]) if lib.name == "torch" else module([image], score_threshold=0.0)
    return found["scores"][:10]


def _regions(rng):
    return [rng.random((3, 480, 640), dtype="f4")]


GROUP = Group("zoo", "Inference, one image", [
    Row(name, "B1 fwd", normal((1, 3, size, size)), forward(lambda lib, module, x: module(x)),
        _module(name, package, kind, arguments, layout), tolerance=1e-3, state=Official(layout))
    for name, package, kind, arguments, layout, size in MODELS] + [
    Row(name, "B1 fwd", normal((1, 3, size, size)), forward(lambda lib, module, x: tuple(module.forward_raw(x))),
        _darknet(name), tolerance=1e-3, state=Official("pytorch-yolov4"))
    for name, size in (("yolov3-tiny", 640), ("yolov3", 416), ("yolov4-tiny", 416), ("yolov4", 416))] + [
    Row(name, "B1 480x640", _regions, forward(_detect),
        _module(name, "torchvision.models.detection", name,
                {"weights": None, "weights_backbone": None, "box_score_thresh": 0.0}, "torchvision"),
        tolerance=1e-3, state=Official("torchvision"))
    for name in ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")])
