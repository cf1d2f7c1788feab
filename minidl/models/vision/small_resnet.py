"""A ResNet for small images: the one that its paper trains on CIFAR-10.

Source: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2.
Differs from the paper: the shortcut of a block that changes the width is a 1x1 convolution (option B); any number of
input channels; the first convolution may have a stride, which saves three quarters of the work.

    image (N,C,H,W) -> 3x3 conv -> 3 stages x n Blocks, widths w, 2w, 4w, halving H and W -> mean -> logits (N,K)
"""
from dataclasses import dataclass

from ... import nn, ops


@dataclass(frozen=True)
class SmallResNetConfig:
    """Depth is 6 * blocks + 2 layers with weights; `stem_stride` is that of the first."""

    channels: int = 3
    width: int = 16
    blocks: int = 3
    classes: int = 10
    stem_stride: int = 1

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(channels=1, width=4, blocks=1, classes=3)


class Block(nn.Module):
    """Two 3x3 convolutions around which the input passes unchanged. Paper: figure 2, eq. 1-2."""

    def __init__(self, inputs, outputs, stride):
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        """x (N,I,H,W) -> (N,O,H/stride,W/stride)."""
        y = self.bn2(self.conv2(ops.relu(self.bn1(self.conv1(x)))))
        return ops.relu(y + self.downsample(x))


class SmallResNet(nn.Module):
    """The network of the module's docstring."""

    def __init__(self, config):
        c = self.config = config
        widths = (c.width, 2 * c.width, 4 * c.width)
        self.conv1 = nn.Conv2d(c.channels, c.width, 3, c.stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c.width)
        blocks, inputs = [], c.width
        for stage, outputs in enumerate(widths):
            for i in range(c.blocks):
                blocks.append(Block(inputs, outputs, 2 if stage and not i else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, c.classes)

    def forward(self, image):
        """image (N,C,H,W) -> logits (N, classes)."""
        x = ops.relu(self.bn1(self.conv1(image)))
        return self.fc(self.blocks(x).mean((2, 3)))
