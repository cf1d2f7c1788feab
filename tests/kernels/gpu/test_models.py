"""Steps of training on "cuda", with our kernels in every matrix product, equal those of the CPU's references."""
import numpy as np
import pytest

import minidl as ml
from minidl import nn, optim
from minidl.dispatch import use_kernels
from minidl.models.vision.small_resnet import SmallResNet, SmallResNetConfig


class Encoder(nn.Module):
    """BERT as it is, but small: embeddings of tokens, places and segments, blocks, a prediction for each token."""

    def __init__(self, vocabulary=23, width=32, heads=2, blocks=2, longest=12):
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.segments, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*[
            nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True)
            for _ in range(blocks)])
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids, segments, places):
        return self.head(self.blocks(self.norm(self.tokens(ids) + self.places(places) + self.segments(segments))))


class Reader(nn.Module):
    """The last state of an LSTM over a sequence, and a class for it."""

    def __init__(self, inputs=9, width=20, classes=4):
        self.lstm, self.head = nn.LSTM(inputs, width, num_layers=2), nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.lstm(x)[0][-1])


def encoder(rng):
    ids, segments = rng.integers(0, 23, (2, 11)), rng.integers(0, 2, (2, 11))
    return Encoder(), (ids, segments, np.arange(11)), np.where(rng.random(ids.shape) < 0.2, -100, ids)


def resnet(rng):
    images = rng.standard_normal((4, 1, 12, 12)).astype("float32")
    return SmallResNet(SmallResNetConfig.tiny()), (images,), np.array([0, 2, 1, 1])


def reader(rng):
    return Reader(), (rng.standard_normal((5, 3, 9)).astype("float32"),), np.array([1, 3, 0])


# model -> kernels that its step must have launched
MODELS = {encoder: {"matmul", "attention", "row_norm", "label_loss", "add_rows"},
          resnet: {"correlate", "filter_gradient", "batch_norm"}, reader: {"lstm", "matmul"}}


def step(make, device, steps=2):
    """(losses, everything in the model) after steps of AdamW, whose eps keeps gradients small that are 0 in theory."""
    ml.seed(0)
    model, inputs, target = make(np.random.default_rng(0))
    model.to(device)
    inputs, target = [ml.tensor(i, device=device) for i in inputs], ml.tensor(target, device=device)
    optimizer, losses = optim.AdamW(model.parameters(), lr=1e-2, eps=1e-3), []
    for _ in range(steps):
        optimizer.zero_grad()
        scores = model(*inputs)
        loss = ml.ops.cross_entropy(scores.reshape((-1, scores.shape[-1])), target.reshape(-1))
        loss.backward()
        optimizer.step()
        losses.append(loss.numpy())
    return losses, {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_steps_of_models_equal_the_cpu_s(make, cuda):
    with use_kernels("off"):
        wanted, state = step(make, "cpu")
    with cuda.unchecked():
        losses, found = step(make, "cuda")
    np.testing.assert_allclose(losses, wanted, rtol=1e-5)
    for name, value in state.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-3, atol=2e-5, err_msg=name)
    launched = {entry.kernel for entry, _ in cuda.results}
    assert all(any(name.startswith(part) for name in launched) for part in MODELS[make]), launched
