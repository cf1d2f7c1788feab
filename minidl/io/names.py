"""What the names in pickles of weights stand for: data, functions of ours that make data, and classes as names only.

The table is the whole of it: a name that is not here, and begins with none of STAND_INS, is refused. The functions
take what the pickle gives, trust nothing of it, and do no more than put together tuples, dicts and `View`s.

Source: what each name makes, PyTorch's torch/_utils.py and torch/_tensor.py (`_rebuild_*`), NumPy's `__reduce__` of
arrays, scalars and dtypes, StyleGAN2-ADA's torch_utils/persistence.py (its dict of type, class_name and state).
"""
import re
from math import prod

import numpy as np

from .inert import Call, Forbidden, Name, StandIn, Unfinished, key
from .storage import BY_TORCH_NAME, Storage, View, packed

# Classes of the libraries whose pickled models are in use: their names may stand in a pickle, as names.
STAND_INS = ("torch.nn.modules.", "torch.nn.functional.", "torch.optim.", "ultralytics.", "models.", "utils.", "timm.",
             "torchvision.", "torch_utils.", "dnnlib.", "training.")
_STAND_IN_NAMES = ("argparse.Namespace", "torch._C._nn.gelu", "torch.Tensor", "torch.nn.parameter.Parameter",
                   "torch.nn.parameter.Buffer", "numpy.ndarray",
                   *[f"builtins.{n}" for n in ("object", "list", "dict", "int", "float", "str", "bool")])
_MODULES = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray",
            "numpy.core.numeric": "numpy._core.numeric", "pathlib._local": "pathlib"}


def resolve(module, name):
    """The value that a name in a pickle stands for.

    Raises:
        Forbidden: it stands for nothing here.
    """
    full = f"{_MODULES.get(module, module)}.{name}"
    if full in TABLE:
        return TABLE[full]
    if full.startswith(STAND_INS) and re.fullmatch(r"\w+(\.\w+)*", module) and re.fullmatch(r"\w+", name) \
            and "__" not in full:
        return Name(full)
    raise Forbidden(f"the name {f'{module}.{name}'!r}, which no checkpoint needs")


# -- torch ----------------------------------------------------------------------------

def tensor(storage, start, size, stride, *_):
    """A tensor: `_rebuild_tensor` and `_rebuild_tensor_v2`, whose other arguments are about gradients."""
    return _view(storage, getattr(storage, "dtype", None), start, size, stride)


def _tensor_of_dtype(storage, start, size, stride, _requires_grad, _hooks, dtype, *_):
    return _view(storage, dtype, start, size, stride)


def _view(storage, dtype, start, size, stride):
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
        raise ValueError("a tensor without a storage or a dtype")
    return View(storage, dtype, start, _sizes(size), _sizes(stride))


def _sizes(values=()):
    if not isinstance(values, (tuple, list)) or any(type(n) is not int for n in values):
        raise ValueError("sizes that are not integers")
    return tuple(values)


def _parameter(data, *_):
    if not isinstance(data, (View, Unfinished)):
        raise ValueError("a parameter that is no tensor")
    return data


def _from_type(function, _type, args, _state=None):
    if not isinstance(function, Call) or not function.name.startswith("torch._utils._rebuild_"):
        raise Forbidden("torch._tensor._rebuild_from_type_v2 of another function than those that rebuild tensors")
    return function(*args)


def _persistent_object(meta):
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("class_name"), str):
        raise ValueError("a persistent object that is none of the known layout")
    return StandIn(f"torch_utils.persistence.{meta['class_name']}", (), meta.get("state"))


def _device(kind, index=None):
    return _checked(kind, str) if index is None else f"{_checked(kind, str)}:{_checked(index, int)}"


# -- NumPy ----------------------------------------------------------------------------

class Dtype(Unfinished):
    """A dtype whose byte order comes after it."""

    def __init__(self, name, _align=False, _copy=True):
        self.dtype = plain_dtype(name)

    def set_state(self, state):
        """The byte order; no fields, no subarrays."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise ValueError("a dtype with fields or of an unknown byte order")
        self.dtype = self.dtype.newbyteorder({"=": "<"}.get(state[1], state[1]))

    def view(self):
        """(Not a tensor: itself as a value.)"""
        return self.dtype


class Array(Unfinished):
    """An array whose shape and bytes come after it."""

    def __init__(self, *_):
        self._view = None

    def set_state(self, state):
        """(version, shape, dtype, Fortran order?, bytes)."""
        *_, shape, dtype, fortran, data = state
        self._view = _array(data, dtype, shape, "F" if fortran else "C")

    def view(self):
        """The tensor."""
        if self._view is None:
            raise ValueError("an array that has no content")
        return self._view


def plain_dtype(name):
    """The dtype of a name such as "f4" or "<i8": numbers, bools and texts.

    Raises:
        ValueError: it is another one (objects above all, whose bytes are addresses).
    """
    if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?([biufc]\d{1,2}|[SU][1-9]\d{0,5})", name):
        raise ValueError(f"the dtype {name!r} of NumPy, which is none of numbers")
    return np.dtype(name)


def _array(data, dtype, shape, order="C"):
    data, shape = _checked(data, (memoryview, bytes)), _sizes(shape)
    dtype = _checked(dtype, Dtype).dtype
    if any(n < 0 for n in shape) or prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} in {len(data)} bytes")
    return packed(Storage(dtype, len(data), data, name="an array"), shape, order)


def _scalar(dtype, data):
    return _array(data, dtype, ())


# -- Python ---------------------------------------------------------------------------

def _checked(value, kinds):
    if not isinstance(value, kinds):
        raise ValueError(f"an argument that is a {type(value).__name__}")
    return value


def _dict(items=()):
    return {key(k): v for k, v in _checked(items, (list, tuple, dict))}


def _encode(text, encoding="utf-8"):
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise Forbidden(f"_codecs.encode to {encoding!r}")
    return _checked(text, str).encode(encoding)


def _bytearray(data=b"", encoding="latin-1"):
    return data if isinstance(data, (bytes, memoryview)) else _encode(data, encoding)


def _set(kind):
    return lambda items=(): kind([key(v) for v in _checked(items, (list, tuple, set, frozenset))])


def _slice(*parts):
    return slice(*[_checked(p, (int, type(None))) for p in parts])


def _complex(real, imaginary):
    return complex(_checked(real, (int, float)), _checked(imaginary, (int, float)))


def _path(*parts):
    return "/".join([_checked(p, str) for p in parts])


STORAGES = {"Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
             "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
             "ComplexDouble": "complex128", "ComplexFloat": "complex64"}


class StorageType:
    """The type of a storage, which a pickle names: its elements' dtype, None for bytes."""

    def __init__(self, dtype):
        self.dtype = dtype and np.dtype(dtype)
        self.itemsize = self.dtype.itemsize if dtype else 1


TABLE = {
    **{f"torch.{name}": np.dtype(dtype) for name, dtype in BY_TORCH_NAME.items()},
    **{f"torch.{name}Storage": StorageType(BY_TORCH_NAME[dtype]) for name, dtype in STORAGES.items()},
    **{f"torch.{prefix}UntypedStorage": StorageType(None) for prefix in ("", "storage.")},
    **{name: Name(name) for name in _STAND_IN_NAMES},
    **{name: Call(name, function) for name, function in {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _from_type,
        "torch.Size": _sizes,
        "torch.device": _device,
        "torch.torch_version.TorchVersion": lambda text: _checked(text, str),
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
        "numpy._core.multiarray._reconstruct": Array,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy._core.numeric._frombuffer": _array,
        "numpy.dtype": Dtype,
        "collections.OrderedDict": _dict,
        "collections.Counter": lambda items={}: _dict(tuple(_checked(items, dict).items())),
        "collections.defaultdict": lambda factory=None: {},
        "builtins.set": _set(set),
        "builtins.frozenset": _set(frozenset),
        "builtins.bytearray": _bytearray,
        "builtins.slice": _slice,
        "builtins.complex": _complex,
        "_codecs.encode": _encode,
        **{f"pathlib.{kind}": _path for kind in ("Path", "PosixPath", "WindowsPath", "PurePosixPath",
                                                 "PureWindowsPath")},
    }.items()},
}
