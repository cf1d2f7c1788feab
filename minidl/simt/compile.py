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
INSTALL = "Install the CUDA toolkit or `pip install nvidia-cuda-nvrtc`."
_INTEGERS = "\n".join([f"typedef signed {c} int{n}_t; typedef unsigned {c} uint{n}_t;" for n, c in
                       ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))])
_ASSERT = """#undef assert
extern "C" __device__ void __assertfail(const char*, const char*, unsigned, const char*, size_t);
#ifdef NDEBUG
#define assert(x) ((void)0)
#else
#define assert(x) ((x) ? (void)0 : __assertfail(#x, __FILE__, __LINE__, __PRETTY_FUNCTION__, 1))
#endif
"""
_LIMITS = """#define CHAR_BIT 8
#define INT_MAX 2147483647
#define INT_MIN (-INT_MAX - 1)
#define UINT_MAX 4294967295u
#define LLONG_MAX 9223372036854775807ll
#define LLONG_MIN (-LLONG_MAX - 1)
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define DBL_MAX 1.7976931348623158e+308
#define DBL_EPSILON 2.2204460492503131e-16
"""
# headers of the host's compiler that sources include but NVRTC lacks; what most declare is built in
HOST_HEADERS = {name: text for names, text in (
    ("cstdio stdio.h cmath math.h cuda_runtime.h cstdlib stdlib.h cstddef stddef.h", ""), ("cassert assert.h", _ASSERT),
    ("cstdint stdint.h", _INTEGERS), ("climits limits.h cfloat float.h", _LIMITS)) for name in names.split()}


def compile_cuda(path, architecture=ARCHITECTURE, flags=(), compiler=None):
    """The PTX of a .cu file, with line numbers.

    Args:
        path: the source.
        architecture: a virtual architecture; the laboratory executes code for compute_80 to compute_90a.
        flags: more options for the compiler (-I, -D, -std=...).
        compiler: "nvcc" or "nvrtc"; None: nvcc if it is found, else NVRTC.

    Raises:
        CompileError: no compiler was found, or the source has errors (they are in the message).
    """
    path = Path(path)
    compiler = compiler or ("nvcc" if find_nvcc() else "nvrtc")
    flags = ["-std=c++17", f"-arch={architecture}", *flags]
    if compiler == "nvcc":
        return _nvcc(path, flags)
    return nvrtc(path.read_text(), str(path), [*flags, f"-I{path.parent}"])


def find_nvcc():
    """The path of nvcc, from CUDACXX, CUDA_HOME or PATH; None if there is none."""
    named = os.environ.get("CUDACXX") or (os.environ.get("CUDA_HOME") and os.environ["CUDA_HOME"] + "/bin/nvcc")
    return shutil.which(named) if named and shutil.which(named) else shutil.which("nvcc")


def _nvcc(path, flags):
    nvcc = find_nvcc()
    if nvcc is None:
        raise CompileError(message("simt.load", "nvcc", "CUDA's compiler on PATH or in CUDACXX", "none", INSTALL))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.ptx"
        command = [nvcc, "-lineinfo", "-ptx", *flags, str(path), "-o", str(target)]
        run = subprocess.run(command, capture_output=True, text=True)
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
    headers = {h: text for h, text in HOST_HEADERS.items() if f"<{h}>" in source or f'"{h}"' in source}
    _check(library, library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), len(headers),
                                               _strings(headers.values()), _strings(headers)))
    options = [*flags, "-lineinfo", "-default-device", *(f"-I{folder}" for folder in include_folders())]
    status = library.nvrtcCompileProgram(program, len(options), _strings(options))
    if status:
        raise CompileError(f"[simt.load] {name}: NVRTC found errors\n{_text(library, program, 'ProgramLog')}")
    ptx = _text(library, program, "PTX")
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return ptx


def find_nvrtc():
    """The path of NVRTC's library, from pip's packages or the system; None if there is none."""
    for folder in (*_package_folders("nvidia"), *_package_folders("cupy"), _cuda_home()):
        for pattern in ("libnvrtc.so*", "nvrtc64*.dll", "libnvrtc*.dylib"):
            found = sorted(p for p in folder.rglob(pattern) if "builtins" not in p.name and "alt" not in p.name)
            if found:
                return found[0]
    return None


def include_folders():
    """Folders with CUDA's headers (cuda_fp16.h and the like), as far as they are installed."""
    include = _cuda_home() / "include"
    found = [*_with_headers("nvidia"), *(folder for folder in (include, include / "cccl") if folder.is_dir())]
    return found or _with_headers("cupy")


def _with_headers(package):
    return sorted({header.parent for folder in _package_folders(package) for header in folder.rglob("cuda_fp16.h")})


def _package_folders(package):
    """Where a Python package is installed, without importing it."""
    spec = find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _cuda_home():
    return Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))


def _library():
    path = find_nvrtc()
    if path is None:
        raise CompileError(message("simt.load", "compiler", "nvcc on PATH, or NVRTC", "neither",
                                   INSTALL))
    try:
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL if sys.platform != "win32" else ctypes.DEFAULT_MODE)
    except OSError as error:
        raise CompileError(message("simt.load", "NVRTC", f"a library at {path}", str(error))) from error


def _strings(texts):
    texts = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(texts))(*texts)


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
