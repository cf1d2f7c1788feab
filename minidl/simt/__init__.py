"""simt: a laboratory that runs compiled GPU kernels (PTX) on the CPU, looks for races and counts what they do.

    from minidl import simt
    module = simt.load("kernel.cu")                       # or "kernel.ptx", or PTX text
    result = simt.launch(module, grid=(4,), block=(128,), args=[x, y, 300], kernel="row_sum", races=True)
    result.races          # []; or "shared race, read after write: thread (0,0,0) of block (0,0,0) at `ld.shared...`"
    result.warnings       # reads of memory nobody wrote (uninit=True), barriers in divergent code
    result.counters       # with counters=True: .table(), .total("global"), .flops
    result.printed        # what printf wrote

Arrays are NumPy arrays, copied to the device and back. A kernel that does what a GPU forbids (an address out of
bounds, a misaligned one, a deadlock at barriers, an assertion) raises Fault, which names the instruction, its source
line, the threads and the addresses. Triton kernels run through `minidl.simt.driver`.

To step through a kernel, pass a tracer; it is called before every instruction and may look at any thread's registers:

    def tracer(machine, instruction, mask):
        if machine.where(instruction).endswith("row.cu:13"):
            print(instruction.text, machine.value("%f1", lane=5), machine.registers(5))

How it works: every register is a NumPy row with one column per thread of several blocks, every instruction a closure
over such rows (`table`, `binding`, `instructions/`). Threads that stand at one place of the program run together
(`schedule`). Memory is checked by one reduction per access (`memory`). What orders two threads' accesses is kept in
clocks (`clocks`), which the race check asks (`races`, `shadow`).
"""
from .compile import compile_cuda
from .faults import CompileError, Fault, Finding, PtxError, UnknownInstruction
from .launch import Module, Result, launch, load
from .memory import GlobalMemory
from .races import Race
from .stepper import Step, Stepper
from .tensormap import TensorMap
from .textures import Texture

__all__ = ["CompileError", "Fault", "Finding", "GlobalMemory", "Module", "PtxError", "Race", "Result", "Step",
           "Stepper", "TensorMap", "Texture", "UnknownInstruction", "compile_cuda", "launch", "load"]
