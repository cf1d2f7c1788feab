"""What PTX text is made of once parsed: operands, instructions, variables, functions and the module."""
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .kinds import BITS


class Register(NamedTuple):
    """A declared register."""
    name: str


class Special(NamedTuple):
    """A read-only register of the machine: %tid.x, %laneid, %clock."""
    name: str

    @property
    def ticks(self):
        """Whether it is a clock: each reading is another one."""
        return self.name.startswith(("%clock", "%globaltimer"))


class Immediate(NamedTuple):
    """A literal. Floats written in hex (0f3F800000) are integers here: their bits."""
    value: int | float
    float_bits: int = 0          # 32 or 64 where the literal was written as a float


class Symbol(NamedTuple):
    """A variable's address, a function or a label, plus an offset in bytes."""
    name: str
    offset: int = 0


class Address(NamedTuple):
    """[base + offset]; tensor copies also carry coordinates."""
    base: Register | Symbol | Immediate
    offset: int = 0
    coordinates: tuple = ()


class Vector(NamedTuple):
    """{a, b, ...}, and the argument lists of calls."""
    parts: tuple


class Negated(NamedTuple):
    """!p"""
    operand: "Operand"


class Pair(NamedTuple):
    """p|q: two results."""
    first: "Operand"
    second: "Operand"


class Sink(NamedTuple):
    """_: a result that is thrown away."""


Operand = Register | Special | Immediate | Symbol | Address | Vector | Negated | Pair | Sink


def parts(operand):
    """The elements of a vector operand; any other operand is alone."""
    return operand.parts if isinstance(operand, Vector) else (operand,)


@dataclass(slots=True, eq=False)
class Instruction:
    """One instruction. `opcode` is split at dots, `guard` is (register, negated) or None."""
    opcode: tuple
    operands: tuple
    guard: tuple | None
    function: "Function"
    location: tuple              # ((file, line, column), ...): innermost first where functions were inlined
    line: int                    # of the PTX text
    text: str
    kind: str = ""               # the last type in the opcode: what it works on
    index: int = -1              # in its function

    @property
    def name(self):
        return self.opcode[0]

    def has(self, *modifiers):
        """Whether the opcode has one of `modifiers`: ins.has("ftz")."""
        return modifiers[0] in self.opcode if len(modifiers) == 1 else not set(modifiers).isdisjoint(self.opcode)

    def first(self, choices, default=None):
        """The first modifier that is one of `choices`: ins.first(ROUNDINGS, "rn")."""
        return next((m for m in self.opcode if m in choices), default)

    def kinds(self):
        """All types in the opcode, in order: cvt.rn.f16.f32 -> ["f16", "f32"]."""
        return [m for m in self.opcode if m in BITS]


@dataclass(slots=True, eq=False)
class Variable:
    """A variable or parameter: `size` in bytes, None for an array without length (dynamic shared memory)."""
    name: str
    space: str                   # "global", "const", "shared", "local", "param" or "reg"
    kind: str
    size: int | None
    align: int
    initial: bytes = b""
    relocations: tuple = ()      # (offset, Symbol): addresses to be filled in when memory is laid out
    defined: bool = True         # False for .extern


@dataclass(eq=False)
class Body:
    """What is between a function's braces."""
    instructions: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)           # label -> index of the instruction it precedes
    registers: dict = field(default_factory=dict)        # register -> type
    variables: dict = field(default_factory=dict)        # name -> Variable
    tables: dict = field(default_factory=dict)           # label of .branchtargets -> labels


class Function:
    """A kernel (`entry`) or a device function. Its body is read when it is first looked at.

    Attributes:
        name, entry: what it is called; whether it is a kernel.
        parameters, returns: lists of Variable.
        attributes: "reqntid" -> (128, 1, 1), and the like.
        defined: whether it has a body.
        body: the Body; `instructions`, `labels`, `registers`, `variables`, `tables` are its parts.
    """

    def __init__(self, name, entry, parameters, returns, read=None):
        self.name, self.entry, self.parameters, self.returns, self._read = name, entry, parameters, returns, read
        self.attributes, self.defined = {}, read is not None

    @cached_property
    def body(self):
        return self._read(self) if self._read else Body()

    instructions = property(lambda self: self.body.instructions)
    labels = property(lambda self: self.body.labels)
    registers = property(lambda self: self.body.registers)
    variables = property(lambda self: self.body.variables)
    tables = property(lambda self: self.body.tables)


@dataclass(eq=False)
class Source:
    """A parsed PTX module."""
    functions: dict = field(default_factory=dict)        # name -> Function
    variables: dict = field(default_factory=dict)        # name -> Variable of the module
    files: dict = field(default_factory=dict)            # number -> path
    target: str = ""                                     # "sm_80"

    @property
    def entries(self):
        """Names of the kernels, in order."""
        return [name for name, function in self.functions.items() if function.entry and function.defined]

    def where(self, ins):
        """"file:line" of an instruction, innermost first where the compiler inlined functions."""
        places = [f"{self.files.get(number, '?')}:{line}" for number, line, _ in ins.location if line]
        return " inlined at ".join(places) or f"PTX line {ins.line}"

    def describe(self, ins):
        """The instruction and its place, for messages."""
        return f"`{ins.text}` at {self.where(ins)}"
