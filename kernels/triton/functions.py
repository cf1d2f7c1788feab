"""What kernels of several files share: questions about arguments, and the functions that bend activations."""
import triton
import triton.language as tl
from triton.language.extra import libdevice

# (minidl/kernels/gpu/activation.py passes these numbers)
IDENTITY, RELU, SILU, GELU, GELU_TANH = (tl.constexpr(i) for i in range(5))
VECTOR = tl.constexpr(8)                               # elements that are loaded at once, where all rows begin at such


@triton.jit
def given(pointer):
    """Is it an array, or the null of an argument that was left out?"""
    return pointer.to(tl.int64) != 0


@triton.jit
def vectors(count):
    """A count that is known to be a multiple of VECTOR, in a form from which the compiler knows it, too."""
    return count // VECTOR * VECTOR


@triton.jit
def padded(count):
    """The next multiple of VECTOR, likewise: as far as rows of so many elements may be read."""
    return (count + VECTOR - 1) // VECTOR * VECTOR


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x)): where exp overflows it is 0."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def tanh(x):
    """The hyperbolic tangent: where exp overflows, or vanishes, it is 1 or -1."""
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def bend(x, activation):
    """An activation of float32; which one is known when the kernel runs."""
    if activation == RELU:
        x = tl.where(x < 0.0, 0.0, x)                  # (not a maximum, which loses NaN)
    elif activation == SILU:
        x = x * sigmoid(x)
    elif activation == GELU:
        x = 0.5 * x * (1.0 + libdevice.erf(x * 0.7071067811865476))
    elif activation == GELU_TANH:
        x = x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))       # (1 + tanh(u)) / 2 = sigmoid(2 u)
    return x


@triton.jit
def slope(x, activation):
    """The derivative of `bend`."""
    x = tl.where(x > 40.0, 40.0, tl.where(x < -40.0, -40.0, x))    # (there all have long come to their limits)
    y = tl.full(x.shape, 1.0, tl.float32)
    if activation == RELU:
        y = tl.where(x > 0.0, 1.0, 0.0)
    elif activation == SILU:
        s = sigmoid(x)
        y = s * (1.0 + x * (1.0 - s))
    elif activation == GELU:
        y = 0.5 * (1.0 + libdevice.erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    elif activation == GELU_TANH:
        s = sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
        y = s + x * s * (1.0 - s) * 1.5957691216057308 * (1.0 + 3 * 0.044715 * x * x)
    return y
