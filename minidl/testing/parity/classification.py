"""Networks that classify images."""
from ... import Tensor
from ...models import load_weights
from ...models.vision.resnet import ResNet, ResNetConfig
from . import Run, runs

BLOCKS = {"BasicBlock": "basic", "Bottleneck": "bottleneck"}


def loaded(model, case):
    """The model with the case's weights, every official name used, in evaluation mode."""
    load_weights(model, case.weights)
    return model.eval()


def by_official_name(model, tensors, layout=None):
    """{official name: parameter} of those that a layout leaves as they are."""
    keymap = model.keymap(layout)
    return {keymap.official_name(name): tensor for name, tensor in tensors}


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
    return Run(found, dict(model.named_parameters()))
