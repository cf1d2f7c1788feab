"""Definitions that are chains of elementwise steps, as programs: what a kernel can run in one pass over memory.

No chain is written by hand. An op's definition, and the rules of the ops in it, run once on a few elements while a
guest of the door writes down what they call:

    plan = Plan(op, arrays, params)
    plan.value         # Program of the op's result, or of what is summed up to it
    plan.gradients     # Program for each input (None: it has no gradient), from the inputs and one more: g

A definition that does anything else (looks at a shape, moves elements, draws numbers) raises `Unfit`.
"""
from . import autograd, door
from .dispatch import use_kernels
from .dtypes import NUMBERS
from .tensor import Tensor

SUMS = "sum", "mean", "sum_to"                         # what may come last
PLAIN = "_in_domain", "_cast", "broadcast_to", "reshape"        # the same numbers: in other shapes, truth as 1 and 0
MOST = 20                                              # values that may lie between steps at a time


class Unfit(Exception):
    """The definition is no chain; says why."""


class Step:
    """A function of values: steps, inputs (their number), or floats; and its parameters. Each is itself alone."""

    def __init__(self, function, operands, params=()):
        self.function, self.operands, self.params = function, operands, params


class _Recorder(door.Guest):
    """Knows of which step each array came: rules see the output as another tensor than the one that it was."""

    def __init__(self, inputs):
        self.values, self.checks, self._inside = {}, [], 0
        for i, tensor in enumerate(inputs):
            if tensor is not None:
                self.know(tensor, i)

    def know(self, tensor, value):
        """From now on the tensor's array is known by this value. (It is held: ids stay unique.)"""
        self.values[id(tensor.data)] = tensor, value

    def call(self, op, args, kwargs, proceed):
        simple = op.stage != "definition"              # (else: what it calls is written down instead)
        self._inside += simple
        try:
            result = proceed()
        finally:
            self._inside -= simple
        if simple and not self._inside and isinstance(result, Tensor):
            self.know(result, self._step(op, args, tuple(kwargs.values())))
        return result

    def _step(self, op, args, params):
        operands = tuple(map(self.value, args))
        if op.name == "_in_domain":
            self.checks.append((operands[0], op.fn, params))
        if op.name in PLAIN:
            return operands[0]
        if op.name == "_bounded_log":
            return Step("maximum", (Step("log", operands), -100.0))
        if op.name == "clip":
            low, high = params
            x = operands[0] if low is None else Step("maximum", (*operands, float(low)))
            return x if high is None else Step("minimum", (x, float(high)))
        if op.name == "pow" and operands[1] in (1.0, 2.0):
            return operands[0] if operands[1] == 1.0 else Step("square", operands[:1])
        return Step(op.name, operands, params)

    def value(self, arg):
        """What is known of an argument: a step, an input, a number; None: nothing."""
        if type(arg) in NUMBERS:
            return float(arg)
        return self.values.get(id(getattr(arg, "data", None)), (None, None))[1]

    def tensor(self, value):
        """The tensor that a step gave."""
        return next(t for t, v in self.values.values() if v is value)


class Program:
    """Steps in order, each with the register that it writes.

    Attributes:
        steps: (function, register, operands, parameters). Operands count through `inputs`, then `constants`, then
            registers.
        inputs: which of the op's inputs it reads, ascending.
        constants: floats.
    """

    def __init__(self, value):
        value = value if isinstance(value, Step) else Step("add", (value, 0.0))
        order = _in_order(value)
        operands = [v for step in order for v in step.operands]
        self.inputs = sorted({0, *[v for v in operands if type(v) is int]})        # (the first tells the size)
        self.constants = list(dict.fromkeys([v for v in operands if type(v) is float]))
        self.steps = self._in_registers(order)

    def _in_registers(self, order):
        last = {v: at for at, step in enumerate(order) for v in step.operands if isinstance(v, Step)}
        free, place, steps = list(range(MOST))[::-1], {}, []
        for at, step in enumerate(order):
            operands = tuple([self._operand(v, place) for v in step.operands])
            free += [place[v] for v in dict.fromkeys(step.operands) if last.get(v) == at]
            if not free:
                raise Unfit(f"more than {MOST} values lie between the steps")
            place[step] = free.pop()                   # (a step may write over what it reads)
            steps.append((step.function, place[step], operands, step.params))
        return steps

    def _operand(self, value, place):
        if type(value) is int:
            return self.inputs.index(value)
        at = self.constants.index(value) if type(value) is float else len(self.constants) + place[value]
        return len(self.inputs) + at

    def __eq__(self, other):
        return (self.steps, self.inputs, self.constants) == (other.steps, other.inputs, other.constants)


def _in_order(value):
    """All steps below one, each behind those that it needs."""
    order, done, stack = [], set(), [value]
    while stack:
        step = stack[-1]
        below = [v for v in step.operands if isinstance(v, Step) and v not in done]
        if None in step.operands:
            raise Unfit(f"{step.function} takes what is no step")
        if below:
            stack += below
        else:
            stack.pop()
            if step not in done:
                done.add(step)
                order.append(step)
    return order


class Plan:
    """What an op's definition does.

    Args:
        op: a fused op.
        inputs: a few elements of each input as arrays (n), or () where it is one number for all; None: left out.
        params: by name.

    Attributes:
        value, gradients: see above; g is the input behind the last.
        sums: "sum" or "mean" if the value is summed up; its scale times that is the result.
        checks: (input, function, parameters): what the op demands of an input, `function(xp, array, *parameters)`.

    Raises:
        Unfit: the definition is no chain.
    """

    def __init__(self, op, inputs, params):
        tensors = [None if a is None else Tensor(a, requires_grad=True) for a in inputs]
        given = [t for t in tensors if t is not None]
        recorder = _Recorder(tensors)
        with use_kernels("off"), door.attach(recorder):
            elements, self.sums, self.scale = _without_sum(recorder.value(op.fn(*tensors, **params)))
            if not isinstance(elements, Step):
                raise Unfit("the result is no step")
            self.checks = list(recorder.checks)
            tensor = recorder.tensor(elements)
            g = Tensor(tensor.data * 0 + 1)
            recorder.know(g, len(inputs))
            found = iter(autograd.gradients(tensor, given, g, create_graph=True))
            found = [None if t is None else next(found) for t in tensors]
        self.value = Program(elements)
        self.gradients, self.summed = [], []
        for gradient in found:
            value, sums, scale = (None, None, 1.0) if gradient is None else _without_sum(recorder.value(gradient))
            if gradient is not None and (value is None or sums == "mean" or scale != 1.0):
                raise Unfit("a gradient that is no step, or an average")
            self.gradients.append(None if gradient is None else Program(value))
            self.summed.append(sums)

    def __eq__(self, other):
        names = "value", "gradients", "summed", "sums", "scale"
        return all([getattr(self, n) == getattr(other, n) for n in names])


def _without_sum(value):
    """(what is summed up to the value, "sum" or "mean", the factor behind it); or (the value, None, 1)."""
    at, scale = value, 1.0
    while isinstance(at, Step):
        first, *rest = at.operands
        if at.function in SUMS:
            return first, "mean" if at.function == "mean" else "sum", scale
        if at.function == "negative":
            scale = -scale
        elif at.function in ("multiply", "divide") and type(rest[0]) is float:
            scale = scale * rest[0] if at.function == "multiply" else scale / rest[0]
        else:
            break
        at = first
    return value, None, 1.0
