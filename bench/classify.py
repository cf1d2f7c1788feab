"""Series of the UCR and UEA archives, named by GRU, LSTM and TCN: accuracy on the official test splits.

The files are those of the package aeon. Each channel is scaled by the mean and deviation of the training series; each
network is trained for as many steps, whatever the series, and measured once, at the end.
"""
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import minidl as ml
from minidl import nn, optim
from minidl.data import ArrayDataset, DataLoader, labelled, read_ts
from minidl.models.sequence.recurrent import RecurrentClassifier, RecurrentConfig
from minidl.models.sequence.tcn import TCN, TCNConfig
from minidl.train import Accuracy, SequenceTrainer

SETS = "GunPoint", "BasicMotions", "JapaneseVowels"
STEPS, BATCH, RATE = 240, 16, 3e-3
MODELS = {
    "LSTM": lambda channels, classes: RecurrentClassifier(RecurrentConfig(
        channels, 64, 1, "lstm", dropout=0.2, num_classes=classes)),
    "GRU": lambda channels, classes: RecurrentClassifier(RecurrentConfig(
        channels, 64, 1, "gru", dropout=0.2, num_classes=classes)),
    "TCN": lambda channels, classes: TCN(TCNConfig(channels, (32,) * 5, 5, classes, dropout=0.1))}


def load(name):
    """(training set, test set) of scaled series."""
    folder = Path(find_spec("aeon").origin).parent / "datasets" / "data" / name
    train, test = (read_ts(folder / f"{name}_{split}.ts") for split in ("TRAIN", "TEST"))
    every = np.concatenate(train[0], 1)
    mean, scale = every.mean(1, keepdims=True), every.std(1, keepdims=True)
    classes = sorted(set(train[1]))
    return [labelled([(one - mean) / scale for one in series], labels, classes) for series, labels in (train, test)]


def accuracy(make, train, test, seed=0):
    """Of a network that is trained on `train`, on `test`."""
    ml.seed(seed)
    model = make(train.arrays[0].shape[1], len(train.classes))
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, seed=seed)
    epochs = -(-STEPS // len(loader))
    optimizer = optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = optim.OneCycleLR(optimizer, RATE, epochs * len(loader), pct_start=0.2, cycle_momentum=False)
    trainer = SequenceTrainer(model, optimizer, nn.CrossEntropyLoss(), epochs=epochs, schedule=schedule, clip_norm=1.0,
                              metrics=[Accuracy()])
    trainer.fit(loader)
    return trainer.evaluate(DataLoader(ArrayDataset(*test.arrays), 64))["accuracy"]


def run(only=(), seeds=3, threads=1):
    """Measure all sets, or those whose names hold one of `only`, and give a table."""
    ml.set_num_threads(threads)
    lines = ["| | " + " | ".join(MODELS) + " |", "|---" * (1 + len(MODELS)) + "|"]
    for name in [one for one in SETS if not only or any(word in one for word in only)]:
        train, test, cells = *load(name), []
        for kind, make in MODELS.items():
            begun = time.perf_counter()
            found = [accuracy(make, train, test, seed) for seed in range(seeds)]
            cells.append(" ".join(f"{one:.3f}" for one in found))
            print(f"{name}, {kind}: {cells[-1]}, {(time.perf_counter() - begun) / seeds:.1f} s each", flush=True)
        lines.append(f"| {name}, {len(train)} to learn from, {len(test)} to name | " + " | ".join(cells) + " |")
    return "\n".join(lines)
