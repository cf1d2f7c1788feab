"""Learning-rate schedules: each is a function of the step, so resuming needs only the step's number."""
import math

from ..errors import ArgumentError, CheckpointError, fields, message, number
from .optimizer import Optimizer, positive


class Schedule:
    """Base: sets every group's `lr` when built and after each `step()`.

    Subclasses give `lr(step, base, group)`, the rate at a step from the group's first rate.
    """

    def __init__(self, optimizer):
        if not isinstance(optimizer, Optimizer):
            raise ArgumentError(message(type(self).__name__, "optimizer", "an Optimizer", type(optimizer).__name__))
        self.optimizer, self.last_step = optimizer, 0
        self.base_lrs = [g["lr"] for g in optimizer.param_groups]
        self._apply()

    def lr(self, step, base, group):
        """The rate at `step`."""
        raise NotImplementedError

    def _apply(self):
        for base, group in zip(self.base_lrs, self.optimizer.param_groups):
            group["lr"] = self.lr(self.last_step, base, group)

    def step(self):
        """One step further; call it after the optimizer's."""
        self.last_step += 1
        self._apply()

    def get_last_lr(self):
        """The current rate of each group."""
        return [g["lr"] for g in self.optimizer.param_groups]

    def state_dict(self):
        """What changes: the step and the first rates."""
        return {"last_step": self.last_step, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, saved):
        """Go on from there.

        Raises:
            CheckpointError: it is another schedule's state, or over other groups.
        """
        name = type(self).__name__
        last_step, base_lrs = fields(name, saved, "last_step", "base_lrs")
        if len(base_lrs) != len(self.base_lrs):
            raise CheckpointError(message(name, "base_lrs", f"{len(self.base_lrs)} groups", len(base_lrs)))
        self.last_step, self.base_lrs = last_step, list(base_lrs)
        self._apply()


def _cosine(start, end, done):
    """From `start` to `end` along half a cosine, of which the share `done` is behind."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


class LambdaLR(Schedule):
    """The first rate times `lr_lambda(step)`."""

    def __init__(self, optimizer, lr_lambda):
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr(self, step, base, group):
        return base * self.lr_lambda(step)


class StepLR(Schedule):
    """Times `gamma` every `step_size` steps."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        positive("StepLR", step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr(self, step, base, group):
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """Times `gamma` at each of the `milestones`."""

    def __init__(self, optimizer, milestones, gamma=0.1):
        self.milestones, self.gamma = tuple(milestones), gamma
        super().__init__(optimizer)

    def lr(self, step, base, group):
        return base * self.gamma ** sum(step >= m for m in self.milestones)


class ExponentialLR(Schedule):
    """Times `gamma` every step."""

    def __init__(self, optimizer, gamma):
        self.gamma = gamma
        super().__init__(optimizer)

    def lr(self, step, base, group):
        return base * self.gamma ** step


class LinearLR(Schedule):
    """From `start_factor` to `end_factor` of the first rate, over `total_iters` steps."""

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5):
        positive("LinearLR", total_iters=total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr(self, step, base, group):
        done = min(step / self.total_iters, 1)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class PolynomialLR(Schedule):
    """Down to `lr_end` by (1 - done) ** power, after `warmup_steps` steps of a linear rise from 0."""

    def __init__(self, optimizer, total_iters=5, power=1.0, warmup_steps=0, lr_end=0.0):
        positive(type(self).__name__, total_iters=total_iters - warmup_steps)
        self.total_iters, self.power, self.warmup_steps, self.lr_end = total_iters, power, warmup_steps, lr_end
        super().__init__(optimizer)

    def lr(self, step, base, group):
        if step < self.warmup_steps:
            return base * step / self.warmup_steps
        done = min((step - self.warmup_steps) / (self.total_iters - self.warmup_steps), 1)
        return self.lr_end + (base - self.lr_end) * (1 - done) ** self.power


class WarmupLinear(PolynomialLR):
    """A linear rise from 0 over `warmup_steps`, then a linear fall to 0 at `total_steps`.

    Source: Devlin et al. 2019, "BERT", arXiv:1810.04805, appendix A.2.
    """

    def __init__(self, optimizer, warmup_steps, total_steps):
        super().__init__(optimizer, total_steps, 1.0, warmup_steps)


class CosineAnnealingLR(Schedule):
    """Half a cosine from the first rate to `eta_min` over `T_max` steps, and on along it; `warmup_steps` of a
    linear rise before.

    Source: Loshchilov, Hutter 2017, "SGDR", arXiv:1608.03983, eq. 5.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, warmup_steps=0):
        positive("CosineAnnealingLR", T_max=T_max)
        self.T_max, self.eta_min, self.warmup_steps = T_max, eta_min, warmup_steps
        super().__init__(optimizer)

    def lr(self, step, base, group):
        if step < self.warmup_steps:
            return base * step / self.warmup_steps
        return _cosine(base, self.eta_min, (step - self.warmup_steps) / self.T_max)


class CosineAnnealingWarmRestarts(Schedule):
    """Cosines of `T_0` steps, each `T_mult` >= 1 times as long as the last.

    Source: as CosineAnnealingLR, section 3.
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0):
        positive("CosineAnnealingWarmRestarts", T_0=T_0)
        # (shorter and shorter ones would never reach some steps)
        number("CosineAnnealingWarmRestarts", "T_mult", T_mult, 1)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def lr(self, step, base, group):
        length = self.T_0
        while step >= length:
            step, length = step - length, length * self.T_mult
        return _cosine(base, self.eta_min, step / length)


class OneCycleLR(Schedule):
    """Up from max_lr / div_factor and down to final_div_factor times less than that start, momentum the other way
    round.

    Source: Smith, Topin 2018, "Super-Convergence", arXiv:1708.07120, section 2.

    Raises:
        ArgumentError: a setting out of its range, or a step beyond `total_steps`.
    """

    def __init__(self, optimizer, max_lr, total_steps, pct_start=0.3, anneal_strategy="cos", cycle_momentum=True,
                 base_momentum=0.85, max_momentum=0.95, div_factor=25.0, final_div_factor=1e4):
        positive("OneCycleLR", max_lr=max_lr, total_steps=total_steps, div_factor=div_factor,
                 final_div_factor=final_div_factor)
        number("OneCycleLR", "pct_start", pct_start, 0, 1)
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(message("OneCycleLR", "anneal_strategy", "cos or linear", repr(anneal_strategy)))
        self.max_lr, self.total_steps, self.peak = max_lr, total_steps, pct_start * total_steps - 1
        self.anneal_strategy, self.cycle_momentum = anneal_strategy, cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.low = max_lr / div_factor
        self.least = self.low / final_div_factor
        super().__init__(optimizer)

    def _between(self, start, top, end, step):
        if step <= self.peak:
            low, high, done = start, top, step / self.peak if self.peak else 1.0     # (so few steps that none goes up)
        else:
            low, high, done = top, end, (step - self.peak) / (self.total_steps - 1 - self.peak)
        return _cosine(low, high, done) if self.anneal_strategy == "cos" else low + (high - low) * done

    def lr(self, step, base, group):
        if step > self.total_steps:
            raise ArgumentError(message("OneCycleLR", "step", f"at most {self.total_steps} steps in all",
                                        f"step {step}"))
        step = min(step, self.total_steps - 1)             # (the step after the last one is announced, and never taken)
        if self.cycle_momentum and ("momentum" in group or "betas" in group):
            momentum = self._between(self.max_momentum, self.base_momentum, self.max_momentum, step)
            group.update({"momentum": momentum} if "momentum" in group else {"betas": (momentum, *group["betas"][1:])})
        return self._between(self.low, self.max_lr, self.least, step)


class CyclicLR(Schedule):
    """A triangle wave between `base_lr` and `max_lr`; each next wave `scale` times as high.

    Source: Smith 2017, "Cyclical Learning Rates", arXiv:1506.01186, section 3.2.
    """

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None, scale=1.0):
        positive("CyclicLR", step_size_up=step_size_up)
        self.base_lr, self.max_lr, self.up, self.scale = base_lr, max_lr, step_size_up, scale
        self.length = step_size_up + (step_size_up if step_size_down is None else step_size_down)
        super().__init__(optimizer)

    def lr(self, step, base, group):
        wave, at = divmod(step, self.length)
        height = at / self.up if at <= self.up else (self.length - at) / (self.length - self.up)
        return self.base_lr + (self.max_lr - self.base_lr) * height * self.scale ** wave


class ReduceLROnPlateau(Schedule):
    """Times `factor` once a metric has not got better for more than `patience` steps: `step(metric)`."""

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, cooldown=0, min_lr=0.0):
        if mode not in ("min", "max"):
            raise ArgumentError(message("ReduceLROnPlateau", "mode", "min or max", repr(mode)))
        self.mode, self.factor, self.patience, self.threshold = mode, factor, patience, threshold
        self.cooldown, self.min_lr = cooldown, min_lr
        self.best, self.bad, self.resting, self.cuts = None, 0, 0, 0
        super().__init__(optimizer)

    def lr(self, step, base, group):
        return max(base * self.factor ** self.cuts, min(base, self.min_lr))

    def step(self, metric):
        """One step further, on which `metric` (a number) was measured."""
        sign = 1 if self.mode == "min" else -1
        metric = float(metric)
        better = metric == metric and (                # (nan is never better)
            self.best is None or sign * metric < sign * self.best - abs(self.best) * self.threshold)
        self.best, self.bad = (metric, 0) if better else (self.best, self.bad + 1)
        if self.resting:
            self.resting, self.bad = self.resting - 1, 0
        if self.bad > self.patience:
            self.cuts, self.resting, self.bad = self.cuts + 1, self.cooldown, 0
        super().step()

    def state_dict(self):
        return {**super().state_dict(), **{k: getattr(self, k) for k in ("best", "bad", "resting", "cuts")}}

    def load_state_dict(self, saved):
        name = type(self).__name__
        self.best, self.bad, self.resting, self.cuts = fields(name, saved, "best", "bad", "resting", "cuts")
        super().load_state_dict(saved)
