"""The layers of a `.cfg`, each a module that takes what the layers before it gave, and the network of them.

Written from: the same descriptions as `cfg`.
"""
from .... import nn, ops
from .cfg import conv_padding, pool_padding, strides

SLOPE = 0.1                        # of "leaky" and "ramp" below, or beside, 0

ACTIVATIONS = {
    "linear": lambda x: x, "logistic": ops.sigmoid, "loggy": lambda x: ops.sigmoid(x) * 2.0 - 1.0, "relu": ops.relu,
    "relu6": ops.relu6, "relie": ops.leaky_relu, "ramp": lambda x: ops.relu(x) + x * SLOPE,
    "leaky": lambda x: ops.leaky_relu(x, SLOPE), "elu": ops.elu, "selu": ops.selu, "gelu": ops.gelu, "tanh": ops.tanh,
    "hardtan": lambda x: ops.clip(x, -1.0, 1.0), "swish": ops.silu, "mish": ops.mish,
}


class Convolutional(nn.Module):
    """A convolution, a batch norm where the section says so, and an activation."""

    def __init__(self, layer):
        o = layer.options
        self.conv = nn.Conv2d(layer.before[0][0], o["filters"], o["size"], strides(o), conv_padding(o), o["dilation"],
                              o["groups"], bias=not o["batch_normalize"])
        nn.init.kaiming_normal_(self.conv.weight, SLOPE)
        self.norm = nn.BatchNorm2d(o["filters"]) if o["batch_normalize"] else None
        self.activation = o["activation"]

    def forward(self, x):
        """x (N, C, H, W) -> (N, O, P, Q)."""
        x = self.conv(x) if self.norm is None else nn.conv_norm(x, self.conv, self.norm)
        return ACTIVATIONS[self.activation](x)


class Connected(nn.Module):
    """A linear layer on all of a map, and an activation."""

    def __init__(self, layer):
        channels, height, width = layer.before[0]
        self.linear = nn.Linear(channels * height * width, layer.options["output"])
        self.activation = layer.options["activation"]

    def forward(self, x):
        """x (N, C, H, W) -> (N, O, 1, 1)."""
        y = self.linear(ops.reshape(x, (x.shape[0], -1)))
        return ops.reshape(ACTIVATIONS[self.activation](y), (*y.shape, 1, 1))


class Pool(nn.Module):
    """The largest values within windows; padding in all one less than a window, the odd row and column behind."""

    def __init__(self, layer):
        o = layer.options
        self.size, self.stride, self.padding = o["size"], strides(o), pool_padding(o)

    def forward(self, x):
        """x (N, C, H, W) -> (N, C, P, Q)."""
        return ops.max_pool2d(x, self.size, self.stride, self.padding)


class Average(nn.Module):
    """The mean of each channel."""

    def __init__(self, layer):
        pass

    def forward(self, x):
        """x (N, C, H, W) -> (N, C, 1, 1)."""
        return ops.mean(x, (2, 3), keepdims=True)


class Upsample(nn.Module):
    """Every pixel so many times in each direction."""

    def __init__(self, layer):
        self.stride = layer.options["stride"]

    def forward(self, x):
        """x (N, C, H, W) -> (N, C, stride H, stride W)."""
        return ops.interpolate(x, scale_factor=self.stride)


class Route(nn.Module):
    """Layers beside one another, or of each one group of its channels."""

    def __init__(self, layer):
        self.groups, self.group = layer.options["groups"], layer.options["group_id"]

    def forward(self, *maps):
        """maps (N, C, H, W) each -> (N, sum of C / groups, H, W)."""
        if self.groups > 1:
            width = [x.shape[1] // self.groups for x in maps]
            maps = [x[:, self.group * n:(self.group + 1) * n] for x, n in zip(maps, width)]
        return maps[0] if len(maps) == 1 else ops.concat(maps, 1)


class Shortcut(nn.Module):
    """A sum of layers, and an activation."""

    def __init__(self, layer):
        self.activation = layer.options["activation"]

    def forward(self, *maps):
        """maps (N, C, H, W) each -> (N, C, H, W)."""
        return ACTIVATIONS[self.activation](sum(maps[1:], maps[0]))


class Scale(nn.Module):
    """A product of two layers, and an activation: attention to channels, or to places."""

    def __init__(self, layer):
        self.activation = layer.options["activation"]

    def forward(self, factor, x):
        """factor (N, C, 1, 1) or (N, C, H, W), x (N, C, H, W) -> (N, C, H, W)."""
        return ACTIVATIONS[self.activation](x * factor)


class Softmax(nn.Module):
    """Probabilities of all numbers of a map, or, if it is spatial, at every place of its channels."""

    def __init__(self, layer):
        self.spatial = layer.options["spatial"]

    def forward(self, x):
        """x (N, C, H, W) -> (N, C, H, W)."""
        if self.spatial:
            return ops.moveaxis(ops.softmax(ops.moveaxis(x, 1, -1)), -1, 1)
        return ops.reshape(ops.softmax(ops.reshape(x, (x.shape[0], -1))), x.shape)


def _dropout(layer):
    return nn.Dropout(layer.options["probability"])


def _nothing(layer):
    return nn.Identity()


MODULES = {"convolutional": Convolutional, "connected": Connected, "maxpool": Pool, "avgpool": Average,
           "upsample": Upsample, "route": Route, "shortcut": Shortcut,
           "scale_channels": Scale, "sam": Scale, "softmax": Softmax, "dropout": _dropout,
           "cost": _nothing, "yolo": _nothing}


class Layers(nn.ModuleList):
    """The modules of a plan.

    Args:
        plan: a `Plan`.
    """

    def __init__(self, plan):
        super().__init__([MODULES[layer.kind](layer) for layer in plan.layers])
        self.plan = plan
        last = {i: layer.index for layer in plan.layers for i in layer.inputs}
        self.spent = {index: [i for i in last if last[i] == index] for index in last.values()}

    def forward(self, image):
        """image (N, C, H, W) -> a list: what reaches each [yolo], in their order; without one, what comes last."""
        maps, found = {-1: image}, []
        for layer, module in zip(self.plan.layers, self):
            maps[layer.index] = x = module(*[maps[i] for i in layer.inputs])
            if layer.kind == "yolo":
                found.append(x)
            for i in self.spent.get(layer.index, ()):  # nobody takes them any more: their memory may go
                del maps[i]
        return found or [x]
