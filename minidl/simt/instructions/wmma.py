"""wmma: matrix fragments whose layout is the hardware's own affair, so that only load, store and mma.sync look inside.

Here a register of a fragment holds the same elements whatever the type, so that an accumulator in float32 and one in
float16 correspond element by element. float16 operands are held twice, as the instruction's register counts ask for.

Source: PTX ISA, "Matrix multiply-accumulate operation using wmma instructions".
"""
import numpy as np

from ..access import base_of, check_written, locator, observer, space_of
from ..binding import Mask
from ..faults import UnknownInstruction
from ..kinds import BITS, DTYPE, UNSIGNED
from ..observe import Effect
from ..syntax import parts
from ..table import collective
from .matrix import INTEGER, RESULT, accumulate, numbers
from .warp import require

SHAPES = {"m16n16k16": (16, 16, 16), "m32n8k16": (32, 8, 16), "m8n32k16": (8, 32, 16), "m16n16k8": (16, 16, 8),
          "m8n8k4": (8, 8, 4)}


class Fragment:
    """Which element of a matrix (rows, columns) each slot of each lane holds.

    Attributes:
        kind: the element's type; bits: its width; per: elements in a register.
        at: (32, slots) element numbers, row by row. Slots beyond the matrix repeat it.
    """

    def __init__(self, rows, columns, kind, registers):
        self.rows, self.columns, self.kind, self.bits = rows, columns, kind, 32 if kind == "tf32" else BITS[kind]
        self.word = 64 if self.bits == 64 else 32
        self.per = self.word // self.bits
        slots = registers * self.per
        needed = rows * columns // 32
        lane, slot = np.arange(32)[:, None], np.arange(slots)[None] % needed
        pair = min(2, needed)                            # a lane holds two neighbours, the next lane the next two
        within, tile = slot % pair, slot // pair
        linear = (tile * 32 + lane) * pair + within
        self.at = linear

    def gather(self, matrix):
        """(warps, rows * columns) elements -> one row of words per register."""
        slots = np.ascontiguousarray(matrix[:, self.at])                     # (warps, 32, slots)
        words = slots.view(UNSIGNED[self.word]).reshape(-1, slots.shape[2] // self.per)
        return words.T

    def scatter(self, rows):
        """Rows of words -> (warps, rows * columns) elements."""
        words = np.ascontiguousarray(np.stack(rows, 1))                      # (lanes, registers)
        slots = words.view(UNSIGNED[self.bits]).reshape(-1, 32, words.shape[1] * self.per)
        matrix = np.empty((slots.shape[0], self.rows * self.columns), slots.dtype)
        matrix[:, self.at.reshape(-1)] = slots.reshape(slots.shape[0], -1)
        return matrix


def _shape(ins):
    for name, shape in SHAPES.items():
        if name in ins.opcode:
            return shape
    raise UnknownInstruction(f"[simt] {'.'.join(ins.opcode)}: no such matrix shape here, PTX line {ins.line}")


def _fragment(ins, which, kind, registers):
    m, n, k = _shape(ins)
    rows, columns = {"a": (m, k), "b": (k, n), "c": (m, n), "d": (m, n)}[which]
    return Fragment(rows, columns, kind, registers)


class Walk:
    """The accesses of a whole fragment, slot after slot, as Parts of one element per lane."""

    def __init__(self, b, fragment, action):
        self.b, self.fragment, self.size = b, fragment, fragment.bits // 8
        address = b.ins.operands[0 if action == "write" else 1]
        self.base, self.row, self.mask = base_of(b, address), np.zeros(b.lanes, np.uint64), Mask(b.lanes)
        self.where = locator(b, address, space_of(b.ins), self.size, self.mask, self.row)
        self.tell = observer(b, Effect(action, self.size, form="wmma"))
        self.stride = b.full(b.ins.operands[2], "u32") if len(b.ins.operands) > 2 else None

    def __iter__(self):
        fragment, warps = self.fragment, self.b.lanes // 32
        lines, places = fragment.at // fragment.columns, fragment.at % fragment.columns
        if not self.b.ins.has("row"):
            lines, places = places, lines
        stride = self.stride
        if stride is None:
            stride = np.uint64(fragment.columns if self.b.ins.has("row") else fragment.rows)
        self.mask.set(True if self.b.mask is None else self.b.mask.bool)
        for slot in range(fragment.at.shape[1]):
            line, place = (np.tile(x[:, slot], warps).astype(np.uint64) for x in (lines, places))
            element = line * stride + place
            np.add(self.base, element * np.uint64(self.size), self.row)
            for part in self.where():
                yield slot, part


@collective("wmma.load", order="reads")
def load(b):
    """wmma.load.a|b|c: a matrix from memory, its rows or columns `stride` elements apart."""
    names = parts(b.ins.operands[0])
    fragment = _fragment(b.ins, b.ins.opcode[2], b.kind, len(names))
    walk, dtype = Walk(b, fragment, "read"), UNSIGNED[fragment.bits]
    rows = [b.write(name, f"b{fragment.word}") for name in names]

    def run():
        if b.mask is not None:
            require(b)
        slots = np.zeros((b.lanes, fragment.at.shape[1]), dtype)
        for slot, part in walk:
            if part.region.written is not None:
                check_written(b, part, walk.size)
            if walk.tell:
                walk.tell(part)
            slots[part.active, slot] = part.region.view(dtype)[part.index[part.active]]
        words = slots.view(UNSIGNED[fragment.word]).reshape(b.lanes, -1)
        for k, row in enumerate(rows):
            row[...] = words[:, k]
    return run


@collective("wmma.store", order="writes", writes_first=False)
def store(b):
    """wmma.store.d: a matrix to memory."""
    names = parts(b.ins.operands[1])
    fragment = _fragment(b.ins, "d", b.kind, len(names))
    walk, dtype, schedule = Walk(b, fragment, "write"), UNSIGNED[fragment.bits], b.machine.schedule
    rows = [b.full(name, f"b{fragment.word}") for name in names]

    def run():
        if b.mask is not None:
            require(b)
        slots = np.ascontiguousarray(np.stack(rows, 1)).view(dtype)
        schedule.changes += 1
        for slot, part in walk:
            part.region.stored, view = True, part.region.view(dtype)
            if walk.tell:
                walk.tell(part, (view, [np.ascontiguousarray(slots[:, slot])]))
            at = part.index[part.active]
            if part.region.written is not None:
                part.region.mark_written(at, walk.size)
            view[at] = slots[part.active, slot]
    return run


@collective("wmma.mma", order="free")
def multiply(b):
    """wmma.mma: D = A B + C."""
    ins, (m, n, k) = b.ins, _shape(b.ins)
    kinds = ins.kinds()
    if len(kinds) == 2:                                  # of float16 matrices only D and C are named
        kinds = [kinds[0], "f16", "f16", kinds[1]]
    d_kind, a_kind, b_kind, c_kind = kinds[-4:]
    names = [parts(o) for o in ins.operands]
    fragments = [_fragment(ins, which, kind, len(names[i])) for i, (which, kind) in
                 enumerate((("d", d_kind), ("a", a_kind), ("b", b_kind), ("c", c_kind)))]
    given = [[b.full(name, f"b{f.word}") for name in part] for f, part in zip(fragments[1:], names[1:])]
    results = [b.write(name, f"b{fragments[0].word}") for name in names[0]]

    def values(fragment, rows, kind, shape):
        codes = fragment.scatter(rows)
        if kind in RESULT and kind != "f16":
            return codes.view(RESULT[kind]).reshape(-1, *shape)
        return numbers(codes.view(DTYPE[kind]) if kind in INTEGER else codes, kind).reshape(-1, *shape)

    def run():
        if b.mask is not None:
            require(b)
        x, y = values(fragments[1], given[0], a_kind, (m, k)), values(fragments[2], given[1], b_kind, (k, n))
        c = values(fragments[3], given[2], c_kind, (m, n))
        total = accumulate(np.matmul(x, y), c, d_kind, ins.has("satfinite"))
        codes = np.ascontiguousarray(total).view(UNSIGNED[fragments[0].bits]).reshape(-1, m * n)
        for row, words in zip(results, fragments[0].gather(codes)):
            row[...] = words
        for watching in b.machine.observers:
            warps = b.lanes // 32 if b.mask is None else int(b.mask.bool.reshape(-1, 32).any(1).sum())
            watching.matrix(a_kind, 2 * m * n * k * warps, warps)
    return run
