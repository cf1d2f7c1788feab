"""What a network that takes noise away is trained on: noise added to images, at any step of the chain.

Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239, algorithm 1; weights: Hang et al. 2023, "Efficient Diffusion Training
via Min-SNR Weighting Strategy", arXiv:2303.09556, section 3.4; classes left out: Ho, Salimans 2022, arXiv:2207.12598.
"""
import numpy as np

from ... import ops
from ...backend import random
from ...errors import ArgumentError, message, number
from ...tensor import Tensor

GAMMA = 5.0                        # of Hang et al.


def diffusion_loss(network, scheduler, sample, labels=None, drop=0.1, weighting="none", key=None):
    """The mean squared error of what the network says of noisy samples.

    Args:
        network: (x_t (N, C, *), t (N)[, labels (N)]) -> the noise, the velocity or the sample, as the scheduler's
            prediction_type has it.
        scheduler: a DDPMScheduler or DDIMScheduler.
        sample (N, C, *): in [-1, 1].
        labels (N): classes, of a network that is told them, whose last class stands for none.
        drop: the share of labels that are replaced by it, so that it can be guided.
        weighting: "none"; "min-snr": steps with little noise count as little as Hang et al. say.
        key: of what is drawn; None: of the default generator.

    Returns:
        a scalar.

    Raises:
        ArgumentError: no such weighting, or share.
    """
    if weighting not in WEIGHTS:
        raise ArgumentError(message("diffusion_loss", "weighting", f"one of {', '.join(WEIGHTS)}", repr(weighting)))
    number("diffusion_loss", "drop", drop, 0, 1)
    keys = random.split(random.default().next_key() if key is None else key, 3)
    count = sample.shape[0]
    times = random.integers(np, keys[0], (count,), 0, len(scheduler.alphas_cumprod))
    noise = ops.randn(sample.shape, sample.dtype, sample.device, key=keys[1])
    told = [Tensor(times).to(sample.device)]
    if labels is not None:
        none = network.config.num_class_embeds - 1
        dropped = random.uniform(np, keys[2], (count,)) < drop
        told.append(ops.where(Tensor(dropped).to(sample.device), none, labels))
    found = network(scheduler.add_noise(sample, noise, times), *told)
    errors = (found - scheduler.target(sample, noise, times)).square().reshape((count, -1)).mean(-1)
    return (errors * weights(scheduler, times, weighting, sample)).mean()


def weights(scheduler, times, weighting, like):
    """What the errors at timesteps (N) count."""
    picture, rest = scheduler.shares(times)
    found = WEIGHTS[weighting]((picture / rest) ** 2, scheduler.config.prediction_type)
    return Tensor(np.broadcast_to(found, times.shape).astype(np.float32)).to(like.device).astype(like.dtype)


def _min_snr(ratio, prediction):
    """min(SNR, GAMMA) in units of the error of x_0: over what the error of this prediction is in those."""
    least = np.minimum(ratio, GAMMA)
    found = {"epsilon": GAMMA / np.maximum(ratio, GAMMA), "v_prediction": least / (ratio + 1), "sample": least}
    return found[prediction]


WEIGHTS = {"none": lambda ratio, prediction: 1.0, "min-snr": _min_snr}
