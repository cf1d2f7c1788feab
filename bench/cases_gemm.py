"""Products of matrices M x N x K: squares, and those of BERT-base and GPT-2 (GPT-2's with one row: one new token).

"prepacked" is a Linear without bias, whose weight stays as it is from call to call. "bf16" takes and gives bfloat16,
"int8" sums products of int8 in int32.
"""
from .rows import Group, Row, forward, normal

SQUARES = [(f"{n}", n, n, n) for n in (64, 128, 256, 512, 1024, 2048, 4096)]
MODELS = [("BERT 128x768x768", 128, 768, 768), ("BERT 128x3072x768", 128, 3072, 768),
          ("BERT 128x768x3072", 128, 768, 3072), ("BERT 2048x3072x768", 2048, 3072, 768),
          ("GPT 3072x384x384", 3072, 384, 384), ("GPT 3072x1536x384", 3072, 1536, 384),
          ("GPT 3072x384x1536", 3072, 384, 1536), ("GPT-2 1x2304x768", 1, 2304, 768),
          ("GPT-2 1x3072x768", 1, 3072, 768), ("GPT-2 1x768x3072", 1, 768, 3072), ("GPT-2 1x50257x768", 1, 50257, 768)]


def _rows(name, m, n, k):
    share = 0.88 if min(m, n) >= 384 else 0.75 if m >= 128 else 0
    more = {"flops": 2 * m * n * k, "reads": 4 * n * k if m == 1 else 0, "share": share, "rivals": ("torch", "numpy")}
    yield Row(name, "plain", normal((m, k), (k, n)), forward(lambda lib, _, a, b: a @ b), **more)
    yield Row(name, "prepacked", normal((m, k)), forward(lambda lib, linear, x: linear(x)),
              lambda lib: lib.nn.Linear(k, n, bias=False), **more)


def _bfloat16(lib, _, arrays):
    a, b = [lib.tensor(array).bfloat16() for array in arrays]
    return lambda: a @ b


def _narrow(name, m, n, k):
    whole = lambda rng: [rng.integers(-128, 128, shape, "i1") for shape in ((m, k), (k, n))]
    yield Row(name, "bf16", normal((m, k), (k, n)), _bfloat16, tolerance=0.01)
    yield Row(name, "int8", whole, forward(lambda lib, _, a, b: lib.int8_matmul(a, b)), tolerance=0)


GROUPS = [Group("gemm", "Products of matrices", [row for shape in SQUARES + MODELS for row in _rows(*shape)]),
          Group("narrow", "Products of matrices of bfloat16 and int8",
                [row for shape in SQUARES[1:-1] + MODELS[:-4] for row in _narrow(*shape)])]
