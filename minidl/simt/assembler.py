"""What the assembler makes of PTX: registers, spills and shared memory, which PTX itself does not tell.

The assembler is `ptxas`, of the CUDA toolkit or of the pip package `triton`; nothing is executed.
"""
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import message
from .compile import find_nvcc
from .faults import CompileError


@dataclass(frozen=True)
class Resources:
    """What one kernel takes.

    Attributes:
        registers: of a thread.
        shared: static bytes of a block.
        spills: bytes of registers that did not fit, stored and loaded.
    """

    registers: int
    shared: int
    spills: int


def find_ptxas():
    """The paths of all assemblers that are there: each knows PTX up to its own version."""
    nvcc, triton = find_nvcc(), find_spec("triton")
    found = [shutil.which("ptxas")] + ([shutil.which(str(Path(nvcc).resolve().parent / "ptxas"))] if nvcc else [])
    if triton and triton.origin:
        folder = Path(triton.origin).parent / "backends/nvidia/bin"
        found += [shutil.which(str(folder / name)) for name in ("ptxas-blackwell", "ptxas")]
    return list(dict.fromkeys(filter(None, found)))


def resources(ptx, kernel, sm=80):
    """Resources of a kernel, compiled for `sm`.

    Args:
        ptx: text.
        kernel: a name.
        sm: the architecture, 80 for sm_80.

    Raises:
        CompileError: there is no assembler, or it refuses the text.
    """
    run = None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        for ptxas in find_ptxas():
            run = subprocess.run([ptxas, f"-arch=sm_{sm}", "-v", str(path), "-o", str(path.with_suffix(".cubin"))],
                                 capture_output=True, text=True)
            if not run.returncode:
                break
    if run is None:
        raise CompileError(message("simt.assembler", "ptxas", "the CUDA toolkit's or Triton's", "none",
                                   "Install the CUDA toolkit or `pip install triton`."))
    if run.returncode:
        raise CompileError(f"[simt.assembler] {kernel}: ptxas found errors\n{run.stderr}{run.stdout}")
    said = (run.stderr + run.stdout).split("Compiling entry function ")
    mine = next((part for part in said if part.startswith(f"'{kernel}'")), "")

    def number(pattern):
        found = re.search(pattern, mine)
        return int(found[1]) if found else 0
    return Resources(number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"),
                     number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"))
