"""Optimizers that look at a parameter as a matrix."""
import math

from .optimizer import Optimizer, blend, need_matrix, recall


class Adafactor(Optimizer):
    """Second moments as the outer product of row and column sums: memory of n + m instead of n * m.

    `lr` bounds the relative step; the absolute one is that times the parameter's root mean square.

    Source: Shazeer, Stern 2018, "Adafactor", arXiv:1804.04235, algorithms 4 and 5.
    """

    def __init__(self, params, lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0):
        super().__init__(params, lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay)

    def update(self, xp, p, g, state, group):
        tiny, least = group["eps"]
        tiny = float(xp.finfo(p.dtype).eps) if tiny is None else tiny
        new = state["step"] ** group["beta2_decay"]
        relative = min(group["lr"], 1 / math.sqrt(state["step"]))
        scale = xp.maximum(_rms(xp, p), least) * relative
        p *= 1 - group["lr"] * group["weight_decay"]
        if p.ndim > 1:
            square = g * g
            rows, columns = square.mean(-1, keepdims=True), square.mean(-2, keepdims=True)
            rows = blend(recall(xp, state, "rows", rows), rows, 1 - new)
            columns = blend(recall(xp, state, "columns", columns), columns, 1 - new)
            square = rows * columns / xp.maximum(rows.mean(-2, keepdims=True), tiny)
        else:
            square = blend(recall(xp, state, "square", p), g * g, 1 - new)
        step = g / xp.sqrt(xp.maximum(square, tiny * tiny))
        p -= step * (scale / xp.maximum(_rms(xp, step) / group["d"], 1))


def _rms(xp, x):
    return xp.sqrt((x * x).mean())


class Muon(Optimizer):
    """Momentum whose matrix is made orthogonal before it is applied. For weights of hidden layers only.

    Args:
        lr: step; `adjust_lr` scales it for the matrix's shape: "original" by sqrt(max(1, rows / columns)),
            "match_rms_adamw" by 0.2 sqrt(max(rows, columns)).
        ns_steps: Newton-Schulz iterations.

    Raises:
        ShapeError: a parameter with fewer than two axes (filters count as rows, the rest as columns).

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; scaling: Liu et al.
    2025, arXiv:2502.16982.
    """

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5, eps=1e-7,
                 adjust_lr="original"):
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
                         ns_steps=ns_steps,
                         eps=eps, adjust_lr=adjust_lr)

    def add_param_group(self, group):
        super().add_param_group(group)
        for p in self.param_groups[-1]["params"]:
            need_matrix(self.name, p)

    def update(self, xp, p, g, state, group):
        velocity = blend(recall(xp, state, "velocity", p), g, group["momentum"])
        g = velocity * group["momentum"] + g * (1 - group["momentum"]) if group["nesterov"] else velocity
        step = _orthogonal(xp, g.reshape(g.shape[0], -1), group["ns_steps"], group["eps"])
        rows, columns = step.shape
        scale = max(1, rows / columns) if group["adjust_lr"] == "original" else 0.04 * max(rows, columns)
        p *= 1 - group["lr"] * group["weight_decay"]
        p -= step.reshape(p.shape) * (group["lr"] * math.sqrt(scale))


def _orthogonal(xp, x, steps, eps):
    """Drive all singular values of a matrix towards 1, by a polynomial that is steep at 0."""
    a, b, c = 3.4445, -4.7750, 2.0315                  # (Jordan et al. 2024: the steepest that stays within 0.7 to 1.2)
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / xp.maximum(xp.sqrt((wide * wide).sum()), eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = wide * a + (gram * b + gram @ gram * c) @ wide
    return wide.T if x.shape[0] > x.shape[1] else wide
