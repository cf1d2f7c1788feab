"""Feature pyramids: a ResNet whose coarse maps, which know what is there, are added to the fine ones, which know where.

Source: Lin, Dollár, Girshick, He, Hariharan, Belongie 2017, "Feature Pyramid Networks for Object Detection",
arXiv:1612.03144.

    image (N,C,H,W) -> maps of the stages, 1/4 1/8 1/16 1/32 -> each: 1x1 conv, plus the coarser sum grown twofold,
    3x3 conv -> and the last thinned twofold: 5 maps (N,F,.,.), fine to coarse
"""
from ... import nn, ops
from ..vision.resnet import ResNet

STRIDES = 4, 8, 16, 32, 64         # pixels per step of the maps


class ConvBlock(nn.Sequential):
    """A convolution, perhaps a batch norm, perhaps a ReLU: x (N, I, H, W) -> (N, O, H, W)."""

    def __init__(self, inputs, outputs, kernel, norm=False, activation="relu"):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm))
        if norm:
            self.append(nn.BatchNorm2d(outputs))
        else:
            nn.init.zeros_(self[0].bias)
        self.activation = activation

    def forward(self, x):
        """x (N, I, H, W) -> (N, O, H, W)."""
        conv, *norm = self
        if norm:
            return nn.conv_norm(x, conv, *norm, self.activation)
        return ops.conv2d_activation(x, conv.weight, conv.bias, None, None, conv.stride, conv.padding, conv.dilation,
                                     conv.groups, self.activation)


class FeaturePyramidNetwork(nn.Module):
    """Maps of a backbone -> as many maps of one width, and one more. Paper: figure 3; section 4.1 for the last."""

    def __init__(self, inputs, width, norm):
        self.inner_blocks = nn.ModuleList(ConvBlock(n, width, 1, norm, "none") for n in inputs)
        self.layer_blocks = nn.ModuleList(ConvBlock(width, width, 3, norm, "none") for _ in inputs)
        for block in (*self.inner_blocks, *self.layer_blocks):
            nn.init.kaiming_uniform_(block[0].weight, a=1)

    def forward(self, maps):
        """maps [(N, C, H, W), ...], fine to coarse -> list of maps (N, width, ., .)."""
        sums = []
        for block, x in zip(reversed(self.inner_blocks), reversed(maps)):
            x = block(x)
            sums.append(x + ops.interpolate(sums[-1], x.shape[2:]) if sums else x)
        outputs = [block(x) for block, x in zip(self.layer_blocks, reversed(sums))]
        return [*outputs, ops.max_pool2d(outputs[-1], 1, 2)]


class PyramidBackbone(nn.Module):
    """The network of the module's docstring.

    Args:
        resnet: a ResNetConfig; its head is left out.
        width: channels of the maps.
        norm: are convolutions of the pyramid followed by batch norms?
        trainable_layers: how many parts of the ResNet learn, counted from the last stage: 0 to 5.
    """

    def __init__(self, resnet, width=256, norm=False, trainable_layers=5):
        self.body = ResNet(resnet.replace(num_classes=0))
        self.fpn = FeaturePyramidNetwork([f.channels for f in self.body.feature_info[1:]], width, norm)
        for part in ("layer4", "layer3", "layer2", "layer1", "conv1")[trainable_layers:]:
            getattr(self.body, part).freeze()
        if trainable_layers < 5:
            self.body.bn1.freeze()

    def forward(self, image):
        """image (N, C, H, W) -> 5 maps (N, width, ., .), fine to coarse."""
        return self.fpn(self.body.pyramid(image)[1:])
