"""What goes wrong on the way to a GPU ends in one clear error, or in the references and a reason; never in a crash.

(A launch's own arguments, and a driver that fails: test_launch.py.)
"""
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from driver import Driver

import minidl as ml
from minidl import nn
from minidl.backend import BACKENDS
from minidl.backend.cupy import register
from minidl.dispatch import TABLE
from minidl.errors import DeviceError, DTypeError
from minidl.kernels.gpu import device as real
from minidl.kernels.gpu.launch import launching
from minidl.kernels.gpu.library import Library
from minidl.op import REGISTRY
from minidl.testing.cupy_double import installed
from minidl.testing.opcheck import moved
from minidl.testing.samples import mapped, samples

with installed():
    OPS = sorted({op for op, where in TABLE if where == "cuda" and op in REGISTRY})
MANIFEST = {"entries": [{"kernel": "matmul", "maker": "triton", "key": {}, "signature": {}, "constants": {},
                         "divisible": [], "cooperative": False, "scratch": 0}]}


def calls(name):
    """(op, its inputs on the device, parameters there, numbers of the floating ones) of a sample with several."""
    op = REGISTRY[name]
    for inputs, params in samples(op):
        own = [i for i, a in enumerate(inputs) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
        others = [i for i, a in enumerate(inputs) if isinstance(a, np.ndarray)][1:]
        if others and all([a is None or isinstance(a, np.ndarray) and a.size for a in inputs]):
            return op, mapped(lambda a: a.astype("float32") if a.dtype.kind == "f" else a, inputs), params, own, others
    return op, None, None, (), ()


@pytest.mark.parametrize("name", OPS)
def test_an_array_on_the_host_and_another_dtype_are_named(name, cuda):
    op, inputs, params, floats, others = calls(name)
    there = None if inputs is None else [a if a is None else moved(a) for a in inputs]
    for i in others:
        mixed = [a if a is None else ml.Tensor(a) for a in [*there[:i], inputs[i], *there[i + 1:]]]
        with pytest.raises(DeviceError, match=r'on cuda:0 as \w+, got one on cpu\. Move it, .*\.to\("cuda:0"\)'):
            op.function(*mixed, **params)
    for i in floats[1:]:
        mixed = [a if a is None else ml.Tensor(a.astype("float16") if k == i else a) for k, a in enumerate(there)]
        with pytest.raises(DTypeError, match=r"expected float32 as \w+, got float16\. Convert one of them"):
            op.function(*mixed, **params)
    assert not cuda.results


def test_a_module_on_the_host_is_named(cuda):
    with pytest.raises(DeviceError, match=r'\[linear\] weight: .* as in weight\.to\("cuda:0"\)\. \(in Linear\)'):
        nn.Linear(3, 2)(ml.zeros((1, 3), device="cuda"))


def _fails(error):
    def count():
        raise error
    return SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count)))


def test_without_a_driver_or_cupy_a_device_is_refused(monkeypatch):
    with pytest.raises(DeviceError, match=r"a CUDA device, got none \(no driver\)\. Install NVIDIA's driver, or stay"):
        register(_fails(RuntimeError("no driver")))
    monkeypatch.setitem(sys.modules, "cupy", None)
    for kind in [k for k, b in BACKENDS.items() if b.name == "cuda"]:
        monkeypatch.delitem(BACKENDS, kind)
    with pytest.raises(DeviceError, match="expected CuPy for cuda, got no such package. Install minidl's `cuda` extra"):
        ml.zeros(3, device="cuda")


def test_a_number_that_no_device_has_is_refused(double):
    with pytest.raises(DeviceError, match="expected one of 1 CUDA devices, got cuda:3"):
        ml.zeros(3, device="cuda:3")


def _no_extension():
    raise ImportError("No module named 'minidl.kernels._gpu'")


UNREADY = {
    "no compiled kernels for GPUs (MINIDL_CUDA=ON makes them)": ({"entries": []}, None, Driver()),
    "lacks what launches compiled kernels: No module named 'minidl.kernels._gpu'": (MANIFEST, _no_extension, Driver()),
    "kernels need compute capability 8.0, cuda:0 has 7.5": (MANIFEST, None, Driver(major=7, minor=5)),
    "got error 999": (MANIFEST, None, Driver(fails={"cuDeviceGetCount": 999}))}


@pytest.mark.parametrize("says", UNREADY)
def test_where_kernels_cannot_run_the_references_do_and_say_why(says, double, monkeypatch):
    manifest, extension, driver = UNREADY[says]
    library = Library(None)
    library.__dict__["manifest"] = manifest
    if extension:
        monkeypatch.setattr(real, "extension", extension)
    x = ml.tensor(np.ones((2, 2), "float32"), device="cuda")
    with driver.installed(), launching(real.Device(library)):
        assert (x @ x).numpy().tolist() == [[2, 2], [2, 2]]
        assert re.search(rf"matmul\.triton: .*{re.escape(says)}", ml.explain("matmul", x, x))
