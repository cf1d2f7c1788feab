"""A kernel and the functions it may call, cut into blocks."""
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from .faults import PtxError
from .fusion import arrange
from .layout import Layout
from .syntax import Function, Immediate, Instruction, Register, Special, Symbol, parts
from .table import find

EXITED = 1 << 30                 # the block number of lanes that have left the kernel


@dataclass(eq=False)
class Block:
    """Instructions that lanes run together. Divergence begins at its end only.

    Attributes:
        number: place in the program; lanes at smaller numbers run first.
        function: whose code it is.
        instructions: without the ending.
        ending: the control instruction behind them, None where the block runs into the next one.
        gate: the collective instruction that the block starts with and that lanes of a warp wait for each other at.
        groups: the instructions as `fusion.arrange` puts them.
    """
    number: int
    function: Function
    instructions: list[Instruction]
    ending: Instruction | None = None
    gate: Instruction | None = None

    @cached_property
    def groups(self):
        return arrange(self.instructions)


@dataclass(eq=False)
class Program:
    """What a launch of one kernel executes."""
    source: object
    kernel: Function
    functions: list[Function] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    starts: dict = field(default_factory=dict)           # (function name, instruction index) -> block number
    recursive: set = field(default_factory=set)          # names of functions that may be active twice on a lane
    addresses: dict = field(default_factory=dict)        # function name -> number, for calls through pointers

    @cached_property
    def layout(self):
        """Where shared and local variables are."""
        return Layout(self)

    @cached_property
    def parameters_in_memory(self):
        """Names of the kernel's parameters whose address it takes."""
        names = {v.name for v in self.kernel.parameters}
        return sorted({o.name for ins in self.kernel.instructions if "param" not in ins.opcode
                       for o in ins.operands if isinstance(o, Symbol)} & names)

    @cached_property
    def guesses(self):
        """Loads that are the first guess of a compare-and-swap loop: what they read is checked by the swap, and so
        the race check takes them for relaxed ones. They load from where an atom.cas of their function swaps."""
        found = set()
        for function in self.functions:
            swaps = [ins for ins in function.instructions if ins.name == "atom" and ins.has("cas")]
            if swaps:
                definitions = defaultdict(list)
                for ins in function.instructions:
                    definitions[ins.operands[0] if ins.operands else None].append(ins)
                swapped = {_origin(definitions, ins.operands[1]) for ins in swaps}
                found |= {ins for ins in function.instructions
                          if ins.name == "ld" and _origin(definitions, ins.operands[1]) in swapped}
        return found

    @cached_property
    def specials(self):
        """Names of the special registers that it reads."""
        return {o.name for ins in self.instructions() for o in ins.operands if isinstance(o, Special)}

    def since_clock(self, ins):
        """How many instructions of its block run from the last reading of a clock, or the start, up to this one."""
        block = next(block for block in self.blocks if ins in block.instructions)
        at = block.instructions.index(ins)
        reads = [any(isinstance(o, Special) and o.ticks for o in each.operands) for each in block.instructions[:at]]
        return at - max([k for k, reading in enumerate(reads) if reading], default=-1)

    def target(self, ins, label):
        """The block a branch of `ins` leads to."""
        function = ins.function
        try:
            return self.starts[function.name, function.labels[label]]
        except KeyError:
            raise PtxError(f"[simt] line {ins.line}: {function.name} has no label {label}") from None

    def entry(self, function):
        """The first block of a function."""
        return self.starts[function.name, 0]

    def written_in_order(self, function):
        """The registers of a function in the order in which its groups of instructions write them."""
        results = (ins.operands[0] for block in self.blocks if block.function is function for group in block.groups
                   for ins in group if ins.operands)
        return list(dict.fromkeys(r.name for operand in results for r in parts(operand) if isinstance(r, Register)))

    def instructions(self):
        """All instructions of all functions."""
        return (ins for function in self.functions for ins in function.instructions)


def link(source, kernel):
    """The Program of one kernel: its callees first, so that lanes inside a call run before lanes behind it."""
    program = Program(source, source.functions[kernel])
    program.addresses = {name: k for k, name in enumerate(n for n, f in source.functions.items() if not f.entry)}
    calls, order = _calls(program)
    program.functions = order
    program.recursive = {name for name in calls if name in _reachable(calls, name)}
    for function in order:
        _cut(program, function)
    return program


def _origin(definitions, address):
    """(where an address comes from, before copies, conversions between spaces and sums with literals; how far it is
    from there)."""
    base, offset = address.base, address.offset
    while isinstance(base, Register) and len(definitions[base]) == 1:
        ins, = definitions[base]
        if ins.name == "add" and isinstance(ins.operands[2], Immediate):
            offset += ins.operands[2].value
        elif ins.name not in ("mov", "cvta"):
            break
        base = ins.operands[1]
    return base, offset


def _calls(program):
    """({function name: names it may call}, the functions, callees before callers). Through a pointer any function may
    be called whose address is taken in the program or in an initialiser."""
    functions = program.source.functions
    pointed = {symbol.name for v in program.source.variables.values() for _, symbol in v.relocations}
    pointed &= program.addresses.keys()
    while True:
        walk = _Walk(functions, pointed)
        walk.visit(program.kernel)
        if walk.named & program.addresses.keys() <= pointed:
            return walk.calls, walk.order
        pointed |= walk.named & program.addresses.keys()


class _Walk:
    """From a kernel to all functions it may call: `calls`, their `order` (callees first), symbols `named` elsewhere."""

    def __init__(self, functions, pointed):
        self.functions, self.pointed, self.calls, self.order, self.named = functions, pointed, {}, [], set()

    def visit(self, function):
        """Enter a function and its callees."""
        self.calls[function.name] = called = set()
        for ins in function.instructions:
            if ins.opcode[0] == "call":
                called |= self.pointed if isinstance(ins.operands[1], Register) else {ins.operands[1].name}
            else:
                self.named.update(o.name for o in ins.operands if isinstance(o, Symbol))
        for name in sorted(called):
            if name not in self.calls and name in self.functions and self.functions[name].defined:
                self.visit(self.functions[name])
        self.order.append(function)


def _reachable(calls, start):
    """Names of functions that a function may call, at any depth."""
    found, front = set(), [start]
    while front:
        fresh = calls.get(front.pop(), set()) - found
        found |= fresh
        front += fresh
    return found


def _cut(program, function):
    """Blocks of one function. They start at labels, behind control instructions and at gates."""
    code, labels = function.instructions, set(function.labels.values()) | {0}
    block, members = None, None

    def start(index, gate=None):
        nonlocal block
        block = Block(len(program.blocks), function, [], None, gate)
        program.blocks.append(block)
        program.starts.setdefault((function.name, index), block.number)

    for index, ins in enumerate(code):
        if block is None or index in labels:
            start(index)
            members = None
        entry = find(ins)                                # None is an error when it is reached, not before
        if entry is not None and entry.collective:
            named = _members(entry, ins)
            if named != members or isinstance(named, Register) or ins.guard:
                if block.instructions:
                    start(index)
                block.gate, members = ins, None if ins.guard else named
        if entry is not None and entry.control:
            block.ending, block = ins, None
        else:
            block.instructions.append(ins)
    if block is not None or len(code) in labels:         # the body, or a branch, ends without `ret`
        start(len(code))
        block.ending = Instruction(("ret",), (), None, function, (), 0, "ret;", "", len(code))


def _members(entry, ins):
    """What names the lanes of a collective instruction; all of them is one value however it is written."""
    operand = entry.members(ins)
    value = getattr(operand, "value", None)
    return "all" if operand is None or value in (-1, 0xFFFFFFFF) else operand
