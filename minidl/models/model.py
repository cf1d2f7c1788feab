"""What the models of the zoo have in common: a config, layouts of checkpoints, a head that can be replaced."""
import json
from functools import cache
from pathlib import Path

from .. import nn
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
    """

    config_class: type
    layouts: dict = {"minidl": ()}
    base_prefix = ""
    architectures: tuple = ()

    def keymap(self, layout=None):
        """The KeyMap of a layout, of the first unless named.

        Raises:
            ArgumentError: this model reads no such layout.
        """
        layout = next(iter(self.layouts)) if layout is None else layout
        if layout not in self.layouts:
            raise ArgumentError(message(type(self).__name__, "layout", f"one of {', '.join(self.layouts)}", repr(layout),
                                        near(layout, self.layouts)))
        rows = self.layouts[layout]
        return KeyMap(rows(self.config)) if callable(rows) else _map(rows)

    def adapt_weight(self, name, array):
        """A checkpoint's array for the tensor of this name, changed to fit where the architecture says how."""
        return array

    def describe_config(self):
        """What config.json holds: the class and the config; models with a Hugging Face twin give that twin's."""
        return {"model": type(self).__name__, "config": self.config.to_dict()}

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
            raise CheckpointError(message("save_pretrained", "directory", f"to write into {directory}", error)) from error


@cache
def _map(rows):
    return KeyMap(rows)


class Classifier(Model):
    """A backbone and a linear head: image (N, C, H, W) -> logits (N, K).

    A subclass defines `forward_features(image)`, what the backbone gives; `forward_head(features)`; the name of the
    attribute that is the last linear layer, `head_name`; and `stages()`, the pyramid that `features_only` shows.
    """

    head_name = "fc"

    def forward(self, image):
        """image (N, C, H, W) -> logits (N, num_classes)."""
        return self.forward_head(self.forward_features(image))

    def get_classifier(self):
        """The last layer; nn.Identity where there are no classes."""
        return self.get_submodule(self.head_name)

    @property
    def num_features(self):
        """How many numbers the head gets per image."""
        return self.width

    def reset_head(self, num_classes):
        """Give the network a new last layer for other classes, drawn anew; 0: none, forward gives the pooled features."""
        *path, name = self.head_name.split(".")
        holder, head = self.get_submodule(".".join(path)), linear_head(self.width, num_classes)
        vars(holder)[name] = head
        self.config = self.config.replace(num_classes=num_classes)


def linear_head(width, num_classes):
    """A linear layer, or nn.Identity for no classes."""
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()
