"""Training: the loop, its callbacks, metrics and display."""
from .callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, TerminateOnNaN
from .coco import CocoMetric
from .metrics import F1, Accuracy, ConfusionMatrix, Mean, MeanIoU, Metric
from .progress import ProgressBar
from .replaced import ReplacedTokens
from .text import TextTrainer
from .trainer import Trainer

__all__ = ["Accuracy", "CSVLogger", "Callback", "CocoMetric", "ConfusionMatrix", "EarlyStopping", "F1", "Mean",
           "MeanIoU", "Metric", "ModelCheckpoint", "ProgressBar", "ReplacedTokens", "TerminateOnNaN", "TextTrainer",
           "Trainer"]
