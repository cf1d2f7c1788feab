"""Adaptive augmentation: a discriminator sees changed images only, the more often the better it knows the real ones.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", arXiv:2006.06676, sections 2
and 3, appendix B.
Differs from the paper: pixels are read by bilinear interpolation, mirrored at the edges, without its wavelet filters.
"""
import math

import numpy as np

from .. import nn, ops
from ..backend import random
from ..errors import ArgumentError, message, number
from ..tape import no_grad

GEOMETRY = "flip", "turn", "shift", "scale", "rotate", "stretch", "move"
COLOUR = "brightness", "contrast", "luma", "hue", "saturation"
GREY = np.ones(3) / math.sqrt(3)                       # the direction of brightness among colours


class AdaptiveAugment(nn.Module):
    """Changes images, each way with a probability that follows how sure a discriminator is.

    Args:
        target: the mean sign of its scores of real images that is wished; above it changes come more often.
        images: so many take the probability from 0 to 1.
        every: batches between adjustments.
        changes: which ones, of GEOMETRY and, for images of one channel brightness and contrast, of three all of COLOUR.

    Buffers: p, the probability; signs, the sum of scores' signs since the last adjustment, and how many batches and
    scores they were.

    Raises:
        ArgumentError: an unknown change, or a number out of its range.
    """

    def __init__(self, target=0.6, images=500_000, every=4, p=0.0, changes=GEOMETRY + COLOUR):
        number("AdaptiveAugment", "target", target, -1, 1)
        number("AdaptiveAugment", "p", p, 0, 1)
        for name, value in (("images", images), ("every", every)):
            number("AdaptiveAugment", name, value, 1, whole=True)
        if wrong := [change for change in changes if change not in GEOMETRY + COLOUR]:
            raise ArgumentError(message("AdaptiveAugment", "changes", f"of {', '.join(GEOMETRY + COLOUR)}", wrong[0]))
        self.target, self.images, self.every, self.changes = target, images, every, tuple(changes)
        self.p, self.signs = nn.Buffer(np.float64(p)), nn.Buffer(np.zeros(3))

    def observe(self, scores):
        """Take note of a discriminator's scores of real images, and adjust the probability when it is time."""
        with no_grad():
            count = scores.size
            signs = self.signs.numpy() + [float(ops.sum(ops.sign(scores.detach())).item()), 1, count]
            if signs[1] >= self.every:
                step = np.sign(signs[0] / signs[2] - self.target) * signs[2] / self.images
                self.p.assign(np.clip(self.p.numpy() + step, 0.0, 1.0))
                signs = np.zeros(3)
            self.signs.assign(signs)

    def forward(self, image):
        """image (N, C, H, W) -> (N, C, H, W); with probability 0 the same."""
        p = float(self.p.item())
        if p == 0.0:
            return image
        draws = _Draws(image.shape[0], p)
        n, c, h, w = image.shape
        theta = _geometry(draws, h, w, self.changes)
        if (theta != np.eye(3)).any():
            grid = ops.affine_grid(self._tensor(theta[:, :2], image), image.shape)
            image = ops.grid_sample(image, grid, padding_mode="reflection")
        if c in (1, 3):
            matrix = _colour(draws, self.changes, c)
            mixed = self._tensor(matrix[:, :c, :c], image) @ image.reshape(n, c, h * w)
            image = (mixed + self._tensor(matrix[:, :c, 3:], image)).reshape(n, c, h, w)
        return image

    @staticmethod
    def _tensor(array, like):
        return ops.tensor(array, dtype=like.dtype, device=like.device)


class _Draws:
    """Random numbers for N images: each draw takes part with the probability p, and is `nothing` otherwise."""

    def __init__(self, n, p):
        self.n, self.p, self.key, self.used = n, p, random.default().next_key(), 0

    def _next(self):
        self.used += 1
        return random.fold_in(self.key, self.used)

    def uniform(self, low, high, shape=()):
        return random.uniform(np, self._next(), (self.n, *shape), low, high, "float64")

    def normal(self, shape=()):
        return random.normal(np, self._next(), (self.n, *shape), "float64")

    def chosen(self, values, nothing, p=None):
        """values (N, ...) where the coin says so, elsewhere `nothing`."""
        coin = self.uniform(0.0, 1.0) < (self.p if p is None else p)
        return np.where(coin.reshape(-1, *[1] * (values.ndim - 1)), values, nothing)


def _geometry(draws, height, width, changes):
    """Maps (N, 3, 3) from places in the result to places in the image, both from -1 to 1. Appendix B, figure 20."""
    theta = np.broadcast_to(np.eye(3), (draws.n, 3, 3))
    turning = 1 - math.sqrt(1 - draws.p)               # twice: before and after stretching
    quarter = np.floor(draws.uniform(0, 4)) * (math.pi / 2)
    drawn = {
        "flip": lambda: _scaling(draws.chosen(np.sign(draws.uniform(-1, 1)), 1.0), 1.0),
        "turn": lambda: _rotation(draws.chosen(quarter, 0.0), 1.0),
        "shift": lambda: _moving(np.round(draws.chosen(draws.uniform(-0.125, 0.125, (2,)), 0.0) * [width, height])
                                 * 2 / [width, height]),
        "scale": lambda: _scaling(*[draws.chosen(np.exp2(0.2 * draws.normal()), 1.0)] * 2),
        "rotate": lambda: _rotation(draws.chosen(draws.uniform(-math.pi, math.pi), 0.0, turning), width / height),
        "stretch": lambda: _stretching(draws.chosen(np.exp2(0.2 * draws.normal()), 1.0)),
        "move": lambda: _moving(draws.chosen(draws.normal((2,)) * 0.125, 0.0) * 2)}
    order = ("flip", "turn", "shift", "scale", "rotate", "stretch", "rotate", "move")
    for name in order:
        if name in changes:
            theta = theta @ drawn[name]()
    return theta


def _colour(draws, changes, channels):
    """Maps (N, 4, 4) of colours and 1. Appendix B, figure 20."""
    known = COLOUR if channels == 3 else ("brightness", "contrast")
    identity, axis = np.eye(4), np.append(GREY, 0.0)
    along = np.outer(axis, axis)
    matrix = np.broadcast_to(identity, (draws.n, 4, 4))

    def brightness():
        moved = np.repeat(identity[None], draws.n, 0)
        moved[:, :3, 3] = draws.chosen(0.2 * draws.normal(), 0.0)[:, None]
        return moved

    def contrast():
        gain = draws.chosen(np.exp2(0.5 * draws.normal()), 1.0)
        return np.stack([gain, gain, gain, np.ones(draws.n)], 1)[:, :, None] * identity

    def luma():
        return identity - 2 * along * draws.chosen(np.round(draws.uniform(0, 1)), 0.0)[:, None, None]

    def hue():
        return _about_grey(draws.chosen(draws.uniform(-math.pi, math.pi), 0.0))

    def saturation():
        gain = draws.chosen(np.exp2(draws.normal()), 1.0)[:, None, None]
        rest = identity - along
        rest[3, 3] = 0.0
        return along + np.diag([0, 0, 0, 1.0]) + rest * gain

    for name, made in zip(COLOUR, (brightness, contrast, luma, hue, saturation)):
        if name in changes and name in known:
            matrix = made() @ matrix
    return matrix


def _scaling(x, y):
    x, y = np.broadcast_arrays(x, y)
    return np.stack([x, y, np.ones_like(x)], 1)[:, :, None] * np.eye(3)


def _stretching(gain):
    return _scaling(gain, 1 / gain)


def _rotation(angle, aspect):
    """By an angle, of pixels; `aspect` is the width over the height."""
    cos, sin, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    rows = [[cos, -sin / aspect, zero], [sin * aspect, cos, zero], [zero, zero, zero + 1]]
    return np.moveaxis(np.array(rows), -1, 0)


def _moving(offsets):
    moved = np.repeat(np.eye(3)[None], len(offsets), 0)
    moved[:, :2, 2] = offsets
    return moved


def _about_grey(angle):
    """Rotations (N, 4, 4) of colours about the axis of greys. Rodrigues' formula."""
    x, y, z = GREY
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned = np.repeat(np.eye(4)[None], len(angle), 0)
    sin, cos = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    turned[:, :3, :3] += sin * cross + (1 - cos) * (cross @ cross)
    return turned
