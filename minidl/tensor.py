"""Tensor: an array, and the tape entry that made it.

Methods such as `x.softmax()` are not written here: each op names its own
methods where it is defined (minidl/ops), and `minidl.op` attaches them; so does
minidl/autograd.py with `backward`.
"""
import sys
from functools import partial

import numpy as np

from . import backend, tape
from .dtypes import NUMBERS, as_dtype, default_dtype, is_float, is_real
from .errors import DeviceError, DTypeError, GradError, ShapeError, message


class Tensor:
    """An n-dimensional value that can be differentiated through.

    A value: no op changes its arguments. Only `assign` and `writable` change
    one in place (optimisers, running statistics), and the tape notices.
    """

    __slots__ = ("data",       # the array
                 "node",       # where it hangs on the tape: a Node, Leaf or Pick; None: no gradient
                 "__weakref__")
    __array_ufunc__ = None     # `array + tensor` is ours to answer
    __hash__ = object.__hash__     # by identity: `==` is an op

    def __init__(self, data, requires_grad=False, node=None):
        self.data = data if backend.is_array(data) else as_array(data)
        if requires_grad:
            self.requires_grad = True
        else:
            self.node = node

    shape = property(lambda self: self.data.shape, doc="The axes' lengths, a tuple.")
    ndim = property(lambda self: self.data.ndim, doc="How many axes.")
    dtype = property(lambda self: self.data.dtype, doc="The elements' dtype.")
    size = property(lambda self: self.data.size, doc="How many elements.")
    device = property(lambda self: backend.device(self.data), doc='Where it lives: "cpu", "cuda:0".')
    is_leaf = property(lambda self: type(self.node) is not tape.Node and type(self.node) is not tape.Pick,
                       doc="True unless an op on the tape made it.")

    @property
    def requires_grad(self):
        """Does a gradient reach it? Setting it makes a leaf, or takes the tensor off the tape."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted):
        if wanted and not is_float(self.dtype):
            raise DTypeError(message("requires_grad", "self", "a floating dtype", self.dtype,
                                     'Convert it, as in x.astype("float32").'))
        if not wanted or getattr(self, "node", None) is None:
            self.node = tape.Leaf(self.shape) if wanted else None

    @property
    def grad(self):
        """What backward() left here; leaves only."""
        return self.node.grad if type(self.node) is tape.Leaf else None

    @grad.setter
    def grad(self, value):
        if value is None and self.node is None:
            return                                     # (one that is not trained has none)
        if type(self.node) is not tape.Leaf:
            raise GradError(message("grad", "self", "a leaf", "the result of an op", "Use gradients() or a hook."))
        if value is not None:
            value = value if isinstance(value, Tensor) else Tensor(value)
            mine, theirs = [f"{t.dtype} {t.shape} on {t.device}" for t in (self, value)]
            if mine != theirs:
                raise GradError(message("grad", "value", mine, theirs))
        self.node.grad = value

    def detach(self):
        """The same values, off the tape."""
        return Tensor(self.data)

    def __reduce__(self):
        """What `copy` and `pickle` make anew: a leaf comes to have a place of its own on the tape.

        Raises:
            GradError: the tensor is the result of an op, and hangs in a graph.
        """
        if not self.is_leaf:
            raise GradError(message("copy", "self", "a leaf", f"the result of {self.node.name}",
                                    "Copy x.detach(), or stay in the graph by x.clone()."))
        return partial(type(self), requires_grad=self.requires_grad), (self.data,)

    def numpy(self):
        """The values as a NumPy array, read-only (a tensor is a value; `assign` changes it).

        Brings them from the device where need be: an explicit transfer.
        """
        view = backend.to_host(self.data).view()
        view.flags.writeable = False
        return view

    def item(self):
        """The single value as a Python number: an explicit transfer.

        Raises:
            ShapeError: there is not exactly one value.
        """
        if self.size != 1:
            raise ShapeError(message("item", "self", "a tensor of one element", self.shape,
                                     "Reduce first, or use numpy()."))
        return backend.to_host(self.data).item()

    def tolist(self):
        """The values as nested Python lists: an explicit transfer."""
        return backend.to_host(self.data).tolist()

    def to(self, target):
        """The same values on a device ("cpu", "cuda", "cuda:1") or in a dtype ("float16", ...)."""
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda"):
            return self.to_device(target)              # (ops/creation.py and ops/elementwise.py attach these)
        return self.astype(as_dtype(target, "to"))

    def assign(self, value):
        """Overwrite the values in place. Backward refuses to use what it saved before.

        Args:
            value: a tensor, an array, nested lists or a number; it is converted to this tensor's dtype.

        Raises:
            ShapeError: the shape of `value` does not broadcast to this tensor's.
            DTypeError: they are not numbers, or have fractions where this tensor has integers.
            DeviceError: it lives on another device.
        """
        value = value.data if isinstance(value, Tensor) else value
        if type(value) not in NUMBERS and not backend.is_array(value):
            value = as_array(value, "float64" if is_float(self.dtype) else None)
        dtype = as_dtype(type(value)) if type(value) in NUMBERS else value.dtype
        if not is_real(dtype) or is_float(dtype) and not is_float(self.dtype):
            raise DTypeError(message("assign", "value", f"numbers that {self.dtype} can hold", dtype))
        if backend.is_array(value) and backend.of(value) is not backend.of(self.data):
            raise DeviceError(message("assign", "value", f"an array on {self.device}",
                                      f"one on {backend.device(value)}"))
        try:
            self.data[...] = value
        except ValueError as error:
            raise ShapeError(message("assign", "value", f"a shape that broadcasts to {self.shape}",
                                     np.shape(value))) from error
        tape.mutated(self.data, sys._getframe(1))

    def writable(self):
        """The array, for updates in place: `np.subtract(p, step, out=p.writable())`."""
        tape.mutated(self.data, sys._getframe(1))
        return self.data

    def hook(self, function):
        """Call `function(gradient)` when this tensor's gradient is complete; what it returns replaces it.

        Returns:
            a handle; its `remove()` takes the hook off.
        """
        if self.node is None:
            raise GradError(message("hook", "self", "a tensor with a gradient", "one without"))
        return tape.Handle(self.node, function)

    def __repr__(self):
        tail = "" if self.node is None else ", requires_grad=True" if self.is_leaf else f", from={self.node.name}"
        place = "" if self.device == "cpu" else f", device={self.device}"
        body = np.array2string(backend.to_host(self.data), separator=", ", prefix="tensor(", threshold=100)
        dtype = "" if self.dtype in (default_dtype(), "int64", "bool") else f", dtype={self.dtype}"
        return f"tensor({body}{dtype}{place}{tail})"

    def __format__(self, spec):
        """`f"{loss:.3f}"` formats the single value: an explicit transfer."""
        return format(self.item(), spec) if spec else str(self)

    def __len__(self):
        if not self.ndim:
            raise ShapeError(message("len", "self", "at least one axis", self.shape))
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __bool__(self):
        return bool(self.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        if self.dtype.kind not in "iu":
            raise DTypeError(message("index", "self", "an integer dtype", self.dtype))
        return self.item()

    def __array__(self, dtype=None, copy=None):
        if self.device != "cpu":
            raise DeviceError(message("numpy", "self", "a tensor on the cpu", f"one on {self.device}",
                                      "Call x.numpy()."))
        return np.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, **keywords):
        return self.data.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


def as_array(data, dtype=None):
    """A NumPy array from plain Python data: floats become the default dtype, integers int64.

    Raises:
        ShapeError: nested lists of unequal lengths.
        DTypeError: not numbers.
    """
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(message("tensor", "data", "nested lists of equal lengths", str(error))) from error
    as_dtype(array.dtype, "tensor")
    if dtype is not None:
        return array.astype(as_dtype(dtype, "tensor"))
    if array.dtype == np.float64 and not hasattr(data, "dtype"):
        return array.astype(default_dtype())
    return array
