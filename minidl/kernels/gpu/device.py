"""The launcher of real GPUs: finds an entry's binary in the package, loads it once, launches it on the stream."""
from functools import cached_property

from ... import backend
from ...errors import DeviceError
from .library import Library, extension

OLDEST = 8, 0                                          # the compute capability that kernels need


class Device:
    """GPUs, by way of `minidl.kernels._gpu`."""

    def __init__(self, library=None):
        self.library = library or Library.installed()
        self._loaded = {}                              # (entry, device) -> what launches it

    @cached_property
    def unready(self):
        """Why no kernel can run here, or None."""
        if not self.library.entries:
            return "this installation has no compiled kernels for GPUs (MINIDL_CUDA=ON makes them)"
        try:
            gpu = extension()
            found = [gpu.capability(i) for i in range(gpu.devices())]
        except ImportError as error:
            return f"this installation lacks what launches compiled kernels: {error}"
        except DeviceError as error:
            return f"{error}"
        old = [f"cuda:{i} has {major}.{minor}" for i, (major, minor) in enumerate(found) if (major, minor) < OLDEST]
        return f"kernels need compute capability 8.0, {', '.join(old)}" if old else None

    @property
    def multiprocessors(self):
        """How many the current device has."""
        return extension().multiprocessors(backend.find("cuda").xp.cuda.runtime.getDevice())

    def find(self, kernel, key):
        """An entry, or None."""
        return self.library.find(kernel, key)

    def load(self, entry, made):
        """Take what was compiled for an entry that is not of the library: {"symbol", "block", "shared", "cubin"}."""
        self._loaded[entry, backend.find("cuda").xp.cuda.runtime.getDevice()] = entry.bound(made, made["cubin"])

    def run(self, entry, grid, args):
        """Launch on the current device and stream of the array library."""
        cuda = backend.find("cuda").xp.cuda
        place = entry, cuda.runtime.getDevice()
        bound = self._loaded.get(place)
        if bound is None:
            capability = extension().capability(place[1])
            bound = self._loaded[place] = entry.bound(*self.library.binary(entry, capability))
        bound(grid, cuda.get_current_stream().ptr, args)
