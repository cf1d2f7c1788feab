"""Plans of ops whose definitions are chains of elementwise steps: made once for each kind of call, and kept."""
from ..chain import Plan, Unfit
from ..op import REGISTRY

SERVED = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "gan_generator_loss", "gaussian_nll_loss",
          "huber_loss", "kl_div", "l1_loss", "mse_loss", "poisson_nll_loss", "sigmoid_focal_loss", "smooth_l1_loss",
          "tanhshrink")


def _kinds(arrays):
    """Of each input "n", "1" or "": as many elements as the first, one, or none given; None where one differs."""
    shape = arrays[0].shape
    kinds = ["" if a is None else "n" if a.shape == shape else "1" if a.size == 1 and a.ndim <= len(shape) else None
             for a in arrays]
    return None if None in kinds else "".join([k or "-" for k in kinds])


def first_elements(array, n):
    """So many elements of an input, or its one number."""
    return array.reshape(-1)[:n] if array.size > 1 else array.reshape(())


class Plans:
    """Those that a maker's kernel can run.

    Args:
        steps: {function: its number in that kernel}.
        few: (array, n) -> what a definition is tried on.
    """

    def __init__(self, steps, few=first_elements):
        self.steps, self.few = steps, few
        self._found = {}                               # (op, kinds of inputs, parameters) -> Plan, or why not

    def find(self, op, arrays, params):
        """The plan of an op for such arrays, or the reason why there is none."""
        kinds = _kinds(arrays)
        if kinds is None:
            return "inputs that broadcast"
        try:
            key = op, kinds, tuple(params.items())
            found = self._found.get(key)
        except TypeError:                              # (a parameter that is an array)
            return "the op explains what its parameters may be"
        if found is None:
            try:
                plans = [Plan(REGISTRY[op], [a if a is None else self.few(a, n) for a in arrays], params)
                         for n in (2, 3)]
            except Unfit as unfit:
                found = f"no chain: {unfit}"
            except Exception:                          # (of values: the definition says it better, and of all of them)
                return "the op explains what its arguments may be"
            else:
                found = self._runnable(*plans)
            self._found[key] = found
        return found

    def _runnable(self, plan, other):
        if plan != other:
            return "no chain: it depends on a shape"
        for program in (plan.value, *plan.gradients):
            for function, _, _, params in program.steps if program else ():
                if function not in self.steps or len(params) > 3 or not all([type(p) in (int, float) for p in params]):
                    return f"no chain: {function}{params} is no step"
            if program:
                program.code = [(self.steps[function], to, (*ins, *ins[:1] * (3 - len(ins))), (*params, 0, 0, 0)[:3])
                                for function, to, ins, params in program.steps]
        return plan
