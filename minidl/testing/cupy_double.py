"""A stand-in for CuPy that runs on the CPU and is at least as strict as the real one.

NumPy does the work; what CuPy would refuse is refused: host arrays and Tensors among
device arrays, silent conversion to NumPy, and, where the real CuPy is installed (it can
be imported without a GPU), every function, method and keyword that it lacks.  What would
move data between host and device, or make the host wait for a value, is counted.

    with installed():              # minidl now has a device called "cuda"
        with counting() as moved: ...
        moved.to_host, moved.to_device

Stricter than CuPy: NumPy's functions do not dispatch to it, an assignment under a mask counts as waiting,
arrays that are broadcast cannot be written, and atomic additions (`ufunc.at`, other bits each time) are
missing.
"""
import inspect
import re
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from weakref import WeakValueDictionary

import numpy as np

from .. import backend
from ..backend.cupy import register
from ..tape import owner

try:
    import cupy as REAL
except ImportError:                                    # then only the rules hold, not the list of what exists
    REAL = None

UFUNC_KEYWORDS = {"out", "dtype", "casting"}           # (`where`, `order`, `subok` are "wrong arguments")
HOST = (bool, int, float, complex, str, tuple, list, dict, type, np.dtype, np.generic, type(None),
        type(NotImplemented))
ARRAYS = {"a", "x", "arr", "array", "condition", "ar", "m", "ary"}      # parameters that may not be numbers
WAITS = {"nonzero", "flatnonzero", "argwhere", "unique", "unravel_index", "bincount", "histogram", "compress",
         "extract"}                                    # (and what says so in its docstring)


@dataclass
class Moved:
    """Transfers since counting began."""

    to_host: int = 0
    to_device: int = 0

    @property
    def total(self):
        """In both directions."""
        return self.to_host + self.to_device


_moved = Moved()
_wholes: WeakValueDictionary = WeakValueDictionary()   # id of a NumPy array that owns memory -> device array


@contextmanager
def counting():
    """`with counting() as moved: ...` counts the transfers inside."""
    host, device, moved = _moved.to_host, _moved.to_device, Moved()
    try:
        yield moved
    finally:
        moved.to_host, moved.to_device = _moved.to_host - host, _moved.to_device - device


# -- across the border ---------------------------------------------------------------

def bare(value, where="an argument"):
    """The NumPy arrays behind an argument; raises where CuPy would not take it."""
    if isinstance(value, ndarray):
        return value._array
    if isinstance(value, (tuple, list)):
        return type(value)([bare(v, where) for v in value])
    arraylike = hasattr(value, "__array__") or hasattr(value, "__array_ufunc__")
    if arraylike and not isinstance(value, (np.generic, type)):
        raise TypeError(f"Unsupported type {type(value)} in {where}: it met a device array")
    return value


def wrapped(value):
    """A result, as device arrays. Views know the array whose memory they show."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        origin = owner(value)
        whole = _wholes.get(id(origin))
        if whole is None:
            whole = _wholes[id(origin)] = _new(origin, None)
        return whole if origin is value else _new(value, whole)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(wrapped, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(wrapped, value))
    if not isinstance(value, HOST):
        raise TypeError(f"CuPy has nothing like {type(value)}")
    return value


def _new(array, whole):
    made = object.__new__(ndarray)
    made._array, made.base = array, whole
    return made


# -- what the real one takes, and when it waits ----------------------------------------

def signature(real):
    """The signature of a function of the real CuPy, or None; compiled ones have theirs in the docstring."""
    try:
        return inspect.signature(real)
    except (TypeError, ValueError):
        pass
    first_line = (getattr(real, "__doc__", None) or "").partition("\n")[0]
    found = re.match(r"[\w.]+\((self, )?(.*?)\)( -> .*)?$", first_line)
    if not found:
        return None
    untyped, scope = re.sub(r"[A-Za-z_][A-Za-z_0-9]* (?=[a-z])", "", found[2]), {}
    exec(f"def f({untyped}): pass", scope)
    return inspect.signature(scope["f"])


def waits(real, name):
    """Must the host know values before it may go on? CuPy's docstrings say so."""
    text = " ".join((getattr(real, "__doc__", None) or "").split())
    return name in WAITS or "function may synchronize" in text or "performs device synchronization" in text


def checked(function, real, name):
    """`function` of NumPy under the rules of CuPy's `real`."""
    short = name.rpartition(".")[2]
    is_ufunc = isinstance(function, np.ufunc) and (REAL is None or isinstance(real, REAL.ufunc))
    declared = None if is_ufunc or real is None else signature(real)
    blocking = short != "where" and waits(real, short)

    def call(*args, **keywords):
        if is_ufunc and keywords.keys() - UFUNC_KEYWORDS:
            raise TypeError(f"cupy.{name}: wrong arguments {keywords.keys() - UFUNC_KEYWORDS}")
        if declared is not None:
            try:
                declared.bind(*args, **keywords)
            except TypeError as error:
                raise TypeError(f"cupy.{name}: {error}") from None
            first = next(iter(declared.parameters), None)
            if first in ARRAYS and args and isinstance(args[0], (int, float, np.generic)):
                raise TypeError(f"cupy.{name}: {first} must be a device array, got {args[0]!r}")
        if short == "take":
            keywords["mode"] = "wrap"                  # (CuPy does not look whether an index is in range)
        if short in ("sort", "argsort"):
            if keywords.setdefault("kind", "stable") not in (None, "stable"):
                raise ValueError(f"cupy.{name}: kind can only be None or 'stable'")
        out = keywords.get("out")
        if not isinstance(out, (ndarray, type(None), tuple)):
            raise TypeError(f"cupy.{name}: out must be a device array")
        _moved.to_host += blocking or short == "where" and len(args) + len(keywords) == 1
        result = function(*[bare(a, name) for a in args], **{k: bare(v, name) for k, v in keywords.items()})
        return out if isinstance(out, ndarray) else wrapped(result)

    return call


# -- arrays --------------------------------------------------------------------------

class ndarray:
    """A device array."""

    __slots__ = ("_array", "base", "__weakref__")      # base: the array whose memory this one shows, or None
    __array_priority__ = 100
    __hash__ = None

    def __array__(self, *args, **keywords):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, **keywords):
        return NotImplemented

    def __array_function__(self, *args):
        return NotImplemented

    def get(self):
        """To the host."""
        _moved.to_host += 1
        return self._array.copy()

    def item(self, *args):
        """One value, on the host."""
        return self.get().item(*args)

    def tolist(self):
        """All values, on the host."""
        return self.get().tolist()

    def __bool__(self):
        return bool(self.get())

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __complex__(self):
        return complex(self.get())

    def __repr__(self):
        return repr(self.get())

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __deepcopy__(self, memo):
        return self.copy()

    def _key(self, key):
        """An index for NumPy: what is out of range wraps around, as CuPy does not look."""
        parts = list(bare(key if isinstance(key, tuple) else (key,), "an index"))
        masks = [isinstance(p, np.ndarray) and p.dtype.kind == "b" for p in parts]
        uses = [0 if p is None or p is ... else p.ndim if mask else 1 for p, mask in zip(parts, masks)]
        axis = 0
        for i, (part, mask, used) in enumerate(zip(parts, masks, uses)):
            _moved.to_host += mask                     # how many are true is asked
            _moved.to_device += isinstance(part, list)
            if isinstance(part, np.ndarray) and not mask and axis < self.ndim:
                parts[i] = part % max(self.shape[axis], 1)
            axis += self.ndim - sum(uses) if part is ... else used
        return tuple(parts) if isinstance(key, tuple) else parts[0]

    def __getitem__(self, key):
        return wrapped(self._array[self._key(key)])

    def __setitem__(self, key, value):
        self._array[self._key(key)] = bare(value, "an assignment")

    device = property(lambda self: SimpleNamespace(id=0))
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))
    flags = property(lambda self: SimpleNamespace(**{n: getattr(self._array.flags, n)
                                                     for n in ("c_contiguous", "f_contiguous", "owndata")}))

    def __getattr__(self, name):
        if name.startswith("__") or REAL is not None and not hasattr(REAL.ndarray, name):
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value, real = getattr(self._array, name), REAL and getattr(REAL.ndarray, name)
        return checked(value, real, f"ndarray.{name}") if callable(value) else wrapped(value)


def _operator(name):
    def call(self, *others):
        if not all(isinstance(o, (ndarray, np.ndarray, np.generic, int, float, complex)) for o in others):
            return NotImplemented
        result = getattr(self._array, name)(*[bare(o, name) for o in others])
        return self if result is self._array else wrapped(result)
    return call


for _name in ("add sub mul truediv floordiv mod pow matmul and or xor lshift rshift").split():
    for _form in ("__{}__", "__r{}__", "__i{}__") if _name != "matmul" else ("__{}__", "__r{}__"):
        setattr(ndarray, _form.format(_name), _operator(_form.format(_name)))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


# -- the module ------------------------------------------------------------------------

class Ufunc:
    """A ufunc and its methods."""

    def __init__(self, function, real, name):
        self._function, self._real, self._name = function, real, name
        self._call = checked(function, real, name)

    def __call__(self, *args, **keywords):
        return self._call(*args, **keywords)

    def __getattr__(self, name):
        if name == "at" or self._real is not None and not hasattr(self._real, name):
            raise AttributeError(f"cupy.{self._name} has no method {name!r}")
        value, real = getattr(self._function, name), getattr(self._real, name, None)
        return checked(value, real, f"{self._name}.{name}") if callable(value) else value


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


def asarray(a, dtype=None, order=None):
    """To the device, unless it is there."""
    if isinstance(a, ndarray):
        return a if dtype is None or a.dtype == dtype else a.astype(dtype)
    _moved.to_device += 1
    return wrapped(np.array(bare(a) if isinstance(a, (list, tuple)) else a, dtype))


def array(obj, dtype=None, copy=True, order="K"):
    """A copy on the device."""
    return asarray(obj, dtype).copy(order) if isinstance(obj, ndarray) else asarray(obj, dtype)


def ascontiguousarray(a, dtype=None):
    """Row-major, on the device."""
    return wrapped(np.ascontiguousarray(asarray(a, dtype)._array))


def asnumpy(a):
    """To the host, unless it is there."""
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def empty(shape, dtype=float, order="C"):
    """An array of anything: here of NaN, and of integers with the same bits, so that nobody relies on it."""
    return wrapped(_poisoned(np.empty(shape, dtype, order)))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    """The same in the shape of another."""
    return wrapped(_poisoned(np.empty_like(bare(prototype), dtype, order, True, shape)))


def _poisoned(array):
    array[...] = True if array.dtype == bool else np.frombuffer(b"\xff" * array.itemsize, array.dtype)[0]
    return array


def take_along_axis(a, indices, axis):
    """Like NumPy's, but that what is out of range wraps around."""
    return wrapped(np.take_along_axis(bare(a), bare(indices) % max(a.shape[axis], 1), axis))


@contextmanager
def _device(number=0):
    yield number


CUDA = SimpleNamespace(Device=_device, runtime=SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: 0),
                       get_current_stream=lambda: SimpleNamespace(ptr=0))
DOUBLE = Namespace("cupy", np, REAL, ndarray=ndarray, asarray=asarray, array=array, asnumpy=asnumpy,
                   ascontiguousarray=ascontiguousarray, empty=empty, empty_like=empty_like,
                   take_along_axis=take_along_axis, cuda=CUDA)


@contextmanager
def installed():
    """`with installed() as xp:` minidl's "cuda" is the double, whose namespace is `xp`, inside the block."""
    before = dict(backend.BACKENDS)
    for kind in [k for k, b in before.items() if b.name == "cuda"]:
        del backend.BACKENDS[kind]
    register(DOUBLE)
    from ..kernels.gpu.launch import launching  # (importing it registers kernels, as the line before does)
    try:
        with launching(None):                          # what is compiled for GPUs cannot run here
            yield DOUBLE
    finally:
        backend.BACKENDS.clear()
        backend.BACKENDS.update(before)
