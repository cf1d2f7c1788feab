"""Dtypes: which there are, which are floating, and how plain Python data becomes an array.

Python numbers are weak: they take the dtype of the array beside them.  Two
arrays of different dtypes never meet silently: an op refuses them.
"""
import ml_dtypes
import numpy as np

from .errors import DTypeError, message

bfloat16 = np.dtype(ml_dtypes.bfloat16)
float16, float32, float64 = map(np.dtype, ("float16", "float32", "float64"))
int8, int16, int32, int64 = map(np.dtype, ("int8", "int16", "int32", "int64"))
uint8, uint16, uint32, uint64 = map(np.dtype, ("uint8", "uint16", "uint32", "uint64"))
bool_ = np.dtype(bool)

HALVES = frozenset({float16, bfloat16})                # computed in float32, stored in 16 bits
FLOATS = frozenset({float32, float64}) | HALVES
NAMES = {d.name: d for d in (*FLOATS, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool_)}
NUMBERS = (float, int, bool)                           # the weak ones

_default = [float32]


def is_float(dtype):
    """True for float64, float32, float16 and bfloat16 (which NumPy alone does not count as a float)."""
    return dtype in FLOATS


def as_dtype(name, op="dtype"):
    """The dtype of a name ("float32", "bfloat16", ...), a NumPy dtype or type, or a Python number type.

    Raises:
        DTypeError: it is none that minidl has.
    """
    name = {float: _default[0], int: int64, bool: bool_}.get(name, name) if isinstance(name, type) else name
    try:
        dtype = NAMES[name] if isinstance(name, str) and name in NAMES else np.dtype(name)
    except TypeError:
        dtype = None
    if name is None or dtype is None or dtype.name not in NAMES:
        hint = "A shape is one argument, as in zeros((2, 3))." if isinstance(name, int) else ""
        raise DTypeError(message(op, "dtype", f"one of {', '.join(sorted(NAMES))}", repr(name), hint))
    return dtype


def default_dtype():
    """The dtype of Python floats that meet no array, and of new parameters: float32 unless changed."""
    return _default[0]


def set_default_dtype(dtype):
    """Change what `default_dtype()` says; returns what it said before.

    Raises:
        DTypeError: it is not a floating dtype.
    """
    dtype, before = as_dtype(dtype, "set_default_dtype"), _default[0]
    if not is_float(dtype):
        raise DTypeError(message("set_default_dtype", "dtype", "a floating dtype", dtype))
    _default[0] = dtype
    return before


def is_real(dtype):
    """True for bools, integers and floats, of any width: what can be converted to each other."""
    return dtype.kind in "biufV"                       # (V is the kind of ml_dtypes' floats)


def kind_fits(kind, dtype):
    """Does `dtype` satisfy a contract's kind: same, float, int, bool or any?"""
    return {"same": True, "any": True, "float": dtype in FLOATS, "int": dtype.kind in "iu",
            "bool": dtype.kind == "b"}[kind]
