"""Ops that are chains of elementwise steps, each in one pass over memory: values, their sum, and every gradient."""
import numpy as np

from ..chain import MOST, Plan, Unfit
from ..dispatch import Kernel, register
from ..op import REGISTRY
from . import cpu
from .arrays import dense, unless_float32

LEAST = 1 << 12                        # elements from which it pays
STEPS = cpu.elementwise.STEPS
SERVED = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "gan_generator_loss", "gaussian_nll_loss",
          "huber_loss", "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss", "sigmoid_focal_loss", "smooth_l1_loss",
          "tanhshrink")
_plans: dict = {}                      # (op, which inputs are one number or none, parameters) -> Plan, or why not
assert cpu.elementwise.REGISTERS == MOST


def _kinds(arrays):
    """Of each input "n", "1" or "": as many elements as the first, one, or none given; None where one differs."""
    shape = arrays[0].shape
    kinds = ["" if a is None else "n" if a.shape == shape else "1" if a.size == 1 and a.ndim <= len(shape) else None
             for a in arrays]
    return None if None in kinds else "".join([k or "-" for k in kinds])


def _plan(op, arrays, params):
    """The plan for such arrays, or the reason why there is none."""
    kinds = _kinds(arrays)
    if kinds is None:
        return "inputs that broadcast"
    try:
        key = op, kinds, tuple(params.items())
        found = _plans.get(key)
    except TypeError:                                  # (a parameter that is an array)
        return "the op explains what its parameters may be"
    if found is None:
        try:
            plans = [Plan(REGISTRY[op], [a if a is None else a.reshape(-1)[:n] if a.size > 1 else a.reshape(())
                                         for a in arrays], params) for n in (2, 3)]
        except Unfit as unfit:
            found = f"no chain: {unfit}"
        except Exception:                              # (of values: the definition says it better, and of all of them)
            return "the op explains what its arguments may be"
        else:
            found = _runnable(plans)
        _plans[key] = found
    return found


def _runnable(plans):
    plan, other = plans
    if plan != other:
        return "no chain: it depends on a shape"
    for program in (plan.value, *plan.gradients):
        for function, _, _, params in program.steps if program else ():
            if function not in STEPS or len(params) > 3 or not all([type(p) in (int, float) for p in params]):
                return f"no chain: {function}{params} is no step"
        if program:
            program.code = [(STEPS[function], to, (*ins, *ins[:1] * (3 - len(ins))), (*params, 0, 0, 0)[:3])
                            for function, to, ins, params in program.steps]
    return plan


def _refuses(op):
    def refuses(arrays, params):
        if why_not := unless_float32(*arrays):
            return why_not
        plan = _plan(op, arrays, params) if arrays[0].size > 1 else "one element"
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
        plan = _plan(op, arrays, params)
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
