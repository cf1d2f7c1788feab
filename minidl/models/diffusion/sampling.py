"""Sampling: noise that is each image's own, guidance, and the loop from noise to a sample.

    noise -> [scheduler's input -> network, guided or not -> scheduler's step] for every timestep -> sample
"""
from functools import partial

import numpy as np

from ... import ops
from ...backend import random
from ...errors import ArgumentError, message
from ...tape import no_grad


class Noise:
    """Numbers of mean 0 and variance 1 for a batch, in which every image has a seed: alone it is the same image.

    Args:
        seeds: integers, one an image.
        device, dtype: of what is drawn.
    """

    def __init__(self, seeds, device="cpu", dtype="float32"):
        self.generators, self.device, self.dtype = [random.Generator(s) for s in seeds], device, dtype

    def __call__(self, shape):
        """The next (N, *shape)."""
        return ops.stack([ops.randn(shape, self.dtype, self.device, generator=g) for g in self.generators])


def seeds(op, seed, count):
    """Seeds for a number of images: those of a list; from an integer, itself and those that follow; None: any.

    Raises:
        ArgumentError: a list of another length.
    """
    if isinstance(seed, (list, tuple)):
        if len(seed) != count:
            raise ArgumentError(message(op, "seed", f"{count} seeds, one an image", len(seed)))
        return list(seed)
    first = int(np.random.SeedSequence().entropy) % 2 ** 32 if seed is None else seed
    return [first + i for i in range(count)]


def guided(output, scale, channels):
    """What a network says with a condition, exaggerated: without + scale * (with - without).

    Args:
        output (2N, C, *): of the network, the half without the condition first.
        scale: 1 is the condition's own.
        channels: how many of C are guided; the others, as learnt variances, are those with the condition.

    Returns:
        (N, C, *).

    Source: Ho, Salimans 2022, "Classifier-Free Diffusion Guidance", arXiv:2207.12598, eq. 6.
    """
    without, told = ops.chunk(output, 2, axis=0)
    first, rest = told[:, :channels], told[:, channels:]
    first = without[:, :channels] + (first - without[:, :channels]) * scale
    return ops.concat([first, rest], 1) if rest.shape[1] else first


def denoise(network, scheduler, x, noise, behind=None):
    """Sample: take the noise away, step by step.

    Args:
        network: (x_t as the scheduler scales it, t) -> what the scheduler's `step` takes.
        scheduler: whose timesteps are set.
        x (N, C, *): where to begin, scaled by the scheduler's init_noise_sigma.
        noise: (*shape) -> (N, *shape), as of Noise.
        behind: called after each step with (number of steps done, of all, x); gives x back, or another.

    Returns:
        (N, C, *).
    """
    with no_grad():
        for i, t in enumerate(scheduler.timesteps):
            output = network(scheduler.scale_model_input(x), t)
            x = scheduler.step(output, t, x, partial(noise, x.shape[1:]))
            x = x if behind is None else behind(i + 1, len(scheduler.timesteps), x)
    return x


def sample_classes(network, scheduler, labels, steps=50, guidance=3.0, seed=None, behind=None):
    """Images of classes, from a network that is told a class, and the class that stands for none, which is the last.

    Args:
        network: a UNet2DModel with num_class_embeds.
        scheduler: of the kind that it was trained with.
        labels (N): integers.
        steps: of the scheduler.
        guidance: by how much the class is exaggerated; 1: not at all.
        seed: an integer, for the first image, or one for each; None: any.
        behind: as of `denoise`.

    Returns:
        (N, C, H, W), about [-1, 1].

    Raises:
        ArgumentError: a label that is none of the network's classes.
    """
    c, labels = network.config, np.asarray(labels, np.int64).reshape(-1)
    if not c.num_class_embeds or labels.size and not (0 <= labels.min() and labels.max() < c.num_class_embeds):
        raise ArgumentError(message("sample_classes", "labels", f"classes below {c.num_class_embeds}", labels))
    device = next(iter(network.parameters())).device
    noise = Noise(seeds("sample_classes", seed, len(labels)), device)
    own = ops.asarray(labels, device=device)
    none = ops.full(len(labels), c.num_class_embeds - 1, "int64", device)

    def told(x, t):
        if guidance == 1:
            return network(x, t, own)
        return guided(network(ops.concat([x, x]), t, ops.concat([none, own])), guidance, c.in_channels)

    scheduler.set_timesteps(steps)
    start = noise((c.in_channels, c.sample_size, c.sample_size)) * scheduler.init_noise_sigma
    return denoise(told, scheduler, start, noise, behind)
