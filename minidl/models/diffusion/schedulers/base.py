"""What schedulers have in common: how much noise there is at each step, which steps a sampler takes, noise added.

    betas -> alphas_cumprod, the share of the picture in the variance of x_t = sqrt(a) x_0 + sqrt(1 - a) noise

Source: Ho, Jain, Abbeel 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, section 2.
"""
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .... import ops
from ....dtypes import HALVES
from ....errors import ArgumentError, message, number
from ....tensor import Tensor
from ...config import ModelConfig, near

PREDICTIONS = "epsilon", "v_prediction", "sample"


@dataclass(frozen=True)
class SchedulerConfig(ModelConfig):
    """Settings under the names of a scheduler_config.json.

    Args:
        num_train_timesteps: steps from picture to noise.
        beta_start, beta_end, beta_schedule, trained_betas: the variance that each step adds; see `betas`.
        prediction_type: what the network gives: "epsilon", the noise; "v_prediction" (Salimans, Ho 2022,
            arXiv:2202.00512, section 4); "sample", the picture.
        timestep_spacing, steps_offset: which of them a sampler takes (Lin et al. 2023, arXiv:2305.08891, table 2); the
            offset as far as there is room for it.
        rescale_betas_zero_snr: leave nothing of the picture in the last step (the same, algorithm 1).
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False

    choices: ClassVar[dict] = {"beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
                               "prediction_type": PREDICTIONS, "timestep_spacing": ("leading", "linspace", "trailing")}

    def __post_init__(self):
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                raise ArgumentError(message(type(self).__name__, name, f"one of {', '.join(map(str, known))}",
                                            repr(getattr(self, name))))
        kind, total = type(self).__name__, number(type(self).__name__, "num_train_timesteps", self.num_train_timesteps,
                                                  1, whole=True)
        number(kind, "steps_offset", self.steps_offset, 0, whole=True)
        for name in ("beta_start", "beta_end"):
            number(kind, name, getattr(self, name), 0, 1)
        own = self.trained_betas
        if own is not None and (len(own) != total or not all(0 <= beta <= 1 for beta in own)):
            raise ArgumentError(message(kind, "trained_betas", f"num_train_timesteps={total} numbers in [0, 1]",
                                        f"{len(own)}, {own[:3]}..."))


def betas(config):
    """The variances (num_train_timesteps) that steps add, float32, as checkpoints were trained with.

    Source: "linear": Ho et al., section 4; "scaled_linear": squares of equally spaced roots (Rombach et al. 2021,
    arXiv:2112.10752, their code); "squaredcos_cap_v2": Nichol, Dhariwal 2021, arXiv:2102.09672, eq. 17.
    """
    c = config
    if c.trained_betas is not None:
        found = np.asarray(c.trained_betas, np.float32)
    elif c.beta_schedule == "linear":
        found = np.linspace(c.beta_start, c.beta_end, c.num_train_timesteps, dtype=np.float32)
    elif c.beta_schedule == "scaled_linear":
        found = np.linspace(c.beta_start ** 0.5, c.beta_end ** 0.5, c.num_train_timesteps, dtype=np.float32) ** 2
    else:
        left = np.cos((np.arange(c.num_train_timesteps + 1) / c.num_train_timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
        found = np.minimum(1 - left[1:] / left[:-1], 0.999).astype(np.float32)
    return _without_rest(found) if c.rescale_betas_zero_snr else found


def _without_rest(found):
    """Betas whose last step leaves nothing of the picture. Lin et al.: algorithm 1."""
    roots = np.sqrt(np.cumprod(1 - found))
    roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
    left = roots ** 2
    return 1 - np.concatenate([left[:1], left[1:] / left[:-1]])


def spaced(config, n):
    """The steps (n), from the noisiest down, float64 and not rounded, that a sampler of n steps takes."""
    total, spacing = config.num_train_timesteps, config.timestep_spacing
    if spacing == "linspace":
        return np.linspace(0, total - 1, n)[::-1]
    if spacing == "leading":
        step = max(total // n, 1)
        return (np.arange(n) * step).astype(float)[::-1] + min(config.steps_offset, total - 1 - (n - 1) * step)
    return np.round(np.arange(total, 0, -total / n)[:n]) - 1


class Scheduler:
    """A sampler: which steps to take, and how one leads to the next.

        scheduler.set_timesteps(50)
        x = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            x = scheduler.step(network(scheduler.scale_model_input(x), t), t, x)

    A subclass has `plan(n, start)`, which gives the timesteps, and `advance(output, sample, noise)`, which makes the
    step at `self.index`.

    Args:
        settings: fields of the config.

    Attributes:
        timesteps: what the network is told at each call, from the noisiest down.
        index: the number of the next call.
        init_noise_sigma: by how much the noise to start from is multiplied.

    Raises:
        ArgumentError: no such setting, or no such value.
    """

    config_class = SchedulerConfig
    init_noise_sigma = 1.0

    def __init__(self, **settings):
        self.config = self.config_class().replace(**settings)
        self.betas = betas(self.config)
        self.alphas_cumprod = np.cumprod(1 - self.betas, dtype=np.float64).astype(np.float32)
        self.set_timesteps(len(self.betas))

    @classmethod
    def from_config(cls, told):
        """A scheduler of this class with the settings of a scheduler_config.json, perhaps another class's.

        Args:
            told: a dict; what this class has no field for is left alone if it is off.

        Raises:
            ArgumentError: a setting that is on, and that this class does not know.
        """
        names = cls.config_class.__dataclass_fields__
        beyond = sorted(name for name, value in told.items() if name not in names and value is True
                        and name not in FOREIGN)
        if beyond:
            raise ArgumentError(message(cls.__name__, "config", "settings that it has", ", ".join(beyond)))
        own = {name: value for name, value in told.items() if name in names and value is not None}
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in own.items()})

    def to_dict(self):
        """What scheduler_config.json holds."""
        return {"_class_name": type(self).__name__, **self.config.to_dict()}

    def set_timesteps(self, num_inference_steps, start=0):
        """Choose the steps, and begin.

        Args:
            num_inference_steps: how many, from 1 to num_train_timesteps.
            start: how many of them to leave out at first, where there is a picture to begin from.

        Raises:
            ArgumentError: a number out of range.
        """
        name, most = type(self).__name__, len(self.alphas_cumprod)
        number(name, "num_inference_steps", num_inference_steps, 1, most, whole=True)
        number(name, "start", start, 0, num_inference_steps - 1, whole=True)
        self.num_inference_steps, self.index = num_inference_steps, 0
        self.timesteps = self.plan(num_inference_steps, start)

    def plan(self, n, start):
        """The timesteps of n steps, without the first `start`; earlier steps are forgotten."""
        return spaced(self.config, n)[start:].round().astype(np.int64)

    def scale_model_input(self, sample):
        """What the network is given for a sample."""
        return sample

    def step(self, output, timestep, sample, noise=None):
        """The sample of the next step.

        Args:
            output (N, C, *): of the network; (N, 2C, *) where it learns variances, too.
            timestep: the next of `timesteps`.
            sample (N, C, *): x_t.
            noise: a function that gives numbers of mean 0 and variance 1, like the sample, where a step draws some;
                None: of the default generator.

        Raises:
            ArgumentError: the timestep is not the next.
        """
        if self.index >= len(self.timesteps) or timestep != self.timesteps[self.index]:
            expected = f"the next of timesteps, number {self.index} of {len(self.timesteps)}"
            raise ArgumentError(message(type(self).__name__, "timestep", expected, timestep,
                                        "set_timesteps begins anew."))
        wide = "float32" if sample.dtype in HALVES else sample.dtype           # (x_0 may lie far out in between)
        drawn = noise or (lambda: ops.randn(sample.shape, device=sample.device))
        found = self.advance(output.astype(wide), sample.astype(wide), lambda: drawn().astype(wide))
        self.index += 1
        return found.astype(sample.dtype)

    def advance(self, output, sample, noise):
        """The step at `self.index`; arguments as of `step`, `noise` a function."""
        raise NotImplementedError

    # -- noise, for training and to begin from a picture --------------------------------------

    def shares(self, timesteps):
        """(how much of the picture, how much of the noise) there is in x_t: arrays like `timesteps`.

        Raises:
            ArgumentError: a timestep that is not of the chain.
        """
        times, total = np.asarray(timesteps), len(self.alphas_cumprod)
        if times.dtype.kind not in "iu" or ((times < 0) | (times >= total)).any():
            raise ArgumentError(message(type(self).__name__, "timesteps", f"integers in [0, {total})", timesteps))
        left = self.alphas_cumprod[times].astype(np.float64)
        return np.sqrt(left), np.sqrt(1 - left)

    def add_noise(self, sample, noise, timesteps):
        """x_t of x_0, which is `sample`. Ho et al.: eq. 4.

        Args:
            sample, noise (N, C, *).
            timesteps (N) or (): of each, integers.
        """
        picture, rest = self._columns(timesteps, sample)
        return sample * picture + noise * rest

    def target(self, sample, noise, timesteps):
        """What a network should give for x_t: noise, velocity or picture, by prediction_type; as of `add_noise`."""
        if self.config.prediction_type != "v_prediction":
            return noise if self.config.prediction_type == "epsilon" else sample
        picture, rest = self._columns(timesteps, sample)
        return noise * picture - sample * rest

    def _columns(self, timesteps, like):
        """`shares`, to multiply samples with."""
        times = np.atleast_1d(timesteps.numpy() if isinstance(timesteps, Tensor) else np.asarray(timesteps))
        return [Tensor(x.astype(np.float32).reshape(-1, *[1] * (like.ndim - 1))).to(like.device).astype(like.dtype)
                for x in self.shares(times)]

    def parts(self, output, sample, picture, rest):
        """(x_0, noise) that an output stands for, at these shares. Salimans, Ho: section 4, appendix D."""
        kind = self.config.prediction_type
        if kind == "v_prediction":
            return sample * picture - output * rest, output * picture + sample * rest
        if kind == "sample":
            return output, (sample - output * picture) / max(rest, 1e-20)
        return (sample - output * rest) / max(picture, 1e-20), output


# Settings of other classes, which say nothing here: a config is carried from one class to another.
FOREIGN = {"set_alpha_to_one", "skip_prk_steps", "clip_sample", "lower_order_final", "euler_at_final",
           "use_karras_sigmas"}


def unknown(name, known):
    """The error for a scheduler's name that there is not."""
    return ArgumentError(message("scheduler", "name", f"one of {', '.join(known)}", repr(name), near(str(name), known)))
