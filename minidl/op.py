"""How an op is made: `@primitive` and `@fused`.

A *primitive* has a forward on arrays and a vjp rule on tensors, so that every
derivative has a derivative:

    @primitive("x(*) -> (*)", methods=["exp"])
    def exp(xp, x, /):
        return xp.exp(x)

    @exp.vjp
    def _(g, out):             # a rule names what it needs; the tape keeps that only
        return g * out

A *fused* op is defined by primitives and may be climbed, rung by rung:
definition -> closed form on arrays (forward, backward) -> kernels.  Every rung
is tested against the one below.  Left of the slash: tensors; right: parameters.

Either way the decorator returns a plain function, written for that op by
`minidl.specialise` when it is first called; what is declared about it hangs on
the function (`exp.vjp`, `exp.samples`, `exp.op`).  Declaring more rewrites it.
"""
import inspect
from functools import cached_property
from threading import Lock
from types import FunctionType

import numpy as np

from . import autograd, backend, dispatch, door, shapes, specialise
from .dtypes import HALVES, NUMBERS, is_float
from .errors import ArgumentError, DTypeError, GradError, MinidlError, ShapeError, memory_for, message
from .tensor import Tensor

REGISTRY: dict = {}
_writing = Lock()


def primitive(contract, methods=(), reflected=None, exact=False, differentiable=True, deterministic=True,
              synchronises=False):
    """Declare an op by its forward; a rule attached with `.vjp` gives it gradients.

    Args:
        contract: shapes and kinds of inputs and outputs (minidl/shapes.py).
        methods: names under which Tensor gets it.
        reflected: name of the method with the first two operands exchanged ("__rsub__").
        exact: it moves or compares elements without rounding, so half types need not pass through float32.
        differentiable: False says that there is no gradient (an argmax, a sort order).
        deterministic: False says that two runs may differ.
        synchronises: True, or a function of the parameters by name that says so: the host waits for values on a
            device (the result's shape depends on them), or sends some there.
    """
    return lambda fn: Primitive(fn, contract, methods, reflected, exact, differentiable, deterministic,
                                synchronises).function


def fused(contract, methods=(), differentiable=True, synchronises=False):
    """Declare an op by its definition in terms of other ops; arguments as in `primitive`."""
    return lambda fn: Fused(fn, contract, methods, None, False, differentiable, True, synchronises).function


class Op:
    """What is declared about an op, and the function that runs it."""

    rule = None                # what turns gradients around
    wants: tuple = ()          # what the rule names: the tape keeps that
    opaque = False             # True where recomputing may reach tensors that are not inputs
    fallback = None            # another way to run calls whose shapes the contract refuses
    sampler = None             # yields example calls
    coster = None              # tells FLOPs
    _body = _watched = None    # written when first called

    def __init__(self, fn, contract, methods, reflected, exact, differentiable, deterministic, synchronises):
        params = [p for p in inspect.signature(fn).parameters.values() if p.name != "xp"]
        left = [p for p in params if p.kind is p.POSITIONAL_ONLY]
        self.name, self.fn, self.__doc__ = fn.__name__, fn, fn.__doc__
        self.inputs = tuple(p.name for p in left)
        self.defaults = {p.name: p.default for p in left}
        self.params = {p.name: p.default for p in params if p not in left}
        self.keyword_only = {p.name for p in params if p.kind is p.KEYWORD_ONLY}
        self.exact, self.differentiable = exact, differentiable
        self.deterministic, self.synchronises = deterministic, synchronises
        self.contract_text, self.methods = contract, (*methods, *([reflected] if reflected else []))
        self.namespace = {**HOT, "op": self, "forward": fn, "definition": fn,
                          **{f"default_{n}": d for n, d in self.params.items()}}
        if self.name in REGISTRY:
            raise TypeError(message(self.name, "op", "a new name", "a second definition"))
        if (names := specialise.input_names(contract)) != self.inputs:
            raise TypeError(message(self.name, "contract", f"inputs {self.inputs}", f"{names} in {contract!r}"))
        REGISTRY[self.name] = self
        self.function = f = FunctionType(specialise.STUB, self.namespace, self.name)
        f.__doc__, f.__module__, f.__qualname__ = fn.__doc__, fn.__module__, self.name
        f.__signature__ = inspect.Signature([p.replace(kind=p.POSITIONAL_OR_KEYWORD) if p in left else p
                                             for p in params])
        f.op, f.samples, f.otherwise, f.cost = self, self.samples, self.otherwise, self.cost
        for method in methods:
            setattr(Tensor, method, f)
        if reflected:
            setattr(Tensor, reflected, lambda x, other: f(other, x))
        dispatch.on_register[self.name] = self.rebuild
        door.switches.append(self._switch)

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    @cached_property
    def contract(self):
        """The contract, parsed."""
        return shapes.parse(self.contract_text)

    has_kernels = property(lambda self: dispatch.has_kernels(self.name))
    has_rule = property(lambda self: self.rule is not None)
    source = property(lambda self: specialise.write(self), doc="The specialised body, as text.")

    def samples(self, fn):
        """Attach the generator of example calls; tests and benches use it."""
        self.sampler = fn
        return fn

    def cost(self, fn):
        """Attach `fn(*input shapes, **parameters) -> FLOPs` of one forward call."""
        self.coster = fn
        return fn

    def otherwise(self, fn):
        """Attach another way to run calls that the contract refuses: `fn(arguments)`, or NotImplemented."""
        self.fallback = fn
        return fn

    @property
    def run(self):
        """The specialised body: written at the first call, since few programs call every op."""
        body = self._body
        if body is None:
            with _writing:                             # (threads may call an op for the first time together)
                if self._body is None:
                    body = specialise.build(self, self.source)
                    self.function.__defaults__, self.function.__kwdefaults__ = body.__defaults__, body.__kwdefaults__
                    self._show(body, door.is_open())
                    self._body = body                  # last: who sees it may call the function
                body = self._body
        return body

    def start(self, args, kwargs):
        """What the function does until then."""
        self.run                                       # noqa: B018  (it writes the body)
        return self.function(*args, **kwargs)

    def rebuild(self):
        """More was declared: write the body anew at the next call. Whoever holds the function gets it."""
        with _writing:
            if self._body is not None:
                self._body = self._watched = None
                self.function.__code__ = specialise.STUB
                self.function.__defaults__ = self.function.__kwdefaults__ = None

    def _switch(self, is_open):
        if self._body:
            self._show(self._body, is_open)

    def _show(self, body, is_open):
        """A function's body is its __code__: swapping that swaps the op, everywhere at once."""
        if is_open and self._watched is None:
            self._watched = specialise.build(self, specialise.write(self, watched=True), " (watched)")
        self.function.__code__ = (self._watched if is_open else body).__code__

    def saved_arrays(self, node):
        """(name, array) of what `node` keeps of its inputs and output."""
        pairs = [(n, _data(v)) for n, saved in zip(self.wants, node.saved)
                 for v in (saved if type(saved) is tuple else (saved,))]
        return [(n, a) for n, a in pairs if backend.is_array(a)]


class Primitive(Op):
    """An op with a forward on arrays and, if it has a gradient, a rule on tensors."""

    stage = "primitive"

    def __init__(self, fn, *declared):
        super().__init__(fn, *declared)
        self.function.vjp = self.vjp

    def vjp(self, rule):
        """Attach the rule: from `g`, the gradient of the output, to the inputs' (or thunks of them)."""
        first, *wants = inspect.signature(rule).parameters
        self.rule, self.wants = rule, tuple(wants)
        self.out_at = self.wants.index("out") if "out" in wants else None
        self.namespace["rule"] = rule
        self.rebuild()
        vars(self).pop("pull", None)                   # an earlier rule's
        if specialise.is_arithmetic(rule) and "+" not in self.contract_text:
            self.pull = self._first_pull
        return rule

    def _first_pull(self, node, gradient):
        """An arithmetic rule runs on bare arrays: its backward step is written when first walked."""
        self.pull = specialise.build(self, specialise.write_pull(self), " (backward)")
        return self.pull(node, gradient)

    def pull(self, node, gradient):
        """Gradients of the inputs, or thunks, from the array `gradient`. (Arithmetic rules have their own: `vjp`.)"""
        if self.contract.several:
            return self.pull_taped(node, [g if g is None else Tensor(g) for g in gradient])
        return self.pull_taped(node, Tensor(gradient))

    def pull_wanted(self, node, gradient):
        """The same where not every edge leads to an end of the walk: with all the rule's thunks."""
        return Primitive.pull(self, node, gradient)

    def pull_taped(self, node, gradient):
        """The same from the tensor `gradient`, by ops."""
        saved = node.saved
        if self.out_at is not None:
            saved = list(saved)
            saved[self.out_at] = _rewrap(node, saved[self.out_at])
        if self.contract.several:
            gradient = _filled(gradient, node)
        return self.rule(gradient, *saved)


    def served_by(self, kernel):
        """What stands on the tape for a call that a kernel ran."""
        return self if kernel.backward is None else Served(self, kernel)


class Served:
    """A primitive's call that a kernel ran: the kernel turns arrays around, the rule tensors."""

    def __init__(self, op, kernel):
        self.op, self.kernel = op, kernel

    def __getattr__(self, name):
        return getattr(self.op, name)

    def pull(self, node, gradient):
        """Gradients of the inputs, or thunks, from the array `gradient`."""
        saved = dict(zip(self.op.wants, map(_data, node.saved)))
        return self.kernel.backward(backend.namespace(gradient), gradient, **saved)

    pull_wanted = pull


class Fused(Op):
    """An op that other ops define; it may have a closed form on arrays."""

    stage = "definition"       # until a closed form is attached; kernels may be, without one
    closed_form = None
    taped_rule = None          # on tensors
    has_rule = property(lambda self: self.differentiable)      # the definition, at least

    def __init__(self, fn, *declared):
        super().__init__(fn, *declared)
        self.wants = ("chosen", "kept", *self.inputs, *self.params)     # a definition may have to be replayed
        self.function.forward, self.function.backward, self.function.taped = self.forward, self.backward, self.taped
        self.function.definition = fn

    def forward(self, fn):
        """Attach the closed form: (xp, *arrays, *parameters) -> out, kept."""
        self.closed_form = self.namespace["forward"] = fn
        return fn

    def backward(self, fn):
        """Attach its gradient: (xp, g, kept, *arrays, *parameters) -> one array, thunk or None per input."""
        self.stage, self.rule = "closed", fn
        self.rebuild()
        return fn

    def taped(self, rule):
        """Attach the gradient on tensors, for walks that are themselves differentiated: cheaper than to replay the
        definition. (g, *inputs, *parameters) -> one tensor, thunk or None per input.
        """
        self.taped_rule = rule
        return rule

    def pull(self, node, gradient):
        kernel, kept, *rest = node.saved
        n = len(self.inputs)
        arrays, params = [_data(t) for t in rest[:n]], dict(zip(self.params, rest[n:]))
        if self.contract.several:
            gradient = [t.data for t in _filled(gradient, node)]
        elif not backend.is_array(gradient):               # (NumPy's arithmetic on 0 axes gives scalars)
            gradient = np.asarray(gradient)
        xp = backend.namespace(gradient[0] if self.contract.several else gradient)
        return (self.rule if kernel is None else kernel.backward)(xp, gradient, kept, *arrays, **params)

    pull_wanted = pull

    def pull_taped(self, node, gradient):
        """By the rule on tensors, if there is one; or recompute by the definition, from the same tensors, hence on the
        same tape, and walk on through that.
        """
        if self.taped_rule is not None:
            return self.taped_rule(gradient, *node.saved[2:])
        n = len(self.inputs) + 2
        outs = self.fn(*node.saved[2:n], **dict(zip(self.params, node.saved[n:])))
        outs, grads = (outs, gradient) if self.contract.several else ([outs], [gradient])
        return autograd.Splice([(y.node, g) for y, g in zip(outs, grads) if y.node is not None and g is not None])


# -- what the written bodies call ---------------------------------------------------

def operand(value):
    """(value, its array, its edge) of an argument that is not a Tensor."""
    if type(value) in NUMBERS:
        return value, value, None                      # weak: takes its neighbour's dtype
    if isinstance(value, np.generic):
        value = value.item()                           # np.sqrt(d) is a number too
        return value, value, None
    tensor = as_tensor(value)
    if not isinstance(tensor, Tensor):
        raise TypeError(type(value).__name__)
    return tensor, tensor.data, tensor.node


def operands(values):
    """(tensors, their arrays, their edges) of a sequence."""
    if not isinstance(values, (list, tuple)):
        raise TypeError(type(values).__name__)
    tensors = tuple([as_tensor(v) for v in values])
    return tensors, [t.data for t in tensors], tuple([t.node for t in tensors])


def as_tensor(value):
    """Tensors and None pass; arrays, lists and numbers are wrapped."""
    return value if value is None or isinstance(value, Tensor) else Tensor(value)


def result(op, value):
    """What a forward gave, as an array: where no axes are left NumPy gives numbers."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if not backend.is_array(value):
        raise DTypeError(message(op.name, "out", "an array", type(value).__name__))
    return value


def no_rule(op):
    """The error of a call that is to be taped, and cannot be."""
    return GradError(message(op.name, "rule", "one, as a gradient is wanted", "none",
                             f"Attach it by `@{op.name}.vjp`, or declare the op with differentiable=False."))


def several(op, xp, arrays, edges=None, saved=None):
    """Wrap an op's outputs; those that can have a gradient share one node."""
    arrays = [a if type(a) is np.ndarray else xp.asarray(a) for a in arrays]
    outs, new = [], object.__new__
    if edges is not None:
        node = new(autograd.Node)
        node.op, node.edges, node.hooks, node.seq = op, edges, None, autograd.tick()
        node.shape = [(a.shape, a.dtype, xp) for a in arrays]
        seqs = [autograd.tick() for _ in arrays]
        if "out" in op.wants:
            saved = tuple([(arrays, seqs) if w == "out" else s for s, w in zip(saved, op.wants)])
        node.saved = saved
    for i, array in enumerate(arrays):
        out = new(Tensor)
        out.data, out.node = array, None
        if edges is not None and is_float(array.dtype):
            out.node = autograd.Pick(node, i, seqs[i], array.shape)
        outs.append(out)
    return tuple(outs)


def _rewrap(node, saved):
    """The node's output, from its array: a tensor kept there would be a cycle."""
    if type(saved) is tuple:
        arrays, seqs = saved
        return tuple([Tensor(a, node=autograd.Pick(node, i, s, a.shape) if is_float(a.dtype) else None)
                      for i, (a, s) in enumerate(zip(arrays, seqs))])
    return Tensor(saved, node=node)


def _filled(gradients, node):
    """Outputs nobody used have gradient zero."""
    return tuple([as_tensor(g) if g is not None else Tensor(xp.zeros(shape, dtype))
                  for g, (shape, dtype, xp) in zip(gradients, node.shape)])


# -- the slow path: calls that the written body did not finish ------------------------

class Mismatch(Exception):
    """Raised by a specialised body's contract test."""


class Halves(backend.Reroute):
    """Raised by a body whose kernels all refuse half types."""

    def __init__(self):
        super().__init__(in_float32)


def rescue(op, error, tensors, params):
    """Finish a call another way, or say in the contract's terms why it cannot be."""
    params = dict(zip(op.params, params))
    if isinstance(error, backend.Reroute):
        return error.run(op, tensors, params)
    refused = isinstance(error, (Mismatch, ValueError, IndexError)) and not isinstance(error, MinidlError)
    if op.fallback and refused and all(t is None or isinstance(t, Tensor) for t in tensors):
        result = op.fallback(*tensors, **params)
        if result is not NotImplemented:
            return result
    explain(op, error, tensors, params)


def in_float32(op, tensors, params):
    """Half types: computed in float32, stored as they came."""
    slots, halves = op.contract.inputs, set()

    def widened(slot, value):
        if isinstance(value, tuple):
            return tuple([widened(slot, v) for v in value])
        if isinstance(value, Tensor) and slot.kind in ("same", "float") and value.dtype in HALVES:
            halves.add(value.dtype)
            return value.astype("float32")
        return value

    result = op.function(*[widened(s, t) for s, t in zip(slots, tensors)], **params)
    half, = halves
    outs = [y.astype(half) if y.dtype == np.float32 else y for y in (result if op.contract.several else [result])]
    return tuple(outs) if op.contract.several else outs[0]


def as_default(op, tensors, params):
    """Numbers alone: floats in the default dtype."""
    return op.function(*map(as_tensor, tensors), **params)


backend.in_float32[:], backend.as_default[:] = [in_float32], [as_default]


def explain(op, error, tensors, params):
    """A call failed: say why in the contract's terms, or pass the library's own error on in the house format."""
    named, ours = dict(zip(op.inputs, tensors)), isinstance(error, MinidlError)
    for slot in op.contract.inputs:
        value = named[slot.name]
        if value is None and slot.optional or type(value) in NUMBERS and slot.dims == ("...",):
            continue
        if not isinstance(value, tuple if slot.many else Tensor):
            wanted = f"a sequence of arrays {slot}" if slot.many else f"an array {slot}"
            raise error if ours else ShapeError(message(op.name, slot.name, wanted, _said(value))) from None
    backend.settle(op, *[_data(t) for t in tensors])
    op.contract.bind(op.name, {n: [a.shape for a in t] if isinstance(t, tuple) else getattr(_data(t), "shape", ())
                               for n, t in named.items() if t is not None})
    if ours:                                           # (not of the contract: the op's own, or an inner op's)
        if error.args[0].startswith("[_"):             # a private op speaks for the one that called it
            error.args = f"[{op.name}]{error.args[0].partition(']')[2]}",
        raise error
    calls = ", ".join([f"{n} {_said(t)}" for n, t in named.items()] + [f"{n}={v!r:.60}" for n, v in params.items()])
    if isinstance(error, (ValueError, TypeError, IndexError, OverflowError)):
        kind = DTypeError if isinstance(error, TypeError) and not params else ArgumentError     # what else has a type?
        raise kind(message(op.name, "arguments", "values that fit each other", calls, f"{error}".strip())) from error
    with memory_for(op.name, f"the result of {calls}"):
        error.add_note(f"[{op.name}] was called with {calls}.")
        raise error


def _data(value):
    return tuple(map(_data, value)) if isinstance(value, tuple) else value.data if isinstance(value, Tensor) else value


def _said(value):
    if isinstance(value, tuple):
        return f"({', '.join(map(_said, value))})"
    return f"{value.dtype} {value.shape}" if isinstance(value, Tensor) else f"{value!r:.40}"


HOT = dict(__builtins__=__builtins__, Tensor=Tensor, Node=autograd.Node, new=object.__new__, ndarray=np.ndarray,
           numpy=np, float32=np.dtype("float32"), float64=np.dtype("float64"), HALVES=HALVES, operand=operand,
           operands=operands, settle=backend.settle, rescue=rescue, several=several, result=result, no_rule=no_rule,
           Mismatch=Mismatch, Halves=Halves, choose=dispatch.choose, device=backend.device,
           recording=autograd.recording, tick=autograd.tick, through=door.through)
