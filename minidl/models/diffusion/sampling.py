"""Sampling: noise that is each image's own, guidance, and the loop from noise to a sample.

    noise -> [scheduler's input -> network, guided or not -> scheduler's step] for every timestep -> sample
"""
from functools import partial

import numpy as np

from ... import ops
from ...backend import random
from ...errors import ArgumentError, message, number
from ...tape import no_grad


class Noise:
    """Numbers of mean 0 and variance 1 for a batch, in which every image has a seed: alone it is the same image.

    Args:
        seeds: integers, one an image.
        device, dtype: of what is drawn; the same numbers in every dtype, but for their rounding.
    """

    def __init__(self, seeds, device="cpu", dtype="float32"):
        self.generators, self.device, self.dtype = [random.Generator(s) for s in seeds], device, dtype

    def __call__(self, shape):
        """The next (N, *shape)."""
        drawn = ops.stack([ops.randn(shape, "float32", self.device, generator=g) for g in self.generators])
        return drawn.astype(self.dtype)


def seeds(op, seed, count):
    """Seeds for a number of images: those of a list; from an integer, itself and those that follow; None: of the
    default generator.

    Raises:
        ArgumentError: a list of another length, or no seed.
    """
    if isinstance(seed, (list, tuple)):
        if len(seed) != count:
            raise ArgumentError(message(op, "seed", f"{count} seeds, one an image", len(seed)))
        return list(seed)
    if seed is None:
        seed = int(random.integers(np, random.default().next_key(), (1,), 0, 2 ** 32)[0])
    number(op, "seed", seed, 0, 2 ** 64 - count, whole=True)
    return [seed + i for i in range(count)]


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
        noise: shape -> (N, *shape), as of Noise.
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


def sample_images(network, scheduler, count=1, labels=None, steps=50, guidance=3.0, seed=None, behind=None):
    """Images of a network that is told the time, and perhaps a class; the last of its classes stands for none.

    Args:
        network: a UNet2DModel.
        scheduler: of the kind that it was trained with.
        count: how many, where there are no labels.
        labels (N): classes, integers; None: of a network with classes, of none of them.
        steps: of the scheduler.
        guidance: by how much the class is exaggerated; 1: not at all.
        seed: an integer, for the first image, or one for each; None: of the default generator.
        behind: as of `denoise`.

    Returns:
        (N, C, H, W), about [-1, 1].

    Raises:
        ArgumentError: a label that is none of the network's classes; no images are asked for.
    """
    c, like = network.config, next(iter(network.parameters()))
    device = like.device
    classes = c.num_class_embeds or 0
    if labels is not None:
        labels = np.asarray(labels).reshape(-1)
        if not len(labels) or labels.dtype.kind not in "iu" or not (0 <= labels.min() and labels.max() < classes - 1):
            expected = f"classes below {classes - 1}" if classes else "none: the network knows no classes"
            raise ArgumentError(message("sample_images", "labels", expected, labels.tolist()))
        count, labels = len(labels), labels.astype(np.int64)
    number("sample_images", "count", count, 1, whole=True)
    noise = Noise(seeds("sample_images", seed, count), device, like.dtype)
    none = ops.full(count, max(classes - 1, 0), "int64", device)
    own = none if labels is None else ops.asarray(labels, device=device)

    def told(x, t):
        if not classes:
            return network(x, float(t))
        if guidance == 1 or labels is None:
            return network(x, float(t), own)
        return guided(network(ops.concat([x, x]), float(t), ops.concat([none, own])), guidance, c.in_channels)

    scheduler.set_timesteps(steps)
    start = noise((c.in_channels, c.sample_size, c.sample_size)) * scheduler.init_noise_sigma
    training = network.training
    network.eval()
    try:
        return denoise(told, scheduler, start, noise, behind)
    finally:
        network.train(training)
