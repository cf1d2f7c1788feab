"""Steps of optimizers, each in one pass over a parameter, its gradient and its state."""
import triton
import triton.language as tl

from .functions import given
from .variants import POINTERS, tuned


@triton.jit
def adam_step(p, g, mean, square, largest, count, size, correction, beta1, rest1, beta2, rest2, eps, decay, shrink,
              BLOCK: tl.constexpr):
    """One step of Adam or AdamW, in float32 and in place.

    size: the learning rate over 1 - beta1^t. correction: 1 / sqrt(1 - beta2^t). rest: 1 - beta. decay: added to the
    gradient, in units of the parameter; shrink: what the parameter is multiplied by. largest: of amsgrad, or left out.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    value = tl.load(p + at, mask, other=0.0).to(tl.float32)
    gradient = tl.load(g + at, mask, other=0.0).to(tl.float32) + decay * value
    first = beta1 * tl.load(mean + at, mask, other=0.0) + rest1 * gradient
    second = beta2 * tl.load(square + at, mask, other=0.0) + rest2 * gradient * gradient
    tl.store(mean + at, first, mask)
    tl.store(square + at, second, mask)
    if given(largest):
        second = tl.maximum(second, tl.load(largest + at, mask, other=0.0), propagate_nan=tl.PropagateNan.ALL)
        tl.store(largest + at, second, mask)
    value = shrink * value - size * (first / (tl.sqrt_rn(second) * correction + eps))
    tl.store(p + at, value, mask)


def variants():
    states = dict.fromkeys(("mean", "square", "largest"), "*fp32")
    numbers = ("size", "correction", "beta1", "rest1", "beta2", "rest2", "eps", "decay", "shrink")
    for dtype, pointer in POINTERS.items():
        arrays = {"p": pointer, "g": pointer, **states}
        yield tuned(adam_step, {"dtype": dtype}, {**arrays, "count": "i64", **dict.fromkeys(numbers, "fp32")},
                    divisible=arrays)
