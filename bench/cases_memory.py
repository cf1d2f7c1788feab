"""What memory bounds: norms, activations, softmax, pooling, losses and embeddings, most on 10 to 100 MB.

(cross entropy of 4096 x 30522 is a whole vocabulary's, 500 MB.)
"""
from .rows import Group, normal, ways

MODULES = [("layer norm 4096x768", (4096, 768), lambda nn: nn.LayerNorm(768)),
           ("layer norm 16384x1024", (16384, 1024), lambda nn: nn.LayerNorm(1024)),
           ("RMS norm 4096x4096", (4096, 4096), lambda nn: nn.RMSNorm(4096)),
           ("batch norm 32x64x56x56", (32, 64, 56, 56), lambda nn: nn.BatchNorm2d(64)),
           ("batch norm 64x128x16x16", (64, 128, 16, 16), lambda nn: nn.BatchNorm2d(128)),
           ("group norm 8x320x64x64", (8, 320, 64, 64), lambda nn: nn.GroupNorm(32, 320)),
           ("instance norm 8x64x128x128", (8, 64, 128, 128), lambda nn: nn.InstanceNorm2d(64)),
           ("softmax 4096x4096", (4096, 4096), lambda nn: nn.Softmax(-1)),
           ("softmax 65536x128", (65536, 128), lambda nn: nn.Softmax(-1)),
           ("GELU 4096x3072", (4096, 3072), lambda nn: nn.GELU()),
           ("GELU tanh 4096x3072", (4096, 3072), lambda nn: nn.GELU("tanh")),
           ("ReLU 4096x3072", (4096, 3072), lambda nn: nn.ReLU()),
           ("ReLU 8x64x112x112", (8, 64, 112, 112), lambda nn: nn.ReLU()),
           ("SiLU 4096x3072", (4096, 3072), lambda nn: nn.SiLU()),
           ("max-pool 3x3s2 8x64x112x112", (8, 64, 112, 112), lambda nn: nn.MaxPool2d(3, 2, 1)),
           ("max-pool 2x2 8x64x128x128", (8, 64, 128, 128), lambda nn: nn.MaxPool2d(2))]


def _module(name, shape, make, **more):
    return ways(name, normal(shape), lambda lib, module, x: module(x), lambda lib: make(lib.nn), **more)


def _cross_entropy(rows, classes):
    return ways(f"cross entropy {rows}x{classes}",
                lambda rng: [rng.standard_normal((rows, classes), dtype="f4"), rng.integers(classes, size=rows)],
                lambda lib, _, x, y: lib.F.cross_entropy(x, y))


def _embedding(batch, length, words, width):
    return ways(f"embedding {batch}x{length} of {words}x{width}",
                lambda rng: [rng.integers(words, size=(batch, length))],
                lambda lib, module, index: module(index), lambda lib: lib.nn.Embedding(words, width))


def rows(**more):
    """All of them; `more`: of those whose x are images."""
    modules = [row for name, shape, make in MODULES
               for row in _module(name, shape, make, **more if len(shape) == 4 else {})]
    return [*modules, *_cross_entropy(4096, 4096), *_cross_entropy(4096, 30522),
            *_embedding(32, 128, 30522, 768), *_embedding(64, 512, 10000, 512)]


GROUP = Group("memory", "What memory bounds", rows(), 1.5)
