"""New tensors: from data, of one value, in a row, at random; and copies, here or on another device.

All but the last few are plain functions: nothing flows back through them.  Random ones draw from the
generator they are given, or from the default one (minidl/backend/random.py), or from a key, which settles
what comes.
"""
from .. import backend
from ..backend import random
from ..dtypes import as_dtype, default_dtype
from ..errors import ArgumentError, DeviceError, MinidlError, memory_for, message
from ..op import fused, primitive
from ..tensor import Tensor, as_array

__all__ = ["arange", "asarray", "bernoulli", "clone", "contiguous", "empty", "empty_like", "eye",
           "from_dlpack", "full", "full_like", "linspace", "ones", "ones_like", "rand", "randint", "randn",
           "randperm", "tensor", "to_device", "zeros", "zeros_like"]


# -- from data ------------------------------------------------------------------------

def tensor(data, dtype=None, device="cpu", requires_grad=False):
    """A new tensor with a copy of the data.

    Args:
        data: nested lists of numbers, an array, or a tensor (whose history is left behind).
        dtype: of the result; None keeps an array's, and gives Python's floats the default dtype, its integers
            int64.
        device: "cpu", "cuda" or "cuda:<number>".
        requires_grad: make it a leaf, where gradients come to rest.

    Returns:
        the data's shape.

    Raises:
        ShapeError: nested lists of unequal lengths.
        DTypeError: not numbers, or of a dtype that minidl has not.
        DeviceError: there is no such device.
    """
    array = _array("tensor", data, dtype)
    return Tensor(backend.to_device(array, device).astype(_dtype("tensor", dtype, array)), requires_grad)


def asarray(data, dtype=None, device=None):
    """The data as a tensor: the same one, or one in the array's memory, where nothing has to change.

    Args:
        data: as `tensor`.
        dtype: of the result; None as in `tensor`.
        device: "cpu", "cuda" or "cuda:<number>"; None: where the data are.

    Returns:
        the data's shape; a tensor keeps its history.

    Raises:
        ShapeError, DTypeError, DeviceError: as `tensor`.
    """
    if not isinstance(data, Tensor):
        array = _array("asarray", data, dtype)
        data = Tensor(array.astype(_dtype("asarray", dtype, array), copy=False))
    return to_device(data if dtype is None else data.astype(dtype), device or data.device)


def from_dlpack(x):
    """A tensor that shares the memory of another library's, through the DLPack protocol.

    Args:
        x: has `__dlpack__` and `__dlpack_device__`, on the CPU or a CUDA device.

    Returns:
        x's shape and dtype.

    Raises:
        DeviceError: x lives elsewhere.
        ArgumentError: x takes no part, or will not share: it wants a gradient, or NumPy lacks its dtype.
        DTypeError: minidl has no such dtype.
    """
    try:
        kind, _ = x.__dlpack_device__()
        name = {1: "cpu", 3: "cpu", 2: "cuda", 13: "cuda"}.get(int(kind))      # DLDeviceType of dlpack.h
        if name is None:
            raise DeviceError(message("from_dlpack", "x", "memory of the CPU or CUDA", f"device type {kind}"))
        array = backend.find(name).xp.from_dlpack(x)
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, MinidlError):
            raise
        raise ArgumentError(message("from_dlpack", "x", "an array that shares its memory by DLPack",
                                    type(x).__name__, f"{error}".strip())) from error
    as_dtype(array.dtype, "from_dlpack")
    return Tensor(array)


def _array(op, data, dtype):
    """The data as an array, in its own memory if it is one."""
    data = data.data if isinstance(data, Tensor) else data
    return data if backend.is_array(data) else as_array(data, dtype)


def _dtype(op, dtype, array):
    """The dtype that is asked for, else the array's, in the machine's byte order."""
    return as_dtype(array.dtype.name if dtype is None else dtype, op)

# -- of one value, and in a row -------------------------------------------------------

def zeros(shape, dtype=None, device="cpu", requires_grad=False):
    """Zeros. Arguments, result and errors as in `full`."""
    return _new("zeros", lambda xp: xp.zeros(shape, _default(dtype)), device, requires_grad)


def ones(shape, dtype=None, device="cpu", requires_grad=False):
    """Ones. Arguments, result and errors as in `full`."""
    return _new("ones", lambda xp: xp.ones(shape, _default(dtype)), device, requires_grad)


def empty(shape, dtype=None, device="cpu", requires_grad=False):
    """Whatever lies in the memory. Arguments, result and errors as in `full`."""
    return _new("empty", lambda xp: xp.empty(shape, _default(dtype)), device, requires_grad)


def full(shape, value, dtype=None, device="cpu", requires_grad=False):
    """One value, everywhere.

    Args:
        shape: an integer or a tuple of integers.
        value: a number.
        dtype: of the result; None: int64 or bool as the value is, else the default dtype.
        device: "cpu", "cuda" or "cuda:<number>".
        requires_grad: make it a leaf, where gradients come to rest.

    Returns:
        (shape).

    Raises:
        ArgumentError: a shape that is none, or a value that does not fit the dtype.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    return _new("full", lambda xp: xp.full(shape, value, _default(dtype, value)), device, requires_grad)


def zeros_like(x, dtype=None, device=None, requires_grad=False):
    """Zeros of the shape of a tensor, and of its dtype and device where none are given."""
    return zeros(*_like(x, dtype, device), requires_grad)


def ones_like(x, dtype=None, device=None, requires_grad=False):
    """Ones of the shape of a tensor, and of its dtype and device where none are given."""
    return ones(*_like(x, dtype, device), requires_grad)


def empty_like(x, dtype=None, device=None, requires_grad=False):
    """Whatever lies in memory, of the shape of a tensor, and of its dtype and device where none are given."""
    return empty(*_like(x, dtype, device), requires_grad)


def full_like(x, value, dtype=None, device=None, requires_grad=False):
    """One value everywhere, of the shape of a tensor, and of its dtype and device where none are given."""
    shape, dtype, device = _like(x, dtype, device)
    return full(shape, value, dtype, device, requires_grad)


def arange(start, stop=None, step=1, dtype=None, device="cpu", requires_grad=False):
    """start, start + step, ... up to but without stop; `arange(n)` counts from 0.

    Args:
        start, stop, step: numbers, step not 0.
        dtype: of the result; None: int64 if all three are integers, else the default dtype.
        device, requires_grad: as in `full`.

    Returns:
        (N), N = ceil((stop - start) / step), or 0 where that is negative.

    Raises:
        ArgumentError: step is 0, or they are not numbers.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    start, stop = (0, start) if stop is None else (start, stop)
    def make(xp):
        return xp.arange(start, stop, step).astype(_default(dtype, start + stop + step))

    return _new("arange", make, device, requires_grad)


def linspace(start, stop, num, dtype=None, device="cpu", requires_grad=False, endpoint=True):
    """Numbers at equal distances from start to stop.

    Args:
        start, stop: numbers.
        num: how many.
        dtype: of the result; None: the default dtype.
        device, requires_grad: as in `full`.
        endpoint: False leaves out stop, and divides the way by `num` instead of by `num - 1`.

    Returns:
        (num).

    Raises:
        ArgumentError: num is negative or no integer.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    def make(xp):
        return xp.linspace(start, stop, num, endpoint).astype(_default(dtype))

    return _new("linspace", make, device, requires_grad)


def eye(n_rows, n_cols=None, k=0, dtype=None, device="cpu", requires_grad=False):
    """Ones on a diagonal, zeros elsewhere.

    Args:
        n_rows, n_cols: integers; None: a square.
        k: which diagonal: 0 the main one, above it 1, 2, ..., below it -1, -2, ...
        dtype, device, requires_grad: as in `full`.

    Returns:
        (n_rows, n_cols).

    Raises:
        ArgumentError: they are no integers, or negative.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    return _new("eye", lambda xp: xp.eye(n_rows, n_cols, k, _default(dtype)), device, requires_grad)


def _default(dtype, value=0.0):
    """The dtype that is asked for; else the one that suits a Python number."""
    if dtype is not None:
        return as_dtype(dtype)
    return default_dtype() if isinstance(value, float) else as_dtype(type(value))


def _like(x, dtype, device):
    return x.shape, x.dtype if dtype is None else dtype, x.device if device is None else device


def _new(op, make, device, requires_grad=False):
    """The tensor of the array that `make(xp)` gives, on a device."""
    try:
        with memory_for(op, "the array"):
            array = make(backend.find(device).xp)
    except MinidlError:
        raise
    except (TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        wanted = "a shape and numbers that make an array"
        raise ArgumentError(message(op, "arguments", wanted, f'"{error}"')) from error
    return Tensor(backend.to_device(array, device), requires_grad)


# -- at random ------------------------------------------------------------------------

def rand(shape, dtype=None, device="cpu", requires_grad=False, *, generator=None, key=None):
    """Numbers spread evenly over [0, 1). Arguments, result and errors as in `randn`."""
    def draw(xp, key):
        return random.uniform(xp, key, shape, dtype=_default(dtype))

    return _drawn("rand", draw, device, generator, key, requires_grad)


def randn(shape, dtype=None, device="cpu", requires_grad=False, *, generator=None, key=None):
    """Standard normal numbers.

    Args:
        shape: an integer or a tuple of integers.
        dtype: floating; None: the default dtype.
        device, requires_grad: as in `full`.
        generator: the `minidl.backend.random.Generator` to draw from; None: the default one.
        key: a Key that settles all; no generator is then touched.

    Returns:
        (shape).

    Raises:
        ArgumentError: a shape, generator or key that is none.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    def draw(xp, key):
        return random.normal(xp, key, shape, dtype=_default(dtype))

    return _drawn("randn", draw, device, generator, key, requires_grad)


def randint(low, high, shape, dtype="int64", device="cpu", *, generator=None, key=None):
    """Integers in [low, high), all but equally likely.

    Args:
        low, high: integers, low < high <= low + 2**32, within the dtype's range.
        shape, device: as in `full`.
        dtype: an integer dtype.
        generator, key: as in `randn`.

    Returns:
        (shape).

    Raises:
        ArgumentError: low, high, a shape, generator or key that is not as above.
        DTypeError, DeviceError: it is no integer dtype; there is no such device.
    """
    def draw(xp, key):
        return random.integers(xp, key, shape, low, high, as_dtype(dtype))

    return _drawn("randint", draw, device, generator, key)


def randperm(n, dtype="int64", device="cpu", *, generator=None, key=None):
    """The integers below n in random order.

    Args:
        n: an integer.
        dtype: of the result.
        device: as in `full`.
        generator, key: as in `randn`.

    Returns:
        (n).

    Raises:
        ArgumentError: n is negative or no integer; a generator or key that is none.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    def draw(xp, key):
        return random.permutation(xp, key, n).astype(as_dtype(dtype))

    return _drawn("randperm", draw, device, generator, key)


def bernoulli(p, shape, dtype="bool", device="cpu", *, generator=None, key=None):
    """True, or 1, with probability p.

    Args:
        p: a number in [0, 1].
        shape, device: as in `full`.
        dtype: of the result.
        generator, key: as in `randn`.

    Returns:
        (shape).

    Raises:
        ArgumentError: p is outside [0, 1]; a shape, generator or key that is none.
        DTypeError, DeviceError: there is no such dtype or device.
    """
    def draw(xp, key):
        return random.bernoulli(xp, key, shape, p).astype(as_dtype(dtype))

    return _drawn("bernoulli", draw, device, generator, key)


def _drawn(op, draw, device, generator, key, requires_grad=False):
    key = key or (generator or random.default()).next_key()
    return _new(op, lambda xp: draw(xp, key), device, requires_grad)


# -- copies ---------------------------------------------------------------------------

def to_device(x, device):
    """The values on a device: an explicit transfer. Gradients go back to where x is.

    Args:
        x: a tensor of any shape and dtype.
        device: "cpu", "cuda" or "cuda:<number>".

    Returns:
        x's shape; x itself if it is there.

    Raises:
        DeviceError: there is no such device.
    """
    here = x.device
    return x if device in (here, here.partition(":")[0]) else _move(x, device, here)


Tensor.to_device = to_device


@primitive("x(*):any -> (*)", exact=True, synchronises=True)
def _move(xp, x, /, device, source):
    return backend.to_device(x, device)


@_move.vjp
def _(g, source):                                        # (no x here: the tape need not keep it)
    return to_device(g, source)


@primitive("x(*) -> (*)", methods=["clone"], exact=True)
def clone(xp, x, /):
    """A copy in memory of its own, in row-major order.

    Args:
        x (*): any dtype.

    Returns:
        (*): the same values; gradients pass.
    """
    return x.copy()


@clone.vjp
def _(g):
    return g


@fused("x(*):any -> (*)", methods=["contiguous"])
def contiguous(x, /):
    """The values in row-major order.

    Args:
        x (*): any dtype.

    Returns:
        (*): x itself if it lies like that, else a copy.
    """
    return x if x.data.flags.c_contiguous else clone(x)


@clone.samples
@contiguous.samples
def _(make):
    yield make.normal(2, 3).T,
    yield make.normal(),
