"""What the models of the zoo have in common: a config, layouts of checkpoints, a head that can be replaced."""
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from .. import io, nn
from ..errors import ArgumentError, CheckpointError, message
from .config import near
from .keymap import KeyMap
from .weights import SHARD, official_state, save_state


class Model(nn.Module):
    """A network built from a config.

    A subclass sets `config_class`, and `layouts`: {name: rows of a KeyMap, or a function that gives them for a
    config}, of the checkpoints that it reads; the first is the one that it writes.  `base_prefix` is what hub files of
    the network without its head lack ("bert.").  `architectures` are the names of its twins in Hugging Face's
    config.json; such a model's config has `from_hf(dict)` and the model's `describe_config` gives the twin's.
    `head_name` is the path of the last layer, if it classifies; `make_head(num_classes)` makes one.
    """

    config_class: type
    layouts: dict = {"minidl": ()}
    base_prefix = ""
    architectures: tuple = ()
    inputs = None                  # how its checkpoints want their input prepared
    labels: tuple = ()             # the names of its classes
    head_name: str | None = None
    first_label = 0                # 1: class 0 is background, which is no object's
    batch_axis = 0                 # of its inputs and outputs
    sizes_of: Callable | None = None       # {official name: array} -> the config's fields that their shapes tell
    compares: tuple = ()           # outputs that hold items of a batch against each other

    def keymap(self, layout=None):
        """The KeyMap of a layout, of the first unless named.

        Raises:
            ArgumentError: this model reads no such layout.
        """
        layout = next(iter(self.layouts)) if layout is None else layout
        if layout not in self.layouts:
            expected = f"one of {', '.join(self.layouts)}"
            raise ArgumentError(message(type(self).__name__, "layout", expected, repr(layout),
                                        near(layout, self.layouts)))
        rows = self.layouts[layout]
        return KeyMap(rows(self.config)) if callable(rows) else _map(rows)

    def get_classifier(self):
        """The last layer, which knows the classes.

        Raises:
            ArgumentError: this architecture has none.
        """
        if self.head_name is None:
            raise ArgumentError(message(type(self).__name__, "head", "a model that classifies", "one that does not"))
        return self.get_submodule(self.head_name)

    def head_paths(self):
        """The paths of the last layers, which know the classes: of most networks one.

        Raises:
            ArgumentError: this architecture has none.
        """
        self.get_classifier()
        return (self.head_name,)

    def reset_head(self, num_classes):
        """Give the network a new last layer for other classes, drawn anew.

        Args:
            num_classes: how many; 0, of a classifier of images: none, and forward gives the pooled features.

        Raises:
            ArgumentError: this architecture has none.
        """
        self.get_classifier()
        *path, name = self.head_name.split(".")
        setattr(self.get_submodule(".".join(path)), name, self.make_head(num_classes))
        self.config, self.labels = self.config.replace(num_classes=num_classes), ()

    def read_weights(self, path):
        """The Mapping of official names to arrays that is in a file or directory."""
        return io.weights(path)

    def adapt_weight(self, name, array):
        """A checkpoint's array for the tensor of this name, changed to fit where the architecture says how."""
        return array

    def describe_config(self):
        """What config.json holds: the class, the config, how inputs are prepared, and the names of the classes."""
        return {"model": type(self).__name__, "config": self.config.to_dict(), "labels": list(self.labels),
                "inputs": self.inputs and {"kind": type(self.inputs).__name__, **asdict(self.inputs)}}

    def save_pretrained(self, directory, layout=None, max_shard_bytes=SHARD):
        """Write config.json and model.safetensors, with official names: what the reference of a layout loads.

        Args:
            directory: made if it is not there.
            layout: whose names; None: the first that the model reads.
            max_shard_bytes: above it the weights go into several files with an index.

        Raises:
            ArgumentError: no such layout.
            CheckpointError: the files cannot be written.
        """
        state, directory = official_state(self, layout), Path(directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            save_state(state, directory, max_shard_bytes)
            (directory / "config.json").write_text(json.dumps(self.describe_config(), indent=2))
        except OSError as error:
            expected = f"to write into {directory}"
            raise CheckpointError(message("save_pretrained", "directory", expected, error)) from error


@cache
def _map(rows):
    return KeyMap(rows)


class Classifier(Model):
    """A backbone and a linear head: image (N, C, H, W) -> logits (N, K).

    A subclass defines `forward_features(image)`, what the backbone gives; `forward_head(features)`; `width`, the number
    of features; and, for `features_only`, `pyramid(image)` and `feature_info`.
    """

    head_name = "fc"

    def forward(self, image):
        """image (N, C, H, W) -> logits (N, num_classes)."""
        return self.forward_head(self.forward_features(image))

    def make_head(self, num_classes):
        """A linear layer; nn.Identity for no classes."""
        return linear_head(self.width, num_classes)


class Segmenter(Model):
    """A network that classifies every pixel: image (N, C, H, W) -> logits (N, K, H, W)."""

    def make_head(self, num_classes):
        """A convolution like the last one."""
        old = self.get_classifier()
        return nn.Conv2d(old.in_channels, num_classes, old.kernel_size, padding=old.padding)


def linear_head(width, num_classes):
    """A linear layer; nn.Identity for no classes."""
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()
