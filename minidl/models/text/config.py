"""Configs of language models: the fields of Hugging Face's config.json, under its names."""
import dataclasses
from typing import ClassVar

from ... import ops
from ...errors import ArgumentError, message
from ..config import ModelConfig

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu",
               "silu": "silu", "swish": "silu", "tanh": "tanh", "quick_gelu": "quick_gelu"}
APART = {"tanh": ops.tanh, "quick_gelu": ops.quick_gelu}           # not done in one pass with the map before


class TextConfig(ModelConfig):
    """Base: a frozen dataclass whose fields are those of a config.json of its `model_type`."""

    model_type: ClassVar[str]
    renamed: ClassVar[dict] = {}               # official name -> ours, where an older file has another one

    @classmethod
    def from_hf(cls, told):
        """The config that a config.json tells, a dict; what has no field here is left alone."""
        names = {f.name for f in dataclasses.fields(cls)}
        told = {**told, **{ours: told[theirs] for theirs, ours in cls.renamed.items() if theirs in told}}
        if "num_labels" in names and told.get("id2label"):
            told = {**told, "num_labels": len(told["id2label"])}
        return cls.from_dict({name: value for name, value in told.items() if name in names and value is not None})

    def to_hf(self):
        """What config.json holds, without the architecture."""
        told = {"model_type": self.model_type, **self.to_dict()}
        if "num_labels" in told:
            labels = [f"LABEL_{i}" for i in range(told.pop("num_labels"))]
            told |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        return told


def activation(name):
    """The name under which linear_activation knows one of Hugging Face's activations.

    Raises:
        ArgumentError: there is none.
    """
    if name not in ACTIVATIONS:
        raise ArgumentError(message("config", "activation", f"one of {', '.join(ACTIVATIONS)}", repr(name)))
    return ACTIVATIONS[name]


def activated(linear, x, name):
    """activation(linear(x)), in one pass where the op does both."""
    return APART[name](linear(x)) if name in APART else linear(x, name)
