"""Branches, calls, returns and traps."""
import numpy as np

from ..faults import UnknownInstruction
from ..memory import CODE
from ..program import EXITED
from ..schedule import Transfer
from ..syntax import Register
from ..table import control, effect


@control("bra")
def branch(b):
    """bra label: all lanes go to one block."""
    target, following = b.machine.program.target(b.ins, b.ins.operands[0].name), b.machine.schedule.next

    def move(lanes):
        following[lanes] = target
    return Transfer(move, lambda: target)


@control("brx.idx")
def branch_indexed(b):
    """brx.idx index, table: a jump table."""
    index, label = b.ins.operands
    table = np.array([b.machine.program.target(b.ins, name) for name in b.ins.function.tables[label.name]], np.int32)
    index, following = b.full(index, "u32"), b.machine.schedule.next

    def move(lanes):
        chosen = index[lanes]
        if (chosen >= len(table)).any():
            raise b.machine.fault(b.ins, f"brx.idx beyond its table of {len(table)}", lanes & (index >= len(table)))
        following[lanes] = table[chosen]
    return Transfer(move)


@control("exit")
def leave(b):
    """exit: the thread ends."""
    schedule = b.machine.schedule

    def everyone():
        schedule.exit(schedule.alive.bool.copy())
        return EXITED
    return Transfer(schedule.exit, everyone)


@control("ret")
def give_back(b):
    """ret: from a kernel the thread ends, from a device function it goes on behind the call."""
    if b.ins.function.entry:
        return leave(b)
    schedule, calls = b.machine.schedule, b.machine.schedule.calls

    def move(lanes):
        places = calls.leave(b.ins, lanes)
        schedule.next[lanes] = places[lanes]
    return Transfer(move)


@control("trap")
def trap(b):
    """trap: the kernel is aborted."""
    def move(lanes):
        raise b.machine.fault(b.ins, f"trap in {int(lanes.sum())} lanes", lanes)
    return Transfer(move)


@control("call")
def call(b):
    """call: a device function by name or through a pointer. Names without a body are services of the driver."""
    machine, ins, target = b.machine, b.ins, b.ins.operands[1]
    following, program = b.block.number + 1, b.machine.program
    if isinstance(target, Register):
        return _indirect(b, b.full(target, "u64"), following)
    callee = machine.source.functions.get(target.name)
    if callee is None or not callee.defined:
        from ..services import service
        run = service(b, target.name)

        def serve(lanes):
            machine.mask.set(lanes)
            run(lanes)
        return Transfer(serve, lambda: serve(machine.alive.bool.copy()) or following)
    schedule, start = machine.schedule, program.entry(callee)

    def move(lanes):
        schedule.calls.enter(ins, lanes, callee, following)
        schedule.next[lanes] = start

    def together():
        schedule.calls.enter(ins, machine.alive.bool, callee, following)
        return start
    return Transfer(move, together)


def _indirect(b, pointer, following):
    machine, ins = b.machine, b.ins
    by_number = {number: machine.source.functions[name] for name, number in machine.program.addresses.items()}

    def move(lanes):
        for address in np.unique(pointer[lanes]):
            here = lanes & (pointer == address)
            callee = by_number.get((int(address) - CODE) // 16)
            if callee is None or (int(address) - CODE) % 16 or not callee.defined:
                raise machine.fault(ins, f"call of {int(address):#x}, which is no function", here, [int(address)])
            machine.schedule.calls.enter(ins, here, callee, following)
            machine.schedule.next[here] = machine.program.entry(callee)
    return Transfer(move)


@effect("nanosleep", "brkpt", "pmevent", "griddepcontrol", "setmaxnreg", writes_first=False)
def wait(b):
    """Instructions that only pass time. Sleeping lanes let others go first."""
    if b.ins.name == "brkpt":
        raise UnknownInstruction(f"[simt] brkpt, PTX line {b.ins.line}: use a tracer")
    return b.machine.schedule.mark_polled
