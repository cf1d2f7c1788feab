"""Kernels with one instruction changed, as a slip of the pen would: barriers left out, masks dropped, indices swapped.

A mutant is made in the PTX, at an instruction that runs. Tests must notice it: by a race or a fault in simt, or by values
beyond the budget.
"""
import re
from dataclasses import dataclass

from minidl import simt
from minidl.testing.simulated import Simulated, compiled

WEAKER = {"lt": "le", "le": "lt", "gt": "ge", "ge": "gt", "ltu": "leu", "lo": "ls"}
REGISTER = r"(%\w+)"
# name -> (what it matches in an instruction's text, what comes in its place)
OPERATORS = {
    "barrier dropped": (r"^(@\S+ )?(bar|barrier)(\.cta)?\.sync\b.*", ""),
    "wait dropped": (r"^cp\.async\.wait_(group|all)\b.*", ""),
    "wait weakened": (r"^cp\.async\.wait_group\s+(\d+);", lambda m: f"cp.async.wait_group {int(m[1]) + 1};"),
    "mask dropped": (r"^@!?%p\d+ ((?:ld|st)\.global\b.*)", r"\1"),
    "fill dropped": (r"^selp\.(f32|b32|f16|b16) +(%\w+), (%\w+), .*", r"mov.\1 \2, \3;"),
    "comparison weakened": (r"^setp\.(lt|le|gt|ge)\.([su](?:32|64))\b", lambda m: f"setp.{WEAKER[m[1]]}.{m[2]}"),
    "scale dropped": (rf"^mul(?:\.rn)?(?:\.ftz)?\.f32 +{REGISTER}, {REGISTER}, .*", r"mov.b32 \1, \2;"),
    "operands swapped": (rf"^sub(?:\.rn)?(?:\.ftz)?\.f32 +{REGISTER}, {REGISTER}, {REGISTER};", r"sub.f32 \1, \3, \2;"),
    "index doubled": (r"^shl\.b(32|64)(\s+%\w+, %\w+), (\d+);", lambda m: f"shl.b{m[1]}{m[2]}, {int(m[3]) + 1};"),
    "lanes not mixed": (r"^(shfl\.sync\.bfly\.b32\s+\S+, \S+), \d+,", r"\1, 0,"),
    "tile transposed": (r"^(ldmatrix\.sync\.aligned\.m8n8\.x\d)(\.trans)?", lambda m: m[1] + ("" if m[2] else ".trans")),
}
EACH = {"barrier dropped": 8, "wait dropped": 4}       # sites of an operator in a kernel; else 1
LIMIT = 300_000                                        # instructions, after which a mutant is said to hang


@dataclass(frozen=True)
class Mutant:
    """One instruction of a compiled kernel, and what stands in its place."""

    kernel: str
    operator: str
    number: int                                        # of its sites, in order
    line: int                                          # of the PTX
    before: str
    after: str
    where: str                                         # the source

    def __str__(self):
        return f"{self.kernel}: {self.operator} {self.number}"


class Counting(Simulated):
    """Runs kernels as they are, and keeps which lines of their PTX ran."""

    def __init__(self):
        super().__init__(races=False, uninit=False)
        self.ran = {}                                  # entry -> lines

    def run(self, entry, grid, args):
        super().run(entry, grid, args)
        machine = self.results[-1][1].machine
        runs, _, _ = machine.schedule.visits()
        self.ran.setdefault(entry, set()).update(
            (ins.line, machine.where(ins)) for block in machine.program.blocks if runs[block.number]
            for ins in block.instructions)


def mutants(entry, ran):
    """The mutants of an entry, at lines that ran: evenly spread over the sites of each operator."""
    _, ptx = compiled(entry)
    lines = ptx.split("\n")
    for operator, (pattern, instead) in OPERATORS.items():
        sites = [(n, where) for n, where in sorted(ran) if re.search(pattern, lines[n - 1].strip())]
        count = min(len(sites), EACH.get(operator, 1))
        for number, i in enumerate([(2 * k + 1) * len(sites) // (2 * count) for k in range(count)]):
            line, where = sites[i]
            before = lines[line - 1].strip()
            yield Mutant(entry.kernel, operator, number, line, before, re.sub(pattern, instead, before), where)


class Mutated(Simulated):
    """Runs a mutant in place of its kernel, with every check; other kernels without."""

    def __init__(self, mutant):
        super().__init__(limit=LIMIT)
        self.mutant = mutant

    def loaded(self, entry):
        made, bound, module = super().loaded(entry)
        if entry.kernel != self.mutant.kernel:
            return made, bound, module
        lines = compiled(entry)[1].split("\n")
        lines[self.mutant.line - 1] = self.mutant.after
        return made, bound, simt.Module("\n".join(lines))

    def run(self, entry, grid, args):
        if entry.kernel == self.mutant.kernel:
            return super().run(entry, grid, args)
        with self.unchecked():
            super().run(entry, grid, args)
