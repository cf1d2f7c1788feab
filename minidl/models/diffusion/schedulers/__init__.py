"""Schedulers: how noise is added while training, and taken away while sampling.

    from minidl.models.diffusion import schedulers
    scheduler = schedulers.create("dpm++", beta_schedule="scaled_linear")
"""
from ....errors import CheckpointError, message
from .ancestral import DDIMScheduler, DDPMScheduler, UnCLIPScheduler
from .base import Scheduler, SchedulerConfig, unknown
from .dpm_solver import DPMSolverMultistepScheduler
from .pndm import PNDMScheduler
from .sigmas import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    SigmaScheduler,
)

SCHEDULERS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "pndm": PNDMScheduler, "euler": EulerDiscreteScheduler,
              "euler-a": EulerAncestralDiscreteScheduler, "heun": HeunDiscreteScheduler, "lms": LMSDiscreteScheduler,
              "dpm++": DPMSolverMultistepScheduler, "unclip": UnCLIPScheduler}

__all__ = ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler",
           "EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler", "PNDMScheduler", "SCHEDULERS",
           "Scheduler", "SchedulerConfig", "SigmaScheduler", "UnCLIPScheduler", "create", "from_config"]


def create(name, **settings):
    """A scheduler by name.

    Args:
        name: one of SCHEDULERS.
        settings: fields of its config.

    Raises:
        ArgumentError: no such scheduler or setting.
    """
    if name not in SCHEDULERS:
        raise unknown(name, SCHEDULERS)
    return SCHEDULERS[name](**settings)


def from_config(told):
    """The scheduler that a scheduler_config.json names.

    Args:
        told: the file's dict.

    Raises:
        CheckpointError: it names none of ours.
        ArgumentError: it has settings that ours does not know.
    """
    kinds = {kind.__name__: kind for kind in SCHEDULERS.values()}
    if told.get("_class_name") not in kinds:
        raise CheckpointError(message("scheduler", "_class_name", f"one of {', '.join(kinds)}",
                                      repr(told.get("_class_name"))))
    return kinds[told["_class_name"]].from_config(told)
