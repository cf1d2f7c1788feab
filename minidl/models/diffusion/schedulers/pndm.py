"""PNDM: a linear multistep method on the curve that noise is taken off along."""
import math
from dataclasses import dataclass

import numpy as np

from .ancestral import end_of_chain
from .base import Scheduler, SchedulerConfig

# Weights of the last predictions, the newest first. Paper: eq. 12 and its shorter forms.
ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
RUNGE_KUTTA = 1 / 6, 1 / 3, 1 / 3, 1 / 6


@dataclass(frozen=True)
class PNDMConfig(SchedulerConfig):
    """Also: `skip_prk_steps`, begin without Runge-Kutta; `set_alpha_to_one`, the end of the chain."""

    skip_prk_steps: bool = False
    set_alpha_to_one: bool = False


class PNDMScheduler(Scheduler):
    """Liu et al. 2022, "Pseudo Numerical Methods for Diffusion Models on Manifolds", arXiv:2202.09778, algorithm 2.

    It begins with Runge-Kutta, four calls a step, for three steps; or without, where the second call is at the second
    timestep again, and its prediction averaged with the first (as of Stable Diffusion).  Begun in the middle, for an
    image to start from, it does the same there; diffusers cuts the list of calls instead, and corrects a step too late.
    """

    config_class = PNDMConfig

    def plan(self, n, start):
        """The timesteps: some several times."""
        steps = super().plan(n, start)
        self._predictions, self._start, self._sum = [], None, 0.0
        self._calls = 0 if self.config.skip_prk_steps or len(steps) < 4 else 12        # of Runge-Kutta
        if not self._calls:
            return np.concatenate([steps[:2], steps[1:]])
        halves = np.stack([steps[:4], steps[:4] + len(self.alphas_cumprod) // n // 2], 1).ravel()
        return np.concatenate([np.repeat(np.sort(halves)[-2::-1], 2)[1:-1], steps[3:]])

    def advance(self, output, sample, noise):
        """x of a step further down, from the mean of predictions that reach back."""
        size = len(self.alphas_cumprod) // self.num_inference_steps
        if self.index < self._calls:
            return self._runge_kutta(output, sample, size)
        t = int(self.timesteps[self.index])
        if self.index == 1 and not self._calls:        # the second call corrects the first
            return self._move(self._start, (output + self._predictions[0]) * 0.5, t + size, t)
        if not self._predictions:
            self._start = sample
        self._predictions = [output, *self._predictions[:3]]
        weights = ADAMS_BASHFORTH[len(self._predictions) - 1]
        return self._move(sample, sum(p * w for p, w in zip(self._predictions, weights)), t, t - size)

    def _runge_kutta(self, output, sample, size):
        """One of the four calls of a step. Paper: eq. 13."""
        part = self.index % 4
        t, to = int(self.timesteps[self.index - part]), int(self.timesteps[self.index])
        if part == 0:
            self._predictions, self._start, self._sum = [output, *self._predictions[:3]], sample, 0.0
        self._sum = self._sum + output * RUNGE_KUTTA[part]
        return self._move(self._start, output if part < 3 else self._sum, t, to if part % 2 else to - size // 2)

    def _move(self, sample, output, t, to):
        """From timestep t to another, with a prediction for the way between. Paper: eq. 11."""
        now = float(self.alphas_cumprod[t])
        then = float(self.alphas_cumprod[to]) if to >= 0 else end_of_chain(self)
        _, noise = self.parts(output, sample, math.sqrt(now), math.sqrt(1 - now))
        below = now * math.sqrt(1 - then) + math.sqrt(now * (1 - now) * then)
        return sample * math.sqrt(then / now) - noise * ((then - now) / below)
