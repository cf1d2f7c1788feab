"""What the laboratory raises: text that is no PTX it knows, and kernels that do what a GPU forbids."""
from typing import NamedTuple

from ..errors import MinidlError


class PtxError(MinidlError, ValueError):
    """The text is not PTX, or a kernel or argument does not fit it."""


class UnknownInstruction(PtxError, NotImplementedError):
    """An instruction (or a form of one) that the laboratory does not execute."""


class CompileError(MinidlError, RuntimeError):
    """A CUDA source did not compile, or no compiler was found."""


class Fault(MinidlError, RuntimeError):
    """A kernel did what hardware refuses or leaves undefined, where going on would mean nothing.

    Attributes:
        instruction: the instruction's text ("" where there is none).
        source: its source line, "file:line", innermost first where functions were inlined.
        lanes: names of the threads concerned, the first few.
        addresses: their addresses, for a memory access.
    """

    def __init__(self, text, instruction="", source="", lanes=(), addresses=()):
        super().__init__(text)
        self.instruction, self.source = instruction, source
        self.lanes, self.addresses = tuple(lanes), tuple(addresses)


class Finding(NamedTuple):
    """Something wrong that a kernel survives: a read of memory that nobody wrote, a barrier in divergent code.

    Attributes:
        kind: a few words that are the same for all findings of one sort.
        text: the whole report, which str() gives.
        instruction, source: the instruction's text and its source line.
        lanes: names of the threads concerned, the first few.
        addresses: their addresses, for a memory access.
    """
    kind: str
    text: str
    instruction: str = ""
    source: str = ""
    lanes: tuple = ()
    addresses: tuple = ()

    def __str__(self):
        return self.text
