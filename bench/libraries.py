"""What the cases use of each library.

Cases and networks are written once, for all of them: `lib.nn`, `lib.F` and `lib.optim` have the same names and
arguments in minidl and PyTorch.
"""
from contextlib import nullcontext
from importlib import import_module
from types import SimpleNamespace

import numpy as np


class MiniDL:
    """Ours."""

    name, label = "minidl", "minidl"

    def __init__(self):
        self.ml = import_module("minidl")
        self.version, self.nn, self.F, self.optim = self.ml.__version__, self.ml.nn, self.ml.ops, self.ml.optim
        self.no_grad, self.set_num_threads, self.concat = self.ml.no_grad, self.ml.set_num_threads, self.ml.concat
        self.int8_matmul = self.ml.ops.int8_matmul

    def season(self):
        """Its allocator keeps freed blocks from the start."""

    def tensor(self, array, requires_grad=False):
        """A tensor that shares the array's memory."""
        return self.ml.Tensor(array, requires_grad=requires_grad)

    def array(self, tensor):
        """The values of a tensor; bfloat16's as float32."""
        return (tensor.float() if tensor.dtype == "bfloat16" else tensor).numpy()

    def gradients(self, y, leaves, seed):
        """d(y)/d(leaves), contracted with the seed."""
        return self.ml.gradients(y, leaves, seed)

    def placed(self, module):
        """A module as it computes: as it is."""
        return module

    def state(self, module):
        """{name: array} of all that a module holds."""
        return {name: tensor.numpy() for name, tensor in module.state_dict().items()}

    def load(self, module, state):
        """Let a module hold these values."""
        module.load_state_dict(state)


class Torch:
    """PyTorch, eager."""

    name, label = "torch", "PyTorch"

    def __init__(self):
        self.torch = torch = import_module("torch")
        self.version, self.nn, self.F, self.optim = torch.__version__, torch.nn, torch.nn.functional, torch.optim
        self.no_grad, self.set_num_threads, self.concat = torch.no_grad, torch.set_num_threads, torch.cat
        self.gradients, self.int8_matmul = torch.autograd.grad, torch._int_mm

    def season(self):
        """Let the C library keep freed blocks of up to 32 MiB, as it does once it has freed one.

        PyTorch takes its memory from there: what rows were measured before would make a difference else.
        """
        self.torch.empty(2 ** 23 - 2 ** 16)

    def tensor(self, array, requires_grad=False):
        """A tensor that shares the array's memory."""
        return self.torch.from_numpy(array).requires_grad_(requires_grad)

    def array(self, tensor):
        """The values of a tensor; bfloat16's as float32."""
        tensor = tensor.detach()
        return (tensor.float() if tensor.dtype is self.torch.bfloat16 else tensor).numpy()

    def placed(self, module):
        """A module as it computes: as it is."""
        return module

    def load(self, module, state):
        """Let a module hold these values."""
        module.load_state_dict({name: self.torch.from_numpy(array.copy()) for name, array in state.items()})


class NumPy:
    """NumPy over its BLAS: products of matrices alone."""

    name, label = "numpy", "NumPy"
    version = np.__version__

    class _Linear:
        def __init__(self, *_, bias):
            self.weight = None

        def __call__(self, x):
            return x @ self.weight.T

    def __init__(self):
        self.nn, self.no_grad = SimpleNamespace(Linear=self._Linear), nullcontext

    def tensor(self, array, requires_grad=False):
        """The array."""
        return array

    def array(self, tensor):
        """The array."""
        return tensor

    def placed(self, module):
        """A module as it computes: as it is."""
        return module

    def load(self, module, state):
        """Let a module hold these values."""
        vars(module).update(state)

    def set_num_threads(self, n):
        """minidl sets those of NumPy's BLAS, too."""

    def season(self):
        """NumPy takes its memory from minidl here."""


def available(names):
    """Those libraries that are installed, and the names of those that are not."""
    found, missing = [], []
    for library in (MiniDL, Torch, NumPy):
        try:
            if library.name in names:
                found.append(library())
        except ImportError:
            missing.append(library.label)
    return found, missing
