"""Matrix instructions of a warp: mma.sync, ldmatrix, stmatrix, movmatrix.

A fragment spreads a matrix over the lanes: lane 4 g + t holds, in each register, `per` neighbours of row g (of A, C and D)
or column g (of B), from column or row t * per on. More registers cover the rows 8 to 15, and further columns.

Source: PTX ISA, "Matrix multiply-accumulate operation using mma instruction", the fragment figures.
"""
from dataclasses import dataclass

import numpy as np

from ..access import check_written, locator, observer
from ..binding import Mask
from ..faults import UnknownInstruction
from ..kinds import BITS
from ..observe import Effect
from ..rounding import widen
from ..syntax import parts
from ..table import collective
from .warp import require

INTEGER = {"s8": np.int8, "u8": np.uint8}
RESULT = {"f32": np.float32, "s32": np.int32, "f16": np.float16, "f64": np.float64}


def numbers(rows, kind):
    """The elements of fragment registers (registers, lanes, per) as numbers that matmul takes."""
    words = np.stack(rows)
    if kind == "f64":
        return words.view(np.float64)[..., None]
    if kind == "tf32":
        return widen(words, "tf32")[..., None]
    if kind in INTEGER:
        return words.view(INTEGER[kind]).astype(np.float32).reshape(*words.shape, 4)      # sums stay below 2**24
    codes = words.view(np.uint16 if BITS[kind] == 16 else np.uint8)
    return widen(codes, kind).reshape(*words.shape, 32 // BITS[kind])


@dataclass(frozen=True)
class Shape:
    """M, N and K of one instruction, and the types of D, A, B and C."""
    rows: int
    columns: int
    depth: int
    d: str
    a: str
    b: str
    c: str

    @classmethod
    def of(cls, ins):
        """Read from an opcode.

        Raises:
            UnknownInstruction: no such shape or types here.
        """
        text = next(m for m in ins.opcode if m[0] == "m" and m[1:2].isdigit())
        m, n, k = (int(x) for x in text[1:].replace("n", " ").replace("k", " ").split())
        d, a, b, c = ins.kinds()[-4:]
        known = a in INTEGER or a in ("f16", "bf16", "tf32", "f64", "e4m3", "e5m2")
        if not known or n != 8 or (m, k) == (8, 4) and a == "f16":
            raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: no such matrix shape here, PTX line {ins.line}")
        return cls(m, n, k, d, a, b, c)


@collective("mma.sync", fuse=True)
def multiply(b):
    """D = A B + C of a warp, or of several independent instructions at once; operands that they share are read once."""
    shape, group, warps, count = Shape.of(b.ins), b.group, b.lanes // 32, len(b.group)
    word = "b64" if shape.a == "f64" else "b32"
    a_names, b_names = ([*dict.fromkeys(ins.operands[k] for ins in group)] for k in (1, 2))
    a_of, b_of = [a_names.index(i.operands[1]) for i in group], [b_names.index(i.operands[2]) for i in group]
    rows = [[b.full(r, word) for operand in operands for r in parts(operand)]
            for operands in (a_names, b_names, [i.operands[3] for i in group])]
    results = [b.write(r, word) for ins in group for r in parts(ins.operands[0])]
    halves = shape.rows // 8
    accumulators = Accumulators(shape, warps, count)

    def run():
        if b.mask is not None:
            require(b)
        first, second = numbers(rows[0], shape.a), numbers(rows[1], shape.b)
        per = first.shape[-1]
        first = first.reshape(len(a_names), -1, halves, warps, 8, 4, per).transpose(0, 3, 2, 4, 1, 5, 6)
        second = second.reshape(len(b_names), -1, warps, 8, 4, per).transpose(0, 2, 1, 4, 5, 3)
        first = first.reshape(len(a_names), warps, shape.rows, shape.depth)
        second = second.reshape(len(b_names), warps, shape.depth, 8)
        product = np.matmul(first[a_of] if count > 1 else first, second[b_of] if count > 1 else second)
        total = accumulate(product, accumulators.read(rows[2]), shape.d, b.ins.has("satfinite"))
        accumulators.write(total, results)
        for watching in b.machine.observers:
            active = warps if b.mask is None else int(b.mask.bool.reshape(-1, 32).any(1).sum())
            watching.matrix(b.ins, 2 * shape.rows * shape.columns * shape.depth * active * count, active * count)
    return run


def accumulate(product, c, kind, saturate=False):
    """product + c as `kind`; integers wrap, or clamp if they saturate."""
    if kind != "s32":
        return (product + c).astype(RESULT[kind], copy=False)
    total = product.astype(np.int64) + c
    return (np.clip(total, -1 << 31, (1 << 31) - 1) if saturate else total).astype(np.int32)


class Accumulators:
    """C and D of `count` instructions: registers to matrices (count, warps, M, 8) and back."""

    def __init__(self, shape, warps, count):
        self.shape, self.warps, self.count = shape, warps, count

    def read(self, rows):
        """The matrices that C's registers hold."""
        halves, warps, count = self.shape.rows // 8, self.warps, self.count
        values = np.stack(rows).view(RESULT[self.shape.c])
        if self.shape.c == "f16":                        # two columns in a register
            values = values.reshape(count, halves, warps, 8, 4, 2).transpose(0, 2, 1, 3, 4, 5)
            return values.astype(np.float32).reshape(count, warps, self.shape.rows, 8)
        values = values.reshape(count, halves, 2, warps, 8, 4).transpose(0, 3, 1, 4, 5, 2)
        return values.reshape(count, warps, self.shape.rows, 8)

    def write(self, total, rows):
        """Spread matrices over D's registers."""
        warps, kind = self.warps, RESULT[self.shape.d]
        total = total.reshape(self.count, warps, self.shape.rows // 8, 8, 4, 2)
        each = len(rows) // self.count
        for k, row in enumerate(rows):
            which, k = divmod(k, each)
            if self.shape.d == "f16":
                row.view(kind).reshape(warps, 8, 4, 2)[...] = total[which, :, k]
            else:
                row.view(kind).reshape(warps, 8, 4)[...] = total[which, :, k // 2, :, :, k % 2]


@collective("ldmatrix.sync")
def load_matrix(b):
    """ldmatrix: 8x8 tiles of 16-bit elements; lane 8 j + i names row i of tile j, and gets two neighbours of each tile."""
    names, transposed = parts(b.ins.operands[0]), b.ins.has("trans")
    if b.ins.kind != "b16" or not b.ins.has("m8n8"):
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: no such tiles here, PTX line {b.ins.line}")
    count, rows = len(names), [b.write(name, "b32") for name in names]
    giving, gives = Mask(b.lanes), b.machine.lane_in_warp < 8 * count
    giving.set(gives)
    where = locator(b, b.ins.operands[1], "shared", 16, giving if count < 4 else b.mask)
    tell = observer(b, Effect("read", 16, form="ldmatrix"))

    def run():
        if b.mask is not None:
            require(b)
            if count < 4:
                giving.set(gives & b.mask.bool)
        part, = where()
        if part.region.written is not None:
            check_written(b, part, 16)
        if tell:
            tell(part)
        tiles = part.region.view(np.dtype(np.uint16), 8).take(part.index.reshape(-1, 32)[:, :8 * count], 0)
        tiles = tiles.reshape(-1, count, 8, 8)
        words = (np.ascontiguousarray(tiles.swapaxes(2, 3)) if transposed else tiles).view(np.uint32)
        for j, row in enumerate(rows):
            row.reshape(-1, 8, 4)[...] = words[:, j]
    return run


@collective("stmatrix.sync")
def store_matrix(b):
    """stmatrix: the reverse of ldmatrix."""
    address, values = b.ins.operands
    names, transposed = parts(values), b.ins.has("trans")
    if b.ins.kind != "b16" or not b.ins.has("m8n8"):
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: no such tiles here, PTX line {b.ins.line}")
    count, rows = len(names), [b.full(name, "b32") for name in names]
    giving, gives = Mask(b.lanes), b.machine.lane_in_warp < 8 * count
    where, tell = locator(b, address, "shared", 16, giving), observer(b, Effect("write", 16, form="stmatrix"))
    schedule = b.machine.schedule

    def run():
        if b.mask is not None:
            require(b)
        giving.set(gives if b.mask is None else gives & b.mask.bool)
        part, = where()
        words = np.stack([row.reshape(-1, 8, 4) for row in rows], 1)         # (warps, tiles, 8 rows, 4 pairs)
        tiles = np.ascontiguousarray(words).view(np.uint16)
        if transposed:
            tiles = np.ascontiguousarray(tiles.swapaxes(2, 3))
        data = np.zeros((b.lanes // 32, 32, 8), np.uint16)
        data[:, :8 * count] = tiles.reshape(-1, 8 * count, 8)
        if tell:
            tell(part)
        at = part.index[giving.bool]
        if part.region.written is not None:
            part.region.mark_written(at, 16)
        part.region.view(np.dtype(np.uint16), 8)[at] = data.reshape(-1, 8)[giving.bool]
        part.region.stored, schedule.changes = True, schedule.changes + 1
    return run


@collective("movmatrix.sync")
def move_matrix(b):
    """movmatrix.trans: transpose an 8x8 tile of 16-bit elements across the lanes."""
    d, a = b.write(b.ins.operands[0], "b32"), b.full(b.ins.operands[1], "b32")

    def run():
        if b.mask is not None:
            require(b)
        tiles = np.ascontiguousarray(a).view(np.uint16).reshape(-1, 8, 8)
        d[...] = np.ascontiguousarray(tiles.swapaxes(1, 2)).view(np.uint32).reshape(-1)
    return run
