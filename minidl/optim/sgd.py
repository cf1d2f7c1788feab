"""Gradient descent, and the rules that divide by a running size of the gradient."""
from ..errors import ArgumentError, message
from .optimizer import Optimizer, blend, recall, served_by


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's form of it, and L2 weight decay.

    Source: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning", eq. 1-4.
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov)

    def _checked(self, group):
        group = super()._checked(group)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ArgumentError(message(self.name, "nesterov", "momentum above 0, and no dampening, beside it",
                                        (group["momentum"], group["dampening"])))
        return group

    @served_by("optim.sgd")
    def update(self, xp, p, g, state, group):
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        if group["momentum"]:
            if "velocity" not in state:
                velocity = state["velocity"] = g.copy()
            else:
                velocity = state["velocity"]
                velocity *= group["momentum"]
                velocity += g * (1 - group["dampening"])
            g = g + velocity * group["momentum"] if group["nesterov"] else velocity
        p -= g * group["lr"]


class RMSprop(Optimizer):
    """Divide by a running root mean square of the gradient.

    Source: Hinton 2012, "Neural networks for machine learning", lecture 6; centred: Graves 2013, arXiv:1308.0850,
    eq. 38-45.
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                         centered=centered)

    def update(self, xp, p, g, state, group):
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        size = blend(recall(xp, state, "square", p), g * g, group["alpha"])
        if group["centered"]:
            mean = blend(recall(xp, state, "mean", p), g, group["alpha"])
            size = size - mean * mean
        g = g / (xp.sqrt(size) + group["eps"])
        if group["momentum"]:
            velocity = recall(xp, state, "velocity", p)
            velocity *= group["momentum"]
            velocity += g
            g = velocity
        p -= g * group["lr"]


class Adagrad(Optimizer):
    """Divide by the root of the sum of all squares so far.

    Source: Duchi, Hazan, Singer 2011, "Adaptive Subgradient Methods", JMLR 12, eq. 1.
    """

    def __init__(self, params, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
        super().__init__(params, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                         initial_accumulator_value=initial_accumulator_value, eps=eps)

    def update(self, xp, p, g, state, group):
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        total = state.setdefault("sum", xp.full_like(p, group["initial_accumulator_value"]))
        total += g * g
        p -= g / (xp.sqrt(total) + group["eps"]) * (group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]))


class Adadelta(Optimizer):
    """Steps in the units of the parameter: running sizes of steps over running sizes of gradients.

    Source: Zeiler 2012, "ADADELTA", arXiv:1212.5701, algorithm 1.
    """

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
        super().__init__(params, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        square = blend(recall(xp, state, "square", p), g * g, group["rho"])
        steps = recall(xp, state, "steps", p)
        step = g * xp.sqrt(steps + group["eps"]) / xp.sqrt(square + group["eps"])
        blend(steps, step * step, group["rho"])
        p -= step * group["lr"]
