"""What modules hold: parameters, which training changes, and buffers, which it does not."""
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from numbers import Integral

from .. import backend
from ..dtypes import default_dtype
from ..errors import ShapeError, memory_for, message
from ..tensor import Tensor

_shapes_only: ContextVar = ContextVar("shapes_only", default=False)


@contextmanager
def shapes_only():
    """Inside, modules are built with parameters that take no memory: to count, to map names, to load weights into.

    All their elements are one zero, read-only. `load_state_dict` gives such parameters memory of their own.
    """
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


def is_placeholder(array):
    """Can it not be written to, as the arrays that `shapes_only` makes?"""
    return not getattr(array.flags, "writeable", True)         # (CuPy's arrays have no such flag: they always can)


@lru_cache(4096)                   # models repeat their blocks
def _placeholder(xp, shape, dtype):
    return xp.broadcast_to(xp.zeros((), dtype), shape)


def _values(op, data, shape):
    """A copy of `data`, or what an initialiser draws of this shape in the default dtype."""
    if any(not isinstance(n, Integral) or isinstance(n, bool) or n < 0 for n in shape):
        raise ShapeError(message(op, "shape", "axes' lengths, integers of at least 0", shape))
    shape = tuple(map(int, shape))
    if not callable(data):
        data = (data if isinstance(data, Tensor) else Tensor(data)).data
        if not (is_placeholder(data) and _shapes_only.get()):
            data = data.copy()                                         # training changes it
        if shape and data.shape != shape:
            raise ShapeError(message(op, "data", f"an array {shape}", data.shape))
        return data
    xp = backend.find().xp
    if _shapes_only.get():
        return _placeholder(xp, shape, default_dtype())
    with memory_for(op, shape):
        return data(xp, shape, default_dtype())


def _twin(tensor):
    """A parameter or buffer like this one, with its own memory, if it has any."""
    twin, array = object.__new__(type(tensor)), tensor.data
    Tensor.__init__(twin, array if is_placeholder(array) else array.copy(), requires_grad=tensor.requires_grad)
    return twin


class Parameter(Tensor):
    """A leaf that training changes, in memory of its own.

    Args:
        data: an array, a Tensor or nested lists; or an initialiser (minidl.nn.init), which is followed by the
            axes' lengths, `Parameter(init.normal(std=0.02), 1, 197, 768)`, and draws in the default dtype.
        requires_grad: False makes a parameter that is frozen.

    Raises:
        ShapeError: the shape is none, or not that of the data.
        DTypeError: the data are not floating.
    """

    __slots__ = ()

    def __init__(self, data, *shape, requires_grad=True):
        super().__init__(_values("Parameter", data, shape), requires_grad=requires_grad)

    def __deepcopy__(self, memo):
        return _twin(self)

    def __repr__(self):
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """State of a module that is not trained: running statistics, a table of positions.

    Args:
        data, shape: as of a Parameter; any dtype.
        persistent: False leaves it out of the state dict.

    Raises:
        ShapeError: the shape is none, or not that of the data.
    """

    __slots__ = ("persistent",)

    def __init__(self, data, *shape, persistent=True):
        super().__init__(_values("Buffer", data, shape))
        self.persistent = persistent

    def __deepcopy__(self, memo):
        twin = _twin(self)
        twin.persistent = self.persistent
        return twin

    def __reduce__(self):
        return partial(Buffer, persistent=self.persistent), (self.data,)
