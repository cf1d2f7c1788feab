"""Tensor maps: what cp.async.bulk.tensor knows of a tensor in global memory and of the boxes that it copies.

    x = simt.TensorMap(array, box=(64, 32), swizzle=64)       # in the place of a `const __grid_constant__ CUtensorMap`
    simt.launch(module, grid, block, [x, y, 300])

The driver's 128 bytes are the hardware's own affair, and not documented; these here hold plain fields (`LAYOUT`), which
`tensormap.replace` writes, too. Axes are counted as NumPy does in Python, and from the innermost in the 128 bytes.

Source: CUDA driver API, "Tensor Map Object Management"; PTX ISA, "Tensors", "Swizzling modes", "tensormap.replace".
"""
import numpy as np

from ..errors import message
from .faults import PtxError

LAYOUT = np.dtype([("global_address", "u8"), ("global_stride", "u8", 4), ("global_dim", "u4", 5), ("box_dim", "u4", 5),
                   ("element_stride", "u4", 5), ("rank", "u4"), ("elemtype", "u4"), ("interleave_layout", "u4"),
                   ("swizzle_mode", "u4"), ("fill_mode", "u4"), ("swizzle_atomicity", "u4"), ("", "u4")])
KINDS = ("u8", "u16", "u32", "s32", "u64", "s64", "f16", "f32", "f32", "f64", "bf16", "tf32", "tf32")      # by number
BYTES = (1, 2, 4, 4, 8, 8, 2, 4, 4, 8, 2, 4, 4)
NUMBERS = {"uint8": 0, "int8": 0, "uint16": 1, "uint32": 2, "int32": 3, "uint64": 4, "int64": 5, "float16": 6,
           "float32": 7, "float64": 9, "bfloat16": 10, "float8_e4m3fn": 0, "float8_e5m2": 0}
SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}  # bytes within which 16-byte pieces change places -> the mode's number
NAN = {"f16": 0x7FFF, "bf16": 0x7FFF, "f32": 0x7FFFFFFF, "tf32": 0x7FFFFFFF, "f64": 0x7FF8 << 48}


class TensorMap:
    """A tensor map of an array, to be passed as a kernel's argument.

    Args:
        array: of one to five axes, the last one contiguous. It is copied to the device, and back if it is written to.
        box: how many elements of each axis a copy moves.
        swizzle: 0, 32, 64 or 128: the bytes of shared memory in which pieces of 16 change places.
        steps: copy only each so-many-th element along each axis; None: every one.
        fill: what elements beyond the tensor are: "zero" or "nan".
        dtype: the elements' type where NumPy has none: "bfloat16" for an array of uint16.

    Raises:
        PtxError: what hardware refuses.
    """

    def __init__(self, array, box, swizzle=0, steps=None, fill="zero", dtype=None):
        self.array, self.box, self.steps = array, tuple(box), tuple(steps or (1,) * array.ndim)
        self.swizzle, self.fill, self.dtype = swizzle, fill, dtype or array.dtype.name
        for name, wanted, good in self._rules():
            if not good:
                found = f"{array.dtype} {array.shape}, strides {array.strides}" if name == "array" else vars(self)[name]
                raise PtxError(message("simt.TensorMap", name, wanted, str(found)))

    def _rules(self):
        """(argument, what is expected of it, whether it is so), one by one."""
        array, inner = self.array, self.box[-1] * self.array.itemsize
        yield "array", "1 to 5 axes, the last contiguous", 1 <= array.ndim <= 5 and array.strides[-1] == array.itemsize
        yield "array", "strides of multiples of 16 bytes", all(s > 0 and s % 16 == 0 for s in array.strides[:-1])
        yield "dtype", f"one of {', '.join(NUMBERS)}", self.dtype in NUMBERS
        yield "box", f"{array.ndim} numbers of 1 to 256", \
            len(self.box) == len(self.steps) == array.ndim and all(1 <= n <= 256 for n in self.box)
        yield "box", "a last axis of a multiple of 16 bytes", inner % 16 == 0
        yield "swizzle", "0, 32, 64 or 128 bytes, no fewer than the box's last axis has", \
            self.swizzle in SWIZZLES and (not self.swizzle or inner <= self.swizzle)
        yield "steps", "1 to 8, the last one 1", all(1 <= n <= 8 for n in self.steps) and self.steps[-1] == 1
        yield "fill", "zero or nan", self.fill in ("zero", "nan")

    def encoded(self, address):
        """The 128 bytes, for an array that is at a device address."""
        fields, rank = np.zeros(1, LAYOUT), self.array.ndim
        fields["global_address"], fields["rank"], fields["elemtype"] = address, rank - 1, NUMBERS[self.dtype]
        fields["global_stride"][0, :rank - 1] = self.array.strides[-2::-1]
        for name, values in (("global_dim", self.array.shape), ("box_dim", self.box), ("element_stride", self.steps)):
            fields[name][0, :rank] = values[::-1]
        fields["swizzle_mode"], fields["fill_mode"] = SWIZZLES[self.swizzle], self.fill == "nan"
        return fields.tobytes()


class Tile:
    """One box of a tensor: which elements of memory it consists of.

    Args:
        fields: a record of LAYOUT.
        origin: the coordinates of its first element, innermost first.

    Attributes:
        size: bytes of an element; count: elements of the box.
        inside: (count,), booleans: does the element lie in the tensor? The innermost axis runs fastest.
        offsets: bytes from the tensor's start of those that do.

    Raises:
        ValueError: says what is wrong with the map.
    """

    def __init__(self, fields, origin):
        rank, number = int(fields["rank"]) + 1, int(fields["elemtype"])
        if rank != len(origin) or number >= len(BYTES) or fields["interleave_layout"] or fields["swizzle_mode"] > 3:
            raise ValueError(f"a tensor map of {len(origin)} axes, a known type, no interleaving")
        self.kind, self.size, self.address = KINDS[number], BYTES[number], int(fields["global_address"])
        boxes, steps = (fields[name][:rank].astype(np.int64) for name in ("box_dim", "element_stride"))
        counts = -(-boxes // np.maximum(steps, 1))
        self.count, self.swizzle = int(np.prod(counts)), int(fields["swizzle_mode"])
        inner = int(counts[0]) * self.size
        if not counts.all() or (boxes > 256).any() or inner % 16 or self.swizzle and inner > 16 << self.swizzle:
            raise ValueError("boxes of 1 to 256 elements a side, rows of a multiple of 16 bytes, within the swizzle")
        if self.address % 16 or (fields["global_stride"][:rank - 1] % 16).any():
            raise ValueError("an address and strides that are multiples of 16 bytes")
        strides = [self.size, *fields["global_stride"][:rank - 1].astype(np.int64).tolist()]
        self.inside, self.offsets = np.ones((1,) * rank, bool), np.zeros((1,) * rank, np.int64)
        for axis in range(rank):
            at = (int(origin[axis]) + np.arange(counts[axis]) * steps[axis]).reshape(-1, *(1,) * axis)
            self.inside = self.inside & (at >= 0) & (at < fields["global_dim"][axis])
            self.offsets = self.offsets + at * strides[axis]
        self.offsets, self.inside = self.offsets[self.inside], self.inside.reshape(-1)
        self.fill = NAN.get(self.kind, 0) if fields["fill_mode"] else 0

    def blank(self):
        """The box's bytes (count, size), as elements beyond the tensor are."""
        return np.full(self.count, self.fill, f"u{self.size}").view(np.uint8).reshape(self.count, self.size)


def swizzled(pieces, mode):
    """Where the 16-byte pieces of those numbers, from an address 0 of shared memory on, are put."""
    return pieces ^ (pieces >> 3 & (1 << mode) - 1)
