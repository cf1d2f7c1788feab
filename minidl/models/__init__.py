"""The model zoo: architectures by name, weights under their official names."""
from .config import ModelConfig
from .features import FeaturePyramid
from .keymap import KeyMap
from .model import Classifier, Model
from .pretrained import create_model, from_pretrained
from .registry import describe, family, list_models
from .weights import load_weights

__all__ = ["Classifier", "FeaturePyramid", "KeyMap", "Model", "ModelConfig", "create_model", "describe", "family",
           "from_pretrained", "list_models", "load_weights"]
