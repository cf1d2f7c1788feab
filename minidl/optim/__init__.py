"""Optimizers, schedules, gradient clipping, averaging. Names and arguments as in PyTorch."""
from .adam import LAMB, Adam, Adamax, AdamW, Lion, NAdam, RAdam
from .ema import EMA
from .matrix import Adafactor, Muon
from .optimizer import Optimizer, clip_grad_norm_, clip_grad_value_
from .schedule import (
                       CosineAnnealingLR,
                       CosineAnnealingWarmRestarts,
                       CyclicLR,
                       ExponentialLR,
                       LambdaLR,
                       LinearLR,
                       MultiStepLR,
                       OneCycleLR,
                       PolynomialLR,
                       ReduceLROnPlateau,
                       Schedule,
                       StepLR,
                       WarmupLinear,
)
from .sgd import SGD, Adadelta, Adagrad, RMSprop

OPTIMIZERS = {o.__name__: o for o in (SGD, Adam, AdamW, Adamax, NAdam, RAdam, RMSprop, Adagrad, Adadelta, Adafactor,
                                      LAMB, Lion, Muon)}

__all__ = [*OPTIMIZERS, "EMA", "OPTIMIZERS", "Optimizer", "clip_grad_norm_", "clip_grad_value_", "CosineAnnealingLR",
           "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR",
           "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "Schedule", "StepLR", "WarmupLinear"]
