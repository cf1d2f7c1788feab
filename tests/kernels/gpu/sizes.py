"""Inputs for kernels for GPUs beyond the ops' samples: several blocks each way, sums in parts, ragged ends."""
import numpy as np

from minidl.backend import random
from minidl.testing.samples import samples

RNG = np.random.default_rng(0)


def draw(*shapes):
    return [None if s is None else RNG.standard_normal(s) for s in shapes]


def affine(*shape):
    """A mean that E[x^2] - E[x]^2 would feel, weights, biases."""
    x, weight, bias = draw(shape, shape[1:2], shape[1:2])
    return x * 2 + 5, weight, bias


def behind(x, *others):
    """Images x (N, C, H, W) whose channels lie behind, as convolutions give them."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2), *others


def statistics(channels):
    """Means and variances."""
    return *draw((channels,)), RNG.random(channels) + 0.5


def labels(*shape, classes):
    found = RNG.integers(0, classes, shape)
    found.flat[0] = -100
    return found


def cell(gates, steps, rows, inputs, hidden):
    """x, states, weights, biases and lengths of sequences."""
    states = draw(*[(rows, hidden)] * (gates - 2 if gates == 3 else 2))
    parameters = draw((gates * hidden, inputs), (gates * hidden, hidden), (gates * hidden,), (gates * hidden,))
    lengths = RNG.integers(0, steps + 1, rows)
    return *draw((steps, rows, inputs)), *states, *[p / hidden ** 0.5 for p in parameters], lengths


CASES = {
    "layer_norm": [(affine(5, 1040), {}), (affine(300, 33), {})],
    "rms_norm": [(affine(9, 513)[:2], {})],
    "group_norm": [(affine(2, 6, 1000), {"num_groups": 2}), (affine(3, 4, 7, 7), {"num_groups": 4})],
    "batch_norm": [(affine(3, 5, 20, 30), {}), (behind(*affine(4, 72, 9, 11)), {}), (affine(300, 13), {})],
    "batch_norm_inference": [(behind(*affine(2, 5, 9, 11)[:1], *statistics(5), *draw((5,), (5,))), {})],
    "_added_to_rows": [((*draw((400, 264)), RNG.integers(0, 7, 400)), {"rows": 9})],
    "mse_loss": [(draw((7, 101), (7, 101)), {}), (draw((3, 300), (3, 300)), {"reduction": "none"})],
    "dropout": [(draw((3, 701)), {"p": 0.3, "key": random.key(2**63 + 5)})],
    "max_pool": [(behind(*draw((2, 24, 9, 8))), {"kernel_size": 3, "stride": 2, "padding": 1}),
                 (draw((2, 3, 20, 21)), {"kernel_size": 3, "dilation": (2, 1)})],
    "avg_pool": [(behind(*draw((2, 5, 9, 8))), {"kernel_size": 3, "stride": 2, "padding": 1}),
                 (draw((2, 3, 21, 20)), {"kernel_size": 3, "stride": 2, "ceil_mode": True})],
    "softmax": [(draw((5, 1100)), {}), (draw((2, 33, 70)), {"axis": 1})],
    "log_softmax": [(draw((5, 520)), {}), (draw((3, 17, 5)), {"axis": 1})],
    "label_cross_entropy": [
        ((*draw((6, 1040)), labels(6, classes=1040), None), {}),
        ((*draw((2, 21, 9, 8)), labels(2, 9, 8, classes=21), RNG.random(21) + 0.5), {"label_smoothing": 0.1})],
    "geglu": [(draw((3, 700), (3, 700)), {"approximate": "tanh"})],
    "matmul": [(draw((2, 130, 72), (2, 72, 136)), {}), (draw((5, 1100), (1100, 7)), {}),
               (draw((9, 360), (360, 40)), {}), (draw((3, 1, 4, 9), (2, 9, 5)), {})],
    "linear": [(draw((2, 100, 200), (137, 200), (137,)), {}), (draw((1100, 40), (24, 40), (24,)), {})],
    "int8_linear": [((*draw((70, 200)), RNG.integers(-128, 128, (33, 200)).astype("int8"), RNG.random(33) / 100,
                      *draw((33,))), {})],
    "conv2d": [(draw((8, 24, 12, 13), (136, 24, 3, 3), (136,)), {"padding": 1}),
               (draw((2, 32, 11, 9), (48, 16, 3, 2), (48,)), {"stride": (3, 2), "dilation": (1, 2), "groups": 2}),
               (draw((3, 20, 11, 9), (40, 1, 3, 3), (40,)), {"stride": 2, "padding": 1, "groups": 20}),
               (draw((2, 12, 9, 18), (12, 1, 5, 5), None), {"padding": 2, "groups": 12})],
    "attention": [
        (draw((1, 2, 70, 64), (1, 2, 133, 64), (1, 2, 133, 64), None, None, None), {"is_causal": True, "offset": 60}),
        (draw((2, 67, 24), (2, 65, 24), (2, 65, 24), (2, 67, 65), None, None), {}),
        (draw((1, 35, 120), (1, 66, 120), (1, 66, 100), None, None, None), {"window_size": (9, 4)}),
        (draw((2, 2, 1, 40), (2, 1, 90, 40), (2, 1, 90, 40), None, None, None), {}),
        (draw((1, 5, 200), (1, 37, 200), (1, 37, 140), (5, 1), None, None), {"is_causal": True, "offset": None}),
        ((*draw((3, 2, 33, 64), (3, 1, 140, 64), (3, 1, 140, 48), None, None), np.array([129, 0, 64])),
         {"window_size": (80, 70), "offset": None})],
    "attention_packed": [
        ((*draw((150, 2, 40), (171, 1, 40), (171, 1, 24)), np.array([0, 70, 70, 71, 150]),
          np.array([0, 66, 70, 70, 171])), {"is_causal": True, "offset": None})],
    "decode_attention": [
        ((*draw((2, 4, 1, 100), (2, 2, 70, 100), (2, 2, 70, 90)), np.array([70, 33]), None), {}),
        ((*draw((1, 18, 1, 250), (6, 1, 12, 250), (6, 1, 12, 256)), np.array([40]), np.array([[3, 1, 5, 0]])), {})],
    "rotary": [(draw((2, 3, 40, 36), (40, 18), (40, 18)), {}),
               (draw((2, 3, 40, 36), (2, 1, 40, 7), (2, 1, 40, 7)), {"interleaved": True})],
    "lstm": [(([*(s := cell(4, 2, 20, 40, 70))[:7], None, s[7]]), {})],
    "gru": [(cell(3, 2, 20, 40, 70), {"reverse": True})]}


def cases(op):
    """[(inputs, parameters)] of an op: its samples, and what is here."""
    return [*samples(op), *CASES.get(op.name, ())]
