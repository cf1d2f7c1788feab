"""Neighbouring instructions of one form that do not depend on each other are executed as one, on stacked rows.

Compilers unroll: sixty-four multiplications in a row are common. A call of NumPy costs as much as the work on a few
hundred lanes, so one call on a stack of rows is many times quicker than one per instruction.
"""
from .syntax import Immediate, Register, Special, Symbol, parts
from .table import find

MOST_ELEMENTS = 16384            # of a stack: beyond, the calls no longer matter but the cache does


def runs(instructions, lanes):
    """The instructions of a block in groups: each group's are independent and of one form."""
    most = max(1, MOST_ELEMENTS // lanes)
    groups, at = [], 0
    while at < len(instructions):
        stop = _stop(instructions, at, most)
        groups.append(instructions[at:stop])
        at = stop
    return groups


def _stop(instructions, start, most):
    """Where the group that begins at `start` ends."""
    first = instructions[start]
    following = instructions[start + 1:start + 2]
    if not following or following[0].opcode != first.opcode:
        return start + 1
    entry = find(first)
    if entry is not None and entry.elementwise:
        return _independent(instructions, start, most, _stackable)
    return _independent(instructions, start, len(instructions), None) if entry is not None and entry.fuse else start + 1


def _independent(instructions, start, most, same_shape):
    """End of the run of instructions from `start` with one opcode and guard that neither feed nor overwrite each other."""
    first, written, read, at = instructions[start], set(), set(), start
    while at < len(instructions) and at - start < most:
        ins = instructions[at]
        if ins.opcode != first.opcode or ins.guard != first.guard or same_shape and not same_shape(ins, first):
            break
        results, operands = _names(ins.operands[:1]), _names(ins.operands[1:])
        if written & operands or results & (written | read):
            break
        written |= results
        read |= operands - results if at == start else operands
        at += 1
    return max(at, start + 1)


def _stackable(ins, first):
    """Whether the operands are plain, and of the same kinds and widths as the first one's."""
    width = ins.function.registers
    return isinstance(ins.operands[0], Register) and len(ins.operands) == len(first.operands) and all(
        type(a) is type(b) and (isinstance(a, Immediate) or isinstance(a, Register) and width[a.name] == width[b.name]
                                or isinstance(a, (Special, Symbol)) and a == b)
        for a, b in zip(ins.operands, first.operands))


def _names(operands):
    return {part.name for operand in operands for part in parts(operand) if isinstance(part, Register)}
