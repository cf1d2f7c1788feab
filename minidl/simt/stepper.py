"""Watching one thread: what it executes, which registers change, and stops at source lines.

    stepper = Stepper(thread=5)                       # of the first block
    stepper.launch(module, 1, 32, [x, y, 300])
    stepper.steps[0].text, stepper.steps[0].changed   # ("mov.u32 %r1, %tid.x", {"%r1": 5})

    def look(at):                                     # a breakpoint
        print(at.source, at.value("%f1"), at.value("%f1", thread=6))
        at.stop()                                     # or go on
    Stepper(breakpoints={"row.cu:13": look}).launch(module, 1, 32, [x, y, 300])
"""
from dataclasses import dataclass

from .launch import Module, launch, load


class _Stopped(Exception):
    """The one who watches has seen enough."""


@dataclass(frozen=True)
class Step:
    """An instruction that the watched thread executed.

    Attributes:
        source: "file:line", innermost first where functions were inlined.
        text: the instruction.
        changed: register -> its new value, of the registers' own types.
    """

    source: str
    text: str
    changed: dict

    def __str__(self):
        changes = ", ".join([f"{name} = {value}" for name, value in self.changed.items()])
        return f"{self.source.rsplit('/', 1)[-1]:18} {self.text:52} {changes}".rstrip()


class View:
    """The state of a launch before an instruction, as a breakpoint sees it."""

    def __init__(self, machine, instruction, thread):
        self.machine, self.instruction, self.thread = machine, instruction, thread

    source = property(lambda self: self.machine.where(self.instruction), doc='"file:line" of the instruction.')
    text = property(lambda self: self.instruction.text, doc="The instruction.")

    def value(self, register, thread=None):
        """A register of the watched thread, or another one of the first block."""
        return self.machine.value(register, self.thread if thread is None else thread, self.instruction.function.name)

    def registers(self, thread=None):
        """All registers as bits: name -> number."""
        return self.machine.registers(self.thread if thread is None else thread, self.instruction.function.name)

    def stop(self):
        """End the launch here."""
        raise _Stopped


class Stepper:
    """Watches a thread of the launch's first block.

    Args:
        thread: its number in the block.
        line: keep the steps of this source line only.
        most: end the launch after so many steps that were kept.
        show: called with each Step.
        breakpoints: "file:line" (the end of a path is enough) -> function of a View, called before each instruction of
            that line that the watched thread executes.

    Attributes:
        steps: those that were kept.
    """

    def __init__(self, thread=0, line=None, most=None, show=lambda step: None, breakpoints=None):
        self.thread, self.line, self.most, self.show = thread, line, most, show
        self.breakpoints, self.steps, self._pending = dict(breakpoints or {}), [], None

    def launch(self, module, grid, block, args, kernel=None, dynamic_shared=0):
        """Run a kernel as `simt.launch` does; gives its Result, or None if the watching ended it."""
        module = module if isinstance(module, Module) else load(module)
        self.steps, self._pending = [], None
        try:
            result = launch(module, grid, block, args, kernel, dynamic_shared, chunk_lanes=1, tracer=self._trace)
            self._finish(result.machine)
            return result
        except _Stopped:
            return None

    def _trace(self, machine, instruction, mask):
        self._finish(machine)
        if machine.first_cta or not (machine.alive if mask is None else mask).bool[self.thread]:
            return
        source = machine.where(instruction)
        for place, look in self.breakpoints.items():
            if any([part.endswith(place) for part in source.split(" inlined at ")]):
                look(View(machine, instruction, self.thread))
        self._pending = instruction, machine.registers(self.thread, instruction.function.name)

    def _finish(self, machine):
        """Keep the step that was under way, with what it has changed."""
        if self._pending is None:
            return
        (instruction, before), self._pending = self._pending, None
        name, source = instruction.function.name, machine.where(instruction)
        lines = [part.rpartition(":")[2] for part in source.split(" inlined at ")]
        if self.line is not None and str(self.line) not in lines:
            return
        after = machine.registers(self.thread, name)
        changed = {r: machine.value(r, self.thread, name) for r, bits in after.items() if bits != before[r]}
        self.steps.append(Step(source, instruction.text, changed))
        self.show(self.steps[-1])
        if self.most is not None and len(self.steps) >= self.most:
            raise _Stopped
