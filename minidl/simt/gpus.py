"""GPUs by name: what a multiprocessor holds, how fast it is, and what bounds a kernel there.

    occupancy("H100", threads=128, registers=168, shared=64 << 10)
    roofline("A100", flops={"tensor f16": 3e9}, bytes={"global": 5e7}, ...)

Figures are the makers': they bound what can be reached, and tell nothing of latencies or caches. Every time that comes
out of here is an estimate.

Source: NVIDIA, "CUDA C++ Programming Guide" 13.0, table "Technical Specifications per Compute Capability"; the data
sheets and architecture white papers of these models.
"""
from dataclasses import dataclass

from ..errors import ArgumentError, message


@dataclass(frozen=True)
class GPU:
    """What one model has; rates are peaks at the boost clock.

    Attributes:
        sm: compute capability, as in sm_80.
        processors: multiprocessors.
        clock: GHz.
        warps, blocks, registers, shared: most of each resident on a multiprocessor; registers of 32 bits, shared memory
            in bytes.
        shared_block: most dynamic shared memory of one block, in bytes.
        lanes: float32 operations that a multiprocessor issues a cycle (a fused multiply-add counts as one).
        tensor: dense tensor-core FLOP/s by the operands' type.
        bandwidth: of device memory, bytes/s.
    """

    name: str
    sm: int
    processors: int
    clock: float
    warps: int
    blocks: int
    registers: int
    shared: int
    shared_block: int
    lanes: int
    tensor: dict
    bandwidth: float

    reserved = property(lambda self: 1024 if self.sm >= 80 else 0, doc="Shared bytes that the system takes of a block.")
    scalar = property(lambda self: 2e9 * self.clock * self.lanes * self.processors, doc="float32 FLOP/s of its lanes.")


def _tensor(f16, tf32, i8, f64=0.0):
    """TFLOP/s as a table by type."""
    rates = {"f16": f16, "bf16": f16, "tf32": tf32, "s8": i8, "u8": i8, "f64": f64}
    return {kind: rate * 1e12 for kind, rate in rates.items() if rate}


K = 1 << 10
GPUS = {gpu.name: gpu for gpu in (
    GPU("T4", 75, 40, 1.59, 32, 16, 64 * K, 64 * K, 64 * K, 64, _tensor(65, 0, 130), 320e9),
    GPU("A100", 80, 108, 1.41, 64, 32, 64 * K, 164 * K, 163 * K, 64, _tensor(312, 156, 624, 19.5), 1555e9),
    GPU("L4", 89, 58, 2.04, 48, 24, 64 * K, 100 * K, 99 * K, 128, _tensor(121, 60, 242), 300e9),
    GPU("RTX 4090", 89, 128, 2.52, 48, 24, 64 * K, 100 * K, 99 * K, 128, _tensor(165, 83, 660), 1008e9),
    GPU("H100", 90, 132, 1.98, 64, 32, 64 * K, 228 * K, 227 * K, 128, _tensor(989, 495, 1979, 67), 3350e9),
    GPU("H200", 90, 132, 1.98, 64, 32, 64 * K, 228 * K, 227 * K, 128, _tensor(989, 495, 1979, 67), 4800e9),
    GPU("B200", 100, 148, 1.965, 64, 32, 64 * K, 228 * K, 227 * K, 128, _tensor(2250, 1125, 4500, 40), 8000e9))}


def find(name):
    """The GPU of that name.

    Raises:
        ArgumentError: none is called so.
    """
    if name not in GPUS:
        raise ArgumentError(message("simt", "gpu", f"one of {', '.join(GPUS)}", repr(name)))
    return GPUS[name]


@dataclass(frozen=True)
class Occupancy:
    """How many blocks of a kernel a multiprocessor holds, and what keeps it from holding more."""

    blocks: int
    warps: int
    share: float           # of the warps that it could hold
    limit: str             # "registers", "shared memory", "warps", "blocks"

    def __str__(self):
        return f"{self.blocks} blocks, {self.warps} warps a multiprocessor ({self.share:.0%}), bound by {self.limit}"


def occupancy(gpu, threads, registers, shared=0):
    """Resident blocks of a kernel on one multiprocessor.

    Args:
        gpu: a name.
        threads: of a block.
        registers: of a thread, as the assembler says (`ptxas -v`).
        shared: bytes of a block, static and dynamic.

    Raises:
        ArgumentError: a block is too large for this GPU.
    """
    gpu, warps = find(gpu), -(-threads // 32)
    if not 1 <= threads <= 1024 or registers > 255 or shared > gpu.shared_block:
        limits = f"at most 1024 threads, 255 registers, {gpu.shared_block} bytes of shared memory on {gpu.name}"
        raise ArgumentError(message("simt", "occupancy", limits, f"{threads}, {registers}, {shared}"))
    of_warp = -(-max(registers, 1) * 32 // 256) * 256                       # registers are given out in such pieces
    by = {"warps": gpu.warps // warps, "blocks": gpu.blocks,
          "registers": gpu.registers // of_warp // 4 * 4 // warps,           # (warps belong to one of four parts)
          "shared memory": gpu.shared // (-(-shared // 128) * 128 + gpu.reserved) if shared else gpu.blocks}
    limit = min(by, key=by.get)
    if not by[limit]:
        raise ArgumentError(message("simt", "occupancy", f"a block that fits a multiprocessor of {gpu.name}",
                                    f"{threads} threads of {registers} registers"))
    return Occupancy(by[limit], by[limit] * warps, by[limit] * warps / gpu.warps, limit)


@dataclass(frozen=True)
class Roofline:
    """An estimate of the least time that a launch takes on a GPU, by resource, in seconds; the longest bounds it."""

    gpu: str
    seconds: dict

    bound = property(lambda self: max(self.seconds, key=self.seconds.get))
    least = property(lambda self: max(self.seconds.values()))

    def __str__(self):
        parts = ", ".join([f"{what} {s * 1e6:.2f}" for what, s in sorted(self.seconds.items(), key=lambda p: -p[1])])
        return f"{self.gpu} (estimate): at least {self.least * 1e6:.2f} us, bound by {self.bound} (us: {parts})"


def roofline(gpu, tensor=None, scalar=0.0, issued=0, moved=0, shared_passes=0):
    """What bounds a launch that fills the GPU.

    Args:
        gpu: a name.
        tensor: tensor-core FLOPs by the operands' type, {"f16": ...}.
        scalar: float32 FLOPs outside of tensor cores (a multiply-add counts two).
        issued: warp instructions in all.
        moved: bytes between device memory and the multiprocessors, in whole sectors; caches are left out.
        shared_passes: passes of 128 bytes through shared memory, in all.

    Raises:
        ArgumentError: the GPU has no tensor cores for a type.
    """
    gpu = find(gpu)
    seconds = {"memory bandwidth": moved / gpu.bandwidth, "float32 arithmetic": scalar / gpu.scalar,
               "instruction issue": issued / (4e9 * gpu.clock * gpu.processors),    # one a cycle in each of four parts
               "shared memory": shared_passes / (1e9 * gpu.clock * gpu.processors)}
    for kind, flops in (tensor or {}).items():
        if kind not in gpu.tensor:
            known = ", ".join(gpu.tensor)
            raise ArgumentError(message("simt", "roofline", f"tensor cores for {known} on {gpu.name}", kind))
        seconds[f"tensor cores ({kind})"] = flops / gpu.tensor[kind]
    return Roofline(gpu.name, seconds)
