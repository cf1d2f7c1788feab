"""Blocks of YOLO networks: convolutions with a norm, residual and cross-stage bottlenecks, pyramids of pools.

Sources: Redmon, Farhadi 2018, "YOLOv3", arXiv:1804.02767, section 2.4 (residual pairs of 1x1 and 3x3); Wang et al.
2019, "CSPNet", arXiv:1911.11929 (half of the channels pass by); He et al. 2014, "Spatial Pyramid Pooling",
arXiv:1406.4729; Ding et al. 2021, "RepVGG", arXiv:2101.03697; Wang et al. 2022, "YOLOv7", arXiv:2207.02696.  Where the
papers leave channels and order open, the names and shapes of official state dicts settle them.
"""
import math

from ... import nn, ops, tape
from ...nn.conv_norm import folded, remembered

EPS, MOMENTUM = 1e-3, 0.03         # of every norm


def widened(channels, multiple):
    """A multiple of a number of channels, rounded up to one of 8."""
    return math.ceil(channels * multiple / 8) * 8


def norm(channels):
    """A batch norm with YOLO's constants."""
    return nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM)


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation: "silu", "none", or "leaky_relu", here of slope 0.1."""

    def __init__(self, inputs, outputs, kernel=1, stride=1, padding=None, activation="silu"):
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = norm(outputs)
        self.activation = activation

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H/stride, W/stride)."""
        if self.activation == "leaky_relu":
            return ops.leaky_relu(nn.conv_norm(x, self.conv, self.bn), 0.1)
        return nn.conv_norm(x, self.conv, self.bn, self.activation)


class Bottleneck(nn.Module):
    """Two convolutions around which the input passes, where it may and fits. YOLOv3: table 1."""

    def __init__(self, inputs, outputs, shortcut=True, kernels=(1, 3), hidden=None):
        hidden = outputs // 2 if hidden is None else hidden
        self.cv1 = ConvNorm(inputs, hidden, kernels[0])
        self.cv2 = ConvNorm(hidden, outputs, kernels[1])
        self.shortcut = shortcut and inputs == outputs

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    """Bottlenecks on one half of the channels, the other passes by; three convolutions. CSPNet: figure 2."""

    def __init__(self, inputs, outputs, blocks=1, shortcut=True):
        half = outputs // 2
        self.cv1, self.cv2 = ConvNorm(inputs, half), ConvNorm(inputs, half)
        self.cv3 = ConvNorm(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, half, shortcut, hidden=half) for _ in range(blocks)))

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        return self.cv3(ops.concat([self.m(self.cv1(x)), self.cv2(x)], 1))


class C2f(nn.Module):
    """Bottlenecks on one half of the channels, and every one's output is kept: CSPNet with ELAN's fan (YOLOv7, 3.1)."""

    def __init__(self, inputs, outputs, blocks=1, shortcut=False):
        half = outputs // 2
        self.cv1 = ConvNorm(inputs, 2 * half)
        self.cv2 = ConvNorm((2 + blocks) * half, outputs)
        self.m = nn.ModuleList(Bottleneck(half, half, shortcut, (3, 3), half) for _ in range(blocks))

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        parts = ops.chunk(self.cv1(x), 2, axis=1)
        for block in self.m:
            parts = [*parts, block(parts[-1])]
        return self.cv2(ops.concat(parts, 1))


def pooled(x, kernel):
    """The largest of each pixel's neighbours."""
    return ops.max_pool2d(x, kernel, 1, kernel // 2)


class SPP(nn.Module):
    """A map beside its maxima over growing neighbourhoods. He et al.: section 2.2, at stride 1."""

    def __init__(self, inputs, outputs, kernels=(5, 9, 13)):
        self.cv1 = ConvNorm(inputs, inputs // 2)
        self.cv2 = ConvNorm(inputs // 2 * (len(kernels) + 1), outputs)
        self.kernels = tuple(kernels)

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        x = self.cv1(x)
        return self.cv2(ops.concat([x, *(pooled(x, k) for k in self.kernels)], 1))


class SPPF(SPP):
    """The same with kernels 5, 9, 13, each got from the one before: a maximum of maxima."""

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        maps = [self.cv1(x)]
        for _ in self.kernels:
            maps.append(pooled(maps[-1], 5))
        return self.cv2(ops.concat(maps, 1))


class SPPCSPC(nn.Module):
    """A pyramid of pools on one half of the channels, between convolutions. YOLOv7's neck; CSPNet."""

    def __init__(self, inputs, outputs, kernels=(5, 9, 13)):
        self.cv1, self.cv2 = ConvNorm(inputs, outputs), ConvNorm(inputs, outputs)
        self.cv3, self.cv4 = ConvNorm(outputs, outputs, 3), ConvNorm(outputs, outputs)
        self.cv5, self.cv6 = ConvNorm((len(kernels) + 1) * outputs, outputs), ConvNorm(outputs, outputs, 3)
        self.cv7 = ConvNorm(2 * outputs, outputs)
        self.kernels = tuple(kernels)

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        y = self.cv4(self.cv3(self.cv1(x)))
        y = self.cv6(self.cv5(ops.concat([y, *(pooled(y, k) for k in self.kernels)], 1)))
        return self.cv7(ops.concat([y, self.cv2(x)], 1))


class RepConv(nn.Module):
    """Parallel 3x3 and 1x1 convolutions, and the input itself where it fits, each with a norm: one 3x3 in the end.

    RepVGG: section 3.3.  Evaluation that records nothing runs the one convolution, made anew when a weight changes.
    """

    def __init__(self, inputs, outputs, identity=True):
        if identity and inputs == outputs:
            self.rbr_identity = norm(inputs)
        self.rbr_dense = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm(outputs))
        self.rbr_1x1 = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), norm(outputs))

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        if self.training or tape.recording():
            y = self.rbr_dense(x) + self.rbr_1x1(x)
            return ops.silu(y + self.rbr_identity(x) if hasattr(self, "rbr_identity") else y)
        weight, bias = remembered(self, [*self.parameters(), *self.buffers()], self.folded)
        return ops.conv2d_activation(x, weight, bias, padding=1, activation="silu")

    def folded(self):
        """(weight (O, I, 3, 3), bias (O)) of the convolution that is all of them."""
        (weight, bias), (point, shift) = folded(*self.rbr_dense), folded(*self.rbr_1x1)
        if hasattr(self, "rbr_identity"):
            eye = nn.Conv2d(len(bias), len(bias), 1, bias=False)
            eye.weight.assign(ops.reshape(ops.eye(len(bias)), eye.weight.shape))
            more = folded(eye.to(bias.device).to(bias.dtype), self.rbr_identity)
            point, shift = point + more[0], shift + more[1]
        return weight + ops.pad(point, ((0, 0), (0, 0), (1, 1), (1, 1))), bias + shift
