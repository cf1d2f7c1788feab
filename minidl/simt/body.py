"""The body of a function: text -> Body, instructions with the source lines that `.loc` gives them."""
import re

from .declarations import declare
from .faults import PtxError
from .kinds import BITS
from .literals import NAME, integer, literal, split
from .syntax import Address, Body, Instruction, Negated, Pair, Register, Sink, Special, Symbol, Vector

TOKEN = re.compile(rf"""\s*(?:
    \.loc\s+(?P<file>\d+)\s+(?P<row>\d+)\s+(?P<column>\d+)(?P<location>[^\n]*)
  | (?P<brace>[{{}}])
  | (?P<label>{NAME})\s*:(?!:)
  | (?P<statement>[^;{{}}]*(?:\{{[^{{}}]*\}}[^;{{}}]*)*);
  )""", re.X)
INSTRUCTION = re.compile(rf"""(?:@\s*(?P<negated>!?)\s*(?P<guard>{NAME})\s+)?(?P<opcode>[a-z][\w.:]*)\s*
    (?P<operands>.*)$""", re.X | re.S)
IDENTIFIER = re.compile(rf"(?<![\w$.%])({NAME})")
ADDRESS = re.compile(r"([^\s+\-][^\s+]*)\s*(?:\+\s*(-?\s*\w+)|(-\s*\w+))?$")
SYMBOL = re.compile(r"([\w$@.%]+)\s*(?:\+\s*(-?\w+))?$")
IGNORED = (".pragma", ".callprototype", ".noreturn", ".alias", ".attribute")


def read_body(text, start, stop, function):
    """The Body of `function` between two positions of a parse.Text.

    Raises:
        PtxError: the text is not PTX; the message names the line.
    """
    return _Reader(text, start, stop, function).body


class _Reader:
    """Walks a body once. Names that inner braces declare, labels too, get the braces' number behind an @."""

    def __init__(self, text, start, stop, function):
        self.text, self.function, self.body = text, function, Body()
        self.body.registers = {v.name: v.kind for v in (*function.parameters, *function.returns) if v.space == "reg"}
        self.scopes, self.open, self.serial, self.operands = [{}], [0], 0, {}
        self.branches, self.listed = [], []              # (branch or table, the braces around it)
        self.callers, self.location, self.label = {}, (), None
        position = start
        while position < stop and (m := TOKEN.match(text.text, position, stop)):
            position, self.start = m.end(), m.start(m.lastgroup)
            getattr(self, f"_{m.lastgroup}")(m)
        self.start = position
        if rest := text.text[position:stop].strip():
            raise self._error(f"cannot read `{rest[:60]}`")
        self._find_labels()

    def _error(self, message):
        return self.text.error(self.start, message)

    def _location(self, m):
        """`.loc`. Line 0 means "no line": the previous one is kept."""
        here = int(m["file"]), int(m["row"]), int(m["column"])
        parent = re.search(r"inlined_at\s+(\d+)\s+(\d+)\s+(\d+)", m["location"])
        self.callers[here] = tuple(map(int, parent.groups())) if parent else None
        if here[1]:
            chain = [here]
            while (caller := self.callers.get(chain[-1])) and caller not in chain:
                chain.append(caller)
            self.location = tuple(chain)

    def _brace(self, m):
        if m["brace"] == "{":
            self.serial += 1
            self.scopes.append({})
            self.open.append(self.serial)
        else:
            self.scopes.pop()
            self.open.pop()

    def _named(self, name):
        """A name that is declared here, as it is known everywhere."""
        return name if len(self.open) == 1 else f"{name}@{self.open[-1]}"

    def _label(self, m):
        self.label = self._named(m["label"])
        self.body.labels[self.label] = len(self.body.instructions)

    def _statement(self, m):
        statement = " ".join(m["statement"].split())
        if not statement or statement.startswith(IGNORED):
            return
        if statement.startswith((".branchtargets", ".calltargets")):
            self.body.tables[self.label] = split(statement.partition(" ")[2])
            self.listed.append((self.label, self.open[:0:-1]))
        elif statement.startswith("."):
            self._declaration(statement)
        else:
            self._instruction(statement)

    def _declaration(self, statement):
        for variable in declare(statement, self._error):
            name = self._named(variable.name)
            self.scopes[-1][variable.name] = variable.name = name
            if variable.space == "reg":
                self.body.registers[name] = variable.kind
            else:
                self.body.variables[name] = variable
        self.operands.clear()

    # -- instructions ---------------------------------------------------------------------------------------------
    def _instruction(self, statement):
        m = INSTRUCTION.match(statement)
        if m is None:
            raise self._error(f"cannot read `{statement[:60]}`")
        opcode, text, guard = tuple(m["opcode"].split(".")), m["operands"], m["guard"]
        if len(self.scopes) > 1:
            text, guard = IDENTIFIER.sub(self._rename, text), guard and IDENTIFIER.sub(self._rename, guard)
        operands = tuple(self._operand(item) for item in split(text))
        if opcode[0] == "call":
            operands = _call(operands)
        body = self.body
        body.instructions.append(Instruction(
            opcode, operands, guard and (self._operand(guard), m["negated"] == "!"), self.function, self.location,
            self.text.line(self.start), statement, next((k for k in reversed(opcode) if k in BITS), ""),
            len(body.instructions)))
        if opcode[0] in ("bra", "brx"):
            self.branches.append((body.instructions[-1], self.open[:0:-1]))

    def _rename(self, m):
        return next((scope[m[1]] for scope in reversed(self.scopes) if m[1] in scope), m[1])

    def _operand(self, text):
        found = self.operands.get(text)
        if found is None:
            found = self.operands[text] = self._read_operand(text)
        return found

    def _read_operand(self, text):
        first = text[:1]
        if text in self.body.registers:
            return Register(text)
        if first == "[":
            return self._address(text)
        if first in ("{", "("):
            return Vector(tuple(self._operand(part) for part in split(text[1:-1])))
        if first == "!":
            return Negated(self._operand(text[1:].strip()))
        if "|" in text:
            one, other = text.split("|")
            return Pair(self._operand(one.strip()), self._operand(other.strip()))
        if text == "_":
            return Sink()
        if (value := literal(text)) is not None:
            return value
        if first == "%":
            return Special(text)
        if m := SYMBOL.match(text):
            return Symbol(m[1], integer(m[2] or "0"))
        raise self._error(f"cannot read the operand `{text}`")

    def _address(self, text):
        inner, *rest = split(text[1:-1]) if text.endswith("]") else [""]
        m = ADDRESS.match(inner)
        if m is None:
            raise self._error(f"cannot read the address `{text}`")
        return Address(self._operand(m[1]), integer(m[2] or m[3] or "0"), tuple(self._operand(item) for item in rest))

    def _find_labels(self):
        """Labels that branches name are those of the innermost braces around them."""
        def find(name, braces):
            inner = [f"{name}@{number}" for number in braces if f"{name}@{number}" in self.body.labels]
            return inner[0] if inner else name

        for table, braces in self.listed:
            self.body.tables[table] = [find(name, braces) for name in self.body.tables[table]]
        for ins, braces in self.branches:
            target = ins.operands[-1]
            if isinstance(target, Symbol):
                ins.operands = (*ins.operands[:-1], target._replace(name=find(target.name, braces)))
            if ins.opcode[0] == "bra" and getattr(ins.operands[0], "name", None) not in self.body.labels:
                raise PtxError(f"[simt.parse] line {ins.line}: {self.function.name} has no label for `{ins.text}`")


def _call(operands):
    """(results, target, arguments, prototype): every call in one shape."""
    operands, returned, given = list(operands), Vector(()), Vector(())
    if isinstance(operands[0], Vector):
        returned = operands.pop(0)
    target = operands.pop(0)
    if operands and isinstance(operands[0], Vector):
        given = operands.pop(0)
    return returned, target, given, operands[0] if operands else None
