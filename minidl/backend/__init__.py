"""Which array library an array belongs to, where it lives, and the few things the libraries say differently.

NumPy is the first; CuPy joins when it is asked for (minidl/backend/cupy.py), and
no op, rule or layer changes: they are handed the namespace `xp` of their arrays.
"""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import FLOATS, HALVES, NUMBERS, kind_fits
from ..errors import DeviceError, DTypeError, message


@dataclass(frozen=True)
class Backend:
    """An array library, as minidl uses it."""

    name: str                      # "cpu", "cuda": what devices are called
    xp: Any                        # the namespace: numpy, cupy
    device: Callable               # array -> "cpu", "cuda:0"
    to_host: Callable              # array -> numpy array: an explicit transfer
    from_host: Callable            # (numpy array, device) -> array
    scatter_add: Callable    # (array, index, values): array[index] += values, repeated indices add up, same bits twice
    eager: bool = True             # values can be looked at for free; where not, demands wait for a transfer


class Reroute(Exception):
    """Says that a call must run another way; `run(op, tensors, params)` does."""

    def __init__(self, run):
        self.run = run


NUMPY = Backend("cpu", np, lambda array: "cpu", np.asarray, lambda array, device: array, np.add.at)
BACKENDS: dict = {np.ndarray: NUMPY}       # array type -> Backend
on_register: dict = {}                     # name -> called once, when the first backend of that name is registered
in_float32: list = []                      # how ops run on half types: minidl/op.py puts it here
as_default: list = []                      # how ops run on numbers alone: likewise


def register(array_type, backend):
    """Teach minidl an array library."""
    BACKENDS[array_type] = backend
    on_register.pop(backend.name, lambda: None)()


def is_array(value):
    """Is it an array of a library that minidl knows?"""
    return type(value) in BACKENDS or isinstance(value, tuple(BACKENDS))


def of(array):
    """The Backend of an array; subclasses are looked up once and remembered."""
    kind = type(array)
    if kind not in BACKENDS:
        base = next((b for b in BACKENDS if isinstance(array, b)), None)
        if base is None:
            raise DTypeError(message("backend", "array", "an array of NumPy or CuPy", kind.__name__))
        BACKENDS[kind] = BACKENDS[base]
    return BACKENDS[kind]


def namespace(array):
    """The module whose functions take this array: numpy, cupy."""
    return of(array).xp


def device(array):
    """"cpu" or "cuda:<number>"."""
    return of(array).device(array)


def find(device="cpu"):
    """The Backend of a device's name ("cpu", "cuda", "cuda:1").

    Raises:
        DeviceError: there is no such device here.
    """
    name, colon, number = str(device).partition(":")
    if name == "cuda" and not any(b.name == "cuda" for b in BACKENDS.values()):
        from . import cupy  # (imported when first asked for: it takes a second, and a GPU)
        cupy.register()
    found = next((b for b in BACKENDS.values() if b.name == name), None)
    if found is None or colon and not number.isdigit():
        raise DeviceError(message("device", "device", '"cpu" or "cuda[:number]"', repr(device)))
    return found


def to_host(array):
    """The array as a NumPy array; a transfer from a device brings demands that waited for one to their answer."""
    here = of(array)
    if not here.eager:
        check_demands()
    return here.to_host(array)


def to_device(array, name):
    """The array on the device called `name`; the same array if it is there."""
    here, there = of(array), find(name)
    if here is there and (":" not in name or here.device(array) == name):
        return array
    return there.from_host(to_host(array), name)


def scatter_add(array, index, values):
    """array[index] += values, in place; where an index occurs twice both values are added, in a fixed order."""
    of(array).scatter_add(array, index, values)


# -- demands on values ----------------------------------------------------------

_waiting: list = []                # (bool array on a device, error)


def demand(truth, error):
    """Raise `error` unless the 0-d bool array `truth` holds: at once on the host, at the next transfer on a device.

    `error` may be a function that makes it: one that names the values at fault looks at them only then.
    """
    if is_array(truth) and not of(truth).eager:    # (NumPy's own `all` gives no array)
        _waiting.append((truth, error))
    elif not truth:
        raise error() if callable(error) else error


def check_demands():
    """Look at the demands that wait on devices: one transfer from each."""
    waiting, _waiting[:] = _waiting[:], []
    for where in {device(truth) for truth, _ in waiting}:
        truths, errors = zip(*[(t, e) for t, e in waiting if device(t) == where])
        held = of(truths[0]).to_host(namespace(truths[0]).stack(truths))
        if not held.all():
            error = errors[held.argmin()]
            raise error() if callable(error) else error


# -- what the fast test of a call did not cover -----------------------------------

def settle(op, *arrays):
    """The namespace for a call with numbers, subclasses, devices or other dtypes than float32 and float64.

    One device and one dtype per call; numbers are weak.  An input that the
    contract gives a kind of its own (`index(N):int`) is left out of the dtype test.
    """
    lead = whose = None
    for slot, array in zip(op.contract.inputs, arrays):
        for one in array if slot.many else (array,):
            if one is None or type(one) in NUMBERS:
                continue
            theirs = of(one)
            if lead is None:
                lead, first = slot, one
            elif theirs is not of(first) or not theirs.eager and theirs.device(one) != theirs.device(first):
                where = device(first)
                raise DeviceError(message(op.name, slot.name, f"an array on {where} as {lead.name}",
                                          f"one on {device(one)}", f'Move it, as in {slot.name}.to("{where}").'))
            if not kind_fits(slot.kind, one.dtype):
                raise DTypeError(message(op.name, slot.name, f"a dtype of kind {slot.kind}", one.dtype,
                                         f'Convert it, as in {slot.name}.astype("float32").'
                                         if slot.kind == "float" else ""))
            if slot.kind in ("same", "float"):
                if whose is None:
                    dtype, whose = one.dtype, slot.name
                elif one.dtype != dtype:
                    raise DTypeError(message(op.name, slot.name, f"{dtype} as {whose}", one.dtype,
                                             f"Convert one of them, as in {slot.name}.astype({str(dtype)!r})."))
    if lead is None:
        raise Reroute(as_default[0])
    if whose is not None:
        _weak_numbers_fit(op, arrays, dtype, whose)
        if dtype in HALVES and not op.exact and not op.has_kernels:
            raise Reroute(in_float32[0])
    return of(first).xp


def _weak_numbers_fit(op, arrays, dtype, whose):
    """A number takes the dtype beside it, so it must have a meaning there: no 2.5 among integers."""
    for slot, value in zip(op.contract.inputs, arrays):
        kind = type(value)
        if slot.kind in ("same", "float") and kind in NUMBERS and (
                kind is float and dtype not in FLOATS or kind is int and dtype.kind == "b"):
            raise DTypeError(message(op.name, slot.name, f"{dtype} as {whose}", f"the number {value!r}",
                                     f'Convert the array, as in {whose}.astype("float32").'))


__all__ = ["Backend", "check_demands", "demand", "device", "find", "is_array", "namespace", "of", "register",
           "scatter_add",
           "to_device", "to_host"]
