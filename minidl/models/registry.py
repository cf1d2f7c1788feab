"""The models of the zoo by name. What is registered is a function that gives a config: listing takes no memory.

    resnet = family(ResNet, task="image-classification", paper="He et al. 2015, arXiv:1512.03385", inputs=ImageNet())

    @resnet("torchvision/resnet50")
    def resnet50():
        return ResNetConfig("bottleneck", (3, 4, 6, 3))
"""
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module

from .. import nn
from ..errors import ArgumentError, message
from .config import near
from .model import Model

# Where models are registered, a module an architecture; loaded when the first name is asked for.
MODULES = ("vision.resnet", "vision.efficientnet", "vision.vit", "vision.unet",
           "vision.deeplabv3plus",
           "detection.darknet", "detection.yolov3", "detection.yolov5", "detection.yolov7", "detection.yolov8",
           "detection.faster_rcnn", "detection.mask_rcnn",
           "text.bert", "text.roberta", "text.distilbert", "text.electra", "text.gpt2",
           "text.gpt_neo", "text.opt", "text.t5", "text.bart", "text.mbart", "text.marian",
           "text.clip", "diffusion.unet", "diffusion.autoencoder", "diffusion.unclip",
           "audio.whisper", "audio.wav2vec2", "audio.wav2vec2_pretraining", "audio.speaker", "audio.silero",
           "sequence.recurrent", "sequence.tcn", "sequence.language", "sequence.phonemes",
           "sequence.timeseries", "sequence.deepar",
           "generative.dcgan", "generative.patchgan", "generative.pix2pix", "generative.cyclegan", "generative.vae",
           "generative.stylegan2", "generative.stylegan2_discriminator")

TASKS = ("image-classification", "image-segmentation", "object-detection", "text", "sequence", "forecasting", "speech",
         "image-generation", "image-text")

REGISTRY: dict = {}


@dataclass(frozen=True)
class Entry:
    """A registered model.

    Args:
        name: as `create_model` takes it.
        make_config: gives its config.
        model: the class that is built from it.
        task: one of TASKS.
        paper: where the architecture is from.
        official: the nets of `parity/official_params.json` that it is: {net: layout, None for its first}.
        inputs: how its checkpoints want their input prepared; None: not said.
        labels: the names of its classes, the name of a list of minidl.data.labels.
    """

    name: str
    make_config: Callable
    model: type
    task: str
    paper: str
    official: dict = field(default_factory=dict)
    inputs: object = None
    labels: str | None = None

    def skeleton(self, **overrides):
        """The model without memory: to count, to map names, to load weights into."""
        with nn.shapes_only():
            return self.model(self.make_config().replace(**overrides))


def family(model, task, paper, inputs=None, labels=None):
    """A decorator that registers functions which give configs of one architecture; see the module's docstring.

    It takes the official nets that a variant is, by their names or as net=layout pairs in a dict, and whatever of
    `inputs` and `labels` is the variant's own.
    """
    def variant(*nets, inputs=inputs, labels=labels, name=None):
        def register(make_config):
            key = name or make_config.__name__
            if key in REGISTRY or task not in TASKS:
                expected = f"a new name and one of {', '.join(TASKS)}"
                raise ArgumentError(message("register", "name, task", expected, (key, task)))
            official = {net: layout for one in nets for net, layout in
                        (one.items() if isinstance(one, dict) else [(one, None)])}
            REGISTRY[key] = Entry(key, make_config, model, task, paper, official, inputs, labels)
            return make_config
        return register
    return variant


def entries():
    """{name: Entry} of all models."""
    for module in MODULES:
        import_module(f".{module}", __package__)
    return REGISTRY


def model_classes():
    """[(class, task)] of all models, those without a registered variant (other heads) included."""
    tasks = {e.model.__module__: e.task for e in entries().values()}
    found = {e.model: e.task for e in entries().values()}
    stack = [Model]
    while stack:
        kind = stack.pop()
        stack += kind.__subclasses__()
        if kind.architectures and kind.__module__ in tasks:
            found[kind] = tasks[kind.__module__]
    return sorted(found.items(), key=lambda pair: pair[0].__name__)


def find(name):
    """The Entry of a name.

    Raises:
        ArgumentError: there is none; similar names are given.
    """
    if name not in entries():
        hint = near(str(name), REGISTRY) or "ml.list_models() gives all."
        raise ArgumentError(message("create_model", "name", "the name of a model", repr(name), hint))
    return REGISTRY[name]


def list_models(pattern="*", task=None):
    """The names of models, sorted.

    Args:
        pattern: with wildcards, "*resnet*".
        task: only those for this one.

    Raises:
        ArgumentError: no such task.
    """
    if task is not None and task not in TASKS:
        expected = f"one of {', '.join(TASKS)}"
        raise ArgumentError(message("list_models", "task", expected, repr(task), near(str(task), TASKS)))
    return sorted(name for name, e in entries().items() if fnmatchcase(name, pattern) and task in (None, e.task))


@dataclass(frozen=True)
class Description:
    """What there is to know of a model before it is built; printing it gives a few lines."""

    name: str
    task: str
    paper: str
    num_parameters: int
    config: object
    layouts: tuple
    official: dict
    inputs: object
    labels: str | None

    def __str__(self):
        rows = [("task", self.task), ("paper", self.paper), ("parameters", f"{self.num_parameters:,}"),
                ("config", self.config), ("reads", ", ".join(self.layouts)), ("inputs", self.inputs or "as they are"),
                ("labels", self.labels or "none")]
        return "\n".join([self.name, *(f"  {what:11} {value}" for what, value in rows)])


def describe(name):
    """The Description of a model: paper, number of parameters, input, layouts of checkpoints. Takes no memory.

    Raises:
        ArgumentError: there is no such model.
    """
    entry = find(name)
    model = entry.skeleton()
    return Description(name, entry.task, entry.paper, model.num_parameters(), model.config, tuple(model.layouts),
                       entry.official, entry.inputs, entry.labels)
