"""Comparisons and choices: setp, set, selp, slct."""
from functools import partial

import numpy as np

from ..kinds import BITS, DTYPE, HALVES, UNSIGNED, untyped
from ..rounding import flush, widen
from ..syntax import Negated, Pair
from ..table import elementwise
from .half import PAIRED, UNTYPED_OF

ORDERED = {"eq": np.equal, "ne": np.not_equal,
           "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
           "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal}
UNORDERED = {"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}     # not the opposite
COMBINE = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
NAMES = (*ORDERED, *UNORDERED, "num", "nan")


def comparison(name, is_float):
    """A function (a, b, out) -> out. Of NaN all ordered comparisons are false, .ne too, and all unordered ones true."""
    if name in ("num", "nan"):
        return lambda x, y, out: np.equal(np.isnan(x) | np.isnan(y), name == "nan", out)
    if name == "ne" and is_float:
        return lambda x, y, out: np.logical_or(x < y, x > y, out)
    if name == "equ":
        return lambda x, y, out: np.logical_not(np.logical_or(x < y, x > y, out), out)
    if name == "neu":
        return np.not_equal
    if name in UNORDERED:
        opposite = ORDERED[UNORDERED[name]]
        return lambda x, y, out: np.logical_not(opposite(x, y, out), out)
    return ORDERED[name]


def _values(b, kind):
    """Closures of operands 1 and 2 as NumPy can compare them."""
    if kind in HALVES:
        rows, base = [b.source(p, UNTYPED_OF[kind]) for p in (1, 2)], PAIRED.get(kind, kind)
        return [lambda row=row: widen(np.ascontiguousarray(row).view(np.uint16), base) for row in rows]
    rows = [b.source(p, kind) for p in (1, 2)]
    if b.ins.has("ftz") and kind == "f32":
        return [lambda row=row: flush(row.view(np.uint32)).view(np.float32) for row in rows]
    return [lambda row=row: row for row in rows]


@elementwise("setp")
def set_predicate(b):
    """p|q = a op b [bool c], and for q the negated comparison combined with c. f16x2: p of the lower, q of the upper
    halves."""
    ins, kind = b.ins, b.kind
    function = comparison(ins.opcode[1], kind[0] == "f" or kind in HALVES)
    combine, first = ins.first(COMBINE), ins.operands[0]
    if combine is None and not isinstance(first, Pair) and kind not in HALVES and not ins.has("ftz"):
        return partial(function, b.source(1), b.source(2), b.target(0, "pred"))
    x, y = _values(b, kind)
    if combine is None and not isinstance(first, Pair):
        d = b.target(0, "pred")
        return lambda: function(*np.broadcast_arrays(x(), y()), d)
    if isinstance(first, Pair):
        p, q = b.write(first.first, "pred"), b.write(first.second, "pred")
    else:
        p, q = b.target(0, "pred"), None
    third = None
    if combine:
        row = None if isinstance(ins.operands[3], Negated) else b.source(3, "pred")
        third = b.predicate(ins.operands[3]) if row is None else lambda: row

    def run():
        a, c = np.broadcast_arrays(x(), y())
        flag = function(a, c, np.empty(a.shape, bool))
        low, high = (flag[0::2], flag[1::2]) if kind in PAIRED else (flag, ~flag)
        if third is not None:
            other = third().copy()
            low, high = COMBINE[combine](low, other), COMBINE[combine](high, other)
        p[...] = low
        if q is not None:
            q[...] = high
    return run


ONE = {"f32": 0x3F800000, "f16": 0x3C00, "bf16": 0x3F80, "f16x2": 0x3C00, "bf16x2": 0x3F80}


@elementwise("set", fuse=False)
def set_value(b):
    """d = 1.0 or all ones where a op b [bool c], else 0."""
    ins = b.ins
    into, kind = ins.kinds()[-2:]
    function, combine = comparison(ins.opcode[1], kind[0] == "f" or kind in HALVES), ins.first(COMBINE)
    x, y = _values(b, kind)
    third = b.predicate(ins.operands[3]) if combine else None
    bits = 16 if kind in PAIRED else BITS[into]          # one result per half of a pair
    one, d = UNSIGNED[bits].type(ONE.get(into, (1 << bits) - 1)), b.target(0, untyped(into))

    def run():
        flag = function(*np.broadcast_arrays(x(), y()), np.empty(b.lanes * (2 if kind in PAIRED else 1), bool))
        if third is not None:
            flag = COMBINE[combine](flag, np.repeat(third(), 2) if kind in PAIRED else third())
        d[...] = np.where(flag, one, one.dtype.type(0)).view(d.dtype)
    return run


@elementwise("selp")
def select(b):
    """d = a where p, else b."""
    kind = untyped(b.kind)
    x, y, d = b.source(1, kind), b.source(2, kind), b.target(0, kind)
    if isinstance(b.ins.operands[3], Negated):
        p = b.predicate(b.ins.operands[3])
        return lambda: np.copyto(d, np.where(p(), x, y))
    p = b.source(3, "pred")
    return lambda: np.copyto(d, np.where(p, x, y))


@elementwise("slct")
def select_by_sign(b):
    """d = a where c >= 0, else b (also where c is NaN)."""
    into, by = b.ins.kinds()[-2:]
    x, y, c, d = b.source(1, untyped(into)), b.source(2, untyped(into)), b.source(3, by), b.target(0, untyped(into))
    return lambda: np.copyto(d, np.where(c >= DTYPE[by].type(0), x, y))
