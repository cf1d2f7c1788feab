"""`minidl doctor`: what this machine has, in one block to paste into a report."""
import json
import os
import platform
from importlib import metadata

import numpy as np
import typer

from .. import backend, kernels
from ..errors import DeviceError

PACKAGES = "minidl", "numpy", "ml_dtypes", "safetensors", "typer", "rich", "pillow", "cupy-cuda13x"


def facts():
    """{what: value} about processor, libraries, threads and devices."""
    found = {"python": platform.python_version(), "system": platform.platform(), "cores": len(os.sched_getaffinity(0))}
    with open("/proc/cpuinfo") as file:
        lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    lines = {k.strip(): v.strip() for k, v in lines.items()}
    found["processor"] = lines.get("model name", platform.machine())
    flags = lines.get("flags", "").split()
    found["instructions"] = " ".join(f for f in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16")
                                     if f in flags) or "baseline"
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found["blas"] = f"{blas['name']} {blas['version']}"
    found["kernels"] = f"{kernels.cpu.isa()}, {kernels.cpu.threads()} threads" if kernels.cpu else "none: no extension"
    found["pinned"] = " ".join(f"{k}={os.environ[k]}"
                               for k in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS",
                                         "MINIDL_KERNELS", "MINIDL_ISA") if k in os.environ) or "nothing"
    try:
        backend.find("cuda")
        found["cuda"] = "yes"
    except DeviceError as error:
        found["cuda"] = f"no: {error}"
    return found


def doctor(as_json: bool = typer.Option(False, "--json", help="One JSON object.")):
    """Print versions, processor, threads and devices."""
    found = facts()
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{what:14} {value}" for what, value in found.items()))
