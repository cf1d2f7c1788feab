"""Textures and surfaces that kernels name by a handle: tex, tld4, txq, suld, sust.

The race check hears of surfaces, not of textures, which hardware reads through a cache that does not follow writes.

Source: PTX ISA, "Texture Instructions", "Surface Instructions".
"""
import numpy as np

from ..access import Part, observer
from ..faults import UnknownInstruction
from ..kinds import BITS
from ..memory import GLOBAL
from ..observe import Effect
from ..syntax import Sink, parts
from ..table import effect

AXES = {"1d": 1, "2d": 2, "3d": 3}


class Named:
    """The texture that an address operand [handle, {coordinates}] names, and the rows of its coordinates."""

    def __init__(self, b, address, kind):
        self.b, self.handle = b, b.full(address.base, "u64")
        axes = AXES.get(b.ins.first(AXES))
        if axes is None:
            form = ".".join(b.ins.opcode)
            raise UnknownInstruction(f"[simt] {form}: no such textures here, PTX line {b.ins.line}: {b.ins.text}")
        self.rows = [b.full(part, kind) for part in parts(address.coordinates[0])[:axes]]

    def each(self):
        """(texture, its region of memory, lanes that name it, their coordinates), one after the other.

        Raises:
            Fault: a handle is none, or of a texture with other axes.
        """
        active, memory = self.b.running(), self.b.machine.memory
        for handle in np.unique(self.handle[active]):
            lanes = np.nonzero(active & (self.handle == handle))[0]
            texture, address = memory.textures.get(int(handle), (None, 0))
            if texture is None or len(texture.shape) != len(self.rows):
                what = f"expected a handle of a texture with {len(self.rows)} axes, got {int(handle):#x}"
                raise self.b.machine.fault(self.b.ins, what, lanes[0])
            yield texture, memory.region_below(address - GLOBAL), lanes, [row[lanes] for row in self.rows]


def _results(b, kind):
    return [None if isinstance(d, Sink) else b.write(d, kind) for d in parts(b.ins.operands[0])]


def _give(rows, lanes, values):
    """Channels (lanes, channels) to registers; those that there are not are 0."""
    for k, row in enumerate(rows):
        if row is not None:
            row[lanes] = values[:, k].astype(row.dtype) if k < values.shape[1] else 0


@effect("tex", order="reads")
def sample(b):
    """tex.geometry.v4.type.type {r, g, b, a}, [texture, {coordinates}]: filtered, or of whole-numbered texels."""
    into, given = b.ins.kinds()[-2:]
    rows, named = _results(b, into), Named(b, b.ins.operands[1], given)

    def run():
        for texture, region, lanes, at in named.each():
            read = texture.fetched if given == "s32" else texture.sampled
            _give(rows, lanes, read(region.data, [x.astype(np.int64) for x in at] if given == "s32" else at))
    return run


@effect("tld4", order="reads")
def gather(b):
    """tld4.channel.2d: one channel of the four texels around a place."""
    rows, named = _results(b, b.ins.kinds()[-2]), Named(b, b.ins.operands[1], "f32")
    channel = "rgba".index(b.ins.opcode[1])

    def run():
        for texture, region, lanes, at in named.each():
            _give(rows, lanes, texture.gathered(region.data, at, channel))
    return run


class Surface:
    """The accesses of an instruction suld.b or sust.b: the first coordinate counts bytes."""

    def __init__(self, b, address, action):
        self.b, self.named, self.size = b, Named(b, address, "s32"), BITS[b.kind] // 8
        count = int(b.ins.first(("v2", "v4"), "v1")[1:])
        self.dtype, self.beyond = np.dtype(f"u{self.size}"), b.ins.opcode[-1]
        self.size *= count
        self.tell = observer(b, Effect(action, self.size, form=b.ins.name))

    def each(self):
        """(region, index of each lane's element, lanes inside, which of them are), one texture after the other."""
        for texture, region, lanes, (x, *rest) in self.named.each():
            pitch = texture.shape[-1] * texture.channels * texture.array.itemsize
            sizes, at = [pitch // self.size, *texture.shape[-2::-1]], [x.astype(np.int64) // self.size, *rest]
            inside = np.ones(len(lanes), bool) & (x % self.size == 0)
            for place, size in zip(at, sizes):
                inside &= (place >= 0) & (place < size)
            if self.beyond == "trap" and not inside.all():
                first = lanes[int(inside.argmin())]
                raise self.b.machine.fault(self.b.ins, f"out of bounds of a surface {texture.shape}", first)
            index = 0
            for place, size in zip(at[::-1], sizes[::-1]):
                index = index * size + np.clip(place, 0, size - 1)
            if self.tell:
                row, active = np.zeros(self.b.lanes, np.int64), np.zeros(self.b.lanes, bool)
                row[lanes], active[lanes] = index, inside
                self.tell(Part("global", region, row, active))
            yield region, index, lanes, inside


@effect("suld.b", order="reads")
def load(b):
    """suld.b.geometry.type {values}, [surface, {byte, row}]: out of bounds, a trap, the edge or 0."""
    rows, surface = _results(b, b.kind), Surface(b, b.ins.operands[1], "read")

    def run():
        for region, index, lanes, inside in surface.each():
            values = region.view(surface.dtype, len(rows)).reshape(-1, len(rows))[index]
            values = values if surface.beyond == "clamp" else np.where(inside[:, None], values, values.dtype.type(0))
            for k, row in enumerate(rows):
                if row is not None:
                    row[lanes] = values[:, k]
    return run


@effect("sust.b", order="writes", writes_first=False)
def store(b):
    """sust.b.geometry.type [surface, {byte, row}], {values}: out of bounds, a trap, the edge or nothing."""
    given = [b.full(value, b.kind) for value in parts(b.ins.operands[1])]
    surface = Surface(b, b.ins.operands[0], "write")

    def run():
        b.machine.schedule.changes += 1
        for region, index, lanes, inside in surface.each():
            chosen = np.ones(len(lanes), bool) if surface.beyond == "clamp" else inside
            view = region.view(surface.dtype, len(given)).reshape(-1, len(given))
            for k, row in enumerate(given):
                view[index[chosen], k] = row[lanes[chosen]]
            region.stored = True
    return run


@effect("txq", "suq", order="reads")
def query(b):
    """txq.width, .height, .depth: the size of a texture."""
    d, handle = b.write(b.ins.operands[0], "b32"), b.full(b.ins.operands[1].base, "u64")
    axis = ("width", "height", "depth").index(b.ins.opcode[1])

    def run():
        for number in np.unique(handle[b.running()]):
            texture, _ = b.machine.memory.textures[int(number)]
            d[handle == number] = texture.shape[::-1][axis] if axis < len(texture.shape) else 0
    return run
