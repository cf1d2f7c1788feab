"""Atomic operations: atom and red. Lanes go one after another, in order, which is one of the legal orders."""
import numpy as np

from ..access import effect_of, locator, observer, space_of
from ..kinds import BITS, DTYPE, HALVES, UNSIGNED, untyped
from ..rounding import flush, odd_sum, widen
from ..syntax import Sink, parts
from ..table import effect
from .half import PAIRED, store

# old value, operand, second operand -> new value
FUNCTIONS = {"add": lambda old, v, w: old + v,
             "min": lambda old, v, w: min(old, v), "max": lambda old, v, w: max(old, v),
             "and": lambda old, v, w: old & v, "or": lambda old, v, w: old | v, "xor": lambda old, v, w: old ^ v,
             "exch": lambda old, v, w: v, "cas": lambda old, v, w: w if old == v else old,
             "inc": lambda old, v, w: type(old)(0) if old >= v else old + 1,
             "dec": lambda old, v, w: v if old == 0 or old > v else old - 1}
COMMUTING = {"add": np.add, "min": np.minimum, "max": np.maximum,
             "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


@effect("atom", order="writes")
@effect("red", order="writes", writes_first=False)
def atomic(b):
    """atom.op d, [a], b[, c] and red.op [a], b: d is what was there before. Vectors are as many atomics side by
    side."""
    ins, kind = b.ins, b.kind
    operands = ins.operands if ins.name == "atom" else (Sink(), *ins.operands)
    name, given, results = ins.first(FUNCTIONS), parts(operands[2]), parts(operands[0])
    dtype = UNSIGNED[BITS[kind]] if kind in HALVES else DTYPE[kind]
    values = [b.full(v, untyped(kind)).view(dtype) for v in given]
    swap = b.full(operands[3], untyped(kind)).view(dtype) if name == "cas" else None
    rows = [None if isinstance(r, Sink) else b.write(r, untyped(kind)).view(dtype) for r in results]
    rows = rows if len(rows) == len(values) else [None] * len(values)
    size = dtype.itemsize * len(values)
    tell = observer(b, effect_of(b, "atomic", size, default="relaxed"))
    where, schedule = locator(b, operands[1], space_of(ins), size, b.mask), b.machine.schedule
    everyone, in_order = np.arange(b.lanes), _half(name, kind) if kind in HALVES else _in_order(name)

    def run():
        schedule.mark_polled()
        for part in where():
            part.region.stored = True
            if tell:
                tell(part)
            lanes = everyone if part.active is None else np.nonzero(part.active)[0]
            at = part.index[lanes]
            if part.region.written is not None:
                part.region.mark_written(at, size)
            view = part.region.view(dtype, len(values))
            flushes = name == "add" and kind == "f32" and part.space == "global"
            for value, row, cells in zip(values, rows, [view] if len(values) == 1 else view.T):
                value = flush(value.view(np.uint32)).view(np.float32) if flushes else value
                if row is None and name in COMMUTING and kind not in HALVES:
                    schedule.changes += 1
                    COMMUTING[name].at(cells, at, value[lanes])
                else:
                    schedule.changes += in_order(cells, lanes, at, value, swap, row)
                if flushes:
                    cells[at] = flush(cells[at].view(np.uint32)).view(np.float32)
    return run


def combine(name, kind):
    """(what is there, what comes) -> what both make, as bytes: an operation on all elements of two arrays."""
    if kind in HALVES:
        function = {"add": odd_sum, "min": np.fmin, "max": np.fmax}[name]

        def halves(there, coming):
            result = np.empty(there.size // 2, np.uint16)
            store(result, function(*(widen(v.view(np.uint16), kind, np.float64) for v in (there, coming))), kind)
            return result.view(np.uint8)
        return halves
    function = COMMUTING.get(name) or np.vectorize(lambda old, v: FUNCTIONS[name](old, v, v))

    def apply(there, coming):
        return function(there.view(DTYPE[kind]), coming.view(DTYPE[kind])).astype(DTYPE[kind]).view(np.uint8)
    return apply


def _in_order(name):
    """(cells, lanes, where, operand, second operand, results) -> how many cells changed. Lane after lane."""
    function = FUNCTIONS[name]

    def apply(cells, lanes, at, value, swap, row):
        changed, second = 0, value if swap is None else swap
        for lane, cell in zip(lanes.tolist(), at.tolist()):
            old = cells[cell]
            cells[cell] = new = function(old, value[lane], second[lane])
            if row is not None:
                row[lane] = old
            changed += new != old
        return changed
    return apply


def _half(name, kind):
    """The same for f16 and bf16, alone or in pairs."""
    base, function = PAIRED.get(kind, kind), {"add": odd_sum, "min": np.fmin, "max": np.fmax}[name]

    def apply(cells, lanes, at, value, swap, row):
        for lane, cell in zip(lanes.tolist(), at.tolist()):
            old = cells[cell:cell + 1].copy()
            x, y = (widen(v.view(np.uint16), base, np.float64) for v in (old, value[lane:lane + 1].copy()))
            store(cells[cell:cell + 1], function(x, y), base)
            if row is not None:
                row[lane] = old[0]
        return len(lanes)
    return apply
