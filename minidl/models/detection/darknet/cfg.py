"""Darknet's `.cfg`: a text of sections, [net] and then a layer each, read into layers whose shapes are known.

    text -> parse -> Sections (options as texts) -> plan -> Plan: Layers (options as values, inputs, shapes)

A line is a section's [name], an option `name=value`, or, after # or ;, a comment.  A layer takes what the one before it
gives; [route], [shortcut] and others name some: from 0 on counted from the first behind [net], below 0 from themselves.

Written from: the public description of the format in darknet's documentation (pjreddie.com/darknet) and in the wiki of
AlexeyAB's darknet, "CFG-Parameters in the different layers".
"""
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ....errors import ArgumentError, message
from ...config import near

MOST = 2**31 - 1                   # of any integer
ACTIVATIONS = ("linear", "logistic", "loggy", "relu", "relu6", "relie", "ramp", "leaky", "elu", "selu", "gelu", "tanh",
               "hardtan", "swish", "mish")


# -- texts ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Section:
    """A section as it is written.

    Attributes:
        kind: its name, without brackets.
        options: {name: text}.
        file, line: where it begins; lines: {option: its line}; for messages.
    """

    kind: str
    options: dict
    file: str = "cfg"
    line: int = 0
    lines: dict = field(default_factory=dict)

    def fault(self, option, expected, got, hint=""):
        """The error that says what is wrong with an option, or, for "", with the section."""
        place = f"{self.file}, line {self.lines.get(option, self.line)}, [{self.kind}]"
        return ArgumentError(message("darknet", f"{place} {option}".rstrip(), expected, got, hint))

    def replace(self, **options):
        """This section with other values for some options."""
        return replace(self, options={**self.options, **{name: _text(value) for name, value in options.items()}})


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def parse(text, file="cfg"):
    """The sections of a text.

    Args:
        text: of a .cfg file.
        file: its name, for messages.

    Returns:
        [Section], the first of which is [net].

    Raises:
        ArgumentError: a line that is none of the three, an option twice with two values, or no [net] first; it names
            the file, the line, and the section.
    """
    sections: list = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].partition(";")[0].strip()
        if line.startswith("["):
            kind = line[1:-1].strip().lower()
            section = Section(SHORT.get(kind, kind), {}, file, number)
            if not line.endswith("]") or not kind:
                raise section.fault("", "a name in brackets", repr(line))
            sections.append(section)
        elif line:
            if not sections:
                raise Section("", {}, file, number).fault("", "[net] first", repr(line))
            section, (name, equals, value) = sections[-1], map(str.strip, line.partition("="))
            section.lines.setdefault(name, number)
            if not (name and equals and value):
                section.lines[name] = number
                raise section.fault(name, "name=value", repr(line))
            if section.options.setdefault(name, value) != value:
                raise section.fault(name, "one value", f"{section.options[name]!r} and, in line {number}, {value!r}")
    if not sections or sections[0].kind != "net":
        raise Section("", {}, file, sections[0].line if sections else 1).fault(
            "", "[net] first", f"[{sections[0].kind}]" if sections else "no section")
    return sections


SHORT = {"network": "net", "conv": "convolutional", "max": "maxpool", "avg": "avgpool", "conn": "connected",
         "soft": "softmax"}


def read(path):
    """The text of a file.

    Raises:
        ArgumentError: it cannot be read, or is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ArgumentError(message("darknet", "path", "a file of text", f"{path}: {error}")) from error


def write(sections):
    """The text of sections; `parse` gives them back."""
    blocks = ["\n".join([f"[{s.kind}]", *(f"{name}={value}" for name, value in s.options.items())]) for s in sections]
    return "\n\n".join(blocks) + "\n"


# -- values -----------------------------------------------------------------------------------

def _number(kind, least, most, text):
    value = kind(text)
    if not least <= value <= most:
        raise ValueError
    return value


def _whole(default=None, least=0, most=MOST):
    return default, partial(_number, int, least, most), f"an integer in [{least}, {most}]"


def _real(default=None, least=0.0, most=1e9):
    return default, partial(_number, float, least, most), f"a number in [{least:g}, {most:g}]"


def _list(option, default=None):
    _, read_one, expected = option
    return default, lambda text: tuple([read_one(part.strip()) for part in text.split(",")]), \
        f"{expected}, or several with commas between"


def _word(default, words):
    def chosen(text):
        if text not in words:
            raise ValueError
        return text
    return default, chosen, f"one of {', '.join(words)}"


FLAG = _whole(0, 0, 1)
OFF, ONE = _word("0", ("0", "none")), _real(1.0, 1, 1)     # what else they may be is not read
STRIDES = {"stride": _whole(1, 1), **{f"stride_{axis}": _whole(lambda found: found["stride"], 1) for axis in "xy"}}
ANY_LAYER = ("stopbackward", "dontload", "dontloadscales", "dontsave", "onlyforward", "learning_rate", "train_only_bn",
             "numload")

# {kind: {option: (default, how a text becomes a value, what is expected)}}.  A default None: the option must be there;
# a function: the default is made from the options above it.
OPTIONS: dict = {
    "net": {"width": _whole(None, 1), "height": _whole(None, 1), "channels": _whole(None, 1)},
    "convolutional": {"filters": _whole(1, 1), "size": _whole(1, 1), **STRIDES, "pad": FLAG, "padding": _whole(0),
                      "groups": _whole(1, 1), "dilation": _whole(1, 1), "batch_normalize": _whole(0, 0, 2),
                      "activation": _word("logistic", ACTIVATIONS), "xnor": OFF, "binary": OFF, "bin_output": OFF,
                      "antialiasing": OFF, "share_index": OFF, "assisted_excitation": OFF, "deform": OFF, "sway": OFF,
                      "rotate": OFF, "stretch": OFF, "stretch_sway": OFF, "flipped": OFF},
    "maxpool": {**STRIDES, "size": _whole(lambda found: found["stride"], 1),
                "padding": _whole(lambda found: found["size"] - 1), "maxpool_depth": OFF, "antialiasing": OFF},
    "avgpool": {},
    "upsample": {"stride": _whole(2, 1), "scale": ONE},
    "route": {"layers": _list(_whole(None, -MOST)), "groups": _whole(1, 1), "group_id": _whole(0)},
    "shortcut": {"from": _list(_whole(None, -MOST)), "activation": _word("linear", ACTIVATIONS), "weights_type": OFF},
    **dict.fromkeys(("scale_channels", "sam"), {"from": _list(_whole(None, -MOST)), "scale_wh": OFF,
                                                "activation": _word("linear", ACTIVATIONS)}),
    "connected": {"output": _whole(1, 1), "activation": _word("logistic", ACTIVATIONS), "batch_normalize": OFF},
    "dropout": {"probability": _real(0.5, 0, 1)},
    "softmax": {"groups": ONE, "temperature": ONE, "tree": OFF, "spatial": FLAG},
    "cost": {},
    "yolo": {"num": _whole(1, 1), "mask": _list(_whole(), lambda found: tuple(range(found["num"]))),
             "anchors": _list(_real(None, 1e-9)), "classes": _whole(20, 1), "scale_x_y": _real(1.0, 1e-9),
             "new_coords": FLAG, "ignore_thresh": _real(0.5), "truth_thresh": _real(1.0), "iou_thresh": _real(1.0),
             "iou_loss": _word("mse", ("mse", "iou", "giou", "diou", "ciou")), "iou_normalizer": _real(0.75),
             "obj_normalizer": _real(1.0), "cls_normalizer": _real(1.0), "label_smooth_eps": _real(0.0, 0, 1)},
}
# What only steers darknet's own training or drawing, and does not change the network; in [net] that is everything else.
UNUSED: dict = {
    "convolutional": ("angle", "burnin_update", "learning_rate_scale"), "softmax": ("noloss",),
    "dropout": ("dropblock", "dropblock_size_rel", "dropblock_size_abs"), "shortcut": ("weights_normalization",),
    "cost": ("type", "scale", "ratio", "smooth", "noobj_scale", "thresh"),
    "yolo": ("jitter", "random", "resize", "max", "max_delta", "nms_kind", "beta_nms", "iou_thresh_kind", "map",
             "counters_per_class", "focal_loss", "objectness_smooth", "delta_normalizer", "uc_normalizer", "total",
             "show_details"),
}


def values(section):
    """The options of a section as values, {name: value}, the defaults of those that are not there included.

    Raises:
        ArgumentError: one is of another kind, out of its range, unknown, or not there and has no default.
    """
    table = OPTIONS[section.kind]
    known = {*table, *UNUSED.get(section.kind, ()), *ANY_LAYER}
    for name in section.options:
        if name not in known and section.kind != "net":
            raise section.fault(name, f"one of {', '.join(table)}", repr(name), near(name, known))
    found = {}
    for name, (default, convert, expected) in table.items():
        if name not in section.options:
            if default is None:
                raise section.fault("", f"{name}, {expected}", "no such option")
            found[name] = default(found) if callable(default) else default
            continue
        try:
            found[name] = convert(section.options[name])
        except (ValueError, OverflowError):
            raise section.fault(name, expected, repr(section.options[name])) from None
    return found


# -- layers -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class Layer:
    """A layer: what it is, where its inputs come from, and their shapes in an image of the size that [net] names.

    Attributes:
        index: from 0, behind [net].
        options: {name: value}.
        inputs: the indices of the layers that it takes; -1: the image.
        before: their shapes, (channels, height, width) each.
        shape: its own.
        section: as it was written.
    """

    index: int
    options: dict
    inputs: tuple
    before: tuple
    shape: tuple
    section: Section

    @property
    def kind(self):
        """Of its section."""
        return self.section.kind


@dataclass(frozen=True)
class Plan:
    """Layers in their order, and the [net] before them.

    Attributes:
        net: the section.
        shape: (channels, height, width) of the image that it names.
        layers: [Layer].
    """

    net: Section
    shape: tuple
    layers: tuple

    @property
    def sections(self):
        """What it was planned from."""
        return [self.net, *(layer.section for layer in self.layers)]

    @property
    def stride(self):
        """Pixels per step of the coarsest map: an image's sides should be multiples of it."""
        steps = {-1: 1}
        for layer in self.layers:
            step = steps[layer.inputs[0]]
            if layer.kind in ("convolutional", "maxpool"):
                step = step * max(strides(layer.options))
            elif layer.kind == "upsample":
                step = max(step // layer.options["stride"], 1)
            steps[layer.index] = step
        return max(steps.values())

    @property
    def heads(self):
        """The [yolo] layers."""
        return [layer for layer in self.layers if layer.kind == "yolo"]

    def with_classes(self, num_classes):
        """This network, its [yolo] layers for so many classes, the convolutions before them with filters for them.

        Raises:
            ArgumentError: a [yolo] layer that follows on another kind of layer.
        """
        sections = self.sections
        for head in self.heads:
            i = head.index + 1                         # (of its section; [net] is 0)
            if sections[i - 1].kind != "convolutional":
                raise head.section.fault("", "a [convolutional] section before it", f"[{sections[i - 1].kind}]")
            sections[i] = sections[i].replace(classes=num_classes)
            sections[i - 1] = sections[i - 1].replace(filters=len(head.options["mask"]) * (5 + num_classes))
        return plan(sections)


def plan(sections):
    """The `Plan` of the network that sections describe.

    Raises:
        ArgumentError: an unknown section; an option is wrong (see `values`); shapes that do not fit one another; a
            layer that is not there. It names the file, the section, and its line.
    """
    net, *rest = sections
    told = values(net)
    image = told["channels"], told["height"], told["width"]
    shapes = {-1: image}
    layers: list = []
    if not rest:
        raise net.fault("", "layers behind it", "none")
    for index, section in enumerate(rest):
        if section.kind not in SHAPES:
            raise section.fault("", f"one of {', '.join(SHAPES)}", f"[{section.kind}]", near(section.kind, SHAPES))
        options = values(section)
        inputs = _inputs(section, options, index)
        before = tuple([shapes[i] for i in inputs])
        shape = shapes[index] = SHAPES[section.kind](section, options, *before)
        if min(shape) < 1 or max(shape) > MOST:
            raise section.fault("", f"a result of 1 to {MOST} channels, rows and columns", shape)
        layers.append(Layer(index, options, inputs, before, shape, section))
    return Plan(net, image, tuple(layers))


def _inputs(section, options, index):
    """The layers that a layer takes, by index."""
    option = "layers" if section.kind == "route" else "from"
    if option not in options:
        return (index - 1,)
    named = tuple([i + index if i < 0 else i for i in options[option]])
    for told, i in zip(options[option], named):
        if not 0 <= i < index:
            raise section.fault(option, f"layers before this one, which is layer {index}", told)
    return named if option == "layers" else (index - 1, *named)


def strides(options):
    """(rows, columns) from one window to the next."""
    return options["stride_y"], options["stride_x"]


def conv_padding(options):
    """Rows and columns of zeros on each side of what a [convolutional] layer sees."""
    return (options["size"] // 2 if options["pad"] else options["padding"]) * options["dilation"]


def pool_padding(options):
    """((before, after) of rows, of columns) that a [maxpool] adds: `padding` in all, the odd one behind."""
    before = options["padding"] // 2
    return ((before, options["padding"] - before),) * 2


def _convolved(section, options, shape):
    if shape[0] % options["groups"] or options["filters"] % options["groups"]:
        raise section.fault("groups", f"a divisor of its {shape[0]} channels and its {options['filters']} filters",
                            options["groups"])
    reach = options["dilation"] * (options["size"] - 1) + 1
    rows, columns = [(n + 2 * conv_padding(options) - reach) // stride + 1
                     for n, stride in zip(shape[1:], strides(options))]
    return options["filters"], rows, columns


def _pooled(section, options, shape):
    pads = pool_padding(options)
    if max(pads[0]) >= options["size"]:
        raise section.fault("padding", f"at most {2 * options['size'] - 2}", options["padding"])
    return shape[0], *[(n + sum(pad) - options["size"]) // stride + 1
                       for n, pad, stride in zip(shape[1:], pads, strides(options))]


def _routed(section, options, *shapes):
    groups = options["groups"]
    if options["group_id"] >= groups:
        raise section.fault("group_id", f"below groups, {groups}", options["group_id"])
    for shape in shapes:
        if shape[1:] != shapes[0][1:]:
            raise section.fault("layers", f"layers of one height and width, {shapes[0][1:]}", shape[1:])
        if shape[0] % groups:
            raise section.fault("groups", f"a divisor of {shape[0]} channels", groups)
    return sum(shape[0] // groups for shape in shapes), *shapes[0][1:]


def _added(section, options, *shapes):
    for shape in shapes:
        if shape != shapes[0]:
            raise section.fault("from", f"layers of the shape {shapes[0]}", shape)
    return shapes[0]


def _scaled(section, options, *shapes):
    """What is here multiplies another layer: each of its channels, or, for [sam], each of its values."""
    if len(shapes) != 2:
        raise section.fault("from", "one layer", len(shapes) - 1)
    factor, shape = shapes
    expected = (shape[0], 1, 1) if section.kind == "scale_channels" else shape
    if factor != expected:
        raise section.fault("from", f"a layer for the factors {factor} before it, here {expected}", shape)
    return shape


def _headed(section, options, shape):
    anchors, num = options["anchors"], options["num"]
    if len(anchors) != 2 * num:
        raise section.fault("anchors", f"{2 * num} numbers: a width and a height for each of num={num}", len(anchors))
    if max(options["mask"]) >= num:
        raise section.fault("mask", f"numbers of anchors, 0 to {num - 1}", max(options["mask"]))
    expected = len(options["mask"]) * (5 + options["classes"])
    if shape[0] != expected:
        raise section.fault("", f"{expected} = {len(options['mask'])} anchors x (5 + {options['classes']} classes) "
                            "channels before it", shape[0], "The [convolutional] before it must have as many filters.")
    return shape


# {kind: the shape of what a layer gives}
SHAPES = {
    "convolutional": _convolved, "maxpool": _pooled, "route": _routed, "shortcut": _added, "yolo": _headed,
    "scale_channels": _scaled, "sam": _scaled,
    "avgpool": lambda section, options, shape: (shape[0], 1, 1),
    "connected": lambda section, options, shape: (options["output"], 1, 1),
    "upsample": lambda section, options, shape: (shape[0], *(n * options["stride"] for n in shape[1:])),
    **dict.fromkeys(("dropout", "softmax", "cost"), lambda section, options, shape: shape),
}
