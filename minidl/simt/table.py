"""The table of instructions: which family executes which opcode.

A family is a file in `instructions/`; it registers functions under the opcodes they execute, perhaps for some types
only:

    @elementwise("add", "sub", kinds=INTEGERS)
    def add(b):                                  # b: a Binding
        x, y, d = b.source(1), b.source(2), b.target(0)
        return partial(FUNCTIONS[b.ins.name], x, y, d)

The function is called once per place where the instruction stands, when a kernel is bound to a number of lanes; it
looks up the rows of its operands and gives a closure without arguments. Running the kernel is calling closures. An
opcode may be given with modifiers ("cp.async.bulk"): the longest entry that begins the instruction's opcode wins. A
new family needs a new file and nothing else.
"""
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules


@dataclass(frozen=True)
class Entry:
    """How one opcode is executed.

    Attributes:
        opcode: dotted beginning of the instructions it is for.
        bind: Binding -> closure (a control instruction: -> schedule.Transfer).
        kinds: the types it is for, None for all.
        elementwise: computes each lane's result from that lane's registers alone.
        order: how it may move among its neighbours in a block: "free" (it does nothing but to the registers it
            names), "reads" or "writes" (memory, too), "fixed" (nothing passes it).
        fuse: `bind` takes independent instructions of one form, as `b.group`; those that are elementwise need not
            look at it, as their closures work on rows of lanes and on stacks of rows alike.
        vectors: it does so for operands that are vectors, too.
        whole: a group may have any size (its bind knows what is good for it).
        control: ends a basic block.
        members: for an instruction that lanes of a warp execute together: gives the operand that names them, or None
            for all. Lanes wait for each other in front of it.
        anywhere: lanes may meet at different instructions of this kind (bar.warp.sync).
        writes_first: its first operand is a result.
    """
    opcode: str
    bind: Callable
    kinds: frozenset | None = None
    elementwise: bool = False
    order: str = "fixed"
    fuse: bool = False
    vectors: bool = False
    whole: bool = False
    control: bool = False
    members: Callable | None = None
    anywhere: bool = False
    writes_first: bool = True

    @property
    def collective(self):
        return self.members is not None


TABLE: dict[str, list[Entry]] = {}


def _register(opcodes, kinds, **traits):
    def decorate(bind):
        _FOUND.clear()
        for opcode in opcodes:
            TABLE.setdefault(opcode, []).append(Entry(opcode, bind, kinds and frozenset(kinds), **traits))
        return bind
    return decorate


def elementwise(*opcodes, kinds=None, fuse=True, vectors=False):
    """Register an instruction that only computes."""
    return _register(opcodes, kinds, elementwise=True, order="free", fuse=fuse, vectors=vectors)


def effect(*opcodes, kinds=None, order="fixed", fuse=False, whole=False, writes_first=True):
    """Register an instruction that touches memory or the machine: it sees `b.mask`."""
    return _register(opcodes, kinds, order=order, fuse=fuse, vectors=fuse, whole=whole, writes_first=writes_first)


def collective(*opcodes, kinds=None, members=lambda ins: None, order="fixed", fuse=False, anywhere=False,
               writes_first=True):
    """Register an instruction that lanes of a warp execute together."""
    return _register(opcodes, kinds, members=members, order=order, fuse=fuse, vectors=fuse, whole=fuse,
                     anywhere=anywhere, writes_first=writes_first)


def control(*opcodes, kinds=None):
    """Register an instruction that decides where lanes go next."""
    return _register(opcodes, kinds, control=True)


def find(ins):
    """The entry for an instruction, None if there is none."""
    opcode = ins.opcode
    if opcode not in _FOUND:
        _FOUND[opcode] = next((entry for length in range(len(opcode), 0, -1)
                               for entry in TABLE.get(".".join(opcode[:length]), ())
                               if entry.kinds is None or ins.kind in entry.kinds), None)
    return _FOUND[opcode]


_FOUND: dict[tuple, Entry | None] = {}


def load_families():
    """Import every file of `instructions/`, so that it registers what it executes."""
    from . import instructions
    for module in iter_modules(instructions.__path__):
        import_module(f"{instructions.__name__}.{module.name}")
