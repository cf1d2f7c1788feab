"""Networks that classify images."""
import math
import re

from ... import Tensor
from ...models import load_weights
from ...models.vision.efficientnet import EfficientNet, EfficientNetConfig, Stage, rounded
from ...models.vision.resnet import ResNet, ResNetConfig
from ...models.vision.vit import VisionTransformer, ViTConfig
from . import Run, runs

BLOCKS = {"BasicBlock": "basic", "Bottleneck": "bottleneck"}


def loaded(model, case):
    """The model with the case's weights, every official name used, in evaluation mode."""
    load_weights(model, case.weights)
    return model.eval()


def resnet_config(config):
    """torchvision's arguments as ours."""
    return ResNetConfig(BLOCKS[config["block"]], tuple(config["layers"]), config.get("base_width", 64),
                        num_classes=config.get("num_classes", 1000), eps=config.get("bn_eps", 1e-5),
                        momentum=config.get("momentum", 0.1))


@runs("resnet18", "resnet50", "resnet_train")
def resnet(case):
    """torchvision.models.resnet.ResNet."""
    model, training = loaded(ResNet(resnet_config(case.config)), case), case.name == "resnet_train"
    maps = model.train(training).pyramid(Tensor(case.inputs["x"]))
    logits = model.forward_head(maps[-1])
    found = {"logits_train" if training else "logits": logits, **{f"layer{i}": m for i, m in enumerate(maps) if i}}
    found |= {f"after.{name}": tensor for name, tensor in model.state_dict().items()}
    return Run(found, model=model)


def efficientnet_config(config):
    """torchvision's stages, scaled already, or timm's arch_def and multipliers, as ours."""
    settings = {"num_classes": config.get("num_classes", 1000), "eps": config["bn_eps"]}
    if "arch_def" not in config:
        rows = config["stages_expand_k_s_in_out_n"]
        stages = tuple(Stage(expand, kernel, stride, out, n) for expand, kernel, stride, _, out, n in rows)
        return EfficientNetConfig(stages, rows[0][3], config["last_channel"], **settings)
    stages = []
    for (text,) in config["arch_def"]:
        told = dict(re.match(r"(se|[a-z]+)([\d.]+)", part).groups() for part in text.split("_")[1:])
        stages.append(Stage(*(int(told[key]) for key in "eks"), rounded(int(told["c"]) * config["channel_multiplier"]),
                            math.ceil(int(told["r"]) * config["depth_multiplier"])))
    stem = rounded(config["stem_size"] * config["channel_multiplier"])
    return EfficientNetConfig(tuple(stages), stem, config["num_features"], padding=config["pad_type"], **settings)


@runs("efficientnet", "efficientnet_eps1e-3", "efficientnet_tf")
def efficientnet(case):
    """torchvision.models.efficientnet.EfficientNet; timm's port of TensorFlow's."""
    layout = "timm" if "arch_def" in case.config else "torchvision"
    classes = {"num_classes": case.weights["classifier.bias" if layout == "timm" else "classifier.1.bias"].size}
    model = loaded(EfficientNet(efficientnet_config({**case.config, **classes})), case)
    features = model.forward_features(Tensor(case.inputs["x"]))
    return Run({"features": features, "logits": model.forward_head(features)}, model=model, layout=layout)


def vit_config(config):
    """timm's or torchvision's arguments as ours."""
    width = config.get("embed_dim") or config["hidden_dim"]
    mlp = config.get("mlp_dim") or int(width * config["mlp_ratio"])
    return ViTConfig(config["patch_size"], config.get("img_size") or config["image_size"], width,
                     config.get("depth") or config["num_layers"], config["num_heads"], mlp,
                     num_classes=config["num_classes"], layer_scale=config.get("init_values"), eps=config["ln_eps"])


@runs("vit_timm", "vit_torchvision", "vit_hf")
def vit(case):
    """timm's and torchvision's VisionTransformer, transformers' ViTForImageClassification."""
    layout = {"vit_timm": "timm", "vit_hf": "huggingface"}.get(case.name, "torchvision")
    config = ViTConfig.from_hf(case.config) if layout == "huggingface" else vit_config(case.config)
    model = loaded(VisionTransformer(config), case)
    hidden = model.forward_blocks(Tensor(next(iter(case.inputs.values()))))
    return Run({"hidden": hidden, "logits": model.forward_head(model.norm(hidden))}, model=model, layout=layout)
