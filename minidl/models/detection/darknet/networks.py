"""The `.cfg` of YOLOv3, YOLOv3-SPP, YOLOv3-tiny, YOLOv4 and YOLOv4-tiny, at any width and depth.

Written from: Redmon, Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv:1804.02767 (table 1, sections 2.1 to
2.5); He et al. 2014, "Spatial Pyramid Pooling", arXiv:1406.4729; Bochkovskiy, Wang, Liao 2020, "YOLOv4: Optimal Speed
and Accuracy of Object Detection", arXiv:2004.10934 (section 3.4); Wang et al. 2019, "CSPNet", arXiv:1911.11929
(figure 2); Liu et al. 2018, "PANet", arXiv:1803.01534; Wang, Bochkovskiy, Liao 2020, "Scaled-YOLOv4",
arXiv:2011.08036 (figure 3, YOLOv4-tiny); and the public tables of their layers.
"""
from .cfg import Section, write

YOLOV3_ANCHORS = (10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119, 116, 90, 156, 198, 373, 326)
YOLOV4_ANCHORS = (12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401)
TINY_ANCHORS = (10, 14, 23, 27, 37, 58, 81, 82, 135, 169, 344, 319)
DARKNET53 = 1, 2, 8, 8, 4          # residual blocks of each stage


class Draft:
    """Sections, written one after another."""

    def __init__(self, size, num_classes, anchors, activation="leaky", **heads):
        self.sections = [Section("net", {"width": str(size), "height": str(size), "channels": "3"})]
        self.num_classes, self.anchors, self.activation, self.heads = num_classes, anchors, activation, heads

    @property
    def last(self):
        """The index of the last layer."""
        return len(self.sections) - 2

    def add(self, kind, **options):
        """Write a section."""
        self.sections.append(Section(kind, {}).replace(**options))

    def conv(self, filters, size=1, stride=1):
        """A convolution with a batch norm and the draft's activation."""
        self.add("convolutional", batch_normalize=1, filters=filters, size=size, stride=stride, pad=1,
                 activation=self.activation)

    def route(self, *layers, **options):
        """What these layers gave."""
        self.add("route", layers=layers, **options)

    def join(self, filters, layer, squeezed=None):
        """What is here, through a 1x1, at twice the size, beside an earlier layer, which may go through one, too."""
        self.conv(filters)
        self.add("upsample", stride=2)
        if squeezed is not None:
            self.route(layer)
            self.conv(squeezed)
        self.route(-1, -3 if squeezed is not None else layer)

    def alternate(self, filters, times):
        """Pairs of a 1x1 to `filters` and a 3x3 to twice as many."""
        for _ in range(times):
            self.conv(filters)
            self.conv(2 * filters, 3)

    def pyramid_pool(self, sizes=(5, 9, 13)):
        """What is here, beside its largest values within windows of three sizes."""
        for i, size in enumerate(sizes):
            if i:
                self.route(-2 * i)
            self.add("maxpool", stride=1, size=size)
        self.route(-1, -3, -5, -6)

    def residuals(self, filters, inner, blocks):
        """Blocks of a 1x1 and a 3x3 around which the input passes."""
        for _ in range(blocks):
            self.conv(inner)
            self.conv(filters, 3)
            self.add("shortcut", **{"from": -3}, activation="linear")

    def head(self, mask, **options):
        """A 1x1 to what [yolo] wants, and [yolo] with the anchors of these numbers."""
        self.add("convolutional", size=1, stride=1, pad=1, filters=len(mask) * (5 + self.num_classes),
                 activation="linear")
        self.add("yolo", mask=mask, anchors=self.anchors, classes=self.num_classes, num=len(self.anchors) // 2,
                 **self.heads, **options)

    def text(self):
        """The .cfg."""
        return write(self.sections)


def yolov3(num_classes=80, size=416, width=32, depths=DARKNET53, spp=False):
    """Darknet-53 and three heads, coarse to fine. Paper: table 1, section 2.3.

    Args:
        num_classes, size: of the [yolo] layers; of an image's sides in pixels.
        width: channels of the first convolution; darknet-53's is 32.
        depths: residual blocks of each stage.
        spp: pool in front of the first head, as YOLOv3-SPP does.
    """
    net = Draft(size, num_classes, YOLOV3_ANCHORS, ignore_thresh=0.5, truth_thresh=1)
    net.conv(width, 3)
    stages = []
    for i, blocks in enumerate(depths, 1):
        net.conv(width << i, 3, 2)
        net.residuals(width << i, width << i - 1, blocks)
        stages.append(net.last)
    for level, mask in enumerate(((6, 7, 8), (3, 4, 5), (0, 1, 2))):
        filters = width << 4 - level
        if level:
            net.route(-4)
            net.join(filters, stages[-1 - level])
        if spp and not level:
            net.alternate(filters, 1)
            net.conv(filters)
            net.pyramid_pool()
            net.alternate(filters, 2)
        else:
            net.alternate(filters, 3)
        net.head(mask)
    return net.text()


def yolov3_tiny(num_classes=80, size=416, width=16):
    """Six pools and two heads, after Darknet's reference network.

    Args:
        num_classes, size, width: as in `yolov3`; the width is 16.
    """
    net = Draft(size, num_classes, TINY_ANCHORS, ignore_thresh=0.5, truth_thresh=1)
    convs = []
    for i in range(6):
        net.conv(width << i, 3)
        convs.append(net.last)
        net.add("maxpool", size=2, stride=2 if i < 5 else 1)
    net.conv(width << 6, 3)
    net.conv(width << 4)
    net.conv(width << 5, 3)
    net.head((3, 4, 5))
    net.route(-4)
    net.join(width << 3, convs[4])
    net.conv(width << 4, 3)
    net.head((0, 1, 2))
    return net.text()


def yolov4(num_classes=80, size=608, width=32, depths=DARKNET53):
    """CSPDarknet-53 with Mish, a spatial pyramid pool, paths up and down again, three heads, fine to coarse.

    Args:
        num_classes, size, width, depths: as in `yolov3`.
    """
    net = Draft(size, num_classes, YOLOV4_ANCHORS, "mish", **YOLOV4_LOSS, iou_thresh=0.213)
    net.conv(width, 3)
    stages = [_partial(net, width << i, blocks, whole=i == 1) for i, blocks in enumerate(depths, 1)]
    net.activation = "leaky"
    net.alternate(width << 4, 1)
    net.conv(width << 4)
    net.pyramid_pool()
    net.alternate(width << 4, 1)
    net.conv(width << 4)
    levels = [net.last]
    for filters, stage in (width << 3, stages[-2]), (width << 2, stages[-3]):
        net.join(filters, stage, filters)
        net.alternate(filters, 2)
        net.conv(filters)
        levels.append(net.last)
    for i, (mask, scale) in enumerate((((0, 1, 2), 1.2), ((3, 4, 5), 1.1), ((6, 7, 8), 1.05))):
        filters = width << 2 + i
        if i:
            net.route(-4)
            net.conv(filters, 3, 2)
            net.route(-1, levels[2 - i])
            net.alternate(filters, 2)
            net.conv(filters)
        net.conv(2 * filters, 3)
        net.head(mask, scale_x_y=scale)
    return net.text()


YOLOV4_LOSS = {"ignore_thresh": 0.7, "truth_thresh": 1, "iou_loss": "ciou", "iou_normalizer": 0.07,
               "cls_normalizer": 1.0}


def _partial(net, filters, blocks, whole):
    """A stage of which one part passes beside the residual blocks; gives its last layer. CSPNet: figure 2 (b).

    Each part has half of the channels, or, in the first stage, is `whole`.
    """
    part = filters if whole else filters // 2
    net.conv(filters, 3, 2)
    net.conv(part)
    beside = net.last
    net.route(-2)
    net.conv(part)
    net.residuals(part, filters // 2, blocks)
    net.conv(part)
    net.route(-1, beside)
    net.conv(filters)
    return net.last


def yolov4_tiny(num_classes=80, size=416, width=32):
    """Three stages that take half of their channels through two convolutions more, and two heads.

    Args:
        num_classes, size, width: as in `yolov3`.
    """
    net = Draft(size, num_classes, TINY_ANCHORS, **YOLOV4_LOSS, scale_x_y=1.05)
    net.conv(width, 3, 2)
    net.conv(2 * width, 3, 2)
    for i in (1, 2, 3):
        net.conv(width << i, 3)
        net.route(-1, groups=2, group_id=1)
        net.conv(width << i - 1, 3)
        net.conv(width << i - 1, 3)
        net.route(-1, -2)
        net.conv(width << i)
        fine = net.last
        net.route(-6, -1)
        net.add("maxpool", size=2, stride=2)
    net.conv(width << 4, 3)
    net.conv(width << 3)
    net.conv(width << 4, 3)
    net.head((3, 4, 5))
    net.route(-4)
    net.join(width << 2, fine)
    net.conv(width << 3, 3)
    net.head((1, 2, 3))
    return net.text()


def tiny(num_classes=3, size=64):
    """A network of everything that the others have, as small as may be: what tests run."""
    net = Draft(size, num_classes, (8, 8, 16, 16, 24, 12, 32, 40), "mish", scale_x_y=1.1, **YOLOV4_LOSS)
    net.conv(4, 3, 2)
    fine = _partial(net, 8, 1, whole=False)
    net.activation = "leaky"
    net.add("maxpool", size=2, stride=2)
    net.route(-1, groups=2, group_id=1)
    net.conv(8, 3)
    net.add("maxpool", size=2, stride=1)
    net.pyramid_pool((3, 5, 7))
    net.conv(8)
    net.head((2, 3))
    net.route(-3)
    net.join(4, fine)
    net.conv(8, 3)
    net.head((0, 1))
    return net.text()
