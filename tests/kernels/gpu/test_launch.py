"""Launches through `minidl.kernels._gpu`: what arrives at the driver, and one clear error for everything wrong."""
import json
from ctypes import c_float, c_int32, c_int64, c_uint64
from ctypes.util import find_library
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from driver import Driver

import minidl as ml
from minidl.errors import DeviceError
from minidl.kernels.gpu.device import Device
from minidl.kernels.gpu.launch import lacks, launch, launching, most_together
from minidl.kernels.gpu.library import Library, extension

SIGNATURE = {"x": "*fp16", "y": "*bf16", "rows": "i32", "size": "i64", "eps": "fp32"}
READS = c_uint64, c_uint64, c_int32, c_int64, c_float, c_uint64, c_uint64
SHARED = 60_000


@pytest.fixture
def library(tmp_path):
    """Kernels "scale" and "wait" in a folder, as the build makes one."""
    targets = {t: {"symbol": "scale", "block": [128, 1, 1], "shared": SHARED, "file": f"{t}.cubin"}
               for t in ("sm_80", "sm_90")}
    targets["sm_80"]["ptx"] = "sm_80.ptx"
    for file in ("sm_80.cubin", "sm_90.cubin", "sm_80.ptx"):
        (tmp_path / file).write_bytes(file.encode())
    row = {"kernel": "scale", "maker": "triton", "key": {"dtype": "float16"}, "signature": SIGNATURE,
           "constants": {"BLOCK": 64}, "divisible": ["x", "size"], "cooperative": False, "scratch": 2,
           "targets": targets}
    rows = [row, {**row, "kernel": "wait", "cooperative": True}]
    (tmp_path / "manifest.json").write_text(json.dumps({"entries": rows}))
    return Library(tmp_path)


@pytest.fixture
def arrays(double, monkeypatch):
    monkeypatch.setattr(double.cuda, "get_current_stream", lambda: SimpleNamespace(ptr=5))
    return double.zeros((4, 8), "float16"), double.zeros(8, ml_dtypes.bfloat16)


def call(library, arrays, kernel="scale", driver=None, **changes):
    x, y = arrays
    args = {"x": x, "y": y, "rows": 4, "size": 1 << 40, "eps": 0.5, **changes}
    with (driver or Driver(READS)).installed() as driver, launching(Device(library)):
        launch(kernel, lambda c: (c["BLOCK"], 2), tuple(args.values()), dtype="float16")
        return driver


def test_a_launch_arrives(library, arrays, double):
    x, y = arrays
    driver = call(library, arrays)
    made, = driver.launches
    assert made.values == [x.data.ptr, y.data.ptr, 4, 1 << 40, 0.5, 0, 0]          # and no scratch memory
    assert (made.grid, made.block, made.shared, made.stream) == ([64, 2, 1], [128, 1, 1], SHARED, 5)
    assert driver.images == [b"sm_80.cubin"] and driver.allowed == [SHARED]
    assert not made.together and call(library, arrays, "wait").launches[0].together
    assert call(library, arrays, y=None, rows=np.int64(-3), eps=2).launches[0].values[1:5] == [0, -3, 1 << 40, 2.0]


def test_a_device_says_how_many_blocks_can_wait_for_each_other(library, double):
    with Driver(multiprocessors=7).installed(), launching(Device(library)):
        assert most_together() == 7


@pytest.mark.parametrize("capability, image", [((8, 9), b"sm_80.cubin"), ((9, 0), b"sm_90.cubin"),
                                               ((12, 0), b"sm_80.ptx"), ((9, 1), b"sm_80.ptx")])
def test_each_processor_gets_its_binary_or_ptx(library, arrays, capability, image):
    driver = Driver(READS, major=capability[0], minor=capability[1])
    assert call(library, arrays, driver=driver).images == [image]


def test_a_binary_is_loaded_once_in_each_context(library, arrays):
    driver, device = Driver(READS), Device(library)
    with driver.installed(), launching(device):
        for driver.context in (1, 1, 2, 1):
            launch("scale", (1,), (*arrays, 4, 16, 0.5), dtype="float16")
        launch("scale", (0, 4), (*arrays, 4, 16, 0.5), dtype="float16")            # no blocks: nothing to launch
    assert len(driver.images) == 2 and len(driver.launches) == 4


WRONG = {
    "an array on the device, got a NumPy array on the host. Move it": {"x": np.zeros(8, "float16")},
    "x: expected an array on the device, or None, got Tensor": {"x": ml.zeros(3)},
    "x: expected an array on the device, or None, got float": {"x": 1.5},
    "x: expected float16, got float32": {"x": lambda xp: xp.zeros(8, "float32")},
    "y: expected bfloat16, got float16": {"y": lambda xp: xp.zeros(8, "float16")},
    "x: expected an array whose address is a multiple of 16": {"x": lambda xp: xp.zeros(9, "float16")[1:]},
    "size: expected a multiple of 16, got 17": {"size": 17},
    "rows: expected an integer of 32 bits, got 4294967296": {"rows": 1 << 32},
    "size: expected an integer of 64 bits, got 1208925819614629174706176": {"size": 1 << 80},
    "rows: expected an integer of 32 bits, got float": {"rows": 4.0},
    "rows: expected an integer of 32 bits, got ndarray": {"rows": lambda xp: xp.zeros(1, "int32")},
    "eps: expected a number, got str": {"eps": "half"},
    "eps: expected a number, got NoneType": {"eps": None},
}


@pytest.mark.parametrize("says", WRONG)
def test_a_wrong_argument_is_named(says, library, arrays, double):
    change = {n: v(double) if callable(v) else v for n, v in WRONG[says].items()}
    with pytest.raises((TypeError, ValueError)) as raised:
        call(library, arrays, **change)
    assert str(raised.value).startswith(f"[scale] {next(iter(change))}: expected ") and says in str(raised.value)


def test_what_is_wrong_with_a_launch_is_named(library, arrays):
    with Driver(READS).installed(), launching(Device(library)):
        with pytest.raises(TypeError, match=r"\[scale\] arguments: expected 5, got 2\."):
            launch("scale", (1,), arrays, dtype="float16")
        with pytest.raises(ValueError, match=r"\[scale\] grid: expected 1 to 65535 blocks on axis 1, got 65536\."):
            launch("scale", (1, 65536), (*arrays, 1, 16, 1.0), dtype="float16")
        with pytest.raises(KeyError, match=r"\[scale\] key: expected one that `lacks` approves, got dtype=float64"):
            launch("scale", (1,), (*arrays, 1, 16, 1.0), dtype="float64")
        assert lacks("scale", dtype="float64") == "no scale for dtype=float64"
        assert lacks("scale", dtype="float16") is None


FAULTY = {
    r"\[scale\] its binary: expected the CUDA driver to succeed, got error 209 \(no kernel image": {
        "fails": {"cuModuleLoadData": 209}},
    r"\[scale\] launch: .* got error 2 \(out of memory\)": {"fails": {"cuLaunchKernel": 2}},
    r"\[scale\] current context: .* got error 999 \(unknown\)": {"fails": {"cuCtxGetCurrent": 999}},
    r"\[scale\] context: expected a CUDA context in this thread, got none": {"context": 0},
    r"\[scale\] shared memory: expected at most 49152 bytes of cuda:0, got 60000": {"most_shared": 49152},
    r"\[wait\] launch: expected a device whose blocks can wait for each other, got cuda:0": {"cooperates": 0},
}


@pytest.mark.parametrize("says", FAULTY)
def test_a_driver_that_fails_is_heard(says, library, arrays):
    with pytest.raises(DeviceError, match=says):
        call(library, arrays, "wait" if "wait" in says else "scale", Driver(READS, **FAULTY[says]))


def test_memory_that_is_elsewhere_is_refused(library, arrays):
    x, _ = arrays
    for owner, says in ((1, "an array on cuda:0, the current device, got one on cuda:1"),
                        (None, "memory of a CUDA device, got an address that the driver does not know")):
        with pytest.raises(ValueError, match=rf"\[scale\] x: expected {says}"):
            call(library, arrays, driver=Driver(READS, owners={x.data.ptr: owner}))


def test_kernels_refuse_where_they_cannot_run(library):
    with launching(Device(Library(None))):
        assert "no compiled kernels for GPUs" in lacks("scale", dtype="float16")
    with Driver(major=7, minor=5).installed(), launching(Device(library)):
        assert lacks("scale", dtype="float16") == "kernels need compute capability 8.0, cuda:0 has 7.5"
    for function in ("cuDeviceGetCount", "cuDeviceGetAttribute"):
        with Driver(fails={function: 999}).installed(), launching(Device(library)):
            assert "got error 999" in lacks("scale", dtype="float16")
    with launching(None):
        assert lacks("scale", dtype="float16") == "kernels for GPUs are switched off"


def test_a_signature_of_unknown_types_is_refused():
    with pytest.raises(ValueError, match=r"\[Kernel\] signature: expected types like \*fp16 or i32, got 'half'"):
        extension().Kernel("scale", "scale", b"", [("x", "half", False)], (1, 1, 1))


@pytest.mark.skipif(find_library("cuda") is not None, reason="a driver is here")
def test_without_a_driver_the_references_run(library, double):
    with launching(Device(library)):
        assert "expected NVIDIA's libcuda.so.1, got none" in lacks("scale", dtype="float16")
        assert ml.ops.softmax(ml.tensor([1.0, 2.0], device="cuda")).numpy().sum() == pytest.approx(1)
