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
        raise DeviceError(message("device", "device", "a CUDA device", f"none ({error})",
                                  'Install NVIDIA\'s driver, or stay on device "cpu".')) from error
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
        places = cupy.arange(array.size).reshape(array.shape)[index]
        sums = cupy.broadcast_to(values, places.shape).ravel()
        order = cupy.argsort(places, axis=None)        # (CuPy's sort is stable)
        places, sums, step = places.ravel()[order], sums[order], 1
        while step < places.size:                      # each element takes in those before it that have its place
            same = places[step:] == places[:-step]
            sums, step = cupy.concatenate([sums[:step], sums[step:] + cupy.where(same, sums[:-step], 0)]), 2 * step
        sums = sums[cupy.searchsorted(places, places, "right") - 1]
        flat = array.reshape(-1)                       # a view, where the rows lie one after the other
        flat[places] += sums                           # where a place repeats, equal values are written
        array[...] = flat.reshape(array.shape)

    return Backend("cuda", cupy, lambda array: f"cuda:{array.device.id}", cupy.asnumpy, from_host, scatter_add,
                   eager=False)

