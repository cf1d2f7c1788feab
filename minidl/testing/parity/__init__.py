"""Agreement with reference implementations, on any directory in the format of tests/parity (its README describes it).

A family of cases has a runner: it builds what the case's `config.json` says, whatever the sizes in it, loads the
weights under their official names, runs the inputs, and returns a Run.  Comparing is the same for all.

    @runs("lstm", "gru")
    def recurrent(case):
        return Run(outputs, parameters)
"""
from dataclasses import dataclass, field

from .fixture import Case, cases, load

RUNNERS: dict = {}


@dataclass
class Run:
    """What a runner gives: outputs by the case's names (Tensors, or arrays), and parameters by official names."""

    outputs: dict
    parameters: dict = field(default_factory=dict)


def runs(*families):
    """Register a runner for cases of these names."""
    def register(function):
        RUNNERS.update(dict.fromkeys(families, function))
        return function
    return register


__all__ = ["Case", "RUNNERS", "Run", "cases", "load", "runs"]

from . import audio, classification, layers, optimizers, recurrent, vision  # noqa: E402, F401  (each registers its runners)
