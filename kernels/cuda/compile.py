"""Compiles .cu files ahead of time: with nvcc where it is found, else with NVRTC, which pip installs.

No GPU is needed. Sources include nothing but each other's headers, cuda_fp16.h and cuda_bf16.h.
"""
import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path

FOLDER = Path(__file__).parent
SCRATCH = 0                                            # pointers that follow a compiled entry's own arguments
OPTIONS = ("-std=c++17", "-lineinfo", "--fmad=true")


def families():
    """The files of kernels, by name: those that say which variants they have."""
    return [p.stem for p in sorted(FOLDER.glob("*.py")) if re.search(r"^def variants\(\)", p.read_text(), re.M)]


def variants(family):
    """The variants of one file."""
    return list(import_module(f"{__package__}.{family}").variants())


def compiled(variant, target):
    """As kernels/triton/compile.py: symbol, block, shared, ptx, cubin, product of an entry."""
    block = (variant.block,) if isinstance(variant.block, int) else tuple(variant.block)
    ptx, cubin = compiled_source(variant.source, target)
    if not re.search(rf"\.entry {variant.entry}\b", ptx):
        raise ValueError(f"[{variant.kernel}] entry: expected one of {variant.source}, got {variant.entry}")
    return {"symbol": variant.entry, "block": [*block, 1, 1][:3], "shared": variant.shared, "ptx": ptx, "cubin": cubin,
            "product": variant.product}


@cache
def compiled_source(source, target):
    """(PTX, cubin) of a .cu file for "sm_80", "sm_90a", …

    Raises:
        RuntimeError: no compiler is there, or it finds errors.
    """
    architecture = target.removeprefix("sm_")
    nvcc = compiler()
    if nvcc is None:
        return _by_nvrtc(FOLDER / source, architecture)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([nvcc, *OPTIONS, "-I", FOLDER, "--keep", "--keep-dir", folder, "-cubin", "-o",
                               f"{folder}/made.cubin", f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
                               FOLDER / source], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"[{source}] {target}: nvcc says\n{done.stderr}")
        ptx, = Path(folder).glob("*.ptx")
        return ptx.read_text(), Path(folder, "made.cubin").read_bytes()


@cache
def compiler():
    """The path of nvcc; None where only NVRTC is there.

    Raises:
        RuntimeError: neither is.
    """
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")
    if found is None or os.environ.get("MINIDL_NVRTC") == "1":
        _nvrtc()
        return None
    return found


def version():
    """The compiler's: "nvcc 13.0", "NVRTC 13.5"."""
    if compiler() is None:
        major, minor = ctypes.c_int(), ctypes.c_int()
        _nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"NVRTC {major.value}.{minor.value}"
    said = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    return f"nvcc {re.search(r'release ([0-9.]+)', said)[1]}"


@cache
def _nvrtc():
    """The library NVRTC, of the package nvidia-cuda-nvrtc."""
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations if spec else ():
        for path in sorted(Path(place).rglob("libnvrtc.so.*"), reverse=True):
            return ctypes.CDLL(str(path))
    try:
        return ctypes.CDLL("libnvrtc.so")
    except OSError:
        raise RuntimeError("[kernels/cuda] compiler: expected nvcc, or NVRTC from the package nvidia-cuda-nvrtc, "
                           "got neither") from None


def _headers():
    """The folder of cuda_fp16.h: of a CUDA toolkit's or of Triton's."""
    places = [p for name in ("nvidia", "triton") if (spec := importlib.util.find_spec(name))
              for p in spec.submodule_search_locations]
    found = next((h for p in map(Path, places) for h in sorted(p.rglob("cuda_fp16.h"))), None)
    if found is None:
        raise RuntimeError("[kernels/cuda] headers: expected cuda_fp16.h, from the package nvidia-cuda-runtime or "
                           "triton, got neither")
    return found.parent


def _by_nvrtc(source, architecture):
    nvrtc, program = _nvrtc(), ctypes.c_void_p()

    def call(name, *args):
        if code := getattr(nvrtc, f"nvrtc{name}")(*args):
            size = ctypes.c_size_t()
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            raise RuntimeError(f"[{source.name}] sm_{architecture}: NVRTC says ({code})\n{log.value.decode()}")

    def text(what):
        size = ctypes.c_size_t()
        call(f"Get{what}Size", program, ctypes.byref(size))
        held = ctypes.create_string_buffer(size.value)
        call(f"Get{what}", program, held)
        return held.raw

    call("CreateProgram", ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
    options = [*OPTIONS, f"-I{FOLDER}", f"-I{_headers()}", f"--gpu-architecture=sm_{architecture}"]
    call("CompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options]))
    ptx, cubin = text("PTX").rstrip(b"\0").decode(), text("CUBIN")
    call("DestroyProgram", ctypes.byref(program))
    return ptx, cubin
