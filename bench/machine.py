"""The machine: what it is, and what it can do at most (bench/limits.c, compiled here), to set figures against."""
import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np

PINS = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"         # of the environment: NumPy's BLAS runs an older kernel then


def refuse_pins():
    """End with a message if NumPy's BLAS is pinned. (It is read when NumPy loads: too late to unset here.)"""
    for name in PINS:
        if name in os.environ:
            sys.exit(f"bench: {name} is set, and pins NumPy's BLAS to an older kernel. Unset it and run again.")


def identity():
    """What must agree for figures to be compared: the processor, its cores and the instruction set in use."""
    from minidl import kernels
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.partition(":")[::2] for line in info.split("\n\n")[0].splitlines())
    named = {name.strip(): value.strip() for name, value in fields.items()}
    model = [named[n] for n in ("model name", "cpu family", "model") if n in named] or [platform.processor()]
    return {"processor": ", ".join(model), "cores": os.cpu_count(), "system": platform.system(),
            "isa": kernels.cpu.isa() if kernels.cpu else "references only"}


def header(libraries=()):
    """What a file of results says about its run."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {"date": datetime.now().isoformat(timespec="minutes"), "machine": identity(),
            "versions": {**versions, **{lib.name: lib.version for lib in libraries}}}


def busy():
    """Seconds for which processes of all kinds used the processor, or a hypervisor took it; 0: unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@cache
def _limits():
    """The compiled bench/limits.c, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        flags = ["-O3", "-march=native", "-mprefer-vector-width=512"] if platform.machine() == "x86_64" else ["-O3"]
        subprocess.run([compiler, *flags, "-ffp-contract=fast", "-shared", "-fPIC", "-o", library,
                        Path(__file__).with_name("limits.c")], check=True)
        found = ctypes.CDLL(str(library))
    found.multiply_adds.restype = found.read_all.restype = ctypes.c_double
    return found


def _rate(work, threads, tries=15):
    """The best of several runs of `work(thread)`, which gives what it did, on so many threads; per second."""
    def timed(_):
        start = perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(work, range(threads))) / (perf_counter() - start)
    return max(map(timed, range(tries)))


@cache
def multiply_adds(threads):
    """The most float32 FLOP/s of so many threads, measured; None where there is no compiler."""
    limits = _limits()
    return limits and _rate(lambda _: limits.multiply_adds(ctypes.c_long(5_000_000),
                                                           ctypes.byref(ctypes.c_float())), threads)


@cache
def reading(size, threads):
    """The most bytes/s at which so many threads read `size` bytes again and again, measured; None likewise."""
    limits, parts = _limits(), np.ones((threads, size // 4 // threads), "f4")
    rounds = ctypes.c_long(max(1, int(2e9 / size)))
    return limits and _rate(lambda i: limits.read_all(rounds, parts[i].ctypes.data_as(ctypes.c_void_p),
                                                      ctypes.c_long(parts.shape[1]),
                                                      ctypes.byref(ctypes.c_float())), threads)
