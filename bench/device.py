"""The GPU that is measured: what it is, what it can do at most, and for how long calls keep it busy."""
import shutil
import subprocess
import sys
from importlib import import_module
from time import perf_counter

from minidl import backend
from minidl.errors import DeviceError
from minidl.kernels.gpu.launch import current, unready
from minidl.simt.gpus import GPUS

ASKED = "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit", "temperature.gpu"
PEAKS = {"float16": "f16", "bfloat16": "bf16", "tf32": "tf32"}
LEAST_FLUSH = 256 << 20                # bytes: to write them takes long enough for the host to launch a call meanwhile


class Device:
    """CuPy's current device. Both libraries work on its default stream, where the events are recorded, too.

    Raises:
        DeviceError: there is none, or no kernel of ours can run on it.
    """

    def __init__(self):
        backend.find("cuda")
        if why := unready():
            raise DeviceError(f"kernels: {why}")
        self.cupy = import_module("cupy")
        runtime = self.cupy.cuda.runtime
        self.properties = runtime.getDeviceProperties(runtime.getDevice())
        self.name = self.properties["name"].decode()
        cache = max(2 * self.properties["l2CacheSize"], LEAST_FLUSH)
        self._cache = self.cupy.empty(cache, "uint8")

    @property
    def identity(self):
        """What must agree for figures to be compared."""
        found = self.properties
        return {"processor": self.name, "cores": found["multiProcessorCount"],
                "isa": f"sm_{found['major']}{found['minor']}", "memory": found["totalGlobalMem"],
                "cache": found["l2CacheSize"]}

    @property
    def capability(self):
        """(major, minor)."""
        return self.properties["major"], self.properties["minor"]

    def milliseconds(self, call):
        """For how long the device works at a call whose inputs lie in no cache.

        While it clears the cache the host goes ahead and launches; a call of many launches may keep it waiting, which
        counts.
        """
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        self._cache.fill(0)
        start.record()
        kept = call()                                  # (what it gives is not freed, and used again, before the end)
        end.record()
        end.synchronize()
        del kept
        return self.cupy.cuda.get_elapsed_time(start, end)

    def wall(self, call, number):
        """Milliseconds per call of so many one after the other, on the host's clock, until the device is done."""
        self.synchronize()
        start = perf_counter()
        for _ in range(number):
            call()
        self.synchronize()
        return (perf_counter() - start) / number * 1e3

    def synchronize(self):
        """Wait until the device has done everything."""
        self.cupy.cuda.Device().synchronize()

    def tidy(self):
        """Take back memory that libraries keep and do not use: what one keeps the other lacks."""
        self.cupy.get_default_memory_pool().free_all_blocks()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()

    def clocks(self):
        """{what nvidia-smi says of clocks, power, temperature and driver: value}; empty without it."""
        tool = shutil.which("nvidia-smi")
        if not tool:
            return {}
        bus = self.cupy.cuda.Device().pci_bus_id
        done = subprocess.run([tool, f"--id={bus}", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"],
                              capture_output=True, text=True)
        return {} if done.returncode else dict(zip(ASKED, map(str.strip, done.stdout.split(","))))


class Launches:
    """The launcher in use, which writes down what is launched, and may give some keys other entries."""

    def __init__(self):
        self.base, self.own, self.seen = current(), {}, {}

    def __getattr__(self, name):
        return getattr(self.base, name)

    def find(self, kernel, key):
        """The entry in use."""
        return self.own.get((kernel, frozenset(key.items()))) or self.base.find(kernel, key)

    def run(self, entry, grid, args):
        """Launch it."""
        self.seen[entry.kernel, frozenset(entry.key.items())] = entry
        self.base.run(entry, grid, args)


def found():
    """The device; ends with one line where there is none."""
    try:
        return Device()
    except DeviceError as error:
        sys.exit(f"bench gpu: {error} Nothing was measured.")


def known(name):
    """The GPU of minidl.simt.gpus that a device's name says it is, or None."""
    names = [gpu for gpu in GPUS if gpu in name]
    return GPUS[max(names, key=len)] if names else None


def least(name, kind, flops, moved):
    """Seconds that so many FLOPs and bytes take a device at least by its maker's figures; None if it is not known.

    float32 may come from its lanes, or from tensor cores in three products of tf32, whichever is quicker.
    """
    gpu = known(name)
    if gpu is None:
        return None
    rate = gpu.tensor[PEAKS[kind]] if kind in PEAKS and PEAKS[kind] in gpu.tensor else gpu.scalar
    if kind == "float32":
        rate = max(gpu.scalar, gpu.tensor.get("tf32", 0) / 3)
    return max(flops / rate, moved / gpu.bandwidth)
