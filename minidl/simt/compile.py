"""CUDA C++ -> PTX: by nvcc where it is found, else by NVRTC from the pip package `nvidia-cuda-nvrtc`."""
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ..errors import message
from .faults import CompileError

ARCHITECTURE = "compute_80"


def compile_cuda(path, architecture=ARCHITECTURE, flags=(), compiler=None):
    """The PTX of a .cu file, with line numbers.

    Args:
        path: the source.
        architecture: a virtual architecture; the laboratory executes code for compute_80.
        flags: more options for the compiler (-I, -D, -std=...).
        compiler: "nvcc" or "nvrtc"; None: nvcc if it is found, else NVRTC.

    Raises:
        CompileError: no compiler was found, or the source has errors (they are in the message).
    """
    path = Path(path)
    compiler = compiler or ("nvcc" if find_nvcc() else "nvrtc")
    flags = ["-std=c++17", f"-arch={architecture}", *flags]
    return _nvcc(path, flags) if compiler == "nvcc" else nvrtc(path.read_text(), str(path), [*flags, f"-I{path.parent}"])


def find_nvcc():
    """The path of nvcc, from CUDACXX, CUDA_HOME or PATH; None if there is none."""
    named = os.environ.get("CUDACXX") or (os.environ.get("CUDA_HOME") and os.environ["CUDA_HOME"] + "/bin/nvcc")
    return shutil.which(named) if named and shutil.which(named) else shutil.which("nvcc")


def _nvcc(path, flags):
    nvcc = find_nvcc()
    if nvcc is None:
        raise CompileError(message("simt.load", "nvcc", "CUDA's compiler on PATH or in CUDACXX", "none", "Install the CUDA toolkit or "
                                   "`pip install nvidia-cuda-nvrtc`."))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.ptx"
        run = subprocess.run([nvcc, "-lineinfo", "-ptx", *flags, str(path), "-o", str(target)], capture_output=True, text=True)
        if run.returncode:
            raise CompileError(f"[simt.load] {path}: nvcc found errors\n{run.stderr}{run.stdout}")
        return target.read_text()


# -- NVRTC ----------------------------------------------------------------------------------------------------------
def nvrtc(source, name="kernel.cu", flags=()):
    """PTX of CUDA source text, by NVRTC: no host compiler, no toolkit.

    Raises:
        CompileError: the library was not found, or the source has errors.
    """
    library = _library()
    program = ctypes.c_void_p()
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None))
    options = [f.encode() for f in (*flags, "-lineinfo", "-default-device", *(f"-I{folder}" for folder in include_folders()))]
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    if status:
        raise CompileError(f"[simt.load] {name}: NVRTC found errors\n{_text(library, program, 'ProgramLog')}")
    ptx = _text(library, program, "PTX")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx


def find_nvrtc():
    """The path of NVRTC's library, from pip's packages or the system; None if there is none."""
    folders = [Path(place) for package in ("nvidia", "cupy") if (spec := find_spec(package)) and spec.submodule_search_locations
               for place in spec.submodule_search_locations]
    folders += [Path(p) for p in ("/usr/local/cuda", os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    for folder in folders:
        for pattern in ("libnvrtc.so*", "nvrtc64*.dll", "libnvrtc*.dylib"):
            found = sorted(p for p in folder.rglob(pattern) if "builtins" not in p.name and "alt" not in p.name)
            if found:
                return found[0]
    return None


def include_folders():
    """Folders with CUDA's headers (cuda_fp16.h and the like), as far as they are installed."""
    found = []
    spec = find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found += sorted({header.parent for header in Path(place).rglob("cuda_fp16.h")})
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found += [folder for folder in (Path(home, "include"), Path(home, "include", "cccl")) if folder.is_dir()]
    cupy = find_spec("cupy")
    if not found and cupy and cupy.origin:
        found += sorted({header.parent for header in Path(cupy.origin).parent.rglob("cuda_fp16.h")})
    return found


def _library():
    path = find_nvrtc()
    if path is None:
        raise CompileError(message("simt.load", "compiler", "nvcc on PATH, or NVRTC", "neither",
                                   "Install the CUDA toolkit or `pip install nvidia-cuda-nvrtc`."))
    try:
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL if sys.platform != "win32" else ctypes.DEFAULT_MODE)
    except OSError as error:
        raise CompileError(message("simt.load", "NVRTC", f"a library at {path}", str(error))) from error


def _check(library, status):
    if status:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CompileError(f"[simt.load] NVRTC: {library.nvrtcGetErrorString(status).decode()}")


def _text(library, program, what):
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.value.decode(errors="replace")
