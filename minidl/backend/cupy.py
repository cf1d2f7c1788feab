"""CuPy as a backend: registered when a CUDA device is first asked for."""
from ..errors import DeviceError, message
from . import Backend
from . import register as _register


def register(cupy=None):
    """Register `cupy` (imported unless it is given, as tests do with a double).

    Raises:
        DeviceError: CuPy is not installed, or finds no GPU.
    """
    if cupy is None:
        try:
            import cupy
        except ImportError as error:
            raise DeviceError(message("device", "device", "CuPy for cuda", "no such package",
                                      "Install minidl's `cuda` extra.")) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:                         # the driver's own errors: missing, or too old
        raise DeviceError(message("device", "device", "a CUDA device", f"none ({error})")) from error
    _register(cupy.ndarray, make(cupy, count))


def make(cupy, count=1):
    """The Backend of a CuPy module that sees `count` devices."""

    def from_host(array, device):
        number = int(device.partition(":")[2] or 0)
        if number >= count:
            raise DeviceError(message("device", "device", f"one of {count} CUDA devices", device))
        with cupy.cuda.Device(number):
            return cupy.asarray(array)

    def scatter_add(array, index, values):
        """By sorting, not by atomics: the order of summation, and so the bits, are the same every time."""
        flat = cupy.arange(array.size).reshape(array.shape)[index].ravel()
        values = cupy.broadcast_to(values, array[index].shape).ravel()
        order = cupy.argsort(flat)                     # (CuPy's sort is stable)
        flat, values = flat[order], values[order]
        running = cupy.cumsum(values, dtype="float64" if values.dtype.kind == "f" else values.dtype)
        running = cupy.concatenate([cupy.zeros(1, running.dtype), running])
        sums = running[cupy.searchsorted(flat, flat, "right")] - running[cupy.searchsorted(flat, flat, "left")]
        place = cupy.unravel_index(flat, array.shape)  # where an index repeats, equal values are written
        array[place] = array[place] + sums.astype(array.dtype)

    return Backend("cuda", cupy, lambda array: f"cuda:{array.device.id}", cupy.asnumpy, from_host, scatter_add, eager=False)

