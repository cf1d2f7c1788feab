"""Temporal convolutional network: causal convolutions, each with twice the reach of the one before.

Source: Bai, Kolter, Koltun 2018, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
Modeling", arXiv:1803.01271; weights as direction and length: Salimans, Kingma 2016, arXiv:1602.07868; the sum of all
blocks: pytorch-tcn (Krug 2023).
Differs from the paper: nothing.

    sequence (N,C,T) -> Blocks -> features (N,W,T) -> the last step -> logits (N,K)
"""
from dataclasses import dataclass

from ... import nn, ops
from ..config import ModelConfig
from ..model import Model
from ..registry import family


@dataclass(frozen=True)
class TCNConfig(ModelConfig):
    """Sizes of a TCN.

    Args:
        in_channels: of the sequence.
        channels: of each block.
        kernel_size: of the convolutions; block i spreads its taps 2^i steps.
        num_classes: of the logits; 0: features only.
        skips: the features are the last block's output and what the others add.
        dropout: behind each convolution.
    """

    in_channels: int = 1
    channels: tuple = (25,) * 8
    kernel_size: int = 7
    num_classes: int = 10
    skips: bool = False
    dropout: float = 0.0

    @classmethod
    def tiny(cls):
        """The smallest config with every part in it: what tests run."""
        return cls(2, (4, 6), 3, 3)


class CausalConv(nn.Module):
    """A convolution that sees what came before, its filters as direction and length. Paper: eq. 2, section 3.4."""

    def __init__(self, inputs, outputs, kernel, dilation):
        fresh = nn.Conv1d(inputs, outputs, kernel)
        self.weight_v, self.bias, self.dilation = fresh.weight, fresh.bias, dilation
        self.weight_g = nn.Parameter(ops.vector_norm(fresh.weight.detach(), (1, 2), keepdims=True))
        self.reach = (kernel - 1) * dilation

    def weight(self):
        """The filters (O, I, R)."""
        return ops.weight_norm(self.weight_v, self.weight_g, 0)

    def forward(self, x, past=None):
        """x (N, I, T), past (N, I, reach): zeros unless given -> (N, O, T)."""
        if past is not None:
            return ops.conv1d(ops.concat([past, x], 2), self.weight(), self.bias, 1, 0, self.dilation)
        return ops.conv1d(x, self.weight(), self.bias, 1, ((self.reach, 0),), self.dilation)


class Block(nn.Module):
    """Two causal convolutions around which the input passes. Paper: figure 1 (b)."""

    def __init__(self, inputs, outputs, kernel, dilation, dropout):
        self.conv1 = CausalConv(inputs, outputs, kernel, dilation)
        self.conv2 = CausalConv(outputs, outputs, kernel, dilation)
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, past=(None, None)):
        """x (N, I, T) -> (convolved (N, O, T), with the input added (N, O, T), inputs of both convolutions)."""
        inner = self.dropout(ops.relu(self.conv1(x, past[0])))
        y = self.dropout(ops.relu(self.conv2(inner, past[1])))
        return y, ops.relu(y + (x if self.downsample is None else self.downsample(x))), (x, inner)


LOCUSLAB = (("tcn.network.{i}.net.0.*", "network.{i}.conv1.*"), ("tcn.network.{i}.net.4.*", "network.{i}.conv2.*"),
            ("tcn.network.{i}.*", "network.{i}.*"), ("linear.*", "linear.*"))
PYTORCH_TCN = (("network.{i}.conv{j}.parametrizations.weight.original0", "network.{i}.conv{j}.weight_g"),
               ("network.{i}.conv{j}.parametrizations.weight.original1", "network.{i}.conv{j}.weight_v"),
               ("network.{i}.conv{j}.padder.buffer", None), ("downsample_skip_connection.{i}.*", "skip.{i}.*"))


class TCN(Model):
    """The network of the module's docstring."""

    config_class = TCNConfig
    layouts = {"locuslab": LOCUSLAB, "pytorch-tcn": PYTORCH_TCN}
    head_name = "linear"

    def __init__(self, config):
        c = self.config = config
        self.network, inputs = nn.ModuleList(), c.in_channels
        for i, outputs in enumerate(c.channels):
            self.network.append(Block(inputs, outputs, c.kernel_size, 2 ** i, c.dropout))
            inputs = outputs
        last = c.channels[-1]
        if c.skips:
            self.skip = nn.ModuleList(nn.Conv1d(n, last, 1) if n != last else nn.Identity() for n in c.channels[:-1])
        self.linear = self.make_head(c.num_classes)

    def make_head(self, num_classes):
        """A linear layer; nn.Identity for no classes."""
        return nn.Linear(self.config.channels[-1], num_classes) if num_classes else nn.Identity()

    def features(self, x, state=None):
        """x (N, C, T) -> (N, W, T); with a state, a list that this call changes, of a sequence that goes on."""
        total = None
        for i, block in enumerate(self.network):
            past = (None, None) if state is None else state[i]
            y, x, seen = block(x, past)
            if state is not None:
                state[i] = tuple(ops.concat([before, new], 2)[:, :, -conv.reach:] for before, new, conv in
                                 zip(past, seen, (block.conv1, block.conv2)))
            if self.config.skips and i < len(self.network) - 1:
                y = self.skip[i](y)
                total = y if total is None else total + y
        return x if total is None else ops.relu(total + x)

    def start(self, batch):
        """The state of a sequence that begins, for `features` and `step`: what is before it is zeros."""
        return [tuple(ops.zeros((batch, conv.weight_v.shape[1], conv.reach)) for conv in (b.conv1, b.conv2))
                for b in self.network]

    def step(self, x, state):
        """What `forward` gives, of the next steps x (N, C, T) of a sequence -> (N, K)."""
        return self.linear(self.features(x, state)[:, :, -1])

    def forward(self, x, lengths=None):
        """x (N, C, T) -> logits (N, num_classes), from the last step: that of each sequence's own length (N)."""
        y = self.features(x)
        y = y[:, :, -1] if lengths is None else y[ops.arange(len(x)), :, lengths - 1]
        return self.linear(y)


@family(TCN, "sequence", "Bai, Kolter, Koltun 2018, arXiv:1803.01271")()
def tcn():
    """The paper's for sequential MNIST: 8 blocks of 25 channels."""
    return TCNConfig()
