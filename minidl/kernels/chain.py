"""Ops that are chains of elementwise steps, each in one pass over memory: values, their sum, and every gradient."""
import numpy as np

from ..chain import MOST
from ..dispatch import Kernel, register
from ..op import REGISTRY
from . import cpu
from .arrays import dense, unless_float32
from .plans import SERVED, Plans

LEAST = 1 << 12                        # elements from which it pays
PLANS = Plans(cpu.elementwise.STEPS)
assert cpu.elementwise.REGISTERS == MOST


def _refuses(op):
    def refuses(arrays, params):
        if why_not := unless_float32(*arrays):
            return why_not
        plan = PLANS.find(op, arrays, params) if arrays[0].size > 1 else "one element"
        return plan if type(plan) is str else None
    return refuses


def _run(program, arrays, shape, divisor=0.0):
    """The program's result for dense arrays; their sum over the divisor, if that is not 0."""
    y = np.empty(shape, "float32")
    cpu.elementwise.chain(program.code, program.constants, [arrays[i] for i in program.inputs], y, divisor)
    return y


# What of an array's extremes (NaN, if it has one) tells that all its elements lie in a domain of minidl/ops/loss.py.
EXTREMES = {"numbers": {"max": lambda x: x == x}, "numbers >= 0": {"min": lambda x: x >= 0},
            "probabilities in [0, 1]": {"min": lambda x: x >= 0, "max": lambda x: x <= 1}}


def _lies_in(domain, x):
    """Is it certain, at the speed of memory, that all elements do?"""
    def extreme(function):
        y = np.empty(1, "float32")
        cpu.elementwise.reduce(function, x, y, [1, x.size, 1, 1], 1.0)
        return y[0]
    return domain in EXTREMES and all([holds(extreme(function)) for function, holds in EXTREMES[domain].items()])


def chain(op):
    """Register the kernel of an op whose definition is a chain."""
    def forward(xp, *args, **keywords):
        spec = REGISTRY[op]
        n = len(spec.inputs)
        arrays, params = [dense(a) for a in args[:n]], {**dict(zip(spec.params, args[n:])), **keywords}
        plan = PLANS.find(op, arrays, params)
        for i, check, (*said, domain) in plan.checks:
            if not _lies_in(domain, arrays[i]):
                check(xp, args[i], *said, domain)
        if plan.sums is None:
            return _run(plan.value, arrays, arrays[0].shape), plan
        return _run(plan.value, arrays, (), (arrays[0].size if plan.sums == "mean" else 1) / plan.scale), plan

    def backward(xp, g, plan, *arrays, **params):
        arrays = [dense(a) for a in arrays]
        if plan.sums:
            g = np.asarray(g * (plan.scale / (arrays[0].size if plan.sums == "mean" else 1)), "float32")

        def pull(i, program):
            shape = arrays[i].shape
            return lambda: _run(program, [*arrays, dense(g)], shape, 1.0 if plan.summed[i] else 0.0)
        return tuple([None if program is None else pull(i, program) for i, program in enumerate(plan.gradients)])

    register(Kernel(f"{op}.cpu", op, "cpu", forward, backward, _refuses(op), least=LEAST))


for name in SERVED:
    chain(name)
