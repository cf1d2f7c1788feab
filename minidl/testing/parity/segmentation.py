"""Networks that classify pixels."""
import re

from ... import Tensor
from ...models.vision.deeplabv3plus import DeepLabV3Plus, DeepLabV3PlusConfig
from ...models.vision.unet import ResNetUNet, ResNetUNetConfig, UNet, UNetConfig
from . import Run, runs
from .classification import BLOCKS, loaded


@runs("unet", "unet_bilinear")
def unet(case):
    """milesial's UNet."""
    c = case.config
    model = loaded(UNet(UNetConfig(c["base"], c["n_channels"], c["n_classes"], c["bilinear"])), case)
    return Run({"logits": model(Tensor(case.inputs["x"]))}, model=model, layout="milesial")


def encoder(text):
    """(block, layers, width) of "resnet18 layout, base width 8, layers 1,1,1,1"."""
    depth, width, layers = re.match(r"resnet(\d+) layout, base width (\d+), layers ([\d,]+)", text).groups()
    return "basic" if int(depth) < 50 else "bottleneck", tuple(map(int, layers.split(","))), int(width)


@runs("unet_smp")
def unet_smp(case):
    """segmentation_models_pytorch.Unet."""
    c = case.config
    config = ResNetUNetConfig(*encoder(c["encoder"]), tuple(c["decoder_channels"]), num_classes=c["classes"])
    model = loaded(ResNetUNet(config), case)
    return Run({"logits": model(Tensor(case.inputs["x"]))}, model=model, layout="smp")


@runs("deeplabv3plus")
def deeplabv3plus(case):
    """VainF's DeepLabV3Plus-Pytorch."""
    c = case.config
    config = DeepLabV3PlusConfig(BLOCKS[c["block"]], tuple(c["layers"]), c["base"], c["output_stride"],
                                 tuple(c["aspp_dilate"]), c["aspp_channels"], c["low_level_project"],
                                 num_classes=c["num_classes"])
    model, x = loaded(DeepLabV3Plus(config), case), Tensor(case.inputs["x"])
    _, fine, *_, coarse = model.backbone.pyramid(x)
    return Run({"low_level": fine, "out": coarse, "logits": model.decode(fine, coarse, x.shape[2:])}, model=model,
               layout="vainf")


@runs("deeplabv3plus_smp")
def deeplabv3plus_smp(case):
    """segmentation_models_pytorch.DeepLabV3Plus."""
    c = case.config
    low_level = case.weights["decoder.block1.1.bias"].size
    config = DeepLabV3PlusConfig(*encoder(c["encoder"]), c["output_stride"], tuple(c["atrous_rates"]),
                                 c["decoder_channels"], low_level, num_classes=c["classes"], separable=True)
    model = loaded(DeepLabV3Plus(config), case)
    return Run({"logits": model(Tensor(case.inputs["x"]))}, model=model, layout="smp")
