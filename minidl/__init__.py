"""minidl: a deep-learning framework from scratch, with kernels of its own.

    import minidl as ml
    x = ml.tensor([[1.0, 2.0]], requires_grad=True)
    (x * x).sum().backward()
    x.grad
"""
import inspect
from importlib import import_module

from . import errors, nn, ops
from .autograd import checkpoint, grad, gradients
from .backend.random import Generator, Key, seed
from .dispatch import use_kernels
from .dtypes import (
    bfloat16,
    bool_,
    default_dtype,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .guests import detect_anomaly, profile
from .op import REGISTRY, fused, primitive
from .ops import *
from .tape import enable_grad, no_grad, recording
from .tensor import Tensor

from . import kernels  # isort: skip  (after the ops that they serve)

__version__ = "0.1.0"

# Loaded when first asked for, so that `import minidl` stays quick.
_LATER = {"data": "data", "io": "io", "models": "models", "optim": "optim", "pipelines": "pipelines",
          "random": "backend.random", "testing": "testing", "text": "text", "tools": "tools", "train": "train"}
_NAMES_LATER = {"load": "io", "save": "io", "set_num_threads": "backend.threads", "get_num_threads": "backend.threads",
                "precision": "backend.precision", "pipeline": "pipelines",
                **dict.fromkeys(("create_model", "describe", "from_pretrained", "list_models", "load_weights"),
                                "models"),
                **dict.fromkeys(("memory", "reset_peak_memory", "empty_cache", "set_cache_limit"), "backend.memory")}


def __getattr__(name):
    if name in _LATER:
        return import_module(f".{_LATER[name]}", __name__)
    if name in _NAMES_LATER:
        return getattr(import_module(f".{_NAMES_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'minidl' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATER, *_NAMES_LATER})


def explain(op, *args, **params):
    """Why each kernel of an op would or would not run on these arguments, a line each.

    Args:
        op: its name, "attention".
        args, params: as in a call of it.

    Raises:
        errors.ArgumentError: there is no such op.
    """
    from . import backend, dispatch
    from .op import as_tensor
    if op not in REGISTRY:
        raise errors.ArgumentError(errors.message("explain", "op", "the name of an op", repr(op)))
    found = REGISTRY[op]
    n = len(found.inputs)
    given = [*args[:n], *[found.defaults[name] for name in found.inputs[len(args):]]]
    arrays = tuple([getattr(as_tensor(a), "data", None) for a in given if a is not inspect.Parameter.empty])
    if len(arrays) < n or arrays[0] is None:
        raise errors.ArgumentError(errors.message("explain", "args", f"arguments as of {op}", args))
    named = {**found.params, **dict(zip(found.params, args[n:])), **params}
    return dispatch.reasons(op, backend.device(arrays[0]), arrays, named)
