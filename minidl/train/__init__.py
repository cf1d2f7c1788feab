"""Training: the loop, its callbacks, metrics and display."""
from .adaptive import AdaptiveAugment
from .adversarial import AdversarialTrainer, ModeCollapse
from .callbacks import Callback, CSVLogger, EarlyStopping, ModelCheckpoint, TerminateOnNaN
from .coco import CocoMetric
from .detection import CloseMosaic, DetectionTrainer
from .diffusion import DiffusionTrainer
from .forecaster import Forecast, Forecaster, seasonal_naive
from .games import GAN, CycleGAN, Game, ImagePool, Pix2Pix
from .metrics import F1, Accuracy, ConfusionMatrix, Mean, MeanIoU, Metric
from .progress import ProgressBar
from .replaced import ReplacedTokens
from .sequences import SequenceTrainer
from .text import TextTrainer
from .trainer import Trainer

__all__ = ["Accuracy", "AdaptiveAugment", "AdversarialTrainer", "CSVLogger", "Callback", "CloseMosaic", "CocoMetric",
           "ConfusionMatrix", "CycleGAN", "DetectionTrainer", "DiffusionTrainer", "EarlyStopping", "F1", "Forecast",
           "Forecaster", "GAN", "Game", "ImagePool", "Mean", "MeanIoU", "Metric", "ModeCollapse", "ModelCheckpoint",
           "Pix2Pix", "ProgressBar", "ReplacedTokens", "SequenceTrainer", "TerminateOnNaN", "TextTrainer", "Trainer",
           "seasonal_naive"]
