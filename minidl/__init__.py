"""minidl: a deep-learning framework from scratch, with kernels of its own."""
from . import ops
from .autograd import checkpoint, grad, gradients
from .dispatch import use_kernels
from .dtypes import bfloat16, bool_, float16, float32, float64, int8, int16, int32, int64, uint8
from .op import fused, primitive
from .tape import no_grad
from .tensor import Tensor
