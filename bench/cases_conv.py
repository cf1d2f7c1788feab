"""The convolutions of four networks, each distinct layer once, in the networks' own order.

Left out: EfficientNet's squeeze-and-excitation, which convolves single pixels (a Linear by another name).
"""
from dataclasses import dataclass

import minidl

from .rows import Group, normal, ways


@dataclass(frozen=True)
class Layer:
    """A convolution of square images."""

    network: str
    inputs: int                    # channels
    outputs: int
    kernel: int
    size: int                      # of the image that comes in
    stride: int = 1
    groups: int = 1
    padding: int | None = None     # None: as keeps the size
    transposed: bool = False
    bias: bool = False

    def module(self, lib):
        """The layer."""
        kind = lib.nn.ConvTranspose2d if self.transposed else lib.nn.Conv2d
        padding = (self.kernel - 1) // 2 if self.padding is None else self.padding
        return kind(self.inputs, self.outputs, self.kernel, self.stride, padding, groups=self.groups, bias=self.bias)

    @property
    def flops(self):
        """Of one image's forward."""
        pixels = self.size ** 2 if self.transposed else (self.size // self.stride) ** 2
        return 2 * pixels * self.inputs * self.outputs * self.kernel ** 2 / self.groups

    @property
    def name(self):
        """Kind, kernel, stride, channels and size."""
        kind = "T" if self.transposed else "dw" if self.groups > 1 else ""
        stride = f"s{self.stride}" if self.stride > 1 else ""
        return f"{self.network} {kind}{self.kernel}x{self.kernel}{stride} {self.inputs}-{self.outputs}@{self.size}"


def resnet50(size=56):
    """He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1."""
    name, inputs = "ResNet-50", 64
    yield Layer(name, 3, 64, 7, 224, 2)
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            yield Layer(name, inputs, width, 1, size)
            yield Layer(name, width, width, 3, size, stride)
            yield Layer(name, width, 4 * width, 1, size // stride)
            if not block:
                yield Layer(name, inputs, 4 * width, 1, size, stride)
            inputs, size = 4 * width, size // stride


def efficientnet_b0(size=112):
    """Tan, Le 2019, "EfficientNet", arXiv:1905.11946, table 1."""
    name, inputs = "EfficientNet-B0", 32
    yield Layer(name, 3, inputs, 3, 224, 2)
    stages = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
              (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))
    for expand, kernel, first, outputs, blocks in stages:
        for block in range(blocks):
            stride, width = 1 if block else first, expand * inputs
            if expand > 1:
                yield Layer(name, inputs, width, 1, size)
            yield Layer(name, width, width, kernel, size, stride, groups=width)
            size //= stride
            yield Layer(name, width, outputs, 1, size)
            inputs = outputs
    yield Layer(name, inputs, 1280, 1, size)


def dcgan():
    """Radford, Metz, Chintala 2015, "Unsupervised Representation Learning with DCGANs", arXiv:1511.06434."""
    name, widths = "DCGAN", (512, 256, 128, 64, 3)
    yield Layer(name, 100, 512, 4, 1, padding=0, transposed=True)
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        yield Layer(name, inputs, outputs, 4, 4 << i, 2, padding=1, transposed=True)
    for i, (outputs, inputs) in enumerate(zip(widths[-2::-1], widths[:0:-1])):
        yield Layer(name, inputs, outputs, 4, 64 >> i, 2, padding=1)
    yield Layer(name, 512, 1, 4, 4, padding=0)


def unet(size=128):
    """Ronneberger, Fischer, Brox 2015, "U-Net", arXiv:1505.04597, figure 1, with padding."""
    name, inputs = "U-Net", 3
    for width in (64, 128, 256, 512, 1024):
        yield Layer(name, inputs, width, 3, size, bias=True)
        yield Layer(name, width, width, 3, size, bias=True)
        inputs, size = width, size // 2
    size *= 2
    for width in (512, 256, 128, 64):
        yield Layer(name, 2 * width, width, 2, size, 2, padding=0, transposed=True, bias=True)
        size *= 2
        yield Layer(name, 2 * width, width, 3, size, bias=True)
    yield Layer(name, 64, 1, 1, size, bias=True)


def conv_rows(layer, batches=(1, 8), **more):
    """A layer's rows for some numbers of images."""
    for batch in batches:
        yield from ways(layer.name, normal((batch, layer.inputs, layer.size, layer.size)), lambda lib, conv, x: conv(x),
                        layer.module, batch * layer.flops, before=f"B{batch} ", **more)


LAYERS = list(dict.fromkeys([*resnet50(), *efficientnet_b0(), *dcgan(), *unet()]))
WINOGRAD = [layer for layer in LAYERS if layer.kernel == 3 and layer.stride == layer.groups == 1
            and layer.inputs >= 64 and layer.size >= 14]
GROUPS = [Group("conv", "Convolutions", [row for layer in LAYERS for row in conv_rows(layer)], 1.4)]
if hasattr(minidl, "precision"):
    fast = {"context": lambda: minidl.precision("fast"), "tolerance": 1e-3}
    GROUPS.append(Group("winograd", 'Convolutions at precision "fast"',
                        [row for layer in WINOGRAD for row in conv_rows(layer, **fast)], 1.8))
