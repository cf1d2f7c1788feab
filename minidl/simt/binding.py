"""What an instruction's family sees when it turns the instruction into a closure: rows of registers to read and
write."""
from functools import cached_property, partial

import numpy as np

from .faults import PtxError
from .kinds import BITS, DTYPE, FLOAT, FLOATS, SIGNED, UNSIGNED
from .syntax import Immediate, Negated, Register, Sink, Special, Symbol


class Mask:
    """Which lanes are active, as booleans and, on demand, as words of ones for every register width."""

    def __init__(self, lanes):
        self.bool = np.zeros(lanes, bool)
        self._words = {bits: np.zeros(lanes, UNSIGNED[bits]) for bits in (8, 16, 32, 64)}
        self._fresh = set()

    def set(self, lanes):
        """Make exactly `lanes` active."""
        self.bool[:] = lanes
        self._fresh.clear()

    def ones(self, bits):
        """All ones in active lanes, zero in others."""
        if bits == 1:
            return self.bool
        words = self._words[bits]
        if bits not in self._fresh:
            signed = SIGNED[bits]
            np.negative(self.bool.view(np.int8), out=words.view(signed), dtype=signed, casting="unsafe")
            self._fresh.add(bits)
        return words


class RegisterFile:
    """The registers of one function: a row per register, a column per lane.

    Rows are in the order in which registers are written, so that what a group of instructions writes is one stack of
    rows.
    """

    def __init__(self, function, written, lanes):
        order = dict.fromkeys(written) | dict.fromkeys(function.registers)
        self.function, self.place, rows = function, {}, {}
        for name in order:
            kind = function.registers[name]
            width = 1 if kind == "pred" else max(BITS[kind], 16)
            self.place[name] = width, rows.setdefault(width, 0)
            rows[width] += 1
        self.rows = {width: np.zeros((n, lanes), UNSIGNED[width]) for width, n in rows.items() if width in UNSIGNED}
        self._views = {}

    def width(self, name):
        """Bits of a register: 1 for predicates, 16, 32 or 64."""
        return self.place[name][0]

    def view(self, width, kind):
        """All rows of one width read as `kind`; a narrower kind is the low part of each register."""
        view = self._views.get((width, kind))
        if view is None:
            dtype, rows = DTYPE[kind], self.rows[width]
            step = 1 if width == 1 else width // (dtype.itemsize * 8)
            view = self._views[width, kind] = rows.view(dtype) if step == 1 else rows.view(dtype)[:, ::step]
        return view

    def row(self, name, kind):
        """One register read as `kind`."""
        width, number = self.place[name]
        if kind not in DTYPE or (width == 1) != (kind == "pred") or width > 1 and BITS[kind] > width:
            raise PtxError(f"[simt] register {name} of {self.function.name}: expected a register that holds {kind}, "
                           f"got .{self.function.registers[name]}")
        return self.view(width, kind)[number]


class Binding:
    """One instruction, or a `group` of independent ones of one form, about to become a closure.

    Attributes:
        machine: the Machine.
        ins: the first instruction of the group.
        group: all of them.
        mask: the Mask of lanes that take part; None: every lane does.
        lanes: number of lanes.
        shape: of the rows: (lanes,) for one instruction, (group, lanes) for several.
    """

    def __init__(self, machine, group, mask, blend):
        self.machine, self.group, self.ins, self.mask = machine, group, group[0], mask
        self.lanes, self.file = machine.lanes, machine.files[group[0].function.name]
        self.shape = (self.lanes,) if len(group) == 1 else (len(group), self.lanes)
        self.kind, self.blend = self.ins.kind, blend
        self.before, self.after = [], []

    # -- operands of the instruction, by position ------------------------------------------------------------------
    def source(self, position, kind=None):
        """The operand at `position` as values of `kind` (the instruction's own by default): a row, or one element."""
        operands = [ins.operands[position] for ins in self.group]
        if len(operands) == 1 or operands.count(operands[0]) == len(operands):
            return self.read(operands[0], kind or self.kind)
        kind = kind or self.kind
        if isinstance(operands[0], Immediate):
            return np.array([self.read(o, kind)[0] for o in operands])[:, None]
        place, view = self._stack(operands, kind)
        if isinstance(place, slice):
            return view[place]
        gathered = np.empty(self.shape, view.dtype)
        self.before.append(lambda: view.take(place, 0, gathered, "clip"))
        return gathered

    def target(self, position, kind=None):
        """Where to put the result for the operand at `position`."""
        operands, kind = [ins.operands[position] for ins in self.group], kind or self.kind
        return self.write(operands[0], kind) if len(operands) == 1 else self._target(operands, kind)

    def _target(self, operands, kind):
        place, view = self._stack(operands, kind)
        if isinstance(place, slice) and not self.blend:
            return view[place]
        scratch = np.empty((len(operands), self.lanes), view.dtype)
        rows = [(view[place], scratch)] if isinstance(place, slice) else zip([view[k] for k in place], scratch)
        for row, result in rows:
            self.after.append(self._blended(row, result) if self.blend else partial(np.copyto, row, result))
        return scratch

    def _stack(self, operands, kind):
        """(where the operands' rows are: a slice or indices, all rows as `kind`)."""
        places = [self.file.place[operand.name] for operand in operands]
        numbers = [number for _, number in places]
        self.file.row(operands[0].name, kind)             # checks the type
        view = self.file.view(places[0][0], kind)
        if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return slice(numbers[0], numbers[0] + len(numbers)), view
        return np.array(numbers), view

    # -- single operands -----------------------------------------------------------------------------------------
    def read(self, operand, kind):
        """Any operand as values of `kind`: a row of all lanes, or one element that stands for all."""
        if isinstance(operand, Register):
            return self.file.row(operand.name, kind)
        machine = self.machine
        if isinstance(operand, Special):
            return machine.special(operand.name, kind)
        if isinstance(operand, Symbol):
            address = machine.address(operand, self.ins)
            return address if address.dtype == DTYPE[kind] else address.astype(DTYPE[kind])
        if isinstance(operand, Immediate):
            return constant(operand, kind)
        raise PtxError(f"[simt] line {self.ins.line}: {operand} is not something to read in `{self.ins.text}`")

    def full(self, operand, kind):
        """As `read`, one element per lane."""
        return np.broadcast_to(self.read(operand, kind), self.lanes)

    def write(self, operand, kind):
        """The row a result goes to: the register itself where all lanes run, scratch blended in afterwards where some
        do."""
        if isinstance(operand, Sink):
            return np.empty(self.lanes, DTYPE[kind])
        if not isinstance(operand, Register):
            raise PtxError(f"[simt] line {self.ins.line}: {operand} is not something to write in `{self.ins.text}`")
        row = self.file.row(operand.name, kind)
        if not self.blend:
            return row
        scratch = np.empty(self.lanes, row.dtype)
        self.after.append(self._blended(row, scratch))
        return scratch

    def read_rows(self, operands, kind):
        """A closure that gives several operands as one array (operands, lanes)."""
        if all(isinstance(o, Register) for o in operands) and len({self.width(o, 0) for o in operands}) == 1:
            place, view = self._stack(operands, kind)
            if isinstance(place, slice):
                rows = view[place]
                return lambda: rows
            buffer = np.empty((len(operands), self.lanes), view.dtype)
            return lambda: view.take(place, 0, buffer, "clip")
        rows = [self.full(o, kind) for o in operands]
        return lambda: np.stack(rows) if len(rows) > 1 else rows[0][None]

    def write_rows(self, operands, kind):
        """Where to put several results: an array (operands, lanes)."""
        if all(isinstance(o, Register) for o in operands):
            return self._target(operands, kind)
        scratch = np.empty((len(operands), self.lanes), DTYPE[kind])
        for operand, result in zip(operands, scratch):
            if not isinstance(operand, Sink):
                row = self.write(operand, kind)
                self.after.insert(0, partial(np.copyto, row, result))
        return scratch

    def predicate(self, operand):
        """A closure that gives the truth of p or !p for every lane."""
        if isinstance(operand, Negated):
            row = self.read(operand.operand, "pred")
            return lambda: ~row
        row = self.read(operand, "pred")
        return lambda: row

    def width(self, operand, default):
        """Bits of a register operand; `default` for any other."""
        return self.file.width(operand.name) if isinstance(operand, Register) else default

    def alone(self):
        """A Binding of each instruction of the group by itself."""
        return [Binding(self.machine, [ins], self.mask, self.blend) for ins in self.group]

    def running(self):
        """The booleans of the lanes that run at this moment; not to be written."""
        return self._everyone if self.mask is None else self.mask.bool

    @cached_property
    def _everyone(self):
        return np.ones(self.lanes, bool)

    @property
    def active(self):
        """The mask's booleans, or None where every lane runs."""
        return None if self.mask is None else self.mask.bool

    def _blended(self, row, scratch):
        bits = 1 if row.dtype == bool else row.dtype.itemsize * 8
        row, scratch = row.view(UNSIGNED[bits]), scratch.view(UNSIGNED[bits])
        mask, xor, both = self.mask, np.bitwise_xor, np.bitwise_and

        def blend():                                     # row ^= (row ^ scratch) & mask: quicker than where=
            xor(scratch, row, scratch)
            both(scratch, mask.ones(bits), scratch)
            xor(row, scratch, row)
        return blend

    def closure(self, compute):
        """`compute`, with gathering before and blending after where the operands ask for it."""
        if not self.before and not self.after:
            return compute
        steps = [*self.before, compute, *self.after]
        if len(steps) == 2:
            first, second = steps

            def both():
                first()
                second()
            return both

        def run():
            for step in steps:
                step()
        return run


def constant(immediate, kind):
    """A literal as one element of `kind`."""
    dtype, value, bits = DTYPE[kind], immediate.value, immediate.float_bits
    if kind == "pred":
        return np.array([bool(value)])
    if bits and bits != BITS[kind] and kind in FLOATS:   # 0f... read as f64, 0d... as f32
        value = float(np.array([value], UNSIGNED[bits]).view(FLOAT[bits])[0])
    if isinstance(value, float):
        return np.array([value], FLOAT[dtype.itemsize * 8]).view(dtype)
    return np.array([value & (1 << dtype.itemsize * 8) - 1], UNSIGNED[dtype.itemsize * 8]).view(dtype)

