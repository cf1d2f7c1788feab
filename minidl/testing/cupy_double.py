"""A stand-in for CuPy that runs on the CPU and is at least as strict as the real one.

NumPy does the work; what CuPy would refuse is refused: host arrays among device
arrays, silent conversion to NumPy, and, where the real CuPy is installed (it can be
imported without a GPU), every function, method and keyword that it lacks.  What would
move data between host and device, or make the host wait for a value, is counted.

    double = install()             # minidl now has a device called "cuda"
    with double.counting() as moved: ...
    moved.to_host, moved.to_device
"""
import inspect
import re
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ..backend.cupy import register

try:
    import cupy as REAL
except ImportError:                                    # then only the rules hold, not the list of what exists
    REAL = None

UFUNC_KEYWORDS = {"out", "dtype", "casting", "order", "subok"}
WAITS = {"nonzero", "argwhere", "flatnonzero", "unique", "array_equal", "allclose"}     # their result's size, or truth, must be known


@dataclass
class Moved:
    """Transfers since counting began."""

    to_host: int = 0
    to_device: int = 0


MOVED = Moved()


def refuse_host(value, where):
    """Raise where a host array stands among device arrays, as CuPy does."""
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"Unsupported type {np.ndarray} in {where}: a host array met a device array")


def bare(value, where=""):
    """The NumPy arrays behind an argument."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, (tuple, list)):
        return type(value)([bare(v, where) for v in value])
    refuse_host(value, where)
    return value


def wrapped(value):
    """A result, as device arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        made = object.__new__(ndarray)
        made._array = np.asarray(value)
        return made
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(wrapped, value))
    return type(value)(map(wrapped, value)) if isinstance(value, (tuple, list)) else value


def signature(real):
    """The signature of a function of the real CuPy; compiled methods have theirs in the docstring. None: unknown."""
    try:
        return inspect.signature(real)
    except (TypeError, ValueError):
        pass
    found = re.match(r"[\w.]+\((self, )?(.*?)\)( -> .*)?$", (getattr(real, "__doc__", None) or "").split("\n")[0])
    if not found:
        return None
    scope = {}
    exec(f"def f({found[2]}): pass", scope)
    return inspect.signature(scope["f"])


def checked(function, real, name):
    """`function` of NumPy under the signature of CuPy's."""
    is_ufunc = isinstance(function, np.ufunc)
    declared = None if is_ufunc or real is None else signature(real)

    def call(*args, **keywords):
        if is_ufunc and keywords.keys() - UFUNC_KEYWORDS:
            raise TypeError(f"cupy.{name}: wrong keywords {keywords.keys() - UFUNC_KEYWORDS}")
        if declared is not None:
            try:
                declared.bind(*args, **keywords)
            except TypeError as error:
                raise TypeError(f"cupy.{name}: {error}") from None
        out = keywords.get("out")
        if out is not None and not isinstance(out, ndarray):
            raise TypeError(f"cupy.{name}: out must be a device array")
        MOVED.to_host += name.rpartition(".")[2] in WAITS
        result = function(*[bare(a, name) for a in args], **{k: bare(v, name) for k, v in keywords.items()})
        return out if out is not None else wrapped(result)

    return call


class ndarray:
    """A device array."""

    __slots__ = ("_array",)
    __array_priority__ = 100
    __hash__ = None

    def __array__(self, *args, **keywords):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return NotImplemented

    def __array_function__(self, *args):
        return NotImplemented

    def get(self, *args, **keywords):
        """To the host."""
        MOVED.to_host += 1
        return self._array.copy()

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    __index__ = __int__

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def _key(self, key):
        for part in key if isinstance(key, tuple) else (key,):
            if isinstance(part, ndarray) and part.dtype == bool:
                MOVED.to_host += 1                     # how many are true is asked
            if isinstance(part, list):
                MOVED.to_device += 1
        return bare(key, "an index")

    def __getitem__(self, key):
        return wrapped(self._array[self._key(key)])

    def __setitem__(self, key, value):
        self._array[self._key(key) if not (isinstance(key, ndarray) and key.dtype == bool) else key._array] = bare(value, "an assignment")

    device = property(lambda self: SimpleNamespace(id=0))
    base = property(lambda self: None if self._array.base is None else wrapped(self._array.base))

    def __getattr__(self, name):
        if name.startswith("__") or REAL is not None and not hasattr(REAL.ndarray, name):
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value = getattr(self._array, name)
        return checked(value, getattr(REAL.ndarray, name, None), f"ndarray.{name}") if callable(value) else wrapped(value)

    def __repr__(self):
        return f"device {self._array!r}"


def _operator(name):
    def call(self, *others):
        for other in others:
            refuse_host(other, name)
            if not isinstance(other, (ndarray, np.ndarray, np.generic, int, float, bool)):
                return NotImplemented
        result = getattr(self._array, name)(*map(bare, others))
        return self if name.startswith("__i") and name != "__invert__" else wrapped(result)
    return call


for _name in ("add sub mul truediv floordiv mod pow matmul and or xor lshift rshift").split():
    for _form in ("__{}__", "__r{}__", "__i{}__"):
        setattr(ndarray, _form.format(_name), _operator(_form.format(_name)))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


class Ufunc:
    """A ufunc and its methods."""

    def __init__(self, function, real, name):
        self._function, self._real, self._name = function, real, name
        self._call = checked(function, real, name)

    def __call__(self, *args, **keywords):
        return self._call(*args, **keywords)

    def __getattr__(self, name):
        if self._real is not None and not hasattr(self._real, name):
            raise AttributeError(f"cupy.{self._name} has no method {name}")
        return checked(getattr(self._function, name), None, f"{self._name}.{name}")


class Namespace:
    """The module `cupy`, or one below it."""

    def __init__(self, name, numpy, real, **own):
        self.__dict__.update(own, _name=name, _numpy=numpy, _real=real)

    def __getattr__(self, name):
        if self._real is not None and not hasattr(self._real, name):
            raise AttributeError(f"{self._name} has no attribute {name!r}")
        value, real = getattr(self._numpy, name), getattr(self._real, name, None)
        if inspect.ismodule(value):
            value = Namespace(f"{self._name}.{name}", value, real)
        elif isinstance(value, np.ufunc):
            value = Ufunc(value, real, name)
        elif callable(value) and not isinstance(value, type):
            value = checked(value, real, name)
        self.__dict__[name] = value
        return value


def asarray(value, dtype=None, order=None):
    """To the device."""
    if isinstance(value, ndarray):
        return value if dtype is None or value.dtype == dtype else value.astype(dtype)
    MOVED.to_device += 1
    return wrapped(np.array(bare(value) if isinstance(value, (list, tuple)) else value, dtype))


def _own():
    return {"ndarray": ndarray, "asarray": asarray, "array": lambda value, dtype=None, copy=True: wrapped(np.array(asarray(value, dtype)._array)),
            "ascontiguousarray": lambda value, dtype=None: wrapped(np.ascontiguousarray(asarray(value, dtype)._array)),
            "asnumpy": lambda value: value.get() if isinstance(value, ndarray) else np.asarray(value),
            "cuda": SimpleNamespace(Device=_device, runtime=SimpleNamespace(getDeviceCount=lambda: 1))}


@contextmanager
def _device(number=0):
    yield number


@contextmanager
def counting():
    """`with counting() as moved: ...` counts the transfers inside."""
    before = Moved(MOVED.to_host, MOVED.to_device)
    moved = Moved()
    try:
        yield moved
    finally:
        moved.to_host, moved.to_device = MOVED.to_host - before.to_host, MOVED.to_device - before.to_device


def install():
    """Register the double as minidl's "cuda"; returns its namespace."""
    double = Namespace("cupy", np, REAL, **_own(), counting=counting)
    register(double)
    return double
