"""Loads and stores: ld, ldu, st, of one to eight values per lane, in every space."""

from ..access import Part, check_written, effect_of, locator, observer, space_of, stack_locator
from ..kinds import BITS, DTYPE
from ..syntax import Address, Sink, Symbol, parts
from ..table import effect


def _extended(b, name, kind):
    """A value narrower than its register is extended to all of it: the type as which the register is written."""
    width = b.width(name, BITS[kind])
    return kind[0].replace("f", "b") + str(width) if width > BITS[kind] and kind[0] in "usbf" else kind


def _rows(b, names, kind):
    """Targets of a load."""
    return [None if isinstance(name, Sink) else b.write(name, _extended(b, name, kind)) for name in names]


@effect("ld.global", "ld.shared", "ld.shared::cta", "ld.const", order="reads", fuse=True)
def load_stack(b):
    """Several loads of one form."""
    if len(b.group) == 1 or b.ins.has("volatile", "relaxed", "acquire", "mmio"):
        return load(b)
    ins, kind, space = b.ins, b.kind, space_of(b.ins)
    dtype, count = DTYPE[kind], len(parts(ins.operands[0]))
    names = [[parts(i.operands[0])[j] for i in b.group] for j in range(count)]
    size = dtype.itemsize * count
    addresses = [i.operands[1] for i in b.group]
    together, what, active = stack_locator(b, addresses, space, size, b.mask), effect_of(b, "read", size), b.active
    alone = [locator(one, address, space, size, b.mask) for one, address in zip(b.alone(), addresses)]
    tells = [observer(b, what, i) for i in b.group]
    rows = [b.write_rows(part, _extended(b, part[0], kind)) for part in names]

    def note(i, part, tell):
        if part.region.written is not None:
            check_written(b, part, size, i)
        if tell:
            tell(part)

    def run():
        found = together()
        if found is None:                                # in several buffers, or wrong
            for k, where in enumerate(alone):
                part, = where()
                note(b.group[k], part, tells[k])
                block = part.region.view(dtype, count).take(part.index, 0)
                for j, row in enumerate(rows):
                    row[k] = block if count == 1 else block[:, j]
            return
        region, index = found
        if region.written is not None or tells[0]:
            for i, at, tell in zip(b.group, index, tells):
                note(i, Part(space, region, at, active), tell)
        block = region.view(dtype, count).take(index, 0)
        for j, row in enumerate(rows):
            row[...] = block if count == 1 else block[:, :, j]
    return run


@effect("ld", "ldu", order="reads")
@effect("ld.volatile", "ld.relaxed", "ld.acquire", "ld.mmio", order="writes")
def load(b):
    """ld.space.vec.type: values from memory."""
    ins, kind, names = b.ins, b.kind, parts(b.ins.operands[0])
    address = ins.operands[1]
    if space_of(ins) == "param" and isinstance(address.base, Symbol):
        return _load_parameter(b, address)
    space = "global" if space_of(ins) == "param" else space_of(ins)
    dtype, count, rows = DTYPE[kind], len(names), _rows(b, names, kind)
    size = dtype.itemsize * count
    what = effect_of(b, "read", size)
    where, tell = locator(b, address, space, size, b.mask), observer(b, what)
    first, schedule = rows[0], b.machine.schedule
    direct = count == 1 and first is not None and first.dtype == dtype

    def run():
        if what.strong:
            schedule.mark_polled()
        for part in where():
            region, index, active = part.region, part.index, part.active
            if region.written is not None:
                check_written(b, part, size)
            if tell:
                tell(part)
            values = region.view(dtype, count)
            if direct and part.active is b.active:
                values.take(index, None, first, "clip")
                continue
            block = values.take(index, 0)
            for j, row in enumerate(rows):
                if row is not None:
                    value = block if count == 1 else block[:, j]
                    if active is b.active:
                        row[...] = value
                    else:
                        row[active] = value[active]
    return run


def _load_parameter(b, address):
    """ld.param: of a kernel's parameter the same for all lanes, of a call's argument or result one per lane."""
    machine, function, names = b.machine, b.ins.function, parts(b.ins.operands[0])
    dtype, rows, at = DTYPE[b.kind], _rows(b, names, b.kind), address.offset + address.base.offset
    if function.entry and address.base.name in machine.parameters:
        raw = machine.parameters[address.base.name]
        values = raw[at:at + dtype.itemsize * len(rows)].view(dtype)

        def fill():
            for row, value in zip(rows, values):
                if row is not None:
                    row.fill(value)
        return fill
    storage = machine.schedule.calls.storage(function, address.base.name)
    columns = storage[:, at:at + dtype.itemsize * len(rows)].view(dtype)

    def copy():
        for j, row in enumerate(rows):
            if row is not None:
                row[...] = columns[:, j]
    return copy


@effect("st", order="writes", writes_first=False)
def store(b):
    """st.space.vec.type: values to memory."""
    ins, kind, address, given = b.ins, b.kind, b.ins.operands[0], parts(b.ins.operands[1])
    dtype, count, sources = DTYPE[kind], len(given), [b.read(v, b.kind) for v in given]
    if ins.has("param") and isinstance(address, Address) and isinstance(address.base, Symbol):
        return _store_parameter(b, address, sources)
    size = dtype.itemsize * count
    what = effect_of(b, "write", size)
    where, tell, schedule = locator(b, address, space_of(ins), size, b.mask), observer(b, what), b.machine.schedule

    def run():
        schedule.changes += 1
        for part in where():
            region, index, active = part.region, part.index, part.active
            view = region.view(dtype, count)
            region.stored = True
            if tell:
                tell(part, (view, sources))
            at = index if active is None else index[active]
            if region.written is not None:
                region.mark_written(at, size)
            for j, source in enumerate(sources):
                value = source if active is None or source.size == 1 else source[active]
                if count == 1:
                    view[at] = value
                else:
                    view[at, j] = value
    return run


def _store_parameter(b, address, sources):
    """st.param: an argument of a call, or a device function's result."""
    at = address.offset + address.base.offset
    storage = b.machine.schedule.calls.storage(b.ins.function, address.base.name)
    columns, active = storage[:, at:at + sources[0].itemsize * len(sources)].view(sources[0].dtype), b.active

    def run():
        for j, source in enumerate(sources):
            if active is None:
                columns[:, j] = source
            else:
                columns[active, j] = source if source.size == 1 else source[active]
    return run
