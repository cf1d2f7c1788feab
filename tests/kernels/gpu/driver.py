"""A CUDA driver in Python, as far as `minidl.kernels._gpu` asks for one: launches are written down, or fail."""
import ctypes
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_uint, c_uint64, c_void_p, cast
from types import SimpleNamespace

from minidl.kernels.gpu.library import extension

ATTRIBUTES = {16: "multiprocessors", 75: "major", 76: "minor", 97: "most_shared", 95: "cooperates"}
ERRORS = {2: b"out of memory", 209: b"no kernel image is available for execution on the device"}
SHAPE = (c_void_p, *[c_uint] * 7, c_void_p, POINTER(c_void_p))
SIGNATURES = {
    "cuInit": (c_uint,), "cuGetErrorString": (c_int, POINTER(c_char_p)), "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int), "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxGetDevice": (POINTER(c_int),), "cuPointerGetAttribute": (POINTER(c_int), c_int, c_uint64),
    "cuModuleLoadData": (POINTER(c_void_p), c_void_p), "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuFuncSetAttribute": (c_void_p, c_int, c_int), "cuLaunchKernel": (*SHAPE, c_void_p),
    "cuLaunchCooperativeKernel": SHAPE}


class Driver:
    """The driver of one machine.

    Args:
        reads: the C types of the parameters that launches have.
        fails: {function: the error code it gives}.
        owners: {address: number of its device, or None: not a device's}.
        context, devices: the current context, and how many devices there are.
        attributes: of every device, where they differ from an A100's.
    """

    def __init__(self, reads=(), fails=(), owners=(), context=1, devices=1, **attributes):
        self.reads, self.fails, self.owners = reads, dict(fails), dict(owners)
        self.context, self.devices = context, devices
        self.attributes = {"major": 8, "minor": 0, "most_shared": 166912, "cooperates": 1,
                           "multiprocessors": 108, **attributes}
        self.launches, self.images, self.allowed = [], [], []

    @contextmanager
    def installed(self):
        """`with driver.installed():` it is the driver inside the block."""
        functions = {name: CFUNCTYPE(c_int, *types)(self._answers(name)) for name, types in SIGNATURES.items()}
        extension().use_driver({name: cast(f, c_void_p).value for name, f in functions.items()})
        try:
            yield self
        finally:
            extension().use_driver({})

    def _answers(self, name):
        return lambda *args: self.fails.get(name) or getattr(self, name)(*args) or 0

    def cuInit(self, flags):
        pass

    def cuGetErrorString(self, code, text):
        text[0] = ERRORS.get(code)

    def cuDeviceGetCount(self, count):
        count[0] = self.devices

    def cuDeviceGetAttribute(self, value, what, device):
        value[0] = self.attributes[ATTRIBUTES[what]]

    def cuCtxGetCurrent(self, context):
        context[0] = self.context

    def cuCtxGetDevice(self, device):
        device[0] = 0

    def cuPointerGetAttribute(self, device, what, address):
        device[0] = self.owners.get(address, 0) or 0
        return int(self.owners.get(address, 0) is None)

    def cuModuleLoadData(self, module, image):
        self.images.append(ctypes.string_at(image))
        module[0] = len(self.images)

    def cuModuleGetFunction(self, function, module, symbol):
        function[0] = module

    def cuFuncSetAttribute(self, function, what, value):
        self.allowed.append(value)

    def cuLaunchKernel(self, function, *rest):
        *shape, shared, stream, parameters = rest[:9]
        values = [cast(parameters[i], POINTER(kind))[0] for i, kind in enumerate(self.reads)]
        self.launches.append(SimpleNamespace(grid=shape[:3], block=shape[3:], shared=shared, stream=stream,
                                             values=values, together=len(rest) == 9))

    cuLaunchCooperativeKernel = cuLaunchKernel
