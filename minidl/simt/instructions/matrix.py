"""Matrix instructions of a warp: mma.sync, ldmatrix, stmatrix, movmatrix.

A fragment spreads a matrix over the lanes: lane 4 g + t holds, in each register, `per` neighbours of row g (of A, C
and D) or column g (of B), from column or row t * per on. More registers cover the rows 8 to 15, and further columns.

Source: PTX ISA, "Matrix multiply-accumulate operation using mma instruction", the fragment figures.
"""
from dataclasses import dataclass

import numpy as np

from ..access import Part, check_written, locator, observer, stack_locator
from ..binding import Mask
from ..faults import UnknownInstruction
from ..kinds import BITS
from ..observe import Effect
from ..rounding import widen
from ..syntax import parts
from ..table import collective
from .warp import require

INTEGER = {"s8": np.int8, "u8": np.uint8}
NARROW = ("s4", "u4", "b1")              # several to a byte
RESULT = {"f32": np.float32, "s32": np.int32, "f16": np.float16, "f64": np.float64}


def elements(words, kind):
    """Words of fragment registers as a flat array of their elements."""
    if kind == "f64":
        return words.view(np.float64).reshape(-1)
    if kind in INTEGER:
        return np.ascontiguousarray(words).view(INTEGER[kind]).reshape(-1)
    if kind in NARROW:
        pieces = np.ascontiguousarray(words)[..., None] >> np.arange(0, 32, BITS[kind], np.uint32)
        codes = (pieces & np.uint32((1 << BITS[kind]) - 1)).astype(np.int8).reshape(-1)
        return codes - ((codes & 8) << 1) if kind == "s4" else codes
    dtype = {32: np.uint32, 16: np.uint16, 8: np.uint8}[32 if kind == "tf32" else BITS[kind]]
    return np.ascontiguousarray(words).view(dtype).reshape(-1)


def numbers(codes, kind):
    """Elements as numbers that matmul takes. Sums of products of small integers stay below 2**24, exact in float32."""
    if kind == "f64":
        return codes
    return codes.astype(np.float32) if kind in INTEGER or kind in NARROW else widen(codes, kind)


@dataclass(frozen=True)
class Shape:
    """M, N and K of one instruction, the types of D, A, B and C, and whether it counts bits that differ."""
    rows: int
    columns: int
    depth: int
    d: str
    a: str
    b: str
    c: str
    differ: bool = False

    @classmethod
    def of(cls, ins):
        """Read from an opcode.

        Raises:
            UnknownInstruction: no such shape or types here.
        """
        text = next(m for m in ins.opcode if m[0] == "m" and m[1:2].isdigit())
        m, n, k = (int(x) for x in text[1:].replace("n", " ").replace("k", " ").split())
        d, a, b, c = ins.kinds()[-4:]
        known = a in INTEGER or a in (*NARROW, "f16", "bf16", "tf32", "f64", "e4m3", "e5m2")
        if not known or n != 8 or (m, k) == (8, 4) and a == "f16":
            raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: no such matrix shape here, PTX line {ins.line}")
        return cls(m, n, k, d, a, b, c, ins.has("xor"))

    def product(self, a, b):
        """The matrix product of numbers; of bits, how many both have set, or in how many they differ."""
        return (self.depth - np.matmul(1 - 2 * a, 1 - 2 * b)) / 2 if self.differ else np.matmul(a, b)

    @property
    def per(self):
        """Elements of A and B in a register."""
        return 1 if self.a in ("f64", "tf32") else 32 // BITS[self.a]

    def places_of_a(self, count, lanes):
        """For `count` matrices A in one array (registers, lanes) of elements: where element (warp, matrix and row, k)
        is."""
        matrix, row, k = np.ogrid[:count, :self.rows, :self.depth]
        part, t, e = k // (4 * self.per), k % (4 * self.per) // self.per, k % self.per
        register = matrix * (self.rows // 8 * (self.depth // (4 * self.per))) + part * (self.rows // 8) + row // 8
        place = (register * lanes + row % 8 * 4 + t) * self.per + e
        return self._of_warps(place.reshape(count * self.rows, self.depth), lanes)

    def places_of_b(self, count, lanes):
        """The same for `count` matrices B: where element (warp, k, matrix and column) is."""
        k, matrix, column = np.ogrid[:self.depth, :count, :8]
        part, t, e = k // (4 * self.per), k % (4 * self.per) // self.per, k % self.per
        place = ((matrix * (self.depth // (4 * self.per)) + part) * lanes + column * 4 + t) * self.per + e
        return self._of_warps(place.reshape(self.depth, count * 8), lanes)

    def _of_warps(self, place, lanes):
        return place + (np.arange(lanes // 32) * 32 * self.per)[:, None, None]

    def places_of_d(self, a_of, b_of, count_a, count_b, lanes):
        """Where in the products (warps, count_a * M, count_b * 8) each element of the registers D (registers, lanes)
        comes from."""
        lane, pair = np.arange(lanes), 2 if self.d == "f16" else 1
        register = np.arange(self.rows // 8 * (2 // pair))
        half, e = (register, np.arange(2)) if pair == 2 else (register // 2, register % 2)
        row = np.asarray(a_of)[:, None, None, None] * self.rows + half[:, None, None] * 8 + (lane % 32 // 4)[:, None]
        within = e[None, None, None, :] if pair == 2 else e[None, :, None, None]
        column = np.asarray(b_of)[:, None, None, None] * 8 + (lane % 4 * 2)[None, None, :, None] + within
        place = (lane // 32 * count_a * self.rows)[None, None, :, None] + row
        return (place * (count_b * 8) + column).reshape(len(a_of) * len(register), lanes * pair)


@collective("mma.sync", order="free", fuse=True)
def multiply(b):
    """D = A B + C of a warp, or of several independent instructions at once.

    All their matrices A stand below each other, all B side by side, so that one product has every pair: where
    compilers unroll a larger product, every pair is wanted. If it would be mostly waste, each instruction is done
    alone.
    """
    shape, group, lanes = Shape.of(b.ins), b.group, b.lanes
    a_names, b_names = ([*dict.fromkeys(ins.operands[k] for ins in group)] for k in (1, 2))
    if len(a_names) * len(b_names) > 2 * len(group):
        return _one_by_one(b)
    word = "b64" if shape.a == "f64" else "b32"
    a_rows, b_rows, c_rows = (b.read_rows([r for operand in operands for r in parts(operand)], word)
                              for operands in (a_names, b_names, [ins.operands[3] for ins in group]))
    result = b.write_rows([r for ins in group for r in parts(ins.operands[0])], word).view(RESULT[shape.d])
    a_at, b_at = shape.places_of_a(len(a_names), lanes), shape.places_of_b(len(b_names), lanes)
    a_of, b_of = [a_names.index(i.operands[1]) for i in group], [b_names.index(i.operands[2]) for i in group]
    d_at = shape.places_of_d(a_of, b_of, len(a_names), len(b_names), lanes)
    flops, saturate = 2 * shape.rows * shape.columns * shape.depth * len(group), b.ins.has("satfinite")

    def run():
        if b.mask is not None:
            require(b)
        first = numbers(elements(a_rows(), shape.a).take(a_at), shape.a)
        second = numbers(elements(b_rows(), shape.b).take(b_at), shape.b)
        product = shape.product(first, second).reshape(-1).take(d_at)
        accumulate(product, c_rows().view(RESULT[shape.c]), shape.d, saturate, result)
        for watching in b.machine.observers:
            active = lanes // 32 if b.mask is None else int(b.mask.bool.reshape(-1, 32).any(1).sum())
            watching.matrix(shape.a, flops * active, active * len(group))
    return run


def _one_by_one(b):
    """The instructions of a group, each by itself."""
    alone = [one.closure(multiply(one)) for one in b.alone()]

    def run():
        for step in alone:
            step()
    return run


def accumulate(product, c, kind, saturate=False, out=None):
    """product + c as `kind`; integers wrap, or clamp if they saturate."""
    if kind == "s32" and saturate:
        total = np.clip(product.astype(np.int64) + c, -1 << 31, (1 << 31) - 1).astype(np.int32)
    elif kind == "s32":
        total = product.astype(np.int32) + c
    elif kind == "f16":
        total = (product + c.astype(np.float32)).astype(np.float16)
    else:
        total = np.add(product, c, out) if out is not None and out.dtype == product.dtype == c.dtype else product + c
    if out is not None and total is not out:
        out[...] = total
    return total


@collective("ldmatrix.sync", order="reads", fuse=True)
def load_matrix(b):
    """ldmatrix: 8x8 tiles of 16-bit elements; lane 8 j + i names row i of tile j, and gets two neighbours of each
    tile."""
    count, transposed, group = len(parts(b.ins.operands[0])), b.ins.has("trans"), len(b.group)
    if b.ins.kind != "b16" or not b.ins.has("m8n8"):
        raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: no such tiles here, PTX line {b.ins.line}")
    rows = b.write_rows([r for ins in b.group for r in parts(ins.operands[0])], "b32").reshape(group, count, -1, 8, 4)
    giving, gives = Mask(b.lanes), b.machine.lane_in_warp < 8 * count
    giving.set(gives)
    mask, what, eight = giving if count < 4 else b.mask, Effect("read", 16, form="ldmatrix"), np.dtype(np.uint16)
    together = stack_locator(b, [ins.operands[1] for ins in b.group], "shared", 16, mask)
    alone = [locator(one, one.ins.operands[1], "shared", 16, mask) for one in b.alone()]
    tells = [observer(b, what, ins) for ins in b.group]

    def locate():
        found = together()
        if found is not None:
            return [Part("shared", found[0], index, mask and mask.bool) for index in found[1]], found[1]
        located = [where()[0] for where in alone]
        return located, np.stack([part.index for part in located])

    def run():
        if b.mask is not None:
            require(b)
            if count < 4:
                giving.set(gives & b.mask.bool)
        located, index = locate()
        region = located[0].region
        for ins, part, tell in zip(b.group, located, tells):
            if region.written is not None:
                check_written(b, part, 16, ins)
            if tell:
                tell(part)
        tiles = region.view(eight, 8).take(index.reshape(group, -1, 32)[:, :, :8 * count], 0)
        tiles = tiles.reshape(group, -1, count, 8, 8)
        words = (np.ascontiguousarray(tiles.swapaxes(3, 4)) if transposed else tiles).view(np.uint32)
        rows[...] = words.swapaxes(1, 2)
    return run


@collective("stmatrix.sync", order="writes", writes_first=False)
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


@collective("movmatrix.sync", order="free")
def move_matrix(b):
    """movmatrix.trans: transpose an 8x8 tile of 16-bit elements across the lanes."""
    d, a = b.write(b.ins.operands[0], "b32"), b.full(b.ins.operands[1], "b32")

    def run():
        if b.mask is not None:
            require(b)
        tiles = np.ascontiguousarray(a).view(np.uint16).reshape(-1, 8, 8)
        d[...] = np.ascontiguousarray(tiles.swapaxes(1, 2)).view(np.uint32).reshape(-1)
    return run
