"""Ops that are chains of elementwise steps, each in one launch: values, or their sum, and every gradient."""
import numpy as np

from ...dispatch import Kernel, register
from ...op import REGISTRY
from ..plans import SERVED, Plans
from .arrays import PROGRAMS, column_sum, dense, unless_served
from .launch import cdiv, launch

INPUTS = 5                             # of a program, at most
# As kernels/cuda/chain.cu has them, in this order.
STEPS = ("abs", "add", "divide", "equal", "exp", "expm1", "greater", "less", "log", "logsigmoid", "maximum", "minimum",
         "multiply", "negative", "sigmoid", "sign", "softplus", "square", "subtract", "tanh", "where")


def _halves(array, n):
    """What definitions are tried on, without a look at the device: numbers that no domain leaves out."""
    return np.full(n if array.size > 1 else (), 0.5, "float32")


PLANS = Plans({name: number for number, name in enumerate(STEPS)}, _halves)


def _refuses(op):
    def refuses(arrays, params):
        if why_not := unless_served("chain_cuda", arrays[0]):
            return why_not
        if any([a is not None and a.dtype != arrays[0].dtype for a in arrays]):
            return "several dtypes"
        plan = PLANS.find(op, arrays, params) if arrays[0].size > 1 else "one element"
        if type(plan) is str:
            return plan
        fits = all([len(p.inputs) <= INPUTS for p in (plan.value, *plan.gradients) if p])
        return None if fits else "more inputs than the kernel takes"
    return refuses


def _uploaded(xp, program):
    """(steps, constants) on the current device, kept with the program."""
    kept, device = program.__dict__.setdefault("uploaded", {}), xp.cuda.runtime.getDevice()
    if device not in kept:
        steps = np.array([(function, to, *ins) for function, to, ins, _ in program.code], "int32")
        floats = np.array([params for *_, params in program.code], "float32").view("int32")
        kept[device] = xp.asarray(np.concatenate([steps, floats], 1)), xp.asarray(
            np.array(program.constants or [0], "float32"))
    return kept[device]


def _run(xp, program, arrays, shape, sums, scale=1.0):
    """`scale` times the program's results for dense arrays, or times their sum."""
    steps, constants = _uploaded(xp, program)
    inputs, dtype = [arrays[i] for i in program.inputs], arrays[0].dtype
    count = max([a.size for a in inputs])
    ones = sum([1 << i for i, a in enumerate(inputs) if a.size < count])
    chunk = 256                                        # (a block's elements at a time)
    if sums:
        chunk *= cdiv(cdiv(count, chunk), PROGRAMS)
    blocks = cdiv(count, chunk)
    y, parts = (None, xp.empty((blocks, 1), "float32")) if sums else (xp.empty(shape, dtype), None)
    launch("chain_cuda", (blocks,), (*inputs, *[None] * (INPUTS - len(inputs)), steps, constants, y, parts, count,
                                     chunk, len(program.code), len(inputs), len(program.constants), ones, scale),
           dtype=dtype.name)
    return column_sum(xp, parts, dtype).reshape(shape) if sums else y


def _chain(op):
    """Register the kernel of an op whose definition is a chain."""
    def factor(plan, x):
        return plan.scale / x.size if plan.sums == "mean" else plan.scale if plan.sums else 1.0

    def forward(xp, *args, **keywords):
        spec = REGISTRY[op]
        n = len(spec.inputs)
        arrays, params = [dense(xp, a) for a in args[:n]], {**dict(zip(spec.params, args[n:])), **keywords}
        plan = PLANS.find(op, arrays, params)
        for i, check, said in plan.checks:
            check(xp, arrays[i], *said)
        shape = () if plan.sums else arrays[0].shape
        return _run(xp, plan.value, arrays, shape, plan.sums, factor(plan, arrays[0])), plan

    def backward(xp, g, plan, *arrays, **params):
        arrays = [dense(xp, a) for a in (*arrays, g)]

        def pull(i, program):
            return lambda: _run(xp, program, arrays, arrays[i].shape, plan.summed[i], factor(plan, arrays[0]))
        return tuple([None if program is None else pull(i, program) for i, program in enumerate(plan.gradients)])

    register(Kernel(f"{op}.cuda", op, "cuda", forward, backward, _refuses(op)))


for _name in SERVED:
    _chain(_name)
