"""Compiles .cu files ahead of time: with nvcc where it is found, else with NVRTC, which pip installs.

No GPU is needed. Sources include nothing but each other's headers, cuda_fp16.h and cuda_bf16.h.
"""
import ctypes
import hashlib
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


def compiled(variant, target, binary=True):
    """As kernels/triton/compile.py: symbol, block, shared, ptx, cubin, product of an entry; not binary: no cubin."""
    block = (variant.block,) if isinstance(variant.block, int) else tuple(variant.block)
    ptx, cubin = compiled_source(variant.source, target) if binary else (kept_ptx(variant.source, target), None)
    if not re.search(rf"\.entry {variant.entry}\b", ptx):
        raise ValueError(f"[{variant.kernel}] entry: expected one of {variant.source}, got {variant.entry}")
    return {"symbol": variant.entry, "block": [*block, 1, 1][:3], "shared": variant.shared, "ptx": ptx, "cubin": cubin,
            "product": variant.product}


@cache
def compiled_source(source, target, binary=True):
    """(PTX, cubin) of a .cu file for "sm_80", "sm_90a", …; not binary: no cubin, which is quicker.

    A source outside this folder has its headers beside it.

    Raises:
        RuntimeError: no compiler is there, or it finds errors.
    """
    source, architecture, nvcc = FOLDER / source, target.removeprefix("sm_"), compiler()
    if nvcc is None:
        return _by_nvrtc(source, architecture, binary)
    with tempfile.TemporaryDirectory() as folder:
        def run(kind, code, given):
            done = subprocess.run([nvcc, *OPTIONS, "-I", source.parent, kind, "-arch", f"{code}_{architecture}", given,
                                   "-o", f"{folder}/made.{kind[1:]}"], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"[{source.name}] {target}: nvcc says\n{done.stderr}")
            return Path(folder, f"made.{kind[1:]}")

        ptx = run("-ptx", "compute", source)
        return ptx.read_text(), run("-cubin", "sm", ptx).read_bytes() if binary else None


def kept_ptx(source, target):
    """The PTX of a .cu file, kept in the user's cache as long as no source here changes."""
    sources = sorted(FOLDER.glob("*.cu*"))
    text = repr((source, target, version(), OPTIONS, [(p.name, p.read_text()) for p in sources]))
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "minidl")
    kept = folder / f"{source}.{target}.{hashlib.sha256(text.encode()).hexdigest()}.ptx"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{source}.{target}.*.ptx"):
            old.unlink(missing_ok=True)
        made = kept.with_suffix(f".{os.getpid()}")
        made.write_text(compiled_source(source, target, binary=False)[0])
        made.rename(kept)
    return kept.read_text()


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


def _by_nvrtc(source, architecture, binary):
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
    code = f"{'sm' if binary else 'compute'}_{architecture}"
    options = [*OPTIONS, f"-I{source.parent}", f"-I{_headers()}", f"--gpu-architecture={code}"]
    call("CompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options]))
    ptx, cubin = text("PTX").rstrip(b"\0").decode(), text("CUBIN") if binary else None
    call("DestroyProgram", ctypes.byref(program))
    return ptx, cubin
