"""DPM-Solver++: the exact solution of the linear part, a polynomial in the logarithm of the signal-to-noise ratio."""
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import Scheduler, SchedulerConfig, spaced
from .sigmas import karras


@dataclass(frozen=True)
class DPMSolverConfig(SchedulerConfig):
    """Also: `solver_order` 1 to 3, `solver_type` of order 2; lower orders at the end; Karras' sigmas."""

    timestep_spacing: str = "linspace"
    solver_order: int = 2
    solver_type: str = "midpoint"
    algorithm_type: str = "dpmsolver++"
    lower_order_final: bool = True
    euler_at_final: bool = False
    use_karras_sigmas: bool = False
    final_sigmas_type: str = "zero"

    choices: ClassVar[dict] = {**SchedulerConfig.choices, "solver_order": (1, 2, 3), "solver_type": (
        "midpoint", "heun"), "algorithm_type": ("dpmsolver++",), "final_sigmas_type": ("zero", "sigma_min")}


class DPMSolverMultistepScheduler(Scheduler):
    """Lu et al. 2022, "DPM-Solver++: Fast Solver for Guided Sampling", arXiv:2211.01095, algorithm 2, appendix A.

    Attributes: `sigmas`, noise over picture, of each call, and where the last one ends.
    """

    config_class = DPMSolverConfig

    def plan(self, n, start):
        """The timesteps: n of n + 1 equally spaced ones, the last left out; sets `sigmas`, float64."""
        c, left = self.config, self.alphas_cumprod.astype(np.float64)
        left[-1] = max(left[-1], 2.0 ** -24)
        trained = np.sqrt((1 - left) / left)
        steps = (spaced(c, n) if c.timestep_spacing == "trailing" else spaced(c, n + 1)[:n]).round()
        sigmas = np.interp(steps, np.arange(len(trained)), trained)
        if c.use_karras_sigmas:
            sigmas = karras(trained[::-1], n)
            steps = np.interp(np.log(sigmas), np.log(trained), np.arange(len(trained))).round()
        self.sigmas = np.append(sigmas[start:], 0.0 if c.final_sigmas_type == "zero" else trained[0])
        self._pictures: list = []
        return steps[start:].astype(np.int64)

    def advance(self, output, sample, noise):
        """x at the next sigma, from up to three predictions of the picture. Paper: eq. 9, algorithm 2."""
        i, places = self.index, self.sigmas
        with np.errstate(divide="ignore"):
            ratio = -np.log(places)                    # lambda: log of picture over noise
        alpha = 1 / np.sqrt(places ** 2 + 1)
        now, to = places[i] * alpha[i], places[i + 1] * alpha[i + 1]
        x0, _ = self.parts(output, sample, float(alpha[i]), float(now))
        self._pictures = [x0, *self._pictures[:self.config.solver_order - 1]]
        h = ratio[i + 1] - ratio[i]
        shrink = math.expm1(-h) * alpha[i + 1]
        found = sample * float(to / now) - x0 * shrink
        order = self._order()
        if order == 1 or not h:                        # (no way to go: Karras' last sigma may be the end)
            return found
        r0 = (ratio[i] - ratio[i - 1]) / h
        first = (x0 - self._pictures[1]) * (1 / r0)
        bend = float(shrink / h + alpha[i + 1])
        if order == 2:
            return found - first * (shrink / 2) if self.config.solver_type == "midpoint" else found + first * bend
        r1 = (ratio[i - 1] - ratio[i - 2]) / h
        change = first - (self._pictures[1] - self._pictures[2]) * (1 / r1)
        return (found + (first + change * (r0 / (r0 + r1))) * bend
                - change * ((shrink + h * alpha[i + 1]) / h ** 2 - alpha[i + 1] / 2) * (1 / (r0 + r1)))

    def _order(self):
        """How many predictions count: fewer at the beginning and, of few steps, at the end."""
        c, behind = self.config, len(self.timesteps) - 1 - self.index
        few = c.lower_order_final and len(self.timesteps) < 15
        if behind == 0 and (few or c.euler_at_final or c.final_sigmas_type == "zero"):
            return 1
        return min(len(self._pictures), 2 if behind == 1 and few else 3)
