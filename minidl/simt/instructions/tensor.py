"""Tensor copies: boxes of a tensor between global and shared memory, as a tensor map says (TMA, sm_90).

They arrive as bulk copies do (`bulk`).

Source: PTX ISA, "cp.async.bulk.tensor", "cp.reduce.async.bulk.tensor", "tensormap.replace", "tensormap.cp_fenceproxy".
"""
import numpy as np

from ..access import locator, space_of
from ..faults import UnknownInstruction
from ..memory import GLOBAL
from ..observe import Effect
from ..syntax import Address, parts
from ..table import collective, effect
from ..tensormap import LAYOUT, Tile, swizzled
from .atomics import FUNCTIONS, combine
from .bulk import PIECE, READ, WRITE, Reports, Span, Stretch, deliver, depart, ranks
from .warp import require

PUBLISHED = Effect("write", PIECE, "release", "gpu", "tensormap")


class Maps:
    """The tensor maps at an address operand."""

    def __init__(self, b, address, space):
        self.b, self.space = b, space
        self.locate = locator(b, Address(address.base, address.offset), space, PIECE, b.mask)

    def spans(self):
        """{lane: Span of the 128 bytes}."""
        found = {}
        for part in self.locate():
            lanes = np.arange(self.b.lanes) if part.active is None else np.nonzero(part.active)[0]
            for lane in lanes.tolist():
                at = part.index[lane] + np.arange(LAYOUT.itemsize // PIECE)
                if (at[-1] + 1) * PIECE > part.region.data.size:
                    raise self.b.machine.fault(self.b.ins, "out of bounds: a tensor map at a buffer's end", lane)
                found[lane] = Span(part.space, part.region, at, PIECE)
        return found

    def read(self):
        """[(lane, fields)]."""
        found = self.spans()
        for lane, span in found.items():
            span.tell(self.b, lane, READ)
        return [(lane, span.read().reshape(-1).view(LAYOUT)[0]) for lane, span in found.items()]


class Copy:
    """An instruction cp.async.bulk.tensor, bound: the tiles of its lanes, in global and in shared memory."""

    def __init__(self, b, tensor, shared):
        if b.ins.has("im2col", "im2col::w", "tile::gather4", "tile::scatter4", "im2col_no_offs"):
            raise UnknownInstruction(f"[simt] {'.'.join(b.ins.opcode)}: boxes only, PTX line {b.ins.line}: "
                                     f"{b.machine.describe(b.ins)}")
        self.b, self.maps = b, Maps(b, tensor, "generic")
        self.coordinates = [b.full(c, "s32") for c in parts(tensor.coordinates[0])]
        self.shared = Stretch(b, shared, "shared")

    def tiles(self):
        """[(lane, Tile)].

        Raises:
            Fault: there is no tensor map, or a wrong one.
        """
        found = []
        for lane, fields in self.maps.read():
            try:
                found.append((lane, Tile(fields, [row[lane] for row in self.coordinates])))
            except ValueError as error:
                raise self.b.machine.fault(self.b.ins, f"expected {error}, got {fields}", lane) from None
        return found

    def outside(self, lane, tile):
        """The Span of global memory that a tile's elements inside the tensor are."""
        machine, first = self.b.machine, tile.address - GLOBAL
        if not len(tile.offsets):
            region = machine.memory.region_below(0)
            return Span("global", region, tile.offsets, tile.size)
        region = machine.memory.region_below(first + int(tile.offsets.min()))
        at = first + tile.offsets - region.start
        if at.min() < 0 or at.max() + tile.size > region.data.size:
            what = (f"out of bounds (nearest: {region.name}, {region.data.size} bytes, reached for bytes {at.min()} to "
                    f"{at.max() + tile.size - 1}): a tensor that is larger than its memory")
            raise machine.fault(self.b.ins, what, lane, [tile.address])
        return Span("global", region, at // tile.size, tile.size)

    def inside(self, lane, tile, rank=None):
        """The Span of shared memory that a tile is, in the block of that number in the cluster."""
        sizes = np.full(self.b.lanes, tile.count * tile.size, np.uint32)
        span = self.shared.spans(sizes, rank)[lane]
        place = int(self.shared.ends[0, lane])
        if place % 128:
            raise self.b.machine.fault(self.b.ins, "misaligned: a tile at no multiple of 128 bytes", lane, [place])
        first = place // PIECE
        return span._replace(at=swizzled(first + np.arange(len(span.at)), tile.swizzle) - first + span.at[0])


@effect("cp.async.bulk.tensor", "cp.reduce.async.bulk.tensor", writes_first=False)
def copy(b):
    """cp.async.bulk.tensor: into shared memory [to], [map, {coordinates}], [barrier][, blocks]; out of it [map,
    {coordinates}], [from]."""
    to, source, *more = b.ins.operands
    if to.coordinates:
        return _out(b, Copy(b, to, source))
    plan, reports, chosen = Copy(b, source, to), Reports(b, more[0]), ranks(b, more[1:])

    def run():
        for lane, tile in plan.tiles():
            origin, data = plan.outside(lane, tile), tile.blank()
            origin.tell(b, lane, READ)
            data[tile.inside] = origin.read()
            for rank in chosen(lane):
                deliver(b, lane, plan.inside(lane, tile, rank), data.reshape(-1, PIECE), reports.spans(rank)(lane))
    return run


def _out(b, plan):
    name = b.ins.first(FUNCTIONS) if b.ins.has("reduce") else None

    def run():
        for lane, tile in plan.tiles():
            merge = None if name is None else combine(name, tile.kind)
            chosen = np.repeat(tile.inside, tile.size)
            depart(b, lane, plan.inside(lane, tile), plan.outside(lane, tile), merge, chosen)
    return run


@effect("cp.async.bulk.prefetch.tensor", writes_first=False)
def prefetch(b):
    """A hint to the cache."""
    return lambda: None


@effect("tensormap.replace", writes_first=False)
def replace(b):
    """tensormap.replace.tile.field [map], [axis,] value: changes a field of a tensor map."""
    address, *rest = b.ins.operands
    maps, field = Maps(b, address, space_of(b.ins)), b.ins.opcode[3 if b.ins.opcode[2] == "tile" else 2]
    axis, value = rest[0].value if len(rest) > 1 else None, b.full(rest[-1], b.kind.replace("b", "u"))

    def run():
        for lane, span in maps.spans().items():
            span.tell(b, lane, WRITE)
            fields = span.read().reshape(-1).view(LAYOUT)
            (fields[field] if axis is None else fields[field][:, axis])[...] = value[lane]
            span.write(fields.view(np.uint8).reshape(-1, PIECE))
    return run


@collective("tensormap.cp_fenceproxy", writes_first=False)
def publish(b):
    """tensormap.cp_fenceproxy [to], [from], 128: a warp copies a tensor map from shared memory, for copies to use."""
    to, source = (Maps(b, address, space) for address, space in zip(b.ins.operands, ("global", "shared")))

    def run():
        if b.mask is not None:
            require(b)
        sources = source.spans()
        for lane, target in to.spans().items():
            if lane % 32 == 0:                           # one for the warp
                sources[lane].tell(b, lane, READ)
                target.tell(b, lane, PUBLISHED)
                target.write(sources[lane].read())
    return run
