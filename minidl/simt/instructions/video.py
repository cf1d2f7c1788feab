"""Video instructions: two 16-bit or four 8-bit integers in a word (vadd4, vabsdiff2, ...), and scalars with selected
parts.

Source: PTX ISA, "Scalar Video Instructions" and "SIMD Video Instructions".
"""
import numpy as np

from ..faults import UnknownInstruction
from ..kinds import is_signed
from ..table import elementwise

FUNCTIONS = {"vadd": np.add, "vsub": np.subtract, "vavrg": lambda x, y: (x + y + (x + y >= 0)) >> 1,
             "vabsdiff": lambda x, y: np.abs(x - y), "vmin": np.minimum, "vmax": np.maximum}
COMPARE = {"eq": np.equal, "ne": np.not_equal,
           "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}


def _parts(words, kind, count):
    """The elements of words (lanes,) as int64 (lanes, count)."""
    bits = 32 // count
    dtype = np.dtype(f"{'i' if is_signed(kind) else 'u'}{bits // 8}")
    return np.ascontiguousarray(words).view(dtype).reshape(-1, count).astype(np.int64)


def _range(kind, bits):
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed(kind) else (0, (1 << bits) - 1)


@elementwise(*(f"{name}{count}" for name in (*FUNCTIONS, "vset") for count in (2, 4)), fuse=False)
def simd(b):
    """v*2 and v*4: every part of d = a op b, wrapped or with .sat clamped; .add: the sum of all parts, plus c."""
    ins, operands = b.ins, b.ins.operands
    name, count = ins.name[:-1], int(ins.name[-1])
    kinds = ins.kinds()
    into, a_kind, b_kind = kinds[0] if name != "vset" else "u32", kinds[-2], kinds[-1]
    bits, function = 32 // count, COMPARE[ins.first(COMPARE)] if name == "vset" else FUNCTIONS[name]
    (x, y, z), d = (b.full(o, "u32") for o in operands[1:4]), b.write(operands[0], "u32")
    low, high = _range(into, bits)
    shifts = (np.arange(count) * bits).astype(np.uint64)
    if any(m in ins.text for m in (".b0", ".h0", ".b1", ".h1", ".b2", ".b3", ".b7")):
        raise UnknownInstruction(f"[simt] {ins.text}: selected parts are not executed, PTX line {ins.line}")

    def run():
        value = function(_parts(x, a_kind, count), _parts(y, b_kind, count)).astype(np.int64)
        if ins.has("add"):
            d[...] = (value.sum(1) + z).astype(np.uint32)
            return
        value = np.clip(value, low, high) if ins.has("sat") else value
        parts = value.astype(np.uint64) & np.uint64((1 << bits) - 1)
        d[...] = (parts << shifts).sum(1).astype(np.uint32)
    return run


@elementwise("vadd", "vsub", "vabsdiff", "vmin", "vmax", "vshl", "vshr", "vmad", "vset", fuse=False)
def scalar(b):
    """Scalar forms, without selected parts: a op b in 64 bits, clamped with .sat, then combined with c (.add, .min,
    .max)."""
    ins, operands = b.ins, b.ins.operands
    kinds = ins.kinds()
    into, a_kind, b_kind = (kinds[0], kinds[1], kinds[2]) if len(kinds) > 2 else ("u32", *kinds)
    x, y, d = b.full(operands[1], a_kind), b.full(operands[2], b_kind), b.write(operands[0], "u32")
    z = b.full(operands[3], into) if len(operands) > 3 else None
    name, (low, high) = ins.name, _range(into, 32)

    def value():
        p, q = x.astype(np.int64), y.astype(np.int64)
        if name == "vmad":
            return p * q + z
        if name in ("vshl", "vshr"):
            amount = q & 31 if ins.has("wrap") else np.minimum(q, 32)
            return p << amount if name == "vshl" else p >> amount
        return COMPARE[ins.first(COMPARE)](p, q).astype(np.int64) if name == "vset" else FUNCTIONS[name](p, q)

    def run():
        result = value()
        result = np.clip(result, low, high) if ins.has("sat") else result
        if z is not None and name != "vmad":
            wrapped = result.astype(np.uint64).astype(np.uint32).view(z.dtype).astype(np.int64)
            how = ins.first(("add", "min", "max"))
            result = {"add": np.add, "min": np.minimum, "max": np.maximum}[how](wrapped, z)
        d[...] = result.astype(np.uint64).astype(np.uint32)
    return run
