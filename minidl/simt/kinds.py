"""PTX's fundamental types: how wide they are and how NumPy holds them."""
import numpy as np

BITS = {"pred": 1, "b1": 1, "s4": 4, "u4": 4,
        "b8": 8, "u8": 8, "s8": 8, "e4m3": 8, "e5m2": 8,
        "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16, "e4m3x2": 16, "e5m2x2": 16,
        "b32": 32, "u32": 32, "s32": 32, "f32": 32, "tf32": 32, "f16x2": 32, "bf16x2": 32, "u16x2": 32, "s16x2": 32,
        "b64": 64, "u64": 64, "s64": 64, "f64": 64, "f32x2": 64,
        "b128": 128}
UNSIGNED: dict[int, np.dtype] = {1: np.dtype(bool), 8: np.dtype("u1"), 16: np.dtype("u2"), 32: np.dtype("u4"),
                                 64: np.dtype("u8")}
SIGNED: dict[int, np.dtype] = {8: np.dtype("i1"), 16: np.dtype("i2"), 32: np.dtype("i4"), 64: np.dtype("i8")}
FLOAT: dict[int, np.dtype] = {16: np.dtype("f2"), 32: np.dtype("f4"), 64: np.dtype("f8")}
# types without a NumPy dtype (bfloat16, packed pairs, eight-bit floats) are held as their bits
DTYPE: dict[str, np.dtype] = {kind: UNSIGNED[bits] for kind, bits in BITS.items() if bits in UNSIGNED and kind != "b1"}
DTYPE |= {f"s{bits}": dtype for bits, dtype in SIGNED.items()} | {f"f{bits}": dtype for bits, dtype in FLOAT.items()}

INTEGERS = frozenset(f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64))
UNTYPED = frozenset(f"b{bits}" for bits in (8, 16, 32, 64))
FLOATS = frozenset({"f32", "f64"})
HALVES = frozenset({"f16", "bf16", "f16x2", "bf16x2"})


def is_signed(kind):
    """Whether `kind` is a signed integer type."""
    return kind[0] == "s"


def untyped(kind):
    """The bit type as wide as `kind`: "f32" -> "b32"; predicates stay predicates."""
    return kind if kind == "pred" else f"b{BITS[kind]}"


def canonical_nan(kind):
    """The bits of the NaN that arithmetic of `kind` gives."""
    return {"f16": 0x7FFF, "bf16": 0x7FFF, "f32": 0x7FFFFFFF, "f64": 0x7FF8000000000000}[kind]
