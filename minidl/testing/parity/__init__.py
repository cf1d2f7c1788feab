"""Agreement with reference implementations, on any directory in the format of tests/parity (its README describes it).

A family of cases has a runner: it builds what the case's `config.json` says, whatever the sizes in it, loads the
weights under their official names, runs the inputs, and returns a Run.  Comparing is the same for all.

    @runs("lstm", "gru")
    def recurrent(case):
        return Run(outputs, parameters)
"""
from dataclasses import dataclass, field

import numpy as np

from .fixture import Case, cases, load

RUNNERS: dict = {}


@dataclass
class Run:
    """What a runner gives: outputs by the case's names (Tensors, or arrays); and what has gradients.

    Those are parameters by official names, or a model of the zoo and the layout whose names they are.
    """

    outputs: dict
    parameters: dict = field(default_factory=dict)
    model: object = None
    layout: str | None = None

    def gradients(self):
        """{official name: array} after the backward pass; zeros where nothing came."""
        if self.model is None:
            return {name: _gradient(p) for name, p in self.parameters.items()}
        return self.model.keymap(self.layout).write({n: _gradient(p) for n, p in
                                                    self.model.named_parameters(remove_duplicate=False)})


def _gradient(parameter):
    return np.zeros(parameter.shape, np.float32) if parameter.grad is None else parameter.grad.numpy()


def runs(*families):
    """Register a runner for cases of these names."""
    def register(function):
        RUNNERS.update(dict.fromkeys(families, function))
        return function
    return register


__all__ = ["Case", "RUNNERS", "Run", "cases", "load", "runs"]

from . import (  # noqa: E402, F401  (each registers its runners)
    audio,
    classification,
    darknet,
    diffusion,
    generative,
    layers,
    optimizers,
    rcnn,
    recurrent,
    segmentation,
    sequence,
    text,
    vision,
    yolo,
)
