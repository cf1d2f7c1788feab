"""Samplers in the scale of Karras et al.: x = x_0 + sigma * noise, and a differential equation in sigma.

Source: Karras, Aittala, Aila, Laine 2022, "Elucidating the Design Space of Diffusion-Based Generative Models",
arXiv:2206.00364; its ancestral and multistep variants: Crowson 2022, k-diffusion.
"""
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....errors import ArgumentError, message
from .base import Scheduler, SchedulerConfig, spaced


@dataclass(frozen=True)
class SigmaConfig(SchedulerConfig):
    """Also: `use_karras_sigmas`, spaced by Karras et al., eq. 5; `final_sigmas_type` "zero", or the first step's."""

    timestep_spacing: str = "linspace"
    use_karras_sigmas: bool = False
    final_sigmas_type: str = "zero"
    interpolation_type: str = "linear"
    timestep_type: str = "discrete"

    choices: ClassVar[dict] = {**SchedulerConfig.choices, "final_sigmas_type": ("zero", "sigma_min"),
                               "interpolation_type": ("linear",), "timestep_type": ("discrete",)}


def karras(sigmas, n, rho=7.0):
    """n sigmas from the largest of `sigmas` to the smallest. Karras et al.: eq. 5."""
    high, low = sigmas[0] ** (1 / rho), sigmas[-1] ** (1 / rho)
    return (high + np.linspace(0, 1, n) * (low - high)) ** rho


class SigmaScheduler(Scheduler):
    """Base. Attributes: `sigmas`, of each call, and where the last one ends."""

    config_class = SigmaConfig
    calls = staticmethod(lambda steps: steps)          # how often each step is called

    def plan(self, n, start):
        """The timesteps, float32; sets `sigmas`, float64."""
        c = self.config
        steps, trained = spaced(c, n).astype(np.float32), self.trained_sigmas()
        sigmas = np.interp(steps, np.arange(len(trained)), trained)
        if c.use_karras_sigmas:
            sigmas = karras(sigmas, n)
            steps = np.interp(np.log(sigmas), np.log(trained), np.arange(len(trained))).astype(np.float32)
        last = 0.0 if c.final_sigmas_type == "zero" else trained[0]
        self._derivatives: list = []
        self._highest = sigmas[0]
        self.sigmas = np.append(self.calls(sigmas[start:]), last)
        return self.calls(steps[start:])

    def trained_sigmas(self):
        """sigma of every timestep of the training."""
        left = self.alphas_cumprod.astype(np.float64)
        left[-1] = max(left[-1], 2.0 ** -24)           # (rescaled: nothing of the picture, and no infinity)
        return np.sqrt((1 - left) / left)

    @property
    def init_noise_sigma(self):
        """The standard deviation of what sampling starts from."""
        high = self._highest
        return math.sqrt(high ** 2 + 1) if self.config.timestep_spacing == "leading" else float(high)

    def scale_model_input(self, sample):
        """The sample brought to variance 1."""
        return sample * (1 / math.sqrt(self.sigmas[self.index] ** 2 + 1))

    def derivative(self, output, sample, sigma):
        """dx / dsigma: the noise. Karras et al.: eq. 3."""
        scale = 1 / math.sqrt(sigma ** 2 + 1)
        kind = self.config.prediction_type
        if kind == "epsilon":
            return output
        x0 = output if kind == "sample" else sample * scale ** 2 - output * (sigma * scale)
        return (sample - x0) * (1 / sigma)

    def add_noise(self, sample, noise, timesteps):
        """x_t of x_0, of variance sigma**2; timesteps are of the schedule.

        Raises:
            ArgumentError: one is not of it.
        """
        return sample + noise * self._columns(timesteps, sample)[1]

    def shares(self, timesteps):
        """(1 / sqrt(sigma**2 + 1), sigma) at timesteps of the schedule."""
        found = np.abs(self.timesteps[None] - np.asarray(timesteps, np.float64)[:, None])
        place = found.argmin(1)
        if not np.allclose(found.min(1), 0.0, atol=1e-3):
            raise ArgumentError(message(type(self).__name__, "timesteps", "timesteps of the schedule", timesteps))
        sigma = self.sigmas[place]
        return 1 / np.sqrt(sigma ** 2 + 1), sigma

    def target(self, sample, noise, timesteps):
        """What a network should give for x_t."""
        if self.config.prediction_type != "v_prediction":
            return super().target(sample, noise, timesteps)
        scale, sigma = self._columns(timesteps, sample)
        return (noise - sample * sigma) * scale


class EulerDiscreteScheduler(SigmaScheduler):
    """Straight steps. Karras et al.: algorithm 1 without its correction."""

    def advance(self, output, sample, noise):
        """x at the next sigma."""
        sigma, to = self.sigmas[self.index:self.index + 2]
        return sample + self.derivative(output, sample, sigma) * (to - sigma)


class EulerAncestralDiscreteScheduler(SigmaScheduler):
    """Steps that go too far down, and noise that brings back up. k-diffusion: sample_euler_ancestral."""

    def advance(self, output, sample, noise):
        """x at the next sigma."""
        sigma, to = self.sigmas[self.index:self.index + 2]
        up = math.sqrt(to ** 2 * (sigma ** 2 - to ** 2) / sigma ** 2)
        down = math.sqrt(to ** 2 - up ** 2)
        return sample + self.derivative(output, sample, sigma) * (down - sigma) + noise() * up


class HeunDiscreteScheduler(SigmaScheduler):
    """Steps along the mean of the slopes at both ends: two calls each but for the last. Karras et al.: algorithm 1."""

    calls = staticmethod(lambda steps: np.concatenate([steps[:1], np.repeat(steps[1:], 2)]))

    def advance(self, output, sample, noise):
        """x at the next sigma, as Euler has it, or corrected."""
        sigma, to = self.sigmas[self.index:self.index + 2]
        if not self._derivatives:
            slope = self.derivative(output, sample, sigma)
            if self.index + 1 < len(self.timesteps):
                self._derivatives = [(slope, sample)]
            return sample + slope * (to - sigma)
        before = self.sigmas[self.index - 1]
        first, start = self._derivatives.pop()
        return start + (first + self.derivative(output, sample, sigma)) * ((sigma - before) / 2)


class LMSDiscreteScheduler(SigmaScheduler):
    """A linear multistep method: the last four slopes as a polynomial in sigma. k-diffusion: sample_lms.

    Begun in the middle, its first steps have as many slopes as there are; diffusers weighs them as if there were four.
    """

    order = 4

    def advance(self, output, sample, noise):
        """x at the next sigma: the polynomial's integral."""
        sigma, to = self.sigmas[self.index:self.index + 2]
        self._derivatives = [self.derivative(output, sample, sigma), *self._derivatives[:self.order - 1]]
        places = self.sigmas[self.index::-1][:len(self._derivatives)]
        return sample + sum(d * w for d, w in zip(self._derivatives, lagrange_integrals(places, sigma, to)))


def lagrange_integrals(places, low, high):
    """The integrals from low to high of the polynomials that are 1 at one of `places` and 0 at the others."""
    found = []
    for i, place in enumerate(places):
        others = np.delete(places, i)
        whole = np.poly1d(others, True).integ() / np.prod(place - others)
        found.append(float(whole(high) - whole(low)))
    return found
