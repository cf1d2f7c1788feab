"""Instructions of one form that do not depend on each other are executed as one, on stacked rows.

Compilers unroll: sixty-four multiplications near each other are common. A call of NumPy costs as much as the work on
a few hundred lanes, so one call on a stack of rows is many times quicker than one per instruction.

Inside a block an instruction may move up to its like as long as every register, and memory, is read and written in
the old order.
"""
from collections import defaultdict

from .syntax import Address, Immediate, Negated, Pair, Register, Special, Vector, parts
from .table import find

MOST_ELEMENTS = 16384            # of a stack: beyond, the calls no longer matter but the cache does
MEMORY, CARRY, FIXED = "memory", "carry", "fixed"        # stand beside registers in what instructions read and write


def arrange(instructions):
    """The instructions of a block as groups, in an order that means the same. Each group's are independent and of one
    form."""
    waits_for, before = _dependencies(instructions)
    ready, done, groups = defaultdict(list), [False] * len(instructions), []
    for at, ins in enumerate(instructions):
        if not waits_for[at]:
            ready[_form(ins)].append(at)
    for at, ins in enumerate(instructions):
        if done[at]:
            continue
        group = ready.pop(_form(ins)) if _fuses(ins) else [at]
        if not _fuses(ins):
            ready[_form(ins)].remove(at)
        for k in group:
            done[k] = True
        for k in group:
            for later in before[k]:
                waits_for[later] -= 1
                if not waits_for[later]:
                    ready[_form(instructions[later])].append(later)
        groups.append([instructions[k] for k in sorted(group)])
    return groups


def limited(groups, lanes):
    """The groups, cut to stacks that stay in the cache."""
    most = max(1, MOST_ELEMENTS // lanes)
    for group in groups:
        step = most if find(group[0]) is not None and not find(group[0]).whole else len(group)
        yield from (group[at:at + step] for at in range(0, len(group), step))


def _fuses(ins):
    entry = find(ins)
    if entry is None or not entry.fuse:
        return False
    return entry.vectors or not any(isinstance(o, (Vector, Pair, Negated)) for o in ins.operands)


def _form(ins):
    """What instructions of one group have in common: opcode, guard, and what each operand is."""
    return ins.opcode, ins.guard, tuple(_shape(o, ins) for o in ins.operands)


def _shape(operand, ins):
    if isinstance(operand, Register):
        return ins.function.registers[operand.name]
    if isinstance(operand, Immediate):
        return "literal"
    if isinstance(operand, Vector):
        return tuple(_shape(part, ins) for part in operand.parts)
    if isinstance(operand, Address) and isinstance(operand.base, Register):
        return "address", ins.function.registers[operand.base.name]
    return operand                                       # specials, symbols: only with their equals


def _dependencies(instructions):
    """(how many earlier instructions each waits for, the later ones that wait for each)."""
    counts, before = [0] * len(instructions), [[] for _ in instructions]
    writer, readers, fixed = {}, defaultdict(list), 0
    for at, ins in enumerate(instructions):
        read, written = uses(ins)
        earlier = {writer[name] for name in read | written if name in writer}
        if fixed:
            earlier.add(fixed - 1)
        if FIXED in written:
            earlier, fixed = set(range(fixed, at)) | earlier, at + 1
        for name in written:
            earlier.update(readers.pop(name, ()))
            writer[name] = at
        for name in read - written:
            readers[name].append(at)
        earlier.discard(at)
        counts[at] = len(earlier)
        for k in earlier:
            before[k].append(at)
    return counts, before


def uses(ins):
    """(what an instruction reads, what it writes): names of registers, MEMORY, CARRY, FIXED (nothing may pass it)."""
    entry = find(ins)
    if entry is None:
        return set(), {FIXED}
    results = ins.operands[:1] if entry.writes_first else ()
    written = {name for o in results for name in names(o)}
    read = {name for o in ins.operands[len(results):] for name in names(o)}
    if ins.guard:                                        # where the guard is false the old value stays
        read |= written | {ins.guard[0].name}
    if entry.order == "fixed" or any(isinstance(o, Special) and o.ticks for o in ins.operands):
        written.add(FIXED)
    elif entry.order == "reads":
        read.add(MEMORY)
    elif entry.order == "writes":
        written.add(MEMORY)
    if ins.opcode[-2:-1] == ("cc",) or ins.name in ("addc", "subc", "madc"):
        written.add(CARRY)
    return read, written


def names(operand):
    """The registers in an operand."""
    if isinstance(operand, Register):
        return [operand.name]
    if isinstance(operand, Address):
        return [*names(operand.base), *(n for part in operand.coordinates for n in names(part))]
    if isinstance(operand, Negated):
        return names(operand.operand)
    if isinstance(operand, Pair):
        return [*names(operand.first), *names(operand.second)]
    return [n for part in parts(operand) for n in names(part)] if isinstance(operand, Vector) else []

