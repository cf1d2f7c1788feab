"""The network of a darknet plan in PyTorch, layer by layer, under the names that ports to PyTorch give its tensors."""
import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {"linear": lambda x: x, "leaky": lambda x: F.leaky_relu(x, 0.1, inplace=True),
               "mish": lambda x: F.mish(x, inplace=True)}


class Darknet(nn.Module):
    """Convolutions, pools, routes, shortcuts: x (N, 3, H, W) -> what reaches each [yolo]."""

    def __init__(self, plan):
        super().__init__()
        self.plan, self.models, count = plan, nn.ModuleList(), 0
        for layer in plan.layers:
            o, parts = layer.options, {}
            if layer.kind == "convolutional":
                count, normed = count + 1, bool(o["batch_normalize"])
                parts[f"conv{count}"] = nn.Conv2d(layer.before[0][0], o["filters"], o["size"], o["stride"],
                                                  o["size"] // 2, bias=not normed)
                if normed:
                    parts[f"bn{count}"] = nn.BatchNorm2d(o["filters"])
            self.models.append(nn.ModuleDict(parts))

    def forward_raw(self, x):
        """The maps of all heads."""
        maps, found = {-1: x}, []
        for layer, modules in zip(self.plan.layers, self.models):
            x = self.layer(layer.kind, layer.options, modules.values(), *[maps[i] for i in layer.inputs])
            maps[layer.index] = x
            if layer.kind == "yolo":
                found.append(x)
        return found

    def layer(self, kind, o, modules, x, *others):
        """What a layer gives."""
        if kind == "convolutional":
            for module in modules:
                x = module(x)
            return ACTIVATIONS[o["activation"]](x)
        if kind == "maxpool":
            before = (o["size"] - 1) // 2
            if o["stride"] == 1:
                x = F.pad(x, (before, o["size"] - 1 - before) * 2, value=-1e30)
            return F.max_pool2d(x, o["size"], o["stride"])
        if kind == "route":
            parts = [y.chunk(o["groups"], 1)[o["group_id"]] for y in (x, *others)]
            return torch.cat(parts, 1) if others else parts[0]
        return x + others[0] if kind == "shortcut" else F.interpolate(x, scale_factor=2) if kind == "upsample" else x
