"""Data: datasets, samplers, and the loader that makes batches of them."""
from .collate import default_collate
from .datasets import ArrayDataset, ConcatDataset, Dataset, Subset, TensorDataset, random_split
from .fashion_mnist import fashion_mnist
from .folder import ImageFolder, MaskFolder, read_image
from .labels import labels
from .loader import DataLoader
from .preprocess import ImagePreprocess
from .samplers import BatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler
from .series import Series, labelled, read_series, read_ts

__all__ = ["ArrayDataset", "BatchSampler", "ConcatDataset", "DataLoader", "Dataset", "ImageFolder",
           "ImagePreprocess", "MaskFolder", "RandomSampler", "Sampler", "SequentialSampler", "Series", "Subset",
           "TensorDataset", "WeightedRandomSampler", "default_collate", "fashion_mnist", "labelled", "labels",
           "random_split", "read_image", "read_series", "read_ts"]
