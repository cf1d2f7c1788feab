"""What a user writes must type-check: run by mypy, not by pytest."""
from collections.abc import Iterator

import numpy as np

import minidl as ml
from minidl import Tensor, nn, optim


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        self.body = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).softmax(-1)


def train(net: Net, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> float:
    optimizer = optim.AdamW(net.parameters(), lr=1e-3)
    total: Tensor = ml.zeros(())
    for inputs, targets in batches:
        loss = ml.ops.mse_loss(net(ml.tensor(inputs)), ml.tensor(targets))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total = total + loss.detach()
    return float(total.item())


def arithmetic(x: Tensor, y: Tensor) -> tuple[np.ndarray, tuple[int, ...]]:
    z = 2.0 * x @ y.mT - x.sum(axis=0, keepdims=True) / 3 + (x > 0).astype("float32")
    first, second = ml.ops.split(z, (1, 1))
    g = ml.gradients(first.sum(), [x], create_graph=True)[0]
    with ml.no_grad():
        w = ml.ops.concat([z, second], axis=0)[1:, ...]
    return w.numpy(), g.shape
