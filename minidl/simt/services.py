"""What the driver provides to device code: printf, assertions, malloc and free."""
import re

import numpy as np

from .faults import UnknownInstruction
from .memory import GLOBAL, LOCAL

SPECIFIER = re.compile(r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?P<precision>\.(?:\*|\d*))?(?P<length>hh|ll|[hljzt])?"
                       r"(?P<letter>[a-zA-Z%])")


def service(b, name):
    """A function (lanes) that does what the driver's function `name` does.

    Raises:
        UnknownInstruction: there is none of that name.
    """
    if name not in SERVICES:
        raise UnknownInstruction(f"[simt] call of {name}: a function without a body that the laboratory does not know, "
                                 f"PTX line {b.ins.line}: {b.machine.describe(b.ins)}")
    return SERVICES[name](b)


def _argument(b, position, kind):
    """A row: what each lane passes at `position`."""
    name = b.ins.operands[2].parts[position]
    if name.name in b.ins.function.registers:
        return b.full(name, kind)
    storage = b.machine.schedule.calls.storage(b.ins.function, name.name)
    return storage[:, :np.dtype(kind).itemsize].view(kind)[:, 0]


def _result(b, kind):
    """The row of a call's result."""
    name = b.ins.operands[0].parts[0]
    storage = b.machine.schedule.calls.storage(b.ins.function, name.name)
    return storage[:, :np.dtype(kind).itemsize].view(kind)[:, 0]


def _print(b):
    """vprintf(format, arguments): the arguments lie in local memory, each aligned to its size."""
    machine, given, buffer, result = b.machine, _argument(b, 0, "u8"), _argument(b, 1, "u8"), _result(b, "i4")

    def run(lanes):
        for lane in np.nonzero(lanes)[0]:
            values = _Values(machine, lane, int(buffer[lane]))
            template = machine.memory.text(int(given[lane]))
            machine.printed.append(SPECIFIER.sub(values.replace, template))
        result[lanes] = 1
    return run


class _Values:
    """Reads a printf's arguments one by one."""

    def __init__(self, machine, lane, address):
        self.machine, self.position = machine, 0
        if address >= GLOBAL:
            self.bytes = machine.memory.bytes[address - GLOBAL:]
        else:
            local = machine.spaces["local"]
            self.bytes = local.region.data[lane * local.stride + address - LOCAL if local.size else 0:]

    def take(self, dtype):
        """The next argument."""
        size = np.dtype(dtype).itemsize
        self.position = -(-self.position // size) * size
        value = self.bytes[self.position:self.position + size].view(dtype)[0]
        self.position += size
        return value.item()

    def replace(self, m):
        """What to print for one conversion."""
        letter, length = m["letter"], m["length"] or ""
        if letter == "%":
            return "%"
        width, precision = (self.take("i4") if part in ("*", ".*") else part
                            for part in (m["width"], m["precision"] or ""))
        form = f"%{m['flags']}{width}{f'.{precision}' if isinstance(precision, int) else precision}"
        if letter in "fFeEgGaA":
            value = self.take("f8")
            return value.hex() if letter in "aA" else (form + letter) % value
        if letter == "s":
            address = self.take("u8")
            return (form + "s") % (self.machine.memory.text(address) if address >= GLOBAL else "")
        if letter == "p":
            return (form + "s") % hex(self.take("u8"))
        if letter == "c":
            return (form + "c") % (self.take("i4") & 255)
        size = {"ll": 8, "l": 8, "z": 8, "j": 8, "t": 8}.get(length, 4)
        value = self.take(f"{'i' if letter in 'di' else 'u'}{size}")
        bits = {"h": 16, "hh": 8}.get(length)
        if bits:
            value &= (1 << bits) - 1
            value -= (value >> bits - 1 << bits) if letter in "di" else 0
        return (form + letter.replace("u", "d")) % value


def _assert(b):
    """__assertfail(condition, file, line, function, size of a character)"""
    machine = b.machine
    condition, file, line, function = (_argument(b, k, kind) for k, kind in enumerate(("u8", "u8", "u4", "u8")))

    def run(lanes):
        lane, text = int(lanes.argmax()), lambda address: machine.memory.text(int(address))
        place = f"{text(file[lane])}:{int(line[lane])} in {text(function[lane])}"
        what = f"assertion `{text(condition[lane])}` at {place} failed in {int(lanes.sum())} lanes"
        raise machine.fault(b.ins, what, lanes)
    return run


def _malloc(b):
    """malloc(bytes): an address, 0 where memory is used up. No bytes are given twice within a launch."""
    size, result, machine = _argument(b, 0, "u8"), _result(b, "u8"), b.machine

    def run(lanes):
        for lane in np.nonzero(lanes)[0]:
            try:
                result[lane] = machine.memory.allocate(max(int(size[lane]), 1), "device malloc", track=True)
                machine.memory.heap.add(int(result[lane]))
            except MemoryError:
                result[lane] = 0
    return run


def _free(b):
    """free(address): touching the bytes is out of bounds from now on."""
    address, machine = _argument(b, 0, "u8"), b.machine

    def run(lanes):
        for lane in np.nonzero(lanes & (address != 0))[0]:
            given = int(address[lane])
            if given not in machine.memory.heap:
                what = f"free of {given:#x}, which malloc did not give or which was freed before"
                raise machine.fault(b.ins, what, lane, [given])
            machine.memory.heap.discard(given)
            machine.memory.release(given)
    return run


SERVICES = {"vprintf": _print, "__assertfail": _assert, "malloc": _malloc, "free": _free}
