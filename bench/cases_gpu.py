"""Rows of the comparison on a GPU: the CPU's tables, at sizes that fill it."""
from . import cases_memory
from .cases_conv import LAYERS, conv_rows
from .cases_gemm import MODELS, SQUARES
from .cases_sequence import attention, recurrent
from .rows import Group, Row, forward, normal, ways

BATCH = 32                             # images


def _gemm(name, m, n, k):
    yield Row(name, "fwd", normal((m, k), (k, n)), forward(lambda lib, _, a, b: a @ b), flops=2 * m * n * k)


def _linear(name, m, n, k):
    return ways(name, normal((m, k)), lambda lib, linear, x: linear(x), lambda lib: lib.nn.Linear(k, n),
                flops=2 * m * n * k)


CONV = ("torch", "torch_last")
GROUPS = [
    Group("gemm", "Products of matrices", [row for shape in [*SQUARES[2:], ("8192", 8192, 8192, 8192), *MODELS]
                                           for row in _gemm(*shape)]),
    Group("linear", "Linear layers", [row for shape in [*SQUARES[4:], *MODELS[:-4]] for row in _linear(*shape)]),
    Group("conv", f"Convolutions of {BATCH} images",
          [row for layer in LAYERS for row in conv_rows(layer, (BATCH,), rivals=CONV)]),
    Group("attention", "Attention", [
        row for batch, heads, length, width in ((8, 12, 512, 64), (4, 12, 2048, 64), (1, 16, 8192, 64),
                                                (4, 16, 2048, 128), (1, 16, 8192, 128))
        for causal in (False, True) for row in attention(length, causal, batch, heads, width)]),
    Group("lstm", "LSTM", recurrent("LSTM", 4)), Group("gru", "GRU", recurrent("GRU", 3)),
    Group("memory", cases_memory.GROUP.title, cases_memory.rows(rivals=CONV))]
IMAGES = "conv", "memory"              # groups whose arrays of four axes are images
