"""wgmma: asynchronous matrix products of four warps, with operands in shared memory (sm_90a).

A product does nothing when it is issued: the accumulators change when its group is waited for, and shared memory is
read then. So a kernel that overwrites an operand too early, or reads an accumulator too early, gets what hardware might
give it: the wrong numbers; and the race check hears of the reads twice, when they may begin and when they must have
ended.

Each warp of the four does 16 of the 64 rows; its accumulators lie as those of N / 8 products m16n8.

Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Operation": the matrix descriptor, the
canonical layouts and swizzling modes.
"""
import numpy as np

from ..faults import Fault, UnknownInstruction
from ..inflight import InFlight
from ..kinds import BITS
from ..observe import Effect
from ..syntax import Immediate, Vector, parts
from ..table import collective
from .matrix import INTEGER, RESULT, Shape, accumulate, elements, numbers
from .warp import require

SWIZZLED = {0: 0, 1: 3, 2: 2, 3: 1}      # mode of the descriptor -> bits of the address that are exchanged
READ = Effect("read", 16, form="wgmma")


class Products(InFlight):
    """The products in flight, by warp."""


class Operand:
    """A matrix in shared memory, as a descriptor tells: elements (rows, K) of each warp.

    Attributes:
        transposed: neighbours in memory are rows, not along K.
    """

    def __init__(self, kind, rows, depth, transposed):
        self.kind, self.bytes, self.transposed = kind, BITS[kind] // 8, transposed
        self.row, self.k = np.arange(rows)[:, None], np.arange(depth)[None, :]

    def addresses(self, descriptors, first_row=0):
        """The address in its block's shared memory of every element, (warps, rows, K).

        Args:
            descriptors: (warps,) uint64.
            first_row: (warps,) or a number: where the warp's rows begin.
        """
        def field(low, bits):
            return (descriptors >> np.uint64(low) & np.uint64((1 << bits) - 1)).astype(np.int64)[:, None, None]

        start, leading, stride, mode = 16 * field(0, 14), 16 * field(16, 14), 16 * field(32, 14), field(62, 2)
        modes = np.unique(mode)
        if len(modes) > 1 or field(49, 3).any():
            raise ValueError("one swizzling mode, and no base offset")
        bits = SWIZZLED[int(modes[0])]
        wide = 16 << bits                                  # bytes that lie together before a pattern repeats
        along, across = (self.row + np.reshape(first_row, (-1, 1, 1)), self.k) if self.transposed else \
            (self.k, self.row + np.reshape(first_row, (-1, 1, 1)))
        along, line = along * self.bytes, across % 8
        if bits:
            jump = along // wide * leading if self.transposed else 0
            if not self.transposed and int(along.max()) >= wide:
                raise ValueError("a row of K within the swizzled bytes")
            address = start + along % wide + line * wide + across // 8 * stride + jump
            return address ^ ((address >> 7 & (1 << bits) - 1) << 4)
        near, far = (stride, leading) if self.transposed else (leading, stride)
        return start + along % 16 + line * 16 + along // 16 * near + across // 8 * far

    def chunks(self, addresses):
        """The 16-byte pieces (warps, pieces) that the elements are in."""
        per = 16 // self.bytes
        first = addresses[:, ::per] if self.transposed else addresses[:, :, ::per]
        return first.reshape(len(addresses), -1) // 16

    def values(self, region, addresses):
        """The elements as numbers that matmul takes."""
        dtype = np.dtype(INTEGER.get(self.kind, f"u{self.bytes}"))
        return numbers(region.view(dtype).take(addresses // self.bytes, 0), self.kind)


class Plan:
    """An instruction wgmma.mma_async, bound to a machine."""

    def __init__(self, b):
        ins, self.machine, self.ins = b.ins, b.machine, b.ins
        m, n, k = (int(x) for x in next(x for x in ins.opcode if x[0] == "m" and x[1:2].isdigit())
                   [1:].replace("n", " ").replace("k", " ").split())
        d, a, second = ins.kinds()[-3:]
        if m != 64 or ins.has("sp"):
            raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: no such product here, PTX line {ins.line}")
        operands = list(ins.operands)
        self.in_registers = isinstance(operands[1], Vector)
        flags = [o.value for o in operands[4:] if isinstance(o, Immediate)]
        integer = a in INTEGER
        self.signs = (1, 1) if integer else (flags[0], flags[1])
        swaps = [0, 0] if integer or BITS[a] != 16 else flags[2:] if not self.in_registers else [0, *flags[2:]]
        self.n, self.shape = n, Shape(16, 8, k, d, a, second, d)
        self.first, self.second = Operand(a, 16, k, bool(swaps[0])), Operand(second, n, k, bool(swaps[1]))
        self.d = [b.file.row(r.name, "b32") for r in parts(operands[0])]
        self.shared = b.machine.spaces["shared"]
        self.window = b.machine.cta_of[::32] * self.shared.stride        # where each warp's shared memory begins
        self.quarter = (np.arange(b.lanes // 32) % (b.machine.threads // 32)) % 4
        self.saturates, self.at = ins.has("satfinite"), _places(n, d)

    def place(self, operand, warps, descriptors, first_row=0):
        """Addresses in the region of all blocks.

        Raises:
            Fault: beyond the block's shared memory, or a layout that there is none of.
        """
        try:
            found = operand.addresses(descriptors, first_row)
        except ValueError as error:
            raise Fault(f"matrix descriptor: expected {error}: {self.machine.describe(self.ins)}", self.ins.text,
                        self.machine.where(self.ins)) from None
        beyond = found + operand.bytes > self.shared.size
        if beyond.any():
            at = int(beyond.reshape(len(warps), -1).any(1).argmax())
            lane = self.machine.lane_name(32 * warps[at])
            raise Fault(f"out of bounds ({self.shared.size} bytes): {self.machine.describe(self.ins)}", self.ins.text,
                        self.machine.where(self.ins), [lane], [int(found[at].max())])
        return found + self.window[warps][:, None, None]

    def tell(self, warps, a, b):
        """Observers hear of all 16-byte pieces that the warps read, spread over their lanes."""
        if not self.machine.observed:
            return
        pieces = [self.second.chunks(self.place(self.second, warps, b))]
        if not self.in_registers:
            pieces.append(self.first.chunks(self.place(self.first, warps, a, 16 * self.quarter[warps])))
        pieces = np.concatenate(pieces, 1)
        pieces = np.concatenate([pieces, np.repeat(pieces[:, -1:], -pieces.shape[1] % 32, 1)], 1)
        index = np.zeros((self.machine.lanes // 32, 32), np.int64)
        active = np.zeros(index.shape, bool)
        active[warps] = True
        for start in range(0, pieces.shape[1], 32):
            index[warps] = pieces[:, start:start + 32]
            for watching in self.machine.observers:
                watching.access(self.ins, "shared", self.shared.region, index.reshape(-1), READ, active.reshape(-1))

    def compute(self, warps, a, b, keeps):
        """D = A B + D of some warps; where `keeps` is false, A B alone."""
        self.tell(warps, a, b)
        second = self.second.values(self.shared.region, self.place(self.second, warps, b)).swapaxes(1, 2)
        if self.in_registers:
            first = a
        else:
            first = self.first.values(self.shared.region, self.place(self.first, warps, a, 16 * self.quarter[warps]))
        product = np.matmul(self.signs[0] * first, self.signs[1] * second)              # (warps, 16, N)
        words = np.stack([row.reshape(-1, 32)[warps] for row in self.d], 1)              # (warps, registers, 32)
        held = words.reshape(len(warps), -1).view(RESULT[self.shape.d])
        before = np.where(keeps[:, None, None], held[:, self.at], held.dtype.type(0))
        held[:, self.at] = accumulate(product, before, self.shape.d, self.saturates)
        for k, row in enumerate(self.d):
            row.reshape(-1, 32)[warps] = words[:, k]
        for watching in self.machine.observers:
            watching.matrix(self.shape.a, 2 * 16 * self.n * self.shape.depth * len(warps), len(warps))


@collective("wgmma.mma_async")
def multiply(b):
    """wgmma.mma_async d, a, descriptor of b, scale-d, signs, transpositions: d = a b + d, done when it is waited for.
    """
    products, plan, operands = b.machine.part(Products), Plan(b), b.ins.operands
    descriptor = b.full(operands[2], "u64")
    keeps = b.full(operands[3], "pred")
    a_rows = [b.full(r, "b32") for r in parts(operands[1])] if plan.in_registers else None
    a_descriptor = None if plan.in_registers else b.full(operands[1], "u64")

    def run():
        if b.mask is not None:
            require(b)
        warps = np.nonzero(_active(b))[0]
        a = _fragments(a_rows, plan.shape)[warps] if plan.in_registers else a_descriptor[32 * warps]
        second = descriptor[32 * warps]
        plan.tell(warps, a, second)
        products.add(plan.compute, warps, a, second, keeps[32 * warps].astype(bool))
    return run


def _places(n, kind):
    """Where element (row, column) of a warp's (16, N) accumulators lies in its registers (registers, 32)."""
    row, column = np.ogrid[:16, :n]
    lane, block, e = row % 8 * 4 + column % 8 // 2, column // 8, column % 2
    if kind == "f16":                                      # two columns in a register
        return (2 * block + row // 8) * 64 + 2 * lane + e
    return (4 * block + row // 8 * 2 + e) * 32 + lane


def _fragments(rows, shape):
    """A of every warp, (warps, 16, K), from registers."""
    words = np.stack(rows)
    return numbers(elements(words, shape.a).take(shape.places_of_a(1, words.shape[1])), shape.a)


def _active(b):
    """Which warps run."""
    return b.running().reshape(-1, 32).any(1)


@collective("wgmma.fence")
def fence(b):
    """Registers that products use may be used from here on: there is nothing to do, as they are read when issued."""
    return lambda: None


@collective("wgmma.commit_group")
def commit(b):
    """The warp's products so far form a group."""
    products = b.machine.part(Products)
    return lambda: products.commit(_active(b))


@collective("wgmma.wait_group")
def wait(b):
    """Wait until at most n of the warp's groups are under way."""
    products, keep = b.machine.part(Products), b.ins.operands[0].value
    return lambda: products.land(_active(b), keep)
