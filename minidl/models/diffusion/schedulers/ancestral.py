"""Samplers that go back along the chain itself: DDPM with noise at each step, DDIM without, unCLIP's own."""
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .... import ops
from ....errors import ShapeError, message
from .base import Scheduler, SchedulerConfig

VARIANCES = "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range"


@dataclass(frozen=True)
class DDPMConfig(SchedulerConfig):
    """Also: `variance_type`, of the noise that a step adds; `clip_sample` x_0 to +-`clip_sample_range`."""

    variance_type: str = "fixed_small"
    clip_sample: bool = True
    clip_sample_range: float = 1.0

    choices: ClassVar[dict] = {**SchedulerConfig.choices, "variance_type": VARIANCES}


class DDPMScheduler(Scheduler):
    """Ho, Jain, Abbeel 2020, arXiv:2006.11239, algorithm 2; learned variances: Nichol, Dhariwal 2021, eq. 15."""

    config_class = DDPMConfig

    def advance(self, output, sample, noise):
        """x of the next timestep: the posterior's mean (Ho et al.: eq. 7), and noise unless the step is the last."""
        t, before = self.timesteps[self.index], self.before()
        now, then = float(self.alphas_cumprod[t]), self.left(before)
        output, told = self._split(output, sample)
        x0, _ = self.parts(output, sample, math.sqrt(now), math.sqrt(1 - now))
        x0 = clipped(x0, self.config)
        beta = self.beta(t, before)
        mean = (x0 * (math.sqrt(then) * beta / (1 - now))
                + sample * (math.sqrt(1 - beta) * (1 - then) / (1 - now)))
        return mean + noise() * self._deviation(beta, now, then, told) if t > 0 else mean

    def beta(self, t, before):
        """The variance that the way from `before` to t adds."""
        return 1 - float(self.alphas_cumprod[t]) / self.left(before)

    def before(self):
        """The timestep behind this one; -1: none."""
        return int(self.timesteps[self.index + 1]) if self.index + 1 < len(self.timesteps) else -1

    def left(self, t):
        """alphas_cumprod of t, 1 at its end."""
        return float(self.alphas_cumprod[t]) if t >= 0 else 1.0

    def _split(self, output, sample):
        """(prediction, what is told of the variance, or None)."""
        learned = self.config.variance_type.startswith("learned")
        want = sample.shape[1] * (2 if learned else 1)
        if output.shape[1] != want:
            raise ShapeError(message(type(self).__name__, "output", f"{want} channels", output.shape))
        return tuple(ops.chunk(output, 2, axis=1)) if learned else (output, None)

    def _deviation(self, most, now, then, told):
        """The standard deviation of the noise that is added: a number, or a Tensor like `told`."""
        least, kind = max((1 - then) / (1 - now) * most, 1e-20), self.config.variance_type
        if kind == "learned_range":
            share = (told + 1.0) / 2.0
            return ops.exp((share * math.log(most) + (1.0 - share) * math.log(least)) * 0.5)
        return ops.sqrt(told) if kind == "learned" else math.sqrt(most if kind.startswith("fixed_large") else least)


def clipped(x0, config):
    """x_0 within the bounds that a config has."""
    bound = config.clip_sample_range
    return ops.clip(x0, -bound, bound) if config.clip_sample else x0


@dataclass(frozen=True)
class UnCLIPConfig(DDPMConfig):
    """Of the prior and the decoders of unCLIP."""

    beta_schedule: str = "squaredcos_cap_v2"
    variance_type: str = "fixed_small_log"
    timestep_spacing: str = "linspace"


class UnCLIPScheduler(DDPMScheduler):
    """DDPM with cosine betas and steps from the first to the last. Ramesh et al. 2022, arXiv:2204.06125, appendix C."""

    config_class = UnCLIPConfig

    def beta(self, t, before):
        """As of DDPM, but in float32: so the checkpoints' code has it, and at both ends of the chain it shows."""
        return float(self.betas[t]) if before == t - 1 else float(np.float32(super().beta(t, before)))


@dataclass(frozen=True)
class DDIMConfig(SchedulerConfig):
    """Also: `clip_sample` x_0 to +-`clip_sample_range`; `eta`, how noisy steps are, 0 not at all, 1 like DDPM;

    `set_alpha_to_one`: behind the last step is the picture itself, not what the first step of the chain leaves of it.
    """

    clip_sample: bool = True
    clip_sample_range: float = 1.0
    set_alpha_to_one: bool = True
    eta: float = 0.0


class DDIMScheduler(Scheduler):
    """Song, Meng, Ermon 2020, "Denoising Diffusion Implicit Models", arXiv:2010.02502, eq. 12, 16."""

    config_class = DDIMConfig

    def advance(self, output, sample, noise):
        """x of a step further down."""
        t, c = int(self.timesteps[self.index]), self.config
        before = t - len(self.alphas_cumprod) // self.num_inference_steps
        now = float(self.alphas_cumprod[t])
        then = float(self.alphas_cumprod[before]) if before >= 0 else end_of_chain(self)
        x0, direction = self.parts(output, sample, math.sqrt(now), math.sqrt(1 - now))
        x0 = clipped(x0, c)
        deviation = c.eta * math.sqrt(max((1 - then) / (1 - now) * (1 - now / then), 0.0))
        found = x0 * math.sqrt(then) + direction * math.sqrt(max(1 - then - deviation ** 2, 0.0))
        return found + noise() * deviation if deviation else found


def end_of_chain(scheduler):
    """alphas_cumprod behind the last step."""
    return 1.0 if scheduler.config.set_alpha_to_one else float(scheduler.alphas_cumprod[0])
