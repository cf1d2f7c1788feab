"""Adam and its descendants: first and second moments of the gradient."""
import math

from .optimizer import Optimizer, blend, recall, served_by


class _Adam(Optimizer):
    """What the family shares: two moments, and weight decay into the gradient (L2) or off the parameter."""

    decoupled = False

    def moments(self, xp, p, g, state, group):
        """(first moment, second moment), moved on by `g`; the decay is applied on the way."""
        if group["weight_decay"]:
            if self.decoupled:
                p *= 1 - group["lr"] * group["weight_decay"]
            else:
                g = g + p * group["weight_decay"]
        beta1, beta2 = group["betas"]
        return blend(recall(xp, state, "mean", p), g, beta1), blend(recall(xp, state, "square", p), g * g, beta2)


class Adam(_Adam):
    """Moments corrected for their start at zero; `weight_decay` is added to the gradient (L2).

    Source: Kingma, Ba 2015, "Adam", arXiv:1412.6980, algorithm 1; amsgrad: Reddi et al. 2018, arXiv:1904.09237.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    @served_by("optim.adam")
    def update(self, xp, p, g, state, group):
        (beta1, beta2), t = group["betas"], state["step"]
        mean, square = self.moments(xp, p, g, state, group)
        if group["amsgrad"]:
            largest = recall(xp, state, "largest", p)
            square = xp.maximum(largest, square, out=largest)
        size = xp.sqrt(square)
        size *= 1 / math.sqrt(1 - beta2 ** t)
        size += group["eps"]
        xp.divide(mean, size, out=size)
        size *= group["lr"] / (1 - beta1 ** t)
        p -= size


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself.

    Source: Loshchilov, Hutter 2019, "Decoupled Weight Decay Regularization", arXiv:1711.05101, algorithm 2.
    """

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


class Adamax(_Adam):
    """Adam with the largest decayed gradient in place of the root mean square.

    Source: Kingma, Ba 2015, "Adam", arXiv:1412.6980, algorithm 2.
    """

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        beta1, beta2 = group["betas"]
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        mean = blend(recall(xp, state, "mean", p), g, beta1)
        largest = recall(xp, state, "largest", p)
        largest *= beta2
        xp.maximum(largest, abs(g) + group["eps"], out=largest)
        p -= mean / largest * (group["lr"] / (1 - beta1 ** state["step"]))


class NAdam(_Adam):
    """Adam with Nesterov momentum and its momentum schedule.

    Source: Dozat 2016, "Incorporating Nesterov Momentum into Adam", ICLR workshop, algorithm 2.
    """

    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)

    def update(self, xp, p, g, state, group):
        (beta1, beta2), t = group["betas"], state["step"]
        if group["weight_decay"]:
            g = g + p * group["weight_decay"]
        mean, square = self.moments(xp, p, g, state, {**group, "weight_decay": 0})
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
        product = state["product"] = state.get("product", 1.0) * now
        size = xp.sqrt(square / (1 - beta2 ** t)) + group["eps"]
        p -= g / size * (group["lr"] * (1 - now) / (1 - product))
        p -= mean / size * (group["lr"] * following / (1 - product * following))


class RAdam(_Adam):
    """Adam that trusts the second moment only once it has seen enough of it.

    Source: Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond", arXiv:1908.03265, algorithm 2.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        (beta1, beta2), t = group["betas"], state["step"]
        mean, square = self.moments(xp, p, g, state, group)
        step = mean * (group["lr"] / (1 - beta1 ** t))
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2 ** t / (1 - beta2 ** t)
        if length > 5:
            rectified = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            step *= rectified * math.sqrt(1 - beta2 ** t) / (xp.sqrt(square) + group["eps"])
        p -= step


class LAMB(_Adam):
    """Adam's direction, scaled layer by layer to the size of the layer: for very large batches.

    Source: You et al. 2020, "Large Batch Optimization for Deep Learning", arXiv:1904.00962, algorithm 2.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=1e-2):
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        (beta1, beta2), t = group["betas"], state["step"]
        mean, square = self.moments(xp, p, g, state, {**group, "weight_decay": 0})
        step = mean / (1 - beta1 ** t) / (xp.sqrt(square / (1 - beta2 ** t)) + group["eps"])
        step += p * group["weight_decay"]
        size, length = xp.sqrt((p * p).sum()), xp.sqrt((step * step).sum())
        trust = xp.where((size > 0) & (length > 0), size / xp.maximum(length, xp.finfo(p.dtype).tiny), 1)
        p -= step * (trust * group["lr"]).astype(p.dtype)


class Lion(Optimizer):
    """The sign of a blend of momentum and gradient; decoupled weight decay.

    Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, program 1.
    """

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        beta1, beta2 = group["betas"]
        mean = recall(xp, state, "mean", p)
        p *= 1 - group["lr"] * group["weight_decay"]
        p -= xp.sign(mean * beta1 + g * (1 - beta1)) * group["lr"]
        blend(mean, g, beta2)
