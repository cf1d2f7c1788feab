"""A reader of pickles that cannot run anything: a stack machine whose only values are data.

    bytes -> opcodes -> numbers, strings, containers, and whatever `resolve` gives for a name
           -> settle: no cycle, no bomb, leaves in place of tensors

A pickle is a program, and it may name any function of any module to call. Here a name is looked up in a table of
ours and nowhere else: `resolve(module, name)` gives a `Call`, whose function makes data from data, or a `Name`,
which makes a `StandIn` that records what it was given; everything else is refused by its name. No module is
imported, no attribute looked up, no method of a value called. What a pickle may cost is bounded by the length of
its bytes and a fixed allowance, whatever it says of itself.

Source: the opcodes, PEP 307, PEP 3154, PEP 574.
"""
import struct
import sys
from dataclasses import dataclass
from typing import Any

from .storage import Storage, View

ALLOWANCE = 1 << 26                                    # bytes of objects that a pickle may make beyond its own length
DEPTH = 256                                            # of containers in containers
UNFOLDED = 500_000                                     # values of a nest, those that are shared counted every time
_LONGEST_LINE = 512                                    # bytes of a name
_STEP, _CALL = 16, 400                                 # what an opcode and a name cost beside what they make


class Forbidden(ValueError):
    """A pickle wants something that no checkpoint needs."""


class Budget:
    """How many bytes of objects the pickles of a file may still make."""

    def __init__(self, file_size):
        self.left = ALLOWANCE + file_size

    def spend(self, count):
        """Take `count` bytes off.

        Raises:
            ValueError: there are not so many left.
        """
        self.left -= count
        if self.left < 0:
            raise ValueError("its pickle would take far more memory than its length gives reason for")


@dataclass(frozen=True)
class Call:
    """A name that stands for a function of ours that makes data from data."""

    name: str
    function: Any

    def __call__(self, *args):
        return self.function(*args)


@dataclass(frozen=True)
class Name:
    """The name of a class that is not here. Called, it makes a stand-in."""

    name: str

    def __call__(self, *args):
        return StandIn(self.name, args)


@dataclass(eq=False)
class StandIn:
    """What a pickle has in place of an object whose class is not here.

    Attributes:
        name: the full name of its class, "torch.nn.modules.conv.Conv2d".
        args: what it was made with.
        state: its attributes, a dict as a rule; None: it has none.
    """

    name: str
    args: tuple = ()
    state: Any = None

    def __repr__(self):
        return f"<{self.name}, a name only>"

    def set_state(self, state):
        """Takes the attributes."""
        self.state = state

    def state_dict(self):
        """Of a module of torch: its parameters and buffers, by their names in the tree of modules.

        Returns:
            A dict in torch's order; an empty one if this is no module.
        """
        found: dict = {}
        self._collect("", found)
        return found

    def _collect(self, prefix, found):
        state = self.state if isinstance(self.state, dict) else {}
        parameters, buffers, modules = [state[n] if isinstance(state.get(n), dict) else {}
                                        for n in ("_parameters", "_buffers", "_modules")]
        unsaved = state.get("_non_persistent_buffers_set")
        unsaved = unsaved if isinstance(unsaved, (set, frozenset, list, tuple)) else ()
        for name, value in (*parameters.items(), *[(n, v) for n, v in buffers.items() if n not in unsaved]):
            if value is not None:
                found[f"{prefix}{name}"] = value
        for name, module in modules.items():
            if isinstance(module, StandIn):
                module._collect(f"{prefix}{name}.", found)


class Unfinished:
    """An object that a pickle makes first and describes later."""

    def set_state(self, state):
        """Takes the description."""
        raise NotImplementedError

    def view(self):
        """The tensor that it is by now.

        Raises:
            ValueError: it was never described.
        """
        raise NotImplementedError


class Machine:
    """Reads one pickle.

    Args:
        data: bytes that begin with it.
        resolve: from (module, name) to a value, or raises Forbidden.
        persistent: from a persistent id to a value; None: there are none.
        budget: what it may cost.
    """

    def __init__(self, data, resolve, budget, persistent=None):
        self.data, self.at = memoryview(data), 0
        self.resolve, self.budget, self.persistent = resolve, budget, persistent
        self.stack: list = []
        self.below: list = []                          # the stacks under each mark
        self.memo: dict = {}

    def run(self):
        """The value of the pickle.

        Raises:
            Forbidden: it has an opcode or a name that no checkpoint needs.
            ValueError: it is damaged, or too large.
        """
        budget = self.budget
        while True:
            if self.at >= len(self.data):
                raise ValueError("its pickle is cut short")
            code = self.data[self.at]
            self.at += 1
            budget.spend(_STEP)
            if code == 0x2e:                           # STOP
                value = self.pop()
                if self.stack or self.below:
                    raise ValueError("a pickle ends in the middle of a value")
                return value
            step = _STEPS.get(code)
            if step is None:
                raise Forbidden(f"the opcode {_OTHERS.get(code, hex(code))} at byte {self.at - 1} of its pickle")
            step(self)

    def take(self, count):
        """The next bytes."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise ValueError("its pickle is cut short")
        return self.data[start:self.at]

    def number(self, form):
        """The next number, of a format of `struct`."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self):
        """The text up to the end of the line."""
        piece = bytes(self.data[self.at:self.at + _LONGEST_LINE])
        if (length := piece.find(b"\n")) < 0:
            raise ValueError("its pickle is cut short, or has an endless name")
        self.at += length + 1
        return str(piece[:length], "utf-8")

    def push(self, value):
        """Put a new value on the stack."""
        self.budget.spend(sys.getsizeof(value))
        self.stack.append(value)

    def pop(self):
        """Take the top value."""
        if not self.stack:
            raise ValueError("its pickle takes a value that it has not made")
        return self.stack.pop()

    def top(self, kind, what):
        """The top value, which must be of a kind."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"its pickle wants {what}, and has {_kind(self.stack[-1:])}")
        return self.stack[-1]

    def marked(self):
        """Take the values above the last mark, and the mark."""
        if not self.below:
            raise ValueError("its pickle goes back to a mark that it has not made")
        values, self.stack = self.stack, self.below.pop()
        return values

    def named(self, module, name):
        """Put what a name stands for on the stack."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Forbidden(f"a name that is no text: {_kind([module, name])}")
        self.budget.spend(_CALL)
        self.push(self.resolve(module, name))

    def call(self, function, args):
        """Put what a name makes of arguments on the stack."""
        self.budget.spend(_CALL)
        if not isinstance(function, (Call, Name)) or not isinstance(args, tuple):
            raise Forbidden(f"a call of {_kind([function])}")
        try:
            self.push(function(*args))
        except Forbidden:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            raise ValueError(f"{function.name}: {error}") from error

    def remember(self, index):
        """Keep the top value under a number."""
        self.budget.spend(100)
        self.memo[index] = self.top(object, "a value")

    def recall(self, index):
        """Put a kept value on the stack."""
        if index not in self.memo:
            raise ValueError(f"its pickle asks for value {index}, which it has not kept")
        self.stack.append(self.memo[index])


def key(value):
    """A value that may be the key of a dict or the item of a set.

    Only plain ones: their hashes cannot be made to collide, nor to recurse.

    Raises:
        ValueError: it is another.
    """
    if isinstance(value, memoryview):
        return bytes(value)
    if value is None or isinstance(value, (str, bool, float, bytes)):
        return value
    if isinstance(value, int) and abs(value) >> 64 == 0:
        return value
    raise ValueError(f"a key of a dict or set that is {_kind([value])}")


def _kind(values):
    return " and ".join([f"a {type(v).__name__}" for v in values]) or "nothing"


# -- the opcodes ----------------------------------------------------------------------

def _text(data, encoding="utf-8"):
    return str(data, encoding, "surrogatepass" if encoding == "utf-8" else "strict")


def _integer(m, count):
    if count > 64:
        raise ValueError(f"its pickle has an integer of {count} bytes")
    m.push(int.from_bytes(m.take(count), "little", signed=True))


def _bytes(m, count):
    m.push(m.take(count))                              # a piece of the file, not a copy


def _append(m, values):
    m.budget.spend(16 * len(values))
    m.top(list, "a list").extend(values)


def _add(m):
    values = m.marked()
    m.budget.spend(64 * len(values))
    m.top(set, "a set").update([key(v) for v in values])


def _set_items(m, values):
    if len(values) % 2:
        raise ValueError("its pickle has a key without a value")
    m.budget.spend(64 * len(values))
    m.top(dict, "a dict").update(zip(map(key, values[::2]), values[1::2]))


def _build(m):
    state = m.pop()
    value = m.top(object, "a value")
    if isinstance(value, (StandIn, Unfinished)):
        value.set_state(state)
    elif not isinstance(value, dict):                  # (of an OrderedDict: _metadata, which only torch reads)
        raise Forbidden(f"a state for {_kind([value])}")


def _persistent(m):
    if m.persistent is None:
        raise Forbidden("the opcode BINPERSID, which has no meaning here")
    m.push(m.persistent(m.pop()))


def _mark(m):
    m.budget.spend(64)
    m.below.append(m.stack)
    m.stack = []


def _protocol(m):
    if not 2 <= (version := m.number("B")) <= 5:
        raise ValueError(f"a pickle of protocol {version}, which is not 2 to 5")


def _frame(m):
    if m.number("<Q") > len(m.data) - m.at:
        raise ValueError("its pickle is cut short")


def _reduce(m):
    args = m.pop()
    m.call(m.pop(), args)


def _stack_global(m):
    name = m.pop()
    m.named(m.pop(), name)


def _inst(m):
    m.named(m.line(), m.line())                        # a name that is refused is told by its name
    raise Forbidden("the opcode INST")


def _tuple(count):
    def step(m):
        m.push(tuple([m.pop() for _ in range(count)][::-1]))
    return step


_STEPS = {ord(code): step for code, step in {
    "\x80": _protocol, "\x95": _frame, "(": _mark,
    "N": lambda m: m.push(None), "\x88": lambda m: m.push(True), "\x89": lambda m: m.push(False),
    "J": lambda m: m.push(m.number("<i")), "K": lambda m: m.push(m.number("B")), "M": lambda m: m.push(m.number("<H")),
    "\x8a": lambda m: _integer(m, m.number("B")), "\x8b": lambda m: _integer(m, m.number("<I")),
    "G": lambda m: m.push(m.number(">d")),
    "X": lambda m: m.push(_text(m.take(m.number("<I")))), "\x8c": lambda m: m.push(_text(m.take(m.number("B")))),
    "\x8d": lambda m: m.push(_text(m.take(m.number("<Q")))),
    "T": lambda m: m.push(_text(m.take(m.number("<I")), "latin-1")),
    "U": lambda m: m.push(_text(m.take(m.number("B")), "latin-1")),
    "B": lambda m: _bytes(m, m.number("<I")), "C": lambda m: _bytes(m, m.number("B")),
    "\x8e": lambda m: _bytes(m, m.number("<Q")), "\x96": lambda m: _bytes(m, m.number("<Q")),
    "]": lambda m: m.push([]), "}": lambda m: m.push({}), ")": lambda m: m.push(()), "\x8f": lambda m: m.push(set()),
    "\x85": _tuple(1), "\x86": _tuple(2), "\x87": _tuple(3), "t": lambda m: m.push(tuple(m.marked())),
    "\x91": lambda m: m.push(frozenset(map(key, m.marked()))),
    "a": lambda m: _append(m, [m.pop()]), "e": lambda m: _append(m, m.marked()), "\x90": _add,
    "s": lambda m: _set_items(m, [m.pop(), m.pop()][::-1]), "u": lambda m: _set_items(m, m.marked()),
    "q": lambda m: m.remember(m.number("B")), "r": lambda m: m.remember(m.number("<I")),
    "\x94": lambda m: m.remember(len(m.memo)),
    "h": lambda m: m.recall(m.number("B")), "j": lambda m: m.recall(m.number("<I")),
    "c": lambda m: m.named(m.line(), m.line()), "\x93": _stack_global, "i": _inst,
    "R": _reduce, "\x81": _reduce, "b": _build, "Q": _persistent,
}.items()}
_OTHERS = {ord(code): name for code, name in {
    "0": "POP", "1": "POP_MARK", "2": "DUP", "F": "FLOAT", "I": "INT", "L": "LONG", "S": "STRING", "V": "UNICODE",
    "P": "PERSID", "d": "DICT", "l": "LIST", "o": "OBJ", "g": "GET", "p": "PUT", "\x92": "NEWOBJ_EX",
    "\x82": "EXT1", "\x83": "EXT2", "\x84": "EXT4", "\x97": "NEXT_BUFFER", "\x98": "READONLY_BUFFER"}.items()}


# -- what the machine made, as a nest -----------------------------------------------------

def settle(root, leaf):
    """A copy of a nest, with `leaf(view)` in the place of each tensor. What the nest shares, the copy shares.

    Raises:
        ValueError: it contains itself, is nested too deeply, or would be huge if what is shared were not.
    """
    done: dict = {}                                    # id -> (copy, depth, size), from the leaves up
    above: set = set()                                 # ids of what contains the value at hand
    todo = [root]
    while todo:
        value = todo[-1]
        inner = _inner(value)
        if id(value) in above:
            above.discard(id(value))
            known = [done[id(v)] for v in inner if id(v) in done]
            depth = 1 + max([d for _, d, _ in known], default=0)
            size = 1 + len(inner) - len(known) + sum([s for _, _, s in known])
            if depth > DEPTH or size > UNFOLDED:
                raise ValueError(f"a nest {depth} deep of {size} values: it would not fit anywhere")
            inner = [done[id(v)][0] if id(v) in done else _plain(v) for v in inner]
            done[id(value)] = _copy(value, inner, leaf), depth, size
        elif id(value) not in done:
            above.add(id(value))
            wanted = [v for v in inner if isinstance(v, _SHARED) and id(v) not in done]
            if any(id(v) in above for v in wanted):
                raise ValueError("a value contains itself")
            todo += wanted
            continue
        todo.pop()
    return done[id(root)][0]


def _inner(value):
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, StandIn):
        return [value.args, value.state]
    return value if isinstance(value, (list, tuple)) else ()


def _copy(value, inner, leaf):
    if isinstance(value, dict):
        return dict(zip(value, inner))
    if isinstance(value, (list, tuple)):
        return type(value)(inner)
    if isinstance(value, StandIn):
        return StandIn(value.name, *inner)
    if isinstance(value, (Unfinished, Storage)):
        value = value.view()
    return leaf(value) if isinstance(value, View) else _plain(value)


def _plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


_SHARED = (dict, list, tuple, StandIn, Unfinished, Storage, View)
